const SLICE_MS = 4;

/** Items that take well below a millisecond together. */
const ITEMS_BETWEEN_LOOKS = 1024;

/** Keeps slices of work short: other work of the thread gets its turn, and an abort is seen. */
export class Pace {
  readonly #signal: AbortSignal | undefined;
  #sliceBegan = performance.now();

  /** `signal` ends the work when it is aborted. */
  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /**
   * Gives way where the slice has lasted 4 ms. To be awaited between pages: an awaited page that is in memory does not
   * let timers and I/O run.
   *
   * Throws the signal's reason once it is aborted.
   */
  async turn(): Promise<void> {
    this.#signal?.throwIfAborted();
    if (performance.now() - this.#sliceBegan < SLICE_MS) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.#sliceBegan = performance.now();
    this.#signal?.throwIfAborted();
  }

  /** Calls `use` with each item, giving way between them. */
  async each(items: Iterable<number>, use: (item: number) => void): Promise<void> {
    let count = 0;
    for (const item of items) {
      if (count++ % ITEMS_BETWEEN_LOOKS === 0) await this.turn();
      use(item);
    }
  }
}
