/**
 * AdaptedStore: a {@link Storage} as an ObjectStore, its answers checked.
 *
 * @module
 */

import {
  ObjectExistsError,
  ObjectGoneError,
  ReplicaClosedError,
  ReplicaError,
  StorageError,
} from "../errors.ts";
import { compareKeys } from "./key_order.ts";
import { ListingBound } from "./listing_bound.ts";
import { putChunksOnce } from "./multipart.ts";
import {
  type BareStore,
  type ByteRange,
  checkContent,
  checkRange,
  type Exchange,
  type ListedObject,
  type ListOptions,
  type ObjectIdentity,
  type PartUploads,
  type PutOptions,
  type ReadResult,
  type RequestCounts,
  type RequestOptions,
  type StoreTraits,
} from "./object_store.ts";
import { type Spooled, SpooledParts } from "./spooled_parts.ts";
import type { Storage, StoragePut, StorageRequest, StoredBytes, StoredNow, StoredObject } from "./storage.ts";
import { thrownText } from "../thrown_text.ts";

const PAGE_OBJECTS = 1000;
/** A place of the user's may take so long to be closed, in ms; then it is left as it is. */
const CLOSE_MS = 2_000;
const NEVER = new AbortController().signal;
const NO_BYTES = new Uint8Array(0);

/** Any storage as a store. */
export class AdaptedStore implements BareStore {
  readonly name: string;
  readonly traits: StoreTraits;
  readonly counts: RequestCounts;
  readonly parts: PartUploads;
  readonly #storage: Storage;
  readonly #prefix: string;
  readonly #spooled: SpooledParts | undefined;
  readonly #countsItself: boolean;
  #closed = false;

  /** `name` is what messages call the place; all keys there begin with `prefix`, none of ours does. */
  constructor(name: string, storage: Storage, prefix = "") {
    this.name = name;
    this.#storage = storage;
    this.#prefix = prefix;
    this.traits = traitsOf(storage);
    this.#countsItself = storage.counts !== undefined;
    this.counts = storage.counts ?? { list: 0, get: 0, bytes: 0, retries: 0 };
    this.#spooled = storage.parts
      ? undefined
      : new SpooledParts((spooled, options) => this.#putSpooled(spooled, options));
    this.parts = storage.parts ? below(storage.parts, prefix) : this.#spooled!;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject[], void, undefined> {
    const what = `list "${prefix}" in ${this.name}`;
    if (this.traits.listsInOrder) yield* this.#listPages(what, prefix, options);
    else yield* this.#listSorted(what, prefix, options);
  }

  /** Pages as they come; whoever asks may ask for the rest after the last key of one. */
  async *#listPages(
    what: string,
    prefix: string,
    options: ListOptions,
  ): AsyncGenerator<ListedObject[], void, undefined> {
    let last = options.after;
    let previous: string | undefined;
    for await (const objects of this.#pages(what, prefix, options)) {
      const wanted: ListedObject[] = [];
      for (const object of objects) {
        const { key } = object;
        if (previous !== undefined && compareKeys(previous, key) >= 0) {
          throw wrong(what, key, `key "${key}" after "${previous}"`, "ascending keys");
        }
        previous = key;
        if (last === undefined || compareKeys(last, key) < 0) wanted.push(object);
      }
      last = wanted.at(-1)?.key ?? last;
      if (wanted.length > 0) yield wanted;
    }
  }

