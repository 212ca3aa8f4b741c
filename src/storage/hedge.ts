/**
 * Hedging: when a read that is not answered is asked a second time, learnt from the reads before it.
 *
 * @module
 */

import type { RequestQueue } from "./request_queue.ts";

/** Reads whose times to the first byte are remembered. */
const READS_REMEMBERED = 64;
/** Reads that must be known, and after how many new ones the delay is worked out again. */
const READS_KNOWN_MIN = 8;
const DELAY_MIN_MS = 50;
const DELAY_FACTOR = 1.5;
const PERCENTILE = 0.95;
/** One read in so many may be asked twice: a store that is slow as a whole is not made slower. */
const READS_PER_HEDGE = 20;
/** Hedges that may be saved up, for one moment that stalls several reads. */
const HEDGES_SAVED_MAX = 8;

/** What reads tell about when to hedge, and how many hedges they have earned. Pure: it is told the times. */
export class HedgeClock {
  readonly #latenciesMs = new Float64Array(READS_REMEMBERED);
  #answers = 0;
  #delayMs = Infinity;
  #reads = 0;

  /** How long a read waits for its first byte before it is sent again, in ms; `Infinity` while unknown. */
  get delayMs(): number {
    return this.#delayMs;
  }

  /** Whether the reads so far have earned a hedge. */
  get isAffordable(): boolean {
    return this.#reads >= READS_PER_HEDGE;
  }

  /** A read began that may be asked twice. */
  readBegan(): void {
    this.#reads = Math.min(this.#reads + 1, HEDGES_SAVED_MAX * READS_PER_HEDGE);
  }

  /**
   * A request's first byte came so long after it was sent. One that another overtook tells nothing: counted
   * up to then, it would make each delay longer than the last.
   */
  answered(afterMs: number): void {
    this.#latenciesMs[this.#answers++ % READS_REMEMBERED] = afterMs;
    if (this.#answers % READS_KNOWN_MIN === 0) this.#delayMs = this.#learntDelayMs();
  }

  /** A hedge was sent. */
  spend(): void {
    this.#reads -= READS_PER_HEDGE;
  }

  #learntDelayMs(): number {
    const sorted = this.#latenciesMs.slice(0, this.#answers).sort();
    const high = sorted[Math.ceil(sorted.length * PERCENTILE) - 1] as number;
    return Math.max(DELAY_MIN_MS, high * DELAY_FACTOR);
  }
}

/** The second request of one read. There is one at most, whatever becomes of the first. */
export class ReadHedge {
  readonly #clock: HedgeClock;
  readonly #queue: RequestQueue;
  readonly #onSend: () => void;
  #state: "waiting" | "under way" | "over" = "waiting";

  /** `onSend` is called when the second request is about to be sent. */
  constructor(clock: HedgeClock, queue: RequestQueue, onSend: () => void) {
    this.#clock = clock;
    this.#queue = queue;
    this.#onSend = onSend;
    clock.readBegan();
  }

  /** How long the first request is waited for in ms; `Infinity` where it stays the only one. */
  get delayMs(): number {
    return this.#state === "waiting" ? this.#clock.delayMs : Infinity;
  }

  /** Tells what {@link HedgeClock.answered} learns from. */
  answered(afterMs: number): void {
    this.#clock.answered(afterMs);
  }

  /** Takes a place for the second request; false where none is free, or the reads so far have earned none. */
  begin(): boolean {
    if (!this.#clock.isAffordable || !this.#queue.tryEnter()) return false;
    this.#state = "under way";
    this.#clock.spend();
    this.#onSend();
    return true;
  }

  /** Gives the place back, if one was taken. */
  end(): void {
    if (this.#state !== "under way") return;
    this.#state = "over";
    this.#queue.leave();
  }
}
