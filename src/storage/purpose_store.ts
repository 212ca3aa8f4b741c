/**
 * PurposeStore: a store that says what its requests are for, unless they say so themselves.
 *
 * @module
 */
import type { RequestPurpose } from "../observe/span.ts";
import type {
  ByteRange,
  ListedObject,
  ListOptions,
  ObjectIdentity,
  ObjectStore,
  PutOptions,
  ReadResult,
  RequestCounts,
  RequestOptions,
  StoreTraits,
  WritableStore,
} from "./object_store.ts";

/** Any store, its requests for one purpose. */
export class PurposeStore implements WritableStore {
  readonly #inner: WritableStore;
  readonly #purpose: RequestPurpose;
  readonly #reads: Pick<ObjectStore, "read">;

  /** `reads` stands for its reads where they go another way. */
  constructor(inner: WritableStore, purpose: RequestPurpose, reads: Pick<ObjectStore, "read"> = inner) {
    this.#inner = inner;
    this.#purpose = purpose;
    this.#reads = reads;
  }

  /** The store whose requests they are. */
  get inner(): WritableStore {
    return this.#inner;
  }

  get name(): string {
    return this.#inner.name;
  }

  get traits(): StoreTraits {
    return this.#inner.traits;
  }

  get counts(): RequestCounts {
    return this.#inner.counts;
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<ListedObject[]> {
    return this.#inner.list(prefix, { purpose: this.#purpose, ...options });
  }

  read(of: ObjectIdentity, range: ByteRange, options?: RequestOptions): Promise<ReadResult> {
    return this.#reads.read(of, range, { purpose: this.#purpose, ...options });
  }

  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<ListedObject> {
    return this.#inner.put(key, bytes, { purpose: this.#purpose, ...options });
  }

  putChunks(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<ListedObject> {
    return this.#inner.putChunks(key, chunks, { purpose: this.#purpose, ...options });
  }

  remove(keys: readonly string[], options?: RequestOptions): Promise<void> {
    return this.#inner.remove(keys, { purpose: this.#purpose, ...options });
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

/** The reads of a store, for one purpose. */
export function readsFor(
  store: Pick<ObjectStore, "read">,
  purpose: RequestPurpose,
): Pick<ObjectStore, "read"> {
  return { read: (of, range, options) => store.read(of, range, { purpose, ...options }) };
}
