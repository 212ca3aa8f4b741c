/**
 * ObjectStore: list keys after a key, read a byte range. All the I/O there is.
 *
 * @module
 */

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
}

/** A place where a replica's objects lie: a bucket with a prefix, or a folder. Keys are relative to it. */
export interface ObjectStore {
  /** The place as a person would write it, without secrets; for messages. */
  readonly name: string;
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

/** How a replica names its level directories. */
export type LayoutName = "s3" | "folder";
