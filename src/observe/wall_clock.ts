/**
 * WallClock: the time of day with fractions of a millisecond.
 *
 * @module
 */

/** Further than this from the time of day, and the difference is no rounding: the clock was set, or the machine slept. */
const STEP_MS = 2;

/** Counts as `performance.now()` does, and follows the time of day where that is set. */
export class WallClock {
  #originMs: number = performance.timeOrigin;

  /** In ms since the Unix epoch. */
  now(): number {
    const ms = this.#originMs + performance.now();
    const offMs = Date.now() - ms;
    if (Math.abs(offMs) <= STEP_MS) return ms;
    this.#originMs += offMs;
    return ms + offMs;
  }
}
