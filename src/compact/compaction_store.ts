/**
 * What compaction asks of a store.
 *
 * @module
 */
import type {
  ByteRange,
  ListedObject,
  ListOptions,
  ObjectIdentity,
  ReadResult,
  RequestOptions,
} from "../storage/object_store.ts";

/** How compaction writes an object: only where there is none. */
export interface CompactionPutOptions extends RequestOptions {
  /** The header's timestamp, in ms since the Unix epoch. */
  readonly timestampMs?: number;
  /** About how many bytes come in chunks. */
  readonly sizeEstimate?: number;
}

/** The part of an object store that compaction uses; keys, errors and order as there. */
export interface CompactionStore {
  list(prefix: string, options?: ListOptions): AsyncIterable<ListedObject[]>;
  read(of: ObjectIdentity, range: ByteRange, options?: RequestOptions): Promise<ReadResult>;
  /** @throws {ObjectExistsError} the key has another object */
  put(key: string, bytes: Uint8Array, options?: CompactionPutOptions): Promise<ListedObject>;
  /**
   * The same for an object too large for memory. `chunks` gives its bytes from the beginning as often as it is
   * called, the same bytes each time; their number is known when they end.
   */
  putChunks(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    options?: CompactionPutOptions,
  ): Promise<ListedObject>;
  /** Removes objects; those that are not there count as removed. */
  remove(keys: readonly string[], options?: RequestOptions): Promise<void>;
}
