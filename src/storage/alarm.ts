/**
 * Alarm: one timer for all that is due.
 *
 * @module
 */

import type { RetryClock } from "./retry_policy.ts";

/** Something that is due at a moment. */
export interface Due {
  /** When; it may become later at any time. */
  readonly dueMs: number;
  /** Called when that moment has come; it is another one, or deleted, afterwards. */
  ring(nowMs: number): void;
}

/** One timer for all that is due: set to the earliest moment, and looked at again when that has come. */
export class Alarm {
  readonly #clock: RetryClock;
  readonly #due = new Set<Due>();
  #setForMs = Infinity;
  #timer: AbortController | undefined;

  constructor(clock: RetryClock) {
    this.#clock = clock;
  }

  add(due: Due): void {
    this.#due.add(due);
    this.#setFor(due.dueMs);
  }

  delete(due: Due): void {
    this.#due.delete(due);
    if (this.#due.size === 0) this.#stop(); // A timer keeps a process from its end.
  }

  #setFor(atMs: number): void {
    if (atMs >= this.#setForMs) return;
    this.#stop();
    this.#setForMs = atMs;
    this.#timer = new AbortController();
    const waitMs = Math.max(0, atMs - this.#clock.now());
    // Rejects only where it was stopped.
    this.#clock.sleep(waitMs, this.#timer.signal).then(() => this.#ring(), () => {});
  }

  #stop(): void {
    this.#timer?.abort();
    this.#timer = undefined;
    this.#setForMs = Infinity;
  }

  #ring(): void {
    this.#timer = undefined;
    this.#setForMs = Infinity;
    const nowMs = this.#clock.now();
    for (const due of this.#due) if (due.dueMs <= nowMs) due.ring(nowMs);
    let nextMs = Infinity;
    for (const { dueMs } of this.#due) nextMs = Math.min(nextMs, dueMs);
    this.#setFor(nextMs);
  }
}
