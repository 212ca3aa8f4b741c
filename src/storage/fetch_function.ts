/**
 * FetchFunction: how a store asks, so that tests and users can put something of their own in its place.
 *
 * @module
 */

/** `fetch` as far as stores use it. */
export type FetchFunction = (url: string, init: RequestInit) => Promise<Response>;
