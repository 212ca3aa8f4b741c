/**
 * What a backend is given beside its location, in tests.
 *
 * @module
 */
import type { BackendContext } from "../../src/storage/backend.ts";
import type { StorageRequest } from "../../src/storage/storage.ts";

/** Nothing but what is `given`. */
export function contextOf(given: Partial<BackendContext> = {}): BackendContext {
  return {
    env: {},
    credentials: undefined,
    fetch: undefined,
    fetchInit: undefined,
    now: Date.now,
    log: undefined,
    readFile: () => Promise.reject(new Error("no file is read")),
    ...given,
  };
}

/** A request that nobody ends. */
export function requestOf(signal: AbortSignal = new AbortController().signal): StorageRequest {
  return { signal, onProgress: () => {} };
}
