/**
 * What calls of a {@link Replica} may be told.
 *
 * @module
 */
import type { AsOf } from "./as_of.ts";
import type { RestoreProgress } from "./restore/progress.ts";

/** How long is waited for a transaction. */
export interface WaitOptions {
  /** Ends the wait. */
  signal?: AbortSignal;
  /** Longest wait in ms. Default 60 s. */
  timeoutMs?: number;
}

/** Which states are listed, and how exactly. */
export interface ListPointsOptions {
  /**
   * Read each file's own time, a request a file, in place of the listing's: that of the upload, up to a compaction
   * interval later. Default false.
   */
  exact?: boolean;
  /** Only states from this time on. */
  from?: Date;
  /** Only states before this time. */
  to?: Date;
  /** Ends it. */
  signal?: AbortSignal;
}

/** What is compared. */
export interface CompareOptions {
  /** Tables to compare, each there in one of the states at least; all but SQLite's own unless given. */
  tables?: readonly string[];
  /** Ends it. */
  signal?: AbortSignal;
}

/** What is restored, and how. */
export interface RestoreOptions {
  /** The moment; the newest state that is stored unless given. */
  asOf?: AsOf;
  /**
   * Replaces a file that is there, or the link to one, once the new one is whole, and removes SQLite's own files beside it;
   * folders, pipes and devices stay. Default false.
   */
  force?: boolean;
  /** Ends it; what has come is kept for the next call. */
  signal?: AbortSignal;
  /** Hears how far it is, some ten times a second at most, and at the end. What it throws ends the restore. */
  onProgress?: (progress: RestoreProgress) => void;
}

/** How a replica is closed. */
export interface CloseOptions {
  /** End waiting reads at once and do not wait for the core. Default false. */
  force?: boolean;
}
