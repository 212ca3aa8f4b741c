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
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor(ms: number, other: AbortSignal | undefined, reason: () => Error) {
    const abort = new AbortController();
    this.#timer = setTimeout(() => abort.abort(reason()), ms);
    this.signal = other ? AbortSignal.any([abort.signal, other]) : abort.signal;
  }

  /** Lets the time go. */
  clear(): void {
    clearTimeout(this.#timer);
  }
}
