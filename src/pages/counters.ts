/**
 * Counters of a replica and of its connections: where each stands in the shim's memory, so that any thread can read
 * them at once.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import type { DiskCounts } from "../cache/caching_store.ts";
import type { RequestCounts } from "../storage/object_store.ts";

/**
 * Index of each counter; those before `listRequests` are the shim's own (`LS_STAT_…` in `ffi/shim.h`), which also has
 * the names (`azStat` in `ffi/shim.c`).
 */
export const COUNTER = {
  hits: 0,
  misses: 1,
  transactions: 2,
  bytesUsed: 3,
  aheadHits: 4,
  localReads: 5,
  listRequests: 8,
  getRequests: 9,
  bytes: 10,
  retries: 11,
  roundTrips: 12,
  pagesLoaded: 13,
  pagesEvicted: 14,
  polls: 15,
  failedPolls: 16,
  views: 17,
  aheadPages: 18,
  aheadWasted: 19,
  hedges: 20,
  diskReads: 21,
  diskBytes: 22,
} as const satisfies Record<keyof Counters, number>;

/** Index of a counter that only {@link readLooks} tells. */
const GOOD_LOOKS = 23;

/** What one read transaction of a connection took and cost. */
export interface TransactionCounters {
  /** Pages copied from memory. */
  readonly hits: number;
  /** Pages that a read waited for. */
  readonly misses: number;
  /** Bytes, as stored, of pages that were read at least once since they came into memory. */
  readonly bytesUsed: number;
  /** Pages that were loaded ahead and read without waiting. */
  readonly aheadHits: number;
  /** Pages read from the local copy. */
  readonly localReads: number;
  /** Byte ranges asked for, ahead or not; a replica's count has attempts that failed too. */
  readonly getRequests: number;
  /** Bytes of these ranges; a replica's count is of bodies received. */
  readonly bytes: number;
  /** The longest chain of requests of which each waited for the one before. */
  readonly roundTrips: number;
  /** Pages loaded before anybody asked for them. */
  readonly aheadPages: number;
}

/** What one connection took and cost, what was loaded ahead for it included. */
export interface ConnectionCounters extends TransactionCounters {
  /** Read transactions begun. */
  readonly transactions: number;
}

/** A replica's counters, read at one moment. */
export interface Counters extends ConnectionCounters {
  /** Listing requests, a page of keys each; attempts that failed count. */
  readonly listRequests: number;
  /** Attempts beyond the first of a request. */
  readonly retries: number;
  /** Reads that were asked a second time because the first answer was late; the first to come was taken. */
  readonly hedges: number;
  /** Byte ranges that were read from the disk cache; they count as requests nowhere. */
  readonly diskReads: number;
  /** Bytes of these ranges. */
  readonly diskBytes: number;
  /** Pages decoded into memory, those read ahead included. */
  readonly pagesLoaded: number;
  /** Pages dropped from memory to make room. */
  readonly pagesEvicted: number;
  /** Looks at the replica for new transactions. */
  readonly polls: number;
  /** Looks that failed. */
  readonly failedPolls: number;
  /** States that were made the newest one. */
  readonly views: number;
  /** Of the pages loaded ahead, those dropped from memory without having been read. */
  readonly aheadWasted: number;
}

/** A connection's counters, and of them what its current or last read transaction has. */
export interface ConnectionStats {
  /** Since the connection was opened. */
  readonly connection: ConnectionCounters;
  /** Since its current or last read transaction began; zeros before the first. */
  readonly transaction: TransactionCounters;
}

/** How many 64-bit counters a replica has, and a connection. */
const COUNTER_COUNT = 32;

/** Those that a connection has too; `lsConnectionStat` in `ffi/connections.c`. */
const CONNECTION_COUNTERS = [
  "hits",
  "misses",
  "transactions",
  "bytesUsed",
  "aheadHits",
  "localReads",
  "getRequests",
  "bytes",
  "roundTrips",
  "aheadPages",
] as const satisfies readonly (keyof ConnectionCounters)[];

/** Of these, the core's own. */
type CoreCounter = "getRequests" | "bytes" | "roundTrips" | "aheadPages";

/** The most that the shim adds to a counter at once: its parameter has 32 bits. */
const AMOUNT_MAX = 2 ** 31 - 1;

/** Adds to one counter of a replica; nothing where a store of the user's has counted what is no whole number. */
export function addTo(native: Native, replica: number, counter: keyof typeof COUNTER, amount: number): void {
  for (const part of partsOf(amount)) native.calls.ls_replica_add(replica, COUNTER[counter], part);
}

