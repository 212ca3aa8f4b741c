/**
 * What an observer is told: requests and transactions, each once it has ended.
 *
 * @module
 */

/** What a request was for. */
export type RequestPurpose =
  /** The opening of the replica. */
  | "open"
  /** Looking for new transactions. */
  | "follow"
  /** A page that a query waited for. */
  | "page"
  /** Pages that nobody waited for yet. */
  | "ahead"
  /** A moment in the past, or the list of those that can be reached. */
  | "past"
  /** Other files of a state whose own were deleted. */
  | "replan"
  | "hydrate"
  | "restore"
  | "write"
  /** Compaction, snapshots and retention by a writer. */
  | "compact";

/** How a request ended: `"cancelled"` where nobody wanted its answer any more, as of a read that another one overtook. */
export type RequestOutcome = "ok" | "failed" | "cancelled";

/** What a request failed with. */
export interface SpanError {
  /** Class of the error, such as `"StorageError"`. */
  readonly name: string;
  /** What it says, without secrets. */
  readonly message: string;
  /** What the store calls it, such as `"SlowDown"`; empty where it has no name for it. */
  readonly code: string;
}

/** The HTTP exchange of a request. */
export interface HttpExchange {
  /** Such as `"GET"`. */
  readonly method: string;
  /** Without query, user and password, which may be secret. */
  readonly url: string;
  /** Absent where no answer came. */
  readonly status?: number;
}

/** One request to storage, or one read from the disk cache; structured-cloneable. Each attempt is one. */
export interface RequestSpan {
  /** What was asked for. */
  readonly kind: "list" | "read" | "put" | "remove";
  /** What for. */
  readonly purpose: RequestPurpose;
  /** The replica, without secrets. */
  readonly place: string;
  /** `"disk"`: it was answered from `cacheDir`, and no request was made. */
  readonly source: "storage" | "disk";
  /** Key of the object, or the listing's prefix, without the replica's path; the first of several that are removed. */
  readonly key: string;
  /** Bytes asked for, of a read. */
  readonly range?: { readonly offset: number; readonly size: number };
  /** When it was sent, in ms since the Unix epoch, with fractions. */
  readonly startMs: number;
  /** When it had ended. */
  readonly endMs: number;
  /** How long it had waited for its turn before, in ms: at most 64 are under way at once. */
  readonly queuedMs: number;
  /** From 1: a request that fails is tried again. */
  readonly attempt: number;
  /** The same attempt once more, with what the answer before told: another region, newer keys. */
  readonly isRepeat: boolean;
  /** A read that was sent a second time because the first answer was late. */
  readonly isHedge: boolean;
  /** Where the place is reached by HTTP. */
  readonly http?: HttpExchange;
  /** Bytes of bodies, each way. */
  readonly bytesReceived: number;
  /** Of a put. */
  readonly bytesSent: number;
  /** How it ended. */
  readonly outcome: RequestOutcome;
  /** Why, where it failed. */
  readonly error?: SpanError;
  /** Of a page: the transaction that it was fetched for, as `Replica.transactionOf()` names it. */
  readonly transaction?: string;
  /** Of a page: its place in the chain of requests of which each waited for the one before, from 1, the opening's included. */
  readonly roundTrip?: number;
}

/** One transaction of a connection; structured-cloneable. */
export interface TransactionSpan {
  /** Its name, as `Replica.transactionOf()` and {@link RequestSpan.transaction} have it. */
  readonly transaction: string;
  /** The replica, without secrets. */
  readonly place: string;
  /** The state that it saw; of one that wrote, the one that it began with. */
  readonly txid: bigint;
  /** When it began, in ms since the Unix epoch, with fractions: at its first read, not at `BEGIN`. */
  readonly startMs: number;
  /** When it had ended. */
  readonly endMs: number;
  /** Whether it wrote, or was about to. */
  readonly isWrite: boolean;
  /** Pages copied from memory. */
  readonly hits: number;
  /** Pages that it waited for. */
  readonly misses: number;
  /** Pages read from the local copy. */
  readonly localReads: number;
  /** Bytes, as stored, of pages that were read for the first time since they came into memory. */
  readonly bytesUsed: number;
  /** Pages that were loaded ahead and read without waiting. */
  readonly aheadHits: number;
  /** Pages loaded before anybody asked for them. */
  readonly aheadPages: number;
  /** Byte ranges asked for, ahead or not. */
  readonly getRequests: number;
  /** Bytes of these ranges. */
  readonly bytes: number;
  /** The longest chain of requests of which each waited for the one before. */
  readonly roundTrips: number;
}

/**
 * Hears what a replica does, on the thread that opened it, while its loop turns: a query holds it up, so spans come after
 * the query, with the times at which things happened. A listener that throws has its error thrown on its own.
 */
export interface ReplicaObserver {
  /** Each request, in the order of their ends. */
  request?(span: RequestSpan): void;
  /** Each transaction, of all threads, within some 250 ms of its end. */
  transaction?(span: TransactionSpan): void;
  /** So many spans were dropped because they came faster than they were taken. */
  lost?(count: number): void;
}
