/**
 * MemoryStorage: a place of a user's own in memory.
 *
 * @module
 */
import type { Storage, StorageList, StoragePut, StoredBytes, StoredNow, StoredObject } from "../../mod.ts";

/** The place; whoever changes an object gives it another ETag. */
export class MemoryStorage implements Storage {
  readonly traits = { conditionalPut: true } as const;
  readonly #objects = new Map<string, StoredObject & { readonly bytes: Uint8Array }>();
  #changes = 0;

  /** Makes an object, whatever is there. */
  set(key: string, bytes: Uint8Array): StoredNow {
    const now = { etag: `v${++this.#changes}`, modifiedMs: Date.now() };
    this.#objects.set(key, { key, size: bytes.length, bytes: bytes.slice(), ...now });
    return now;
  }

  async *list(prefix: string, { after = "" }: StorageList): AsyncGenerator<StoredObject[]> {
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    yield keys.map((key) => this.#objects.get(key)!);
  }

  read(
    key: string,
    { offset, size }: { readonly offset: number; readonly size: number },
  ): Promise<StoredBytes | undefined> {
    const object = this.#objects.get(key);
    if (object === undefined) return Promise.resolve(undefined);
    const { bytes, etag } = object;
    return Promise.resolve({ bytes: bytes.slice(offset, offset + size), etag, objectSize: bytes.length });
  }

  put(key: string, bytes: Uint8Array, { ifAbsent }: StoragePut): Promise<StoredNow | undefined> {
    return Promise.resolve(ifAbsent && this.#objects.has(key) ? undefined : this.set(key, bytes));
  }

  remove(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#objects.delete(key);
    return Promise.resolve();
  }
}
