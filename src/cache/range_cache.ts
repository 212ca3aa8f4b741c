/**
 * RangeCache: fetched ranges on disk, checked on every read; bounded, and shared by processes.
 *
 * @module
 */
import { type FileHandle, open, readdir, unlink, utimes } from "node:fs/promises";
import { codeOf } from "../storage/folder_fault.ts";
import type { ByteRange, ObjectIdentity } from "../storage/object_store.ts";
import { CacheBound } from "./cache_bound.ts";
import { type CacheFolder, objectName, parseRangeName } from "./cache_folder.ts";
import { areWhole, BLOCK_SIZE, type Checksum, decodeHead, encodeRangeFile, headSize } from "./range_file.ts";
import { areOverlapping, RangeSet } from "./range_set.ts";

/** A longer range becomes several files: checksums of one must not hold the loop. */
const FILE_BYTES_MAX = 1024 * 1024;

/** Share of the bound that one range may take. */
const RANGE_SHARE = 1 / 8;

/** Ranges that wait to be written take this much at most, in bytes; further ones are not kept. */
const WAITING_BYTES_MAX = 32 * 1024 * 1024;

/** Files that are written at the same time. */
const WRITES_AT_ONCE = 4;

/** How often a file that is used is marked as used, in ms. */
const TOUCH_MS = 60_000;

/**
 * How often an object's folder is read again, where ranges are missed that another process may have kept, in
 * ms.
 */
const RELIST_MS = 5_000;

/** How long nothing is written after a write has failed, in ms. */
const FAILED_MS = 60_000;

/** Objects whose ranges are kept in mind; the oldest are forgotten. */
const OBJECTS_MAX = 1024;

/** What a {@link RangeCache} works with. */
export interface RangeCacheOptions {
  readonly folder: CacheFolder;
  /** Tells replicas apart: the same key and content at another place is another object. */
  readonly place: string;
  readonly bytesMax: number;
  readonly checksum: Checksum;
  /** Takes sentences for a person. */
  readonly onNotice: (text: string) => void;
  /** In place of the folder's own way to write a file. */
  readonly write?: (path: string, bytes: Uint8Array) => Promise<void>;
}

/** What is known of one object on disk. */
interface CachedObject {
  readonly name: string;
  readonly ranges: RangeSet;
  /** When each of its files was marked as used, by name. */
  readonly touchedMs: Map<string, number>;
  listing: Promise<void> | undefined;
  listedMs: number;
}

/** A range that waits to be written, or is being written. */
interface Waiting {
  readonly object: CachedObject;
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** It was given up. */
  isVain: boolean;
}

/** The bytes of a file are not what was written. */
class DamageError extends Error {}

/** Ranges of objects at one place. */
export class RangeCache {
  readonly #options: RangeCacheOptions;
  readonly #bound: CacheBound;
  /** By key, ETag and size; the one used last is the last. */
  readonly #objects = new Map<string, CachedObject>();
  readonly #byName = new Map<string, CachedObject>();
  readonly #waiting: Waiting[] = [];
  readonly #underWay = new Set<Waiting>();
  #waitingBytes = 0;
  #writing: Promise<void> | undefined;
  #failedMs = -Infinity;
  #isFaultTold = false;
  #isDamageTold = false;
  #isClosed = false;

  constructor(options: RangeCacheOptions) {
    const { folder, bytesMax } = options;
    this.#options = options;
    const onRemoved = (object: string, name: string) => this.#forget(this.#byName.get(object), name);
    this.#bound = new CacheBound({ folder, bytesMax, onRemoved });
  }

  /** Whether a range is on disk as a whole, as far as is known by now. */
  holds(of: ObjectIdentity, range: ByteRange): boolean {
    const object = this.#object(of);
    if (object.listedMs === -Infinity) void this.#list(object);
    return object.ranges.cover(range) !== undefined;
  }