  /** All pages of the place's own are one of ours; those without an object go on, each with time of its own. */
  async *#listSorted(
    what: string,
    prefix: string,
    options: ListOptions,
  ): AsyncGenerator<ListedObject[], void, undefined> {
    const { after } = options;
    const byKey = new Map<string, ListedObject>();
    for await (const objects of this.#pages(what, prefix, options)) {
      if (objects.length === 0) yield [];
      for (const object of objects) {
        if (after === undefined || compareKeys(after, object.key) < 0) byKey.set(object.key, object);
      }
    }
    const sorted = [...byKey.values()].sort((a, b) => compareKeys(a.key, b.key));
    for (let first = 0; first < sorted.length; first += PAGE_OBJECTS) {
      yield sorted.slice(first, first + PAGE_OBJECTS);
    }
  }

  /** Each page of the place's own, its objects checked. */
  async *#pages(
    what: string,
    prefix: string,
    options: ListOptions,
  ): AsyncGenerator<ListedObject[], void, undefined> {
    const bound = new ListingBound();
    let pages: AsyncIterator<readonly StoredObject[]> | undefined;
    let isOpen = true;
    try {
      for (;;) {
        this.#begin(what, options);
        this.#count("list");
        const { done, value } = await this.#told(what, prefix, options, async () => {
          pages ??= this.#pagesOf(prefix, options);
          return await pages.next();
        }).catch((error) => {
          isOpen = false; // as with any iterator that has failed
          throw error;
        });
        isOpen = !done;
        if (done) return;
        if (!Array.isArray(value)) throw wrong(what, prefix, `a page that is ${typeof value}`, "an array");
        const excess = bound.add(value.length);
        if (excess) throw wrong(what, prefix, excess.found, excess.wanted);
        yield value.map((object: StoredObject) => this.#checkListed(object, { what, prefix }));
      }
    } finally {
      if (isOpen) await pages?.return?.();
    }
  }

  #pagesOf(prefix: string, options: ListOptions): AsyncIterator<readonly StoredObject[]> {
    const { after } = options;
    return this.#storage.list(this.#prefix + prefix, {
      // Each page is a request of its own, with a signal of its own.
      get signal() {
        return options.signal ?? NEVER;
      },
      get exchange() {
        return options.exchange as Exchange;
      },
      onProgress: (received) => options.onProgress?.(received),
      ...(after === undefined ? {} : { after: this.#prefix + after }),
    })[Symbol.asyncIterator]();
  }

  async read(of: ObjectIdentity, range: ByteRange, options: RequestOptions = {}): Promise<ReadResult> {
    checkRange(range);
    const end = range.offset + range.size;
    const what = `read bytes ${range.offset}-${end - 1} of "${of.key}" in ${this.name}`;
    if (of.size > 0 && end > of.size) throw outside(what, of.key, of.size);
    const { onProgress, ...begun } = this.#begin(what, options);
    const shown = (received: Uint8Array, etag?: string) =>
      onProgress(of.etag !== "" && etag === of.etag ? received : NO_BYTES);
    const request = { ...begun, onProgress: shown, ...(of.etag === "" ? {} : { etag: of.etag }) };
    this.#count("get");
    const found = await this.#told(
      what,
      of.key,
      options,
      () => this.#storage.read(this.#prefix + of.key, range, request),
    );
    if (found === undefined) {
      const details = { key: of.key, status: 404, code: "NoSuchKey", retryable: false };
      throw new ObjectGoneError(`Cannot ${what}: there is none, expected an object of that key`, details);
    }
    const { bytes, etag, objectSize } = checkRead(what, of.key, found);
    if (!this.#countsItself) this.counts.bytes += bytes.length;
    if ((of.etag !== "" && etag !== of.etag) || (of.size > 0 && objectSize !== of.size)) {
      const details = { key: of.key, status: 200, code: "Changed", retryable: false };
      throw new ObjectGoneError(
        `Cannot ${what}: another object (ETag ${etag}, ${objectSize} bytes), expected the listed one ` +
          `(ETag ${of.etag}, ${of.size} bytes)`,
        details,
      );
    }
    if (range.offset >= objectSize) throw outside(what, of.key, objectSize);
    const size = Math.min(end, objectSize) - range.offset;
    if (bytes.length !== size) {
      throw wrong(what, of.key, `${bytes.length} bytes`, `${size} bytes`, bytes.length < size);
    }
    options.onProgress?.(bytes); // Not every place tells before.
    return { bytes, etag, objectSize };
  }

  async put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<ListedObject> {
    checkContent(key, bytes.length);
    const what = `put "${key}" in ${this.name}`;
    const { put } = this.#storage;
    if (put === undefined) throw this.#readOnly(what, key);
    return {
      key,
      size: bytes.length,
      ...await this.#put(
        what,
        key,
        options,
        (request) => put.call(this.#storage, this.#prefix + key, bytes, request),
      ),
    };
  }

  async putChunks(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<ListedObject> {
    return await putChunksOnce(this, { key, chunks, options });
  }

  async remove(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    if (keys.length === 0) return;
    const what = `remove ${keys.length} objects from ${this.name}, the first "${keys[0]}"`;
    const { remove } = this.#storage;
    if (remove === undefined) throw this.#readOnly(what, keys[0]!);
    const request = this.#begin(what, options);
    this.#count("remove");
    await this.#told(
      what,
      keys[0]!,
      options,
      () => remove.call(this.#storage, keys.map((key) => this.#prefix + key), request),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#spooled?.close();
    await within(CLOSE_MS, this.#storage.close?.());
  }

  async #putSpooled({ key, size, chunks }: Spooled, options: PutOptions): Promise<StoredNow> {
    const what = `put "${key}" in ${this.name}`;
    const { put, putStream } = this.#storage;
    if (putStream === undefined && put === undefined) throw this.#readOnly(what, key);
    return await this.#put(
      what,
      key,
      options,
      async (request) =>
        putStream === undefined
          ? await put!.call(this.#storage, this.#prefix + key, await whole(chunks(), size), request)
          : await putStream.call(this.#storage, this.#prefix + key, chunks(), { ...request, size }),
    );
  }

  async #put(
    what: string,
    key: string,
    options: PutOptions,
    put: (request: StoragePut) => Promise<StoredNow | undefined>,
  ): Promise<StoredNow> {
    const { replace = false, ifMatch, timestampMs } = options;
    if (ifMatch !== undefined && !this.traits.conditionalReplace) {
      throw this.#refused(what, key, "it replaces no object on condition", "a place with conditionalReplace");
    }
    const request: StoragePut = {
      ...this.#begin(what, options),
      ifAbsent: !replace && ifMatch === undefined,
      ...(ifMatch === undefined ? {} : { ifMatch }),
      ...(timestampMs === undefined ? {} : { timestampMs }),
    };
    this.#count("put");
    const made = await this.#told(what, key, options, () => put(request));
    if (made === undefined) {
      const details = { key, status: 412, code: "PreconditionFailed", retryable: false };
      const wanted = ifMatch === undefined ? "none" : `the one with ETag ${ifMatch}`;
      throw new ObjectExistsError(`Cannot ${what}: the key has another object, expected ${wanted}`, details);
    }
    const { etag, modifiedMs } = (made ?? {}) as Partial<StoredNow>;
    if (isTag(etag) && Number.isFinite(modifiedMs)) return { etag, modifiedMs: modifiedMs! };
    throw wrong(what, key, `an object with ETag "${etag}", time ${modifiedMs}`, "an ETag and a time");
  }

  #begin(what: string, { signal, onProgress, exchange }: RequestOptions): StorageRequest {
    signal?.throwIfAborted();
    if (this.#closed) throw new ReplicaClosedError(`Cannot ${what}: the store was closed`);
    const request = { signal: signal ?? NEVER, onProgress: onProgress ?? (() => {}) };
    return exchange === undefined ? request : { ...request, exchange };
  }

  #count(kind: "list" | "get" | "put" | "remove"): void {
    if (!this.#countsItself) this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }

  /** What `act` gives; what it fails with as one of our errors. */
  async #told<T>(what: string, key: string, { signal }: RequestOptions, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      if (cause instanceof ReplicaError) throw cause;
      const { retryable = true } = (cause ?? {}) as {
        retryable?: boolean;
      };
      const details = { key, status: 0, code: "", retryable, cause };
      throw new StorageError(`Cannot ${what}: ${thrownText(cause)}, expected an answer`, details);
    }
  }

  /** An object of a listing, under our own key. */
  #checkListed(object: StoredObject, { what, prefix }: { what: string; prefix: string }): ListedObject {
    const { key, size, etag, modifiedMs } = (object ?? {}) as StoredObject;
    if (typeof key !== "string" || !key.startsWith(this.#prefix + prefix)) {
      throw wrong(what, prefix, `key "${key}"`, `keys that begin with "${this.#prefix}${prefix}"`);
    }
    const isWhole = Number.isSafeInteger(size) && size >= 0 && isTag(etag) && Number.isFinite(modifiedMs);
    if (!isWhole) {
      const found = `"${key}" with size ${size}, ETag "${etag}", time ${modifiedMs}`;
      throw wrong(what, key, found, "a size, an ETag and a time");
    }
    return { key: key.slice(this.#prefix.length), size, etag, modifiedMs };
  }

  #readOnly(what: string, key: string): StorageError {
    return this.#refused(what, key, "it can only be read", "a place that takes objects");
  }

  #refused(what: string, key: string, found: string, wanted: string): StorageError {
    const details = { key, status: 405, code: "NotImplemented", retryable: false };
    return new StorageError(`Cannot ${what}: ${found}, expected ${wanted}`, details);
  }
}

