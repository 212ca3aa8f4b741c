/**
 * FetchFunction: how a store asks, so that tests and users can put something of their own in its place.
 *
 * @module
 */

import { loadFunction, type ModuleExport } from "./module_export.ts";

/** `fetch` as far as stores use it. */
export type FetchFunction = (url: string, init: RequestInit) => Promise<Response>;

/** Where a {@link FetchFunction} of the user's stands. */
export type FetchModule = ModuleExport;

/**
 * Loads a fetch function of the user's.
 *
 * @throws {TypeError} the module cannot be loaded, or the export is no function
 * @throws the signal's reason when it aborts first
 */
export async function loadFetch(at: FetchModule, signal?: AbortSignal): Promise<FetchFunction> {
  return await loadFunction("fetch", at, signal) as FetchFunction;
}
