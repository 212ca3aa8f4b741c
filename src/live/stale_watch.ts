/**
 * Tells when a replica has not been seen for too long.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";

/** The longest time that a timer keeps. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Whoever opens a replica that is stale by then has so long to listen, in ms. */
const TOLD_AFTER_MS = 1_000;

/** Time since a replica was last seen, in ms; undefined before it ever was, and once it is gone. */
export function readLagMs(native: Native, replicaId: number): number | undefined {
  const bytes = new Uint8Array(8);
  if (native.calls.ls_replica_lag(replicaId, bytes) < 0) return undefined;
  return Number(new DataView(bytes.buffer).getBigUint64(0, true));
}

/** Watches the lag of one replica. */
export class StaleWatch {
  readonly #native: Native;
  readonly #replicaId: number;
  readonly #boundMs: number;
  readonly #tell: (lagMs: number) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isTold = false;

  /** `tell` is called once each time the lag exceeds `boundMs`. */
  constructor(native: Native, replicaId: number, boundMs: number, tell: (lagMs: number) => void) {
    this.#native = native;
    this.#replicaId = replicaId;
    this.#boundMs = boundMs;
    this.#tell = tell;
  }

  /** The replica was seen, as it was so long ago. */
  seen(ageMs: number): void {
    this.#isTold = false;
    this.#wait(Math.max(0, this.#boundMs - ageMs));
  }

  /** The replica was seen so long ago, by somebody else; who listens from now on is told in a moment. */
  seenBefore(lagMs: number): void {
    this.#isTold = false;
    this.#wait(Math.max(TOLD_AFTER_MS, this.#boundMs - lagMs));
  }

  /** Looks at the lag: it grows while a look hangs, and while the machine sleeps. */
  check(): void {
    const lagMs = this.#isTold ? undefined : readLagMs(this.#native, this.#replicaId);
    if (lagMs === undefined) return;
    if (lagMs <= this.#boundMs) return this.#wait(this.#boundMs - lagMs);
    this.#isTold = true;
    this.#tell(lagMs);
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    if (ms < Infinity) this.#timer = setTimeout(() => this.check(), Math.min(ms + 1, TIMER_MS_MAX));
  }

  /** Ends it. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}
