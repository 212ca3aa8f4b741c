/**
 * Every error class of this package, and what a caller does about each.
 *
 * Messages read `Cannot <act> <thing>: <found>, expected <wanted>`; `cause` is always passed on; no message carries
 * a secret.
 *
 * @module
 */

/** What all errors of this package have in common. */
export class ReplicaError extends Error {
  /** The class's name. */
  override name = "ReplicaError";
}

/** Facts that a {@link StorageError} carries beside its message. */
export interface StorageErrorDetails {
  /** Object key, or the listing's prefix. */
  key: string;
  /** HTTP status, or 0 where no answer came (network error, time-out, folder). */
  status: number;
  /** Error code the server named, such as `"SlowDown"`; empty when it named none. */
  code?: string;
  /** Whether the same request may succeed later without a change on our side. */
  retryable: boolean;
  /** The failure behind this one, such as the runtime's own network error. */
  cause?: unknown;
}

/**
 * Object storage answered with an error, answered wrongly, or not in time.
 *
 * What to do: `retryable` ones have been retried until their deadline; try again later. Others need a change of
 * configuration (credentials, bucket, clock) that the message names.
 */
export class StorageError extends ReplicaError {
  /** The class's name. */
  override name = "StorageError";
  /** Object key, or the listing's prefix. */
  readonly key: string;
  /** HTTP status, or 0 where no answer came. */
  readonly status: number;
  /** Error code the server named; empty when it named none. */
  readonly code: string;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;

  /** Makes the error; an absent `code` becomes `""`. */
  constructor(message: string, details: StorageErrorDetails) {
    super(message, { cause: details.cause });
    this.key = details.key;
    this.status = details.status;
    this.code = details.code ?? "";
    this.retryable = details.retryable;
  }
}

/**
 * An object that was listed is not there any more (404), or is another one under the same name (412).
 *
 * What to do: plan anew; compaction and retention delete files while readers use them.
 */
export class ObjectGoneError extends StorageError {
  /** Always `"ObjectGoneError"`. */
  override name = "ObjectGoneError";
}

/**
 * An object was to be made where there is none, and the key has another one.
 *
 * What to do: read it; somebody else writes here. Nothing was overwritten.
 */
export class ObjectExistsError extends StorageError {
  /** Always `"ObjectExistsError"`. */
  override name = "ObjectExistsError";
}

/**
 * Bytes of an LTX file break the format, read twice.
 */
export class LtxFormatError extends ReplicaError {
  /** Always `"LtxFormatError"`. */
  override name = "LtxFormatError";
  /** Object key or path of the file; empty where the decoder was given bytes without a name. */
  readonly key: string;
  /** Byte offset in the file where the fault stands, or -1 where it has no single place. */
  readonly offset: number;

  /** Makes the error; an absent `key` becomes `""`, an absent `offset` -1. */
  constructor(message: string, details: { key?: string; offset?: number; cause?: unknown } = {}) {
    super(message, { cause: details.cause });
    this.key = details.key ?? "";
    this.offset = details.offset ?? -1;
  }
}

/** Why no restore plan could be made. */
export type RestorePlanFault = "empty" | "v0.3" | "gap" | "unreachable";

/**
 * The files of a replica do not make up the state asked for.
 *
 * What to do by `fault`: `"empty"` nothing has been replicated yet (wait, or check the path); `"v0.3"` the replica
 * was written by Litestream 0.3.x (restore it with `litestream restore`); `"gap"` files are missing between two
 * TXIDs; `"unreachable"` the TXID or moment is not in the replica (any more).
 */
export class RestorePlanError extends ReplicaError {
  /** Always `"RestorePlanError"`. */
  override name = "RestorePlanError";
  /** Why no plan could be made. */
  readonly fault: RestorePlanFault;

  /** Makes the error. */
  constructor(message: string, fault: RestorePlanFault, options: { cause?: unknown } = {}) {
    super(message, options);
    this.fault = fault;
  }
}

/**
 * The state that a transaction sees cannot be read any more: its files were deleted and no others make it up.
 *
 * What to do: end the transaction. The next one sees the newest state; a connection in the past needs another moment.
 */
export class StateGoneError extends ReplicaError {
  /** Always `"StateGoneError"`. */
  override name = "StateGoneError";
}

/**
 * Another database has taken the replica's place.
 *
 * What to do: open it again, or with `onReplaced: "follow"` where that is meant to happen.
 */
export class ReplacedError extends ReplicaError {
  /** Always `"ReplacedError"`. */
  override name = "ReplacedError";
}

/**
 * The replica was not seen for longer than `maxStaleMs` allows. `cause` says why.
 *
 * What to do: try again later; the state that was seen last can be read where a larger `maxStaleMs` is allowed.
 */
export class StaleError extends ReplicaError {
  /** Always `"StaleError"`. */
  override name = "StaleError";
}

/**
 * A read would need another request, and its transaction has reached `maxRequests` or `maxBytes`.
 *
 * What to do: ask for less, or allow more. What is in memory can still be read, and the next transaction starts anew.
 */
export class BudgetError extends ReplicaError {
  /** Always `"BudgetError"`. */
  override name = "BudgetError";
}

/** A wait ended at its deadline. What to do: give it more time, or look at what it waited for in `cause`. */
export class DeadlineError extends ReplicaError {
  /** Always `"DeadlineError"`. */
  override name = "DeadlineError";
}

/** The replica was closed, or its core has ended. What to do: open it again. */
export class ReplicaClosedError extends ReplicaError {
  /** Always `"ReplicaClosedError"`. */
  override name = "ReplicaClosedError";
}

/** The shim could not be found, loaded or used. What to do: the message names the file and the remedy. */
export class ShimError extends ReplicaError {
  /** Always `"ShimError"`. */
  override name = "ShimError";
}

/**
 * The local log of a writer cannot be written or read, or what it holds fits no more to what is in storage.
 *
 * What to do: see to the disk; the log is kept, and the message says where.
 */
export class WriteLogError extends ReplicaError {
  /** Always `"WriteLogError"`. */
  override name = "WriteLogError";
}

/**
 * Another writer has written to the replica: what this one committed since is not stored. Nothing was overwritten, and the
 * write log is kept; the message says where.
 *
 * What to do: end the other writer, or this one; open anew to go on from what is stored.
 */
export class ConflictError extends ReplicaError {
  /** Always `"ConflictError"`. */
  override name = "ConflictError";
}

/**
 * A local copy of a database cannot be written or read, or another process has it.
 *
 * What to do: see to the disk, or name another path; reading goes on from storage.
 */
export class LocalFileError extends ReplicaError {
  /** Always `"LocalFileError"`. */
  override name = "LocalFileError";
  /** Whether another process, or another replica of this one, has the file. */
  readonly isTaken: boolean;
  /** Whether somebody else has cut it short while it was open. */
  readonly isCut: boolean;

  /** Makes the error; nobody else has the file, or has cut it, unless `details` say so. */
  constructor(message: string, details: { isTaken?: boolean; isCut?: boolean; cause?: unknown } = {}) {
    super(message, { cause: details.cause });
    this.isTaken = details.isTaken ?? false;
    this.isCut = details.isCut ?? false;
  }
}