/** What a read gave, where it is what reads give. */
function checkRead(what: string, key: string, found: StoredBytes): StoredBytes {
  const { bytes, etag, objectSize } = (found ?? {}) as Partial<StoredBytes>;
  if (!(bytes instanceof Uint8Array)) {
    throw wrong(what, key, `bytes that are ${typeof bytes}`, "a Uint8Array");
  }
  if (!isTag(etag)) throw wrong(what, key, `ETag "${etag}"`, "one");
  if (Number.isSafeInteger(objectSize) && objectSize! >= 0) return found;
  throw wrong(what, key, `an object of ${objectSize} bytes`, "its size");
}

function isTag(etag: unknown): etag is string {
  return typeof etag === "string" && etag !== "";
}

/** Waits for what may never come, for `ms` at most. */
async function within(ms: number, promise: Promise<void> | void): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<void>((resolve) => timer = setTimeout(resolve, ms));
  try {
    await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}

function traitsOf({ traits, put }: Storage): StoreTraits {
  const usual = { conditionalReplace: false, cheapList: true, listsInOrder: true };
  return put === undefined ? { ...usual, ...traits, isReadOnly: true } : { ...usual, ...traits };
}

/** Parts of objects whose keys begin with `prefix` there. */
function below(parts: PartUploads, prefix: string): PartUploads {
  const { partSize, partsAtOnce, partsMax } = parts;
  return {
    partSize,
    partsAtOnce,
    partsMax,
    begin: (key, options) => parts.begin(prefix + key, options),
    put: (upload, part, options) => parts.put(upload, part, options),
    complete: (upload, etags, options) => parts.complete(upload, etags, options),
    abort: (upload, options) => parts.abort(upload, options),
  };
}

function wrong(what: string, key: string, found: string, wanted: string, retryable = false): StorageError {
  const details = { key, status: 200, code: "WrongAnswer", retryable };
  return new StorageError(`Cannot ${what}: ${found}, expected ${wanted}`, details);
}

function outside(what: string, key: string, size: number): StorageError {
  const details = { key, status: 416, code: "InvalidRange", retryable: false };
  return new StorageError(`Cannot ${what}: the object has ${size} bytes, expected a range inside`, details);
}

async function whole(chunks: AsyncIterable<Uint8Array>, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  let count = 0;
  for await (const chunk of chunks) {
    bytes.set(chunk, count);
    count += chunk.length;
  }
  return bytes;
}
