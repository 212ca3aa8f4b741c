/**
 * ObjectStore: list keys after a key, read a byte range; put and remove objects. All the I/O there is.
 *
 * @module
 */

import type { RequestPurpose } from "../observe/span.ts";
import type { Exchange, StorageTraits } from "./storage.ts";

export type { Exchange };

/** What identifies the content of an object: a name is reused when a replica is made anew, this is not. */
export interface ObjectIdentity {
  /** Key inside the store, without the replica's path. */
  readonly key: string;
  /** Opaque tag that changes with the content: the ETag as the server spells it, or what a folder has in its place. */
  readonly etag: string;
  /** Size in bytes; 0 where it is not known (see {@link anyObject}). */
  readonly size: number;
}

/** Names whatever object has `key` now: neither its content nor its size is known. */
export function anyObject(key: string): ObjectIdentity {
  return { key, etag: "", size: 0 };
}

/** One object of a listing. */
export interface ListedObject extends ObjectIdentity {
  /** When the store says it was last modified, in ms since the Unix epoch. */
  readonly modifiedMs: number;
}

/** Bytes `offset` … `offset + size - 1`. */
export interface ByteRange {
  /** First byte, from 0. */
  readonly offset: number;
  /** Number of bytes, at least 1. */
  readonly size: number;
}

/**
 * Checks a range before it is asked for.
 *
 * @throws {RangeError} offset or size is no integer, negative, or there is nothing to read
 */
export function checkRange(range: ByteRange): void {
  const { offset, size } = range;
  if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(size) || size < 1) {
    throw new RangeError(
      `Cannot read range: offset ${offset}, size ${size}, expected offset from 0, size from 1`,
    );
  }
}

/** How a request ends early, and how it is watched. */
export interface RequestOptions {
  /** Cancels the request and its retries; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Time for all attempts together in ms, exactly, in place of the store's own, which grows with what is read. */
  readonly timeoutMs?: number;
  /** An attempt that brings nothing for this long has failed, in ms; in place of the store's own. */
  readonly attemptTimeoutMs?: number;
  /** Attempts at most; 1 for none but the first. What the last one fails with is thrown as it is. */
  readonly attemptsMax?: number;
  /**
   * Called as bytes of the answer arrive, with all that have arrived so far: a view, not to be kept. Calls begin
   * anew when the request is tried again; until then they never go back, though views may be of two buffers.
   */
  readonly onProgress?: (received: Uint8Array) => void;
  /** Called when the request is on its way, where the store can tell; each time it is tried. */
  readonly onSent?: (() => void) | undefined;
  /** From the store itself: what was kept on disk of these bytes makes no sense, and is given up. */
  readonly isFresh?: boolean;
  /** What it is for, where somebody observes. */
  readonly purpose?: RequestPurpose;
  /** For whose query, likewise. */
  readonly reader?: RequestReader | undefined;
  /** Which attempt it is; a {@link RetryingStore} says so. */
  readonly attempt?: RequestAttempt | undefined;
  /** Hears what becomes of it on the wire. */
  readonly exchange?: Exchange | undefined;
}

/** Whose query a request is for. */
export interface RequestReader {
  /** Its transaction's name. */
  readonly transaction: string;
  /** Its place in the chain of requests that waited for one another, from 1. */
  readonly depth: number;
}

/** Which attempt at a request is made. */
export interface RequestAttempt {
  /** From 1. */
  readonly number: number;
  /** Whether the same attempt is under way already, and late. */
  readonly isHedge: boolean;
  /** How long the request had waited for its turn, in ms. */
  readonly queuedMs: number;
}

/** A listing's bounds. */
export interface ListOptions extends RequestOptions {
  /** Only keys that sort after this one. */
  readonly after?: string;
}

/** What a read returned. */
export interface ReadResult {
  /** Exactly the bytes of the range; the caller owns them. */
  readonly bytes: Uint8Array;
  /** Identity of the object the bytes come from. */
  readonly etag: string;
  /** Size of the whole object in bytes. */
  readonly objectSize: number;
}

/** Counts of what a store sent and received since it was made. Every attempt counts. */
export interface RequestCounts {
  /** Listing requests (a page of keys each). */
  list: number;
  /** Reads. */
  get: number;
  /** Bytes of bodies received. */
  bytes: number;
  /** Attempts beyond the first of a request. */
  retries: number;
  /** Reads sent a second time while the first request brought nothing; absent where there were none. */
  hedges?: number;
  /** Requests that write, each part and its beginning and end too; absent where there were none. */
  put?: number;
  /** Requests that remove, each of up to 1,000 keys; absent where there were none. */
  remove?: number;
}

/** How an object is written. */
export interface PutOptions extends RequestOptions {
  /** Replaces what has the key; without it, an object is made only where there is none. */
  readonly replace?: boolean;
  /** Replaces the object that has this ETag, no other one; a bucket's, put whole. */
  readonly ifMatch?: string | undefined;
  /**
   * The object's time as Litestream keeps it, in ms since the Unix epoch: metadata `litestream-timestamp`, or a
   * file's time. Without it a file has the time of writing, an object in a bucket no such metadata.
   */
  readonly timestampMs?: number;
  /** In parts, whatever the size, where the store knows parts: large objects are, and their condition is another. */
  readonly inParts?: boolean;
  /** Of an object that is put whole: whatever has the key is another's, and is not read back to see whether an attempt of this put has made it. */
  readonly isBlind?: boolean;
  /** About how many bytes come in chunks: where that would be too many parts, they are larger. */
  readonly sizeEstimate?: number;
}

