/**
 * Storage: a place for replicas as anyone can bring it, and as every place but S3 and folders is built in here.
 *
 * It makes each request once and knows nothing of replicas. Deadlines, retries, the queue, the order of listings and the
 * check that bytes are those of the listed object are ours, around it.
 *
 * @module
 */

import type { PartUploads, RequestCounts } from "./object_store.ts";

/** What a place can do. */
export interface StorageTraits {
  /**
   * {@link Storage.put} with `ifAbsent` makes an object only where there is none, whoever else puts one at that
   * moment. Without it writing is refused, unless `allowUnconditional` is set.
   */
  readonly conditionalPut: boolean;
  /** {@link Storage.put} with `ifMatch` replaces only the object of that ETag. Needed for leases. Default false. */
  readonly conditionalReplace?: boolean;
  /**
   * A listing after a key costs what lies behind the key, not the whole folder. Without it followers ask for the next
   * transaction by its name and list seldom. Default true.
   */
  readonly cheapList?: boolean;
  /** Listings come in ascending order of their keys' bytes. Without it one is whole before any of it is used. Default true. */
  readonly listsInOrder?: boolean;
}

/** An object as a listing shows it. */
export interface StoredObject {
  /** Key inside the place: `ltx/0/…`. */
  readonly key: string;
  /** Size in bytes. */
  readonly size: number;
  /** Changes with the content, and is the same in {@link Storage.list} and {@link Storage.read}; never empty. */
  readonly etag: string;
  /** When it was made, in ms since the Unix epoch: what {@link StoragePut.timestampMs} said, where the place keeps that. */
  readonly modifiedMs: number;
}

/** What a read gives. */
export interface StoredBytes {
  /** The bytes of the range; fewer only where the object ends before. The caller owns them. */
  readonly bytes: Uint8Array;
  /** ETag of the object that they are of. */
  readonly etag: string;
  /** Size of the whole object in bytes. */
  readonly objectSize: number;
}

/** How a request ends early, and how it is watched. */
export interface StorageRequest {
  /** Ends the request, which should end whatever it waits for. */
  readonly signal: AbortSignal;
  /**
   * To be called as bytes come, with all that have come so far, or with none where something else came. A request of which
   * nothing is heard for a few seconds is given up and made anew. Bytes of a read are used before its end only where the
   * ETag of the object that they are of is told with them.
   */
  readonly onProgress: (received: Uint8Array, etag?: string) => void;
  /** To be told of what goes over the wire, where that is HTTP and somebody observes; it may be left alone. */
  readonly exchange?: Exchange;
}

/** Hears of the HTTP exchanges of one request. */
export interface Exchange {
  /** It is sent, once more where it was before. */
  sent(method: string, url: string): void;
  /** Its answer's head is there. */
  answered(status: number): void;
  /** So many more bytes of its answer's body have come. */
  received(size: number): void;
}

/** How objects are listed. */
export interface StorageList extends StorageRequest {
  /** Only keys after this one, by the bytes of their UTF-8; others are dropped where they come all the same. */
  readonly after?: string;
}

/** How a range is read. */
export interface StorageRead extends StorageRequest {
  /** Only of the object with this ETag is anything wanted; another one's bytes are dropped where they come. */
  readonly etag?: string;
}

/** How an object is put. */
export interface StoragePut extends StorageRequest {
  /** Only where there is no object of that key. */
  readonly ifAbsent: boolean;
  /** Only in place of the object with this ETag: asked where {@link StorageTraits.conditionalReplace} is set. */
  readonly ifMatch?: string;
  /** The object's time, in ms since the Unix epoch, to be shown by listings where that can be. */
  readonly timestampMs?: number;
}

/** What is known of an object that was put. */
export interface StoredNow {
  /** ETag of the object that was made. */
  readonly etag: string;
  /** Its time, in ms since the Unix epoch. */
  readonly modifiedMs: number;
}

/**
 * A place where the objects of one replica lie.
 *
 * What it throws is tried again until the request's deadline, unless it is a `StorageError` (see there) or has a
 * property `retryable` that is false. Its words are shown to users: they must hold no secret.
 */
export interface Storage {
  /** What the place can do. */
  readonly traits: StorageTraits;
  /** Requests so far, where the place counts them itself; else each call counts as one. */
  readonly counts?: RequestCounts;

  /**
   * Lists the objects whose keys start with `prefix` (a folder with a slash at its end, or less), in pages.
   * Nothing there: no page. Where nobody wants the rest, the iterator's `return()` is called.
   *
   * Where {@link StorageTraits.listsInOrder} is not set, all of it is one request, whose time is a few seconds. A page without
   * an object begins another one. Where that fails, `list()` is called anew: it should go on where it was.
   */
  list(prefix: string, request: StorageList): AsyncIterable<readonly StoredObject[]>;

  /** Reads `size` bytes from `offset` on, or what there is of them; undefined where there is no such object. */
  read(
    key: string,
    range: { readonly offset: number; readonly size: number },
    request: StorageRead,
  ): Promise<StoredBytes | undefined>;

  /**
   * Makes an object, whole or not at all; undefined where its condition does not hold. Absent: nobody can write there.
   */
  put?(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined>;

  /**
   * The same with bytes that come one after the other, `size` in all, for objects larger than 15 MiB. Where it is absent, and
   * {@link parts} is too, these are put whole.
   */
  putStream?(
    key: string,
    chunks: AsyncIterable<Uint8Array>,
    request: StoragePut & { readonly size: number },
  ): Promise<StoredNow | undefined>;

  /** Objects put in parts, where the place knows such a thing; {@link putStream} is not used then. */
  readonly parts?: PartUploads;

  /** Removes objects; one that is not there counts as removed. Absent: nobody can. */
  remove?(keys: readonly string[], request: StorageRequest): Promise<void>;

  /** Frees what is held. Nothing is asked for afterwards. */
  close?(): Promise<void> | void;
}

/** What a {@link StorageModule}'s function is called with. */
export interface StorageArguments {
  /** The URL that the replica was opened with; empty where there was none. */
  readonly url: string;
  /** {@link StorageModule.options}, as they were given. */
  readonly options: unknown;
  /** Variables of the process. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** What the export of a {@link StorageModule} is: a function that makes the place, called on the core's thread. */
export type StorageFactory = (given: StorageArguments) => Storage | Promise<Storage>;
