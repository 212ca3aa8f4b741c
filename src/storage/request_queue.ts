/**
 * RequestQueue: at most so many requests at once, first come first served.
 *
 * @module
 */

/** Lets `limit` tasks run at once; the others wait in the order they came. */
export class RequestQueue {
  readonly #limit: number;
  readonly #waiting = new Set<() => void>();
  #running = 0;

  constructor(limit: number) {
    if (!Number.isInteger(limit) || limit < 1) {
      throw new RangeError(`Cannot make request queue: limit ${limit}, expected a positive integer`);
    }
    this.#limit = limit;
  }

  /** Tasks that run now. */
  get running(): number {
    return this.#running;
  }

  /**
   * Runs `task` when its turn comes.
   *
   * @throws the signal's reason where it aborts while the task waits, else what `task` throws
   */
  async run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#running < this.#limit) this.#running++;
    else await this.#turn(signal);
    try {
      return await task();
    } finally {
      this.#handOver();
    }
  }

  /** Resolves when another task has handed its place over: the count of running ones stays as it is. */
  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const enter = () => {
        signal?.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        this.#waiting.delete(enter);
        reject(signal?.reason);
      };
      this.#waiting.add(enter);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }

  #handOver(): void {
    for (const enter of this.#waiting) {
      this.#waiting.delete(enter);
      return enter();
    }
    this.#running--;
  }
}
