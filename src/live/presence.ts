/**
 * Whether anybody waits for something right now.
 *
 * @module
 */

/** Counts who waits. */
export class Presence {
  #count = 0;
  readonly #whenNone = new Set<() => void>();

  /** Gives what `work` gives; until then somebody waits for it. */
  async during<T>(work: Promise<T>): Promise<T> {
    this.#count++;
    try {
      return await work;
    } finally {
      if (--this.#count === 0) { for (const tell of [...this.#whenNone]) tell(); }
    }
  }

  /** Resolves when nobody waits, after `ms` at most. */
  async quiet(ms: number): Promise<void> {
    if (this.#count === 0) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#whenNone.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#whenNone.add(done);
    });
  }
}
