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
   * @throws a signal's reason where it aborts while the task waits, else what `task` throws
   */
  async run<T>(task: () => Promise<T>, ...signals: AbortSignal[]): Promise<T> {
    for (const signal of signals) signal.throwIfAborted();
    if (!this.tryEnter()) await this.#turn(signals);
    try {
      return await task();
    } finally {
      this.leave();
    }
  }

  /** Takes a place where one is free at once; {@link leave} gives it back. */
  tryEnter(): boolean {
    if (this.#running === this.#limit) return false;
    this.#running++;
    return true;
  }

  /** Gives a place back: to the task that has waited longest. */
  leave(): void {
    for (const enter of this.#waiting) {
      this.#waiting.delete(enter);
      return enter();
    }
    this.#running--;
  }

  /** Resolves when another task has handed its place over: the count of running ones stays as it is. */
  #turn(signals: readonly AbortSignal[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const ignore = onAbort(signals, (reason) => {
        this.#waiting.delete(enter);
        reject(reason);
      });
      const enter = () => {
        ignore();
        resolve();
      };
      this.#waiting.add(enter);
    });
  }
}

/** Calls `end` once with the reason of the first of `signals` to abort; what it returns ends the watching. */
export function onAbort(signals: readonly AbortSignal[], end: (reason: unknown) => void): () => void {
  const aborted = (event: Event) => {
    ignore();
    end((event.target as AbortSignal).reason);
  };
  const ignore = () => {
    for (const signal of signals) signal.removeEventListener("abort", aborted);
  };
  for (const signal of signals) signal.addEventListener("abort", aborted);
  return ignore;
}
