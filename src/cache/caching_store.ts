/**
 * CachingStore: a store whose ranges are kept on disk, and read from there.
 *
 * @module
 */
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
  WritableStore,
} from "../storage/object_store.ts";
import { PurposeStore } from "../storage/purpose_store.ts";
import type { LastStates } from "./last_states.ts";
import { areOverlapping } from "./range_set.ts";
import type { RangeCache } from "./range_cache.ts";

/** Counts of what was read from disk; these are no requests. */
export interface DiskCounts {
  /** Ranges. */
  diskReads: number;
  /** Bytes of them. */
  diskBytes: number;
}

/** A store that may have ranges at hand. */
export interface LocalRanges {
  /** Whether a range will be read without a request, as far as is known. */
  holds?(of: ObjectIdentity, range: ByteRange): boolean;
  /** Reads a range without a request; undefined where it is not there any more, which {@link holds} then knows. */
  readHeld?(of: ObjectIdentity, range: ByteRange, options?: RequestOptions): Promise<ReadResult | undefined>;
}

/** A range that is being fetched. */
interface Fetch {
  readonly key: string;
  readonly range: ByteRange;
  /** It is not to be kept. */
  isVain: boolean;
}

/** Told as a range is looked for on disk; what it gives is called when it was there. */
export type TellRead = (key: string, range: ByteRange, options: RequestOptions) => () => void;

/** Only these have names that tell what they hold. */
const EXTENSION = ".ltx";

/** A store with a disk cache in front. */
export class CachingStore implements WritableStore, LocalRanges {
  readonly name: string;
  readonly traits: ObjectStore["traits"];
  readonly counts: RequestCounts & DiskCounts;
  /** The same without keeping what it reads. */
  readonly unkept: Pick<ObjectStore, "read"> = {
    read: async (of, range, options = {}) => {
      const local = options.attemptsMax === 1 ? undefined : await this.#readLocal(of, range, options);
      return local ?? await this.#inner.read(of, range, options);
    },
  };
  /** The states of the replica that were seen. */
  readonly lastStates: LastStates;
  readonly #inner: WritableStore;
  readonly #cache: RangeCache;
  readonly #tellRead: TellRead | undefined;
  readonly #fetches = new Set<Fetch>();

  /** `tellRead` hears of each range that was read from disk. */
  constructor(inner: WritableStore, cache: RangeCache, lastStates: LastStates, tellRead?: TellRead) {
    this.name = inner.name;
    this.traits = inner.traits;
    this.#inner = inner;
    this.lastStates = lastStates;
    this.counts = Object.assign(inner.counts, { diskReads: 0, diskBytes: 0 });
    this.#cache = cache;
    this.#tellRead = tellRead;
  }

  holds(of: ObjectIdentity, range: ByteRange): boolean {
    return isKnown(of) && this.#cache.holds(of, range);
  }

  async readHeld(
    of: ObjectIdentity,
    range: ByteRange,
    options: RequestOptions = {},
  ): Promise<ReadResult | undefined> {
    return await this.#readLocal(of, range, options);
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<ListedObject[]> {
    return this.#inner.list(prefix, options);
  }

  /** Reads that are tried just once ask whether the object is there: they are never answered from disk. */
  async read(of: ObjectIdentity, range: ByteRange, options: RequestOptions = {}): Promise<ReadResult> {
    if (isKnown(of) && options.attemptsMax === 1) return await this.#inner.read(of, range, options);
    const local = await this.#readLocal(of, range, options);
    if (local) return local;
    const fetch = { key: of.key, range, isVain: false };
    this.#fetches.add(fetch);
    try {
      const result = await this.#inner.read(of, range, options);
      const found = { key: of.key, etag: result.etag, size: result.objectSize };
      if (isKnown(found) && !fetch.isVain) this.#cache.keep(found, range.offset, result.bytes);
      return result;
    } finally {
      this.#fetches.delete(fetch);
    }
  }

  /** Gives up what is kept of a range, or will be once all of it has come: bytes are made something of as they come. */
  async #drop(of: ObjectIdentity, range: ByteRange): Promise<void> {
    for (const fetch of this.#fetches) {
      if (fetch.key === of.key && areOverlapping(fetch.range, range)) fetch.isVain = true;
    }
    await this.#cache.drop(of, range);
  }

  async #readLocal(
    of: ObjectIdentity,
    range: ByteRange,
    options: RequestOptions,
  ): Promise<ReadResult | undefined> {
    const { signal, onProgress } = options;
    if (!isKnown(of)) return undefined;
    signal?.throwIfAborted();
    if (options.isFresh) {
      await this.#drop(of, range);
      return undefined;
    }
    const told = this.#tellRead?.(of.key, range, options);
    const bytes = await this.#cache.read(of, range);
    signal?.throwIfAborted();
    if (bytes === undefined) return undefined;
    this.counts.diskReads++;
    this.counts.diskBytes += bytes.length;
    told?.();
    onProgress?.(bytes);
    return { bytes, etag: of.etag, objectSize: of.size };
  }

  async put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<ListedObject> {
    const stored = await this.#inner.put(key, bytes, options);
    if (isKnown(stored)) this.#cache.keep(stored, 0, bytes);
    return stored;
  }

  putChunks(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<ListedObject> {
    return this.#inner.putChunks(key, chunks, options);
  }

  remove(keys: readonly string[], options?: RequestOptions): Promise<void> {
    return this.#inner.remove(keys, options);
  }

  async close(): Promise<void> {
    await this.#inner.close();
    await this.#cache.close();
  }
}

/** Whether an identity names content; without an ETag it is whatever has the key. */
function isKnown({ key, etag, size }: ObjectIdentity): boolean {
  return etag !== "" && size > 0 && key.endsWith(EXTENSION);
}

/**
 * What reads from a store's disk cache where it can and keeps nothing there: for those who read all of it,
 * once.
 */
export function unkept(store: ObjectStore): Pick<ObjectStore, "read"> {
  if (store instanceof PurposeStore) return unkept(store.inner);
  return store instanceof CachingStore ? store.unkept : store;
}
