/**
 * A signal that aborts after a time, or when another one does.
 *
 * @module
 */

/** The longest time in ms that timers and the shim can keep. */
export const MS_MAX: number = 2 ** 31 - 1;

/** The end of one wait; {@link Deadline.clear} it when the wait is over. */
export class Deadline {
  /** Aborts with the error that was given, or with the other signal's reason. */
  readonly signal: AbortSignal;
  readonly #abort = new AbortController();
  readonly #reason: () => Error;
  #leftMs: number;
  #sinceMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ms: number, other: AbortSignal | undefined, reason: () => Error) {
    this.#leftMs = ms;
    this.#reason = reason;
    this.signal = other ? AbortSignal.any([this.#abort.signal, other]) : this.#abort.signal;
    this.#go();
  }

  #go(): void {
    this.#sinceMs = performance.now();
    this.#timer = setTimeout(() => this.#abort.abort(this.#reason()), this.#leftMs);
  }

  /** Does something while the time stands still, one at a time. */
  async uncounted<T>(act: () => Promise<T>): Promise<T> {
    this.clear();
    this.#leftMs = Math.max(0, this.#leftMs - (performance.now() - this.#sinceMs));
    try {
      return await act();
    } finally {
      this.#go();
    }
  }

  /** Lets the time go. */
  clear(): void {
    clearTimeout(this.#timer);
  }
}
