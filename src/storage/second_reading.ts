/**
 * A second reading of bytes that make no sense: they may have been damaged on their way, once, and the disk cache keeps them.
 *
 * @module
 */
import { LtxFormatError } from "../errors.ts";
import type { RequestOptions } from "./object_store.ts";

/** What a reading adds to its requests' options. */
export type Reading = Pick<RequestOptions, "isFresh">;

/**
 * Has `read` ask for bytes and decode them; where they break the format, once more, from the store itself.
 *
 * @throws {LtxFormatError} they broke it both times
 */
export async function readTwice<T>(read: (reading: Reading) => Promise<T>): Promise<T> {
  try {
    return await read({});
  } catch (error) {
    if (!(error instanceof LtxFormatError)) throw error;
    return await read({ isFresh: true });
  }
}

/** Which objects are read from the store itself: their bytes broke the format before. */
export class Suspects {
  readonly #keys = new Set<string>();

  /** Notes what an error says of an object; false where it is no such error, or the object was suspected before. */
  note(error: unknown): error is LtxFormatError {
    if (!(error instanceof LtxFormatError) || this.#keys.has(error.key)) return false;
    this.#keys.add(error.key);
    return true;
  }

  /** What reading an object adds to its requests' options. */
  reading(key: string): Reading {
    return this.#keys.has(key) ? { isFresh: true } : {};
  }
}
