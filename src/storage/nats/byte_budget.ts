/**
 * ByteBudget: how much may be on its way at once. Who wants more waits for its turn.
 *
 * @module
 */

import { onAbort } from "../request_queue.ts";

interface Waiting {
  readonly size: number;
  readonly begin: () => void;
}

/** Lets through what fits, in the order it came. */
export class ByteBudget {
  #left: number;
  readonly #max: number;
  readonly #waiting: Waiting[] = [];

  constructor(bytesMax: number) {
    this.#max = bytesMax;
    this.#left = bytesMax;
  }

  /** Runs `work` once `size` bytes are free; what is larger than all of the budget has it to itself. */
  async run<T>(size: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const taken = Math.min(size, this.#max);
    await this.#take(taken, signal);
    try {
      return await work();
    } finally {
      this.#left += taken;
      this.#next();
    }
  }

  #take(size: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const ignore = onAbort([signal], (reason) => {
        const at = this.#waiting.indexOf(waiting);
        if (at < 0) return;
        this.#waiting.splice(at, 1);
        this.#next();
        reject(reason);
      });
      const begin = () => {
        ignore();
        resolve();
      };
      const waiting = { size, begin };
      this.#waiting.push(waiting);
      this.#next();
    });
  }

  #next(): void {
    for (let first = this.#waiting[0]; first && first.size <= this.#left; first = this.#waiting[0]) {
      this.#waiting.shift();
      this.#left -= first.size;
      first.begin();
    }
  }
}