/** What a store can do; where it is read only nobody can write there. */
export type StoreTraits = Required<StorageTraits> & { readonly isReadOnly?: boolean };

/** A place where a replica's objects lie: a bucket with a prefix, or a folder. Keys are relative to it. */
export interface ObjectStore {
  /** The place as a person would write it, without secrets; for messages. */
  readonly name: string;
  /** What it can do. */
  readonly traits: StoreTraits;
  /** Running counts; the same object all along. */
  readonly counts: RequestCounts;

  /**
   * Lists the objects whose keys start with `prefix`, in ascending order of their keys' bytes, a page at a time.
   *
   * A prefix under which nothing lies gives an empty listing.
   *
   * @throws {StorageError} access refused, no such bucket
   * @throws {DeadlineError} not answered within the deadline; the last failure is its cause
   */
  list(prefix: string, options?: ListOptions): AsyncIterable<ListedObject[]>;

  /**
   * Reads a byte range of the object that `of` identifies.
   *
   * `of.etag` empty: whatever object has that key. A range that goes past the object's end is an error, never a
   * short answer; only where `of.size` is 0, not known, is the range cut at the object's end (it must begin
   * before it).
   *
   * @throws {ObjectGoneError} no such object, or another one than `of` under that key
   * @throws {DeadlineError} not answered within the deadline; the last failure is its cause
   * @throws {StorageError} anything else
   */
  read(of: ObjectIdentity, range: ByteRange, options?: RequestOptions): Promise<ReadResult>;

  /** Ends what is under way and frees what is held. */
  close(): Promise<void>;
}

/** A store that can be written to. */
export interface WritableStore extends ObjectStore {
  /**
   * Stores an object whole: it is there with all of `bytes`, or not at all. `bytes` must not change meanwhile.
   *
   * Through a {@link RetryingStore} an outcome that stayed unknown (time-out, cut connection, 5xx) is resolved by
   * reading the object back: equal bytes are ours, whoever wrote them. So the same put may be repeated at any time.
   *
   * @throws {ObjectExistsError} the key has another object, and `replace` is not set
   * @throws {DeadlineError} not done within the deadline; whether the object is there is not known
   * @throws {RangeError} `bytes` is empty
   */
  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<ListedObject>;

  /**
   * Stores an object too large for memory, as {@link put} does; what fits in one part is put whole.
   *
   * `chunks` gives the object's bytes from the beginning as often as it is called, the same bytes each time:
   * once an upload, and once where they are compared with an object that is there. A chunk is copied before the
   * next is asked for; at most `partsAtOnce + 1` parts are in memory. What `chunks` throws ends the put.
   *
   * @throws {ObjectExistsError} the key has another object, and `replace` is not set
   * @throws {DeadlineError} a request was not done in time; whether the object is there is not known
   * @throws {StorageError} code `EntityTooLarge`: it has more parts than the store takes
   * @throws {RangeError} there are no bytes
   */
  putChunks(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<ListedObject>;

  /**
   * Removes objects; those that are not there count as removed.
   *
   * @throws {StorageError} some could not be removed, the others were; its cause is an AggregateError of one
   *   {@link StorageError} for each, which names its key
   */
  remove(keys: readonly string[], options?: RequestOptions): Promise<void>;
}

/** A store that makes each request once; a {@link RetryingStore} goes around it. */
export interface BareStore extends WritableStore {
  /** How large objects are put in parts. */
  readonly parts: PartUploads;
}

/** An upload in parts that was begun. */
export interface PartUpload {
  /** Key of the object that is to be. */
  readonly key: string;
  /** As the store names it. */
  readonly id: string;
}

/** One part of an object. */
export interface Part {
  /** From 1. */
  readonly number: number;
  /** Where it begins in the object, in bytes. */
  readonly offset: number;
  /** What it holds. */
  readonly bytes: Uint8Array;
}

/** An object's parts, each stored by a request of its own; together they become the object, or nothing. */
export interface PartUploads {
  /** Bytes of each part but the last; what is at hand as a whole may be put in one request up to a few times this. */
  readonly partSize: number;
  /** Parts that are sent at once, at most. */
  readonly partsAtOnce: number;
  /** Parts of one object, at most: larger objects have larger ones. */
  readonly partsMax: number;
  /** All bytes are sent when the object is completed, not before. */
  readonly isSentAtEnd?: boolean;

  /** Begins an upload; the object's time is given here. */
  begin(key: string, options: PutOptions): Promise<PartUpload>;
  /**
   * Stores a part; returns its ETag. It is called again where an attempt failed or was given up, which may come through
   * all the same, even when later parts have been put: the part is in the object once.
   */
  put(upload: PartUpload, part: Part, options: RequestOptions): Promise<string>;
  /**
   * Makes the object of its parts, whose ETags are given in order.
   *
   * @throws {ObjectExistsError} the key has an object, and `replace` is not set
   */
  complete(
    upload: PartUpload,
    etags: readonly string[],
    options: PutOptions,
  ): Promise<{ etag: string; modifiedMs: number }>;
  /** Forgets the parts; an upload that is not there counts as forgotten. */
  abort(upload: PartUpload, options: RequestOptions): Promise<void>;
}

/**
 * Checks what is to be put.
 *
 * @throws {RangeError} there is nothing in it
 */
export function checkContent(key: string, size: number): void {
  if (size > 0) return;
  throw new RangeError(`Cannot put "${key}": 0 bytes, expected at least 1`);
}

/** How a replica names its level directories. */
export type LayoutName = "s3" | "folder";
