/**
 * Waiting for what the shim shows: on a thread that only joined a replica, which has no other word from the core, and for what
 * is committed and not stored yet.
 *
 * @module
 */
import { type Native, readText } from "../ffi/native.ts";
import { LS } from "../ffi/symbols.ts";
import { decodeError } from "./bridge/error_text.ts";
import { DeadlineError, ReplacedError, ReplicaClosedError, ReplicaError } from "./errors.ts";
import { type Looks, readLooks } from "./pages/counters.ts";

/** How often the shim is looked at, in ms. */
const STEP_MS = 10;

/** How often the core is asked to look at the replica, in ms. */
const NUDGE_MS = 100;

/** How often that is done while a look is under way, or looks fail: also to learn whether the core is still there. */
const STILL_THERE_MS = 1_000;

/** How long a look may take, in ms. */
const LOOK_MS = 30_000;

/** What is waited for. */
export interface AwaitedTxid {
  readonly replicaId: number;
  readonly txid: bigint;
  readonly signal: AbortSignal;
}

/** The newest TXID, 0n of a new database; undefined after closing. */
export type NewestTxid = () => bigint | undefined;

/** Waits until the newest state is `txid` or later. */
export async function waitFromAfar(native: Native, awaited: AwaitedTxid, now: NewestTxid): Promise<bigint> {
  const { replicaId, txid, signal } = awaited;
  let nudged = readLooks(native, replicaId);
  for (let nudgedMs = -Infinity;;) {
    const reached = now();
    if (reached === undefined) throw closed();
    if (reached >= txid) return reached;
    const looks = readLooks(native, replicaId);
    // A nudge after a look that failed has the replica listed: not that often.
    const everyMs = looks.failed === nudged.failed ? NUDGE_MS : STILL_THERE_MS;
    if (performance.now() - nudgedMs >= everyMs) {
      const error = lastError(native, replicaId);
      if (error instanceof ReplacedError) throw error;
      nudge(native, replicaId, "wait for");
      [nudged, nudgedMs] = [looks, performance.now()];
    }
    await pause();
    signal.throwIfAborted();
  }
}

/**
 * Waits until `txid` or a later one is committed, stored or not.
 *
 * @throws the signal's reason
 */
export async function waitCommitted(txid: bigint, signal: AbortSignal, now: NewestTxid): Promise<void> {
  while ((now() ?? -1n) < txid) {
    await pause();
    signal.throwIfAborted();
  }
}

/** Has the core look at the replica, and waits for the end of a look that began after this call. */
export async function refreshFromAfar(native: Native, replicaId: number, now: NewestTxid): Promise<bigint> {
  const wait = { native, replicaId, now, untilMs: performance.now() + LOOK_MS };
  const first = await lookEnd(wait, readLooks(native, replicaId)); // it may have been under way already
  const { good } = await lookEnd(wait, first);
  if (good === first.good) throw lastError(native, replicaId);
  const txid = now();
  if (txid === undefined) throw closed();
  return txid;
}

interface LookWait {
  readonly native: Native;
  readonly replicaId: number;
  readonly now: NewestTxid;
  readonly untilMs: number;
}

/** Waits until more looks have ended than `seen`, and has the core look. */
async function lookEnd({ native, replicaId, now, untilMs }: LookWait, seen: Looks): Promise<Looks> {
  for (let nudgedMs = -Infinity;;) {
    const looks = readLooks(native, replicaId);
    if (now() === undefined) throw closed();
    if (looks.good > seen.good || looks.failed > seen.failed) return looks;
    const nowMs = performance.now();
    if (nowMs - nudgedMs > STILL_THERE_MS) {
      nudge(native, replicaId, "refresh");
      nudgedMs = nowMs;
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