/** Adds to one counter of a connection; nothing where that is 0, for nobody, or has gone. */
export function addToConnection(
  native: Native,
  replica: number,
  connection: number,
  counter: CoreCounter,
  amount: number,
): void {
  if (connection === 0) return;
  for (const part of partsOf(amount)) {
    native.calls.ls_connection_add(replica, connection, COUNTER[counter], part);
  }
}

/** An amount in parts that the shim takes. */
function* partsOf(amount: number): Generator<number> {
  if (!Number.isSafeInteger(amount)) return;
  for (let left = amount; left !== 0;) {
    const part = Math.max(-AMOUNT_MAX, Math.min(left, AMOUNT_MAX));
    yield part;
    left -= part;
  }
}

/** How many looks at a replica have ended, and how. */
export interface Looks {
  readonly good: number;
  readonly failed: number;
}

/** Counts a look that has ended. Each is told by one counter alone, so that no other thread ever sees half of it. */
export function addLook(native: Native, replica: number, outcome: keyof Looks): void {
  addTo(native, replica, "polls", 1);
  if (outcome === "failed") addTo(native, replica, "failedPolls", 1);
  else native.calls.ls_replica_add(replica, GOOD_LOOKS, 1);
}

/** Reads how many looks have ended; zeros for a replica that is gone. */
export function readLooks(native: Native, replica: number): Looks {
  const words = readWords(native, replica);
  return { good: Number(words[GOOD_LOOKS]), failed: Number(words[COUNTER.failedPolls]) };
}

/** Reads all counters of a replica; zeros for one that is gone. */
export function readCounters(native: Native, replica: number): Counters {
  return named(Object.keys(COUNTER) as (keyof Counters)[], readWords(native, replica));
}

function readWords(native: Native, replica: number): BigUint64Array {
  const words = new BigUint64Array(COUNTER_COUNT);
  native.calls.ls_replica_stats(replica, new Uint8Array(words.buffer), COUNTER_COUNT);
  return words;
}

/** Reads the counters of a replica's connection; undefined for one that has gone. */
export function readConnection(
  native: Native,
  replica: number,
  connection: number,
): ConnectionStats | undefined {
  const words = new BigUint64Array(2 * COUNTER_COUNT);
  const bytes = new Uint8Array(words.buffer);
  if (native.calls.ls_connection_stats(replica, connection, bytes, words.length) < 0) return undefined;
  const { transactions: _, ...transaction } = named(CONNECTION_COUNTERS, words.subarray(COUNTER_COUNT));
  return { connection: named(CONNECTION_COUNTERS, words), transaction };
}

/** What a transaction is called: its connection's number in the process, and its own there, from 1. */
export function transactionName(connection: number, ordinal: number): string {
  return `${connection}.${ordinal}`;
}

/** The current or last transaction of a connection; undefined before the first, and where it has gone. */
export function transactionOf(native: Native, replicaId: number, connection: number): string | undefined {
  const transactions = readConnection(native, replicaId, connection)?.connection.transactions ?? 0;
  return transactions === 0 ? undefined : transactionName(connection, transactions);
}

function named<K extends keyof Counters>(names: readonly K[], words: BigUint64Array): Record<K, number> {
  return Object.fromEntries(names.map((name) => [name, Number(words[COUNTER[name]])])) as Record<K, number>;
}

/** Carries what a store counted on to the shim: each call adds what came since the one before. */
export class RequestMeter {
  readonly #native: Native;
  readonly #counts: RequestCounts & Partial<DiskCounts>;
  #seen: RequestCounts & Partial<DiskCounts> = { list: 0, get: 0, bytes: 0, retries: 0 };

  constructor(native: Native, counts: RequestCounts & Partial<DiskCounts>) {
    this.#native = native;
    this.#counts = counts;
  }

  /** Adds what is new to the replica's counters. */
  carry(replica: number): void {
    const seen = this.#seen;
    this.#seen = { ...this.#counts };
    addTo(this.#native, replica, "listRequests", this.#seen.list - seen.list);
    addTo(this.#native, replica, "getRequests", this.#seen.get - seen.get);
    addTo(this.#native, replica, "bytes", this.#seen.bytes - seen.bytes);
    addTo(this.#native, replica, "retries", this.#seen.retries - seen.retries);
    addTo(this.#native, replica, "hedges", (this.#seen.hedges ?? 0) - (seen.hedges ?? 0));
    addTo(this.#native, replica, "diskReads", (this.#seen.diskReads ?? 0) - (seen.diskReads ?? 0));
    addTo(this.#native, replica, "diskBytes", (this.#seen.diskBytes ?? 0) - (seen.diskBytes ?? 0));
  }
}
