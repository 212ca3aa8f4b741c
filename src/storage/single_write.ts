/**
 * SingleWrite: one object's write, which may be tried many times and happens once.
 *
 * @module
 */

import { ObjectExistsError, StorageError } from "../errors.ts";
import { piecesOf } from "./content.ts";
import type { ListedObject, ObjectStore, RequestOptions } from "./object_store.ts";
import { COMPARED_BYTES, findOwn, listedSize } from "./own_object.ts";

/** What is to be written. */
export interface Write {
  readonly key: string;
  readonly bytes: Uint8Array;
  /** Replaces what has the key. */
  readonly replace: boolean;
  /** It replaces a certain object: that one, still there, says that nothing was written. */
  readonly isExchange: boolean;
  /** Where the store refuses it that is the end of it: what has the key is not read back. */
  readonly isBlind: boolean;
}

/**
 * The attempts at one write.
 *
 * An attempt without a plain refusal may have stored the object, or may store it later, while it is on its way. So
 * before the next one, and where the key turns out to be taken, the object is read back: equal bytes are ours.
 */
export class SingleWrite {
  readonly #store: ObjectStore;
  readonly #write: Write;
  /** Attempts that may have stored the object; those given up answer late or never. */
  #uncertainCount = 0;

  constructor(store: ObjectStore, write: Write) {
    this.#store = store;
    this.#write = write;
  }

  /**
   * Makes an attempt: `send` writes the object, unless an earlier attempt has.
   *
   * @throws {ObjectExistsError} the key has another object, and it is not to be replaced
   * @throws what `send`, or reading back, fails with
   */
  async attempt(options: RequestOptions, send: () => Promise<ListedObject>): Promise<ListedObject> {
    if (this.#uncertainCount > 0 && !this.#write.replace) {
      const found = await this.#find(options, this.#write.isExchange).catch(unlessForbidden);
      if (found !== undefined) return found;
    }
    this.#uncertainCount++;
    try {
      return await send();
    } catch (error) {
      if (isRefusal(error)) this.#uncertainCount--;
      if (!(error instanceof ObjectExistsError) || this.#write.isBlind) throw error;
      const found = await this.#find(options, this.#write.replace);
      if (found !== undefined) return found;
      // An object that was to be replaced, and is gone, does not come back.
      throw this.#write.isExchange ? error : vanishedError(this.#nameOf(), error);
    }
  }

  async #find(options: RequestOptions, replace: boolean): Promise<ListedObject | undefined> {
    const { key, bytes } = this.#write;
    const pieces = piecesOf(bytes, COMPARED_BYTES);
    const sought = { name: this.#nameOf(), key, size: bytes.length, pieces, replace };
    return await findOwn(sought, {
      read: (of, range) => this.#store.read(of, range, options),
      listedSize: () => listedSize(this.#store, key, options),
    });
  }

  #nameOf(): string {
    return `"${this.#write.key}" in ${this.#store.name}`;
  }
}

/** A client error says that nothing was done; all but a time-out, which a proxy may tell of what goes on behind it. */
function isRefusal(error: unknown): boolean {
  return error instanceof StorageError && error.status >= 400 && error.status < 500 && error.status !== 408;
}

/** Without the right to list, an absent object is forbidden too: then the write itself tells more. */
function unlessForbidden(error: unknown): undefined {
  if (error instanceof StorageError && error.status === 403) return undefined;
  throw error;
}

/** Somebody has removed it between two requests: the next attempt may find room. */
function vanishedError(name: string, cause: ObjectExistsError): StorageError {
  const details = { key: cause.key, status: cause.status, code: "Changed", retryable: true, cause };
  return new StorageError(
    `Cannot put ${name}: the key had an object that is gone now, expected none`,
    details,
  );
}
