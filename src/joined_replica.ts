/**
 * Waiting for transactions on a thread that only joined a replica: it has no word from the core but what the shim shows.
 *
 * @module
 */
import { type Native, readText } from "../ffi/native.ts";
import { LS } from "../ffi/symbols.ts";
import { decodeError } from "./bridge/error_text.ts";
import { DeadlineError, ReplacedError, ReplicaClosedError, ReplicaError } from "./errors.ts";
import { readCounters } from "./pages/counters.ts";

/** How often the shim is looked at, in ms. */
const STEP_MS = 10;

/** How often the core is asked to look at the replica, in ms. */
const NUDGE_MS = 100;

/** How often that is done while a look is under way: also to learn whether the core is still there. */
const STILL_THERE_MS = 1_000;

/** How long a look may take, in ms. */
const LOOK_MS = 30_000;

/** What is waited for. */
export interface AwaitedTxid {
  readonly replicaId: number;
  readonly txid: bigint;
  readonly signal: AbortSignal;
}

/** Waits until the newest state is `txid` or later; `now` gives the newest, 0n after closing. */
export async function waitFromAfar(native: Native, awaited: AwaitedTxid, now: () => bigint): Promise<bigint> {
  const { replicaId, txid, signal } = awaited;
  for (let step = 0;; step++) {
    const reached = now();
    if (reached === 0n) throw closed();
    if (reached >= txid) return reached;
    if (step % (NUDGE_MS / STEP_MS) === 0) {
      const error = lastError(native, replicaId);
      if (error instanceof ReplacedError) throw error;
      nudge(native, replicaId, "wait for");
    }
    await pause();
    signal.throwIfAborted();
  }
}

/** Has the core look at the replica, and waits for the end of a look that began after this call. */
export async function refreshFromAfar(native: Native, replicaId: number, now: () => bigint): Promise<bigint> {
  const before = readCounters(native, replicaId);
  const untilMs = performance.now() + LOOK_MS;
  for (let nudged = -1, nudgedMs = 0;;) {
    const { polls, failedPolls } = readCounters(native, replicaId);
    if (now() === 0n) throw closed();
    // One look may have been under way already.
    if (polls >= before.polls + 2) {
      if (failedPolls - before.failedPolls < polls - before.polls) return now();
      throw lastError(native, replicaId);
    }
    const nowMs = performance.now();
    if (nudged !== polls || nowMs - nudgedMs > STILL_THERE_MS) {
      nudge(native, replicaId, "refresh");
      [nudged, nudgedMs] = [polls, nowMs];
    }
    if (nowMs > untilMs) {
      throw new DeadlineError(`Cannot refresh replica: no look ended within ${LOOK_MS} ms`);
    }
    await pause();
  }
}

function nudge(native: Native, replicaId: number, act: string): void {
  if (native.calls.ls_replica_nudge(replicaId) !== LS.GONE) return;
  throw new ReplicaClosedError(`Cannot ${act} replica: its core has ended`);
}

function lastError(native: Native, replicaId: number): Error {
  const text = readText((buffer) => native.calls.ls_replica_error(replicaId, buffer, buffer.length));
  return text === "" ? new ReplicaError("Cannot refresh replica: the look failed") : decodeError(text);
}

function closed(): ReplicaClosedError {
  return new ReplicaClosedError("Cannot wait for replica: it was closed");
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, STEP_MS));
}
