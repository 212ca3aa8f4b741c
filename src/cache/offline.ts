/**
 * Without a network: what counts as being without one, and what is said then.
 *
 * @module
 */
import { DeadlineError, ObjectGoneError, ReplicaError, StorageError } from "../errors.ts";
import { formatTxid } from "../ltx/txid.ts";
import type { RequestOptions, WritableStore } from "../storage/object_store.ts";
import { CachingStore } from "./caching_store.ts";
import type { LastState, LastStates } from "./last_states.ts";

/**
 * How an opening looks whether the replica can be reached, where its last state would do: once, and briefly.
 */
export const BRIEFLY = {
  attemptsMax: 1,
  attemptTimeoutMs: 3_000,
  timeoutMs: 9_000,
} as const satisfies RequestOptions;

/** How long a read of the last state waits for what is not on disk, in ms. */
const LAST_READ_MS = 3_000;

/** A state of which storage has not been asked. */
export interface StaleOpening {
  readonly state: LastState;
  /** Why the replica cannot be reached. */
  readonly cause: Error;
  /** How long ago it was last seen, in ms. */
  readonly ageMs: number;
}

/** The states that a store keeps; undefined where it keeps none. */
export function lastStatesOf(store: WritableStore): LastStates | undefined {
  return store instanceof CachingStore ? store.lastStates : undefined;
}

/**
 * Whether storage could not be reached, or was in no state to answer: an answer that refuses is none of
 * these.
 */
export function isOutage(error: unknown): error is Error {
  if (error instanceof DeadlineError) return error.cause === undefined || isOutage(error.cause);
  if (!(error instanceof StorageError) || error instanceof ObjectGoneError || !error.retryable) return false;
  return error.status === 0 || error.status >= 500;
}

/** A state as it is opened. */
export function staleOpening(state: LastState, cause: Error): StaleOpening {
  return { state, cause, ageMs: Math.max(0, Date.now() - state.seenMs) }; // the clock may have been set back
}

/** Options for reads of a state that should all be on disk. */
export function fromDisk(request: RequestOptions): RequestOptions {
  return { ...request, timeoutMs: LAST_READ_MS };
}

/** What a person is told of a replica that is opened so. */
export function staleNotice(name: string, { state, cause, ageMs }: StaleOpening): string {
  return `Replica ${name} cannot be reached: its last state is shown, TXID ${formatTxid(state.txid)}, seen ` +
    `${ageText(ageMs)} ago (${cause.message})`;
}

/** What is thrown where the last state cannot be opened either. */
export function staleError(name: string, { state, cause, ageMs }: StaleOpening, error: Error): ReplicaError {
  return new ReplicaError(
    `Cannot open replica ${name}: it cannot be reached (${cause.message}), and of its last state, TXID ` +
      `${formatTxid(state.txid)}, seen ${ageText(ageMs)} ago, not all is in cacheDir: ${error.message}`,
    { cause },
  );
}

/** What is thrown where such a replica is to be written to. */
export function unwritableError(name: string, cause: Error): ReplicaError {
  return new ReplicaError(
    `Cannot open replica ${name} for writing: it cannot be reached (${cause.message}), expected storage, ` +
      "against which the write log is checked; without the option write its last state can be read",
    { cause },
  );
}

function ageText(ms: number): string {
  const [unit, name] = UNITS.find(([unit]) => ms >= unit) ?? [1000, "s"];
  return `${Math.floor(ms / unit)} ${name}`;
}

const UNITS = [[86_400_000, "d"], [3_600_000, "h"], [60_000, "min"]] as const;
