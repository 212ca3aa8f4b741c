/**
 * ETags: one spelling for each, whichever way a server writes them.
 *
 * @module
 */

/** The tag alone: a proxy that re-packs bodies marks it as weak, some servers leave the quotes out of listings. */
export function bareEtag(etag: string): string {
  return etag.replace(/^W\//, "").replace(/^"|"$/g, "");
}

/** A bare tag as `If-Match` wants it. */
export function quotedEtag(etag: string): string {
  return `"${etag}"`;
}
