/**
 * The core's worker with all it needs as one module, for programs that were bundled to one file and so have no other.
 * `npm run pack` puts it into the packages; a checkout has none.
 *
 * @module
 */

/** JavaScript, gzipped. Empty: none. */
export const base64: string = "";
