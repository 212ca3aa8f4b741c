/**
 * A replica's counters: where each stands in the shim's memory, so that any thread can read them at once.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import type { RequestCounts } from "../storage/object_store.ts";

/**
 * Index of each counter; the first three are the shim's own (`LS_STAT_…` in `ffi/shim.h`), which also has the names
 * (`azStat` in `ffi/shim.c`).
 */
export const COUNTER = {
  hits: 0,
  misses: 1,
  transactions: 2,
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
} as const satisfies Record<keyof Counters, number>;

/** A replica's counters, read at one moment. */
export interface Counters {
  /** Pages copied from memory. */
  readonly hits: number;
  /** Pages that a read waited for. */
  readonly misses: number;
  /** Read transactions begun. */
  readonly transactions: number;
  /** Listing requests, a page of keys each; attempts that failed count. */
  readonly listRequests: number;
  /** Reads of byte ranges; attempts that failed count. */
  readonly getRequests: number;
  /** Bytes of bodies received. */
  readonly bytes: number;
  /** Attempts beyond the first of a request. */
  readonly retries: number;
  /** The longest chain of requests of which each waited for the one before. */
  readonly roundTrips: number;
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
}

/** How many 64-bit counters a replica has. */
const COUNTER_COUNT = 32;

/** Adds to one counter of a replica. */
export function addTo(native: Native, replica: number, counter: keyof typeof COUNTER, amount: number): void {
  if (amount !== 0) native.calls.ls_replica_add(replica, COUNTER[counter], amount);
}

/** Reads all counters of a replica; zeros for one that is gone. */
export function readCounters(native: Native, replica: number): Counters {
  const buffer = new Uint8Array(COUNTER_COUNT * 8);
  native.calls.ls_replica_stats(replica, buffer, COUNTER_COUNT);
  const view = new DataView(buffer.buffer);
  const read = (index: number) => Number(view.getBigUint64(index * 8, true));
  const counters = Object.entries(COUNTER).map(([name, index]) => [name, read(index)]);
  return Object.fromEntries(counters) as Record<keyof Counters, number>;
}

/** Carries what a store counted on to the shim: each call adds what came since the one before. */
export class RequestMeter {
  readonly #native: Native;
  readonly #counts: RequestCounts;
  #seen: RequestCounts = { list: 0, get: 0, bytes: 0, retries: 0 };

  constructor(native: Native, counts: RequestCounts) {
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
  }
}
