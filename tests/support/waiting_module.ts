/**
 * A module that is never done being loaded.
 *
 * @module
 */

await new Promise((resolve) => setTimeout(resolve, 2 ** 31 - 1));

export default fetch;
