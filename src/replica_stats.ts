/**
 * Counts of a replica from one moment to another, and what they cost.
 *
 * @module
 */
import type { Counters } from "./pages/counters.ts";

/**
 * Counts since the replica was opened, or since a mark, over all its connections.
 *
 * SQLite keeps pages of its own beside the replica's: what it has there is counted nowhere.
 */
export interface ReplicaStats extends Counters {
  /** Bytes of all decoded pages in this process right now. */
  readonly poolBytes: number;
  /** Transactions that are open right now. */
  readonly pinned: number;
}

/** A moment in a replica's counts, for `stats()`; of use to nothing else. */
export class StatsMark {
  readonly #stats: ReplicaStats;

  /** For this package; users call `mark()`. */
  constructor(stats: ReplicaStats) {
    this.#stats = stats;
  }

  /** What came from here to `now`. */
  to(now: ReplicaStats): ReplicaStats {
    return statsSince(this.#stats, now);
  }
}

/** What came between two readings. */
export function statsSince(before: ReplicaStats, now: ReplicaStats): ReplicaStats {
  const names = Object.keys(now) as (keyof ReplicaStats)[];
  const { poolBytes, pinned } = now; // these are no counts
  const came = Object.fromEntries(names.map((name) => [name, now[name] - before[name]]));
  return { ...came, poolBytes, pinned } as unknown as ReplicaStats;
}

/** Requests that are paid for; a connection lists nothing. */
export interface PricedCounts {
  /** Reads of byte ranges. */
  readonly getRequests: number;
  /** Listing requests. Default 0. */
  readonly listRequests?: number;
}

/** What a store charges, in US$. */
export interface RequestPrices {
  /** For 1000 GET requests. */
  readonly getPer1000: number;
  /** For 1000 LIST requests. */
  readonly listPer1000: number;
}

/** S3 Standard, us-east-1. */
const S3_STANDARD: RequestPrices = { getPer1000: 0.0004, listPer1000: 0.005 };

/**
 * An estimate of what requests cost, in US$, at the prices of S3 Standard unless others are given; bytes that leave
 * the store's region are paid for beside.
 */
export function priceOf(counts: PricedCounts, prices: RequestPrices = S3_STANDARD): number {
  const { getRequests, listRequests = 0 } = counts;
  return (getRequests * prices.getPer1000 + listRequests * prices.listPer1000) / 1000;
}
