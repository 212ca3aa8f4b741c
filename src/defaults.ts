/**
 * What options are where nothing is said, and the least that they can be.
 *
 * @module
 */

/** Longest wait for an opening where nothing is said, in ms. */
export const OPEN_TIMEOUT_MS = 60_000;

/** The only table of defaults. */
export const DEFAULTS = {
  cacheBytesMax: 64 * 1024 * 1024,
  cacheDirBytesMax: 1024 * 1024 * 1024,
  offline: "error",
  openTimeoutMs: OPEN_TIMEOUT_MS,
  readTimeoutMs: 60_000,
  requestTimeoutMs: 9_000,
  waitForReplicaMs: 0,
  pollIntervalMs: 1_000,
  maxStaleMs: 0,
  onReplaced: "error",
  prefetch: "auto",
  maxRequests: 0,
  maxBytes: 0,
  syncIntervalMs: 1_000,
  unsyncedBytesMax: 256 * 1024 * 1024,
} as const;

/** Least bound on what is committed and not stored. */
export const UNSYNCED_BYTES_LEAST = 1024 * 1024;

/** Share of the buffer pool that pages loaded ahead for one connection may take where nothing is said. */
export const PREFETCH_SHARE = 1 / 4;

/** Least bound on them. */
export const PREFETCH_BYTES_LEAST = 64 * 1024;

/** Least pause between looks, in ms. */
export const POLL_INTERVAL_LEAST_MS = 10;

/** Least buffer pool: one page of the largest size and what a query holds beside it. */
export const CACHE_BYTES_LEAST = 1024 * 1024;

/** Least bound on what is kept on disk. */
export const CACHE_DIR_BYTES_LEAST = 1024 * 1024;