  /**
   * Reads a range; undefined where it is not on disk, or not as it was written. The caller owns the bytes.
   */
  async read(of: ObjectIdentity, range: ByteRange): Promise<Uint8Array | undefined> {
    const object = this.#object(of);
    if (object.listedMs === -Infinity) await this.#list(object);
    const files = object.ranges.cover(range);
    if (files === undefined) {
      if (Date.now() - object.listedMs > RELIST_MS) void this.#list(object);
      return undefined;
    }
    const bytes = new Uint8Array(range.size);
    const end = range.offset + range.size;
    const parts = files.map((file, i) => {
      const start = Math.max(range.offset, file.offset);
      const next = Math.min(files[i + 1]?.offset ?? end, file.offset + file.size, end);
      const size = next - start;
      return this.#readPart(
        object,
        file,
        start,
        bytes.subarray(start - range.offset, start - range.offset + size),
      );
    });
    return (await Promise.all(parts)).every(Boolean) ? bytes : undefined;
  }

  /** Keeps a range in the background, where there is room. `bytes` are copied. */
  keep(of: ObjectIdentity, offset: number, bytes: Uint8Array): void {
    const { bytesMax } = this.#options;
    if (this.#isClosed || bytes.length === 0 || bytes.length > bytesMax * RANGE_SHARE) return;
    if (this.#waitingBytes + bytes.length > WAITING_BYTES_MAX || this.#bound.isFull) return;
    if (performance.now() - this.#failedMs < FAILED_MS) return;
    const object = this.#object(of);
    if (object.ranges.cover({ offset, size: bytes.length })) return;
    this.#waitingBytes += bytes.length;
    this.#waiting.push({ object, offset, bytes: bytes.slice(), isVain: false });
    this.#writing ??= this.#writeAll().finally(() => this.#writing = undefined);
  }

  /** Gives up what was kept of a range, on disk and on its way there: it was written as it came, and came damaged. */
  async drop(of: ObjectIdentity, range: ByteRange): Promise<void> {
    const object = this.#object(of);
    for (const waiting of [...this.#waiting, ...this.#underWay]) {
      const { offset, bytes: { length: size } } = waiting;
      if (waiting.object === object && areOverlapping({ offset, size }, range)) waiting.isVain = true;
    }
    await this.#list(object);
    await Promise.all(
      object.ranges.overlapping(range).map((file) => {
        this.#forget(object, `${file.offset}-${file.size}`);
        return this.#remove(this.#options.folder.rangePath(object.name, file));
      }),
    );
  }

  /** Resolves when all that was to be kept is written. */
  async settle(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  /** Looks through the cache now; see {@link CacheBound}. */
  async look(): Promise<void> {
    await this.#bound.look();
  }

  /** Writes what waits, and ends. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.settle();
    await this.#bound.close();
  }

  // ------------------------------------------------------------------------------------------- what is known

  #object(of: ObjectIdentity): CachedObject {
    const id = `${of.key}\n${of.etag}\n${of.size}`;
    const object = this.#objects.get(id) ?? this.#newObject(of);
    this.#objects.delete(id); // so that it becomes the newest
    this.#objects.set(id, object);
    if (this.#objects.size > OBJECTS_MAX) this.#forgetOldest();
    return object;
  }

  #newObject(of: ObjectIdentity): CachedObject {
    const object: CachedObject = {
      name: objectName(this.#options.place, of),
      ranges: new RangeSet(),
      touchedMs: new Map(),
      listing: undefined,
      listedMs: -Infinity,
    };
    this.#byName.set(object.name, object);
    return object;
  }

  #forgetOldest(): void {
    const [[id, { name }]] = this.#objects as unknown as [[string, CachedObject]];
    this.#objects.delete(id);
    this.#byName.delete(name);
  }

  /** Learns which ranges are there by the names of their files. */
  #list(object: CachedObject): Promise<void> {
    object.listing ??= this.#listOnce(object).finally(() => object.listing = undefined);
    return object.listing;
  }

  async #listOnce(object: CachedObject): Promise<void> {
    const names = await readdir(this.#options.folder.objectPath(object.name)).catch(() => []);
    for (const name of names) {
      const range = parseRangeName(name);
      if (range) object.ranges.add(range);
    }
    object.listedMs = Date.now();
  }

  #forget(object: CachedObject | undefined, name: string): void {
    const range = parseRangeName(name);
    if (range) object?.ranges.remove(range);
    object?.touchedMs.delete(name);
  }

  // ------------------------------------------------------------------------------------------------- reading

  /** Fills `bytes` with what a file has from `start` on; false where it has not. */
  async #readPart(object: CachedObject, file: ByteRange, start: number, bytes: Uint8Array): Promise<boolean> {
    const path = this.#options.folder.rangePath(object.name, file);
    try {
      const handle = await open(path, "r");
      try {
        await this.#readBlocks(handle, { object: object.name, ...file }, start - file.offset, bytes);
      } finally {
        handle.close().catch(() => {});
      }
      this.#touch(object, file, path);
      return true;
    } catch (error) {
      this.#forget(object, `${file.offset}-${file.size}`);
      if (error instanceof DamageError) await this.#remove(path);
      return false;
    }
  }

  async #readBlocks(
    handle: FileHandle,
    name: ByteRange & { object: string },
    from: number,
    bytes: Uint8Array,
  ): Promise<void> {
    const { checksum } = this.#options;
    const first = Math.floor(from / BLOCK_SIZE);
    const start = first * BLOCK_SIZE;
    const end = Math.min(name.size, Math.ceil((from + bytes.length) / BLOCK_SIZE) * BLOCK_SIZE);
    const [head, blocks] = [new Uint8Array(headSize(name.size)), new Uint8Array(end - start)];
    const isThere = await Promise.all([
      readFully(handle, head, 0),
      readFully(handle, blocks, head.length + start),
    ]);
    const checksums = isThere.every(Boolean) ? decodeHead(name, head, checksum) : undefined;
    if (!checksums || !areWhole(blocks, first, checksums, checksum)) throw new DamageError();
    bytes.set(blocks.subarray(from - start, from - start + bytes.length));
  }

  async #remove(path: string): Promise<void> {
    await unlink(path).catch(() => {});
    if (this.#isDamageTold) return;
    this.#isDamageTold = true;
    this.#options.onNotice(`A file of the disk cache was damaged, and is fetched again: "${path}"`);
  }

  #touch({ touchedMs }: CachedObject, { offset, size }: ByteRange, path: string): void {
    const [name, now] = [`${offset}-${size}`, Date.now()];
    if (Math.abs(now - (touchedMs.get(name) ?? -Infinity)) < TOUCH_MS) return;
    touchedMs.set(name, now);
    utimes(path, now / 1000, now / 1000).catch(() => {}); // what cannot be written to is read all the same
  }

  // ------------------------------------------------------------------------------------------------- writing

  async #writeAll(): Promise<void> {
    await nextTurn(); // whoever fetched it goes first
    await Promise.all(Array.from({ length: WRITES_AT_ONCE }, () => this.#writeOn()));
  }

  async #writeOn(): Promise<void> {
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      this.#waitingBytes -= next.bytes.length;
      this.#underWay.add(next);
      try {
        await this.#writeRange(next);
      } catch (error) {
        this.#waiting.length = this.#waitingBytes = 0;
        this.#failed(error);
      }
      this.#underWay.delete(next);
    }
  }

  async #writeRange(waiting: Waiting): Promise<void> {
    const { object, offset, bytes } = waiting;
    const { folder, checksum, write = (path, file) => folder.write(path, file) } = this.#options;
    if (object.listedMs === -Infinity) await this.#list(object);
    for (let at = 0; at < bytes.length; at += FILE_BYTES_MAX) {
      const part = bytes.subarray(at, at + FILE_BYTES_MAX);
      const range = { offset: offset + at, size: part.length };
      if (object.ranges.cover(range)) continue;
      const file = encodeRangeFile({ object: object.name, ...range }, part, checksum);
      const room = await this.#bound.take(file.length);
      if (room === undefined || waiting.isVain) return;
      await write(folder.rangePath(object.name, range), file);
      if (waiting.isVain) return await this.#remove(folder.rangePath(object.name, range));
      object.ranges.add(range);
      object.touchedMs.set(`${range.offset}-${range.size}`, Date.now());
      await this.#bound.wrote(room);
      await nextTurn();
    }
  }

  #failed(error: unknown): void {
    this.#failedMs = performance.now();
    if (codeOf(error) === "ENOSPC") void this.#bound.look();
    if (this.#isFaultTold) return;
    this.#isFaultTold = true;
    const { folder, onNotice } = this.#options;
    const found = error instanceof Error ? error.message : String(error);
    onNotice(
      `Cannot keep what was fetched in "${folder.path}": ${found}; what is there is used all the same`,
    );
  }
}

/** Reads exactly `bytes.length` bytes; false where the file ends before. */
async function readFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<boolean> {
  for (let at = 0; at < bytes.length;) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, position + at);
    if (bytesRead === 0) return false;
    at += bytesRead;
  }
  return true;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
