/**
 * What a follower tells.
 *
 * @module
 */

/** A state became the newest one. */
export interface CommitEvent {
  /** Tells events apart. */
  readonly type: "commit";
  /** The TXID that the next transaction sees. */
  readonly txid: bigint;
  /** Size of the database in pages. */
  readonly commit: number;
  /** When it was written by its writer's clock, in ms since the Unix epoch. */
  readonly timeMs: number;
}

/** Transactions are missing between the newest state and what the replica has: it stays until they come. */
export interface GapEvent {
  /** Tells events apart. */
  readonly type: "gap";
  /** The TXID that is seen. */
  readonly txid: bigint;
  /** The first TXID beyond the gap. */
  readonly nextTxid: bigint;
}

/** The replica could not be seen for a while. */
export interface StaleEvent {
  /** Tells events apart. */
  readonly type: "stale";
  /** Time since it was last seen, in ms. */
  readonly lagMs: number;
}

/** A transaction is still open on a state that was followed by others long ago; its files may be deleted. */
export interface StalePinEvent {
  /** Tells events apart. */
  readonly type: "stale-pin";
  /** The TXID that it sees. */
  readonly txid: bigint;
  /** How long the state has not been the newest, in ms. */
  readonly heldMs: number;
}

/** Another database has taken the replica's place. */
export interface ReplacedEvent {
  /** Tells events apart. */
  readonly type: "replaced";
  /** The TXID that was seen. */
  readonly txid: bigint;
  /** The last TXID of what is there now; 0n: nothing. */
  readonly nowTxid: bigint;
}

/** A look at the replica failed; told once for each different reason. */
export interface ErrorEvent {
  /** Tells events apart. */
  readonly type: "error";
  /** Why it failed. */
  readonly error: Error;
}

/** The local copy of the newest state has come so far. */
export interface HydrationEvent {
  /** Tells events apart. */
  readonly type: "hydration";
  /** Pages of the newest state that are read from the copy. */
  readonly pages: number;
  /** Pages of that state. */
  readonly pagesTotal: number;
  /** All of them are. */
  readonly isWhole: boolean;
  /** Why it was given up; absent unless it was. */
  readonly error?: Error;
}

/** Anything a follower tells. */
export type FollowEvent =
  | CommitEvent
  | GapEvent
  | StaleEvent
  | StalePinEvent
  | ReplacedEvent
  | HydrationEvent
  | ErrorEvent;
