/**
 * Those who wait for a transaction to be seen.
 *
 * @module
 */

/** Somebody who waits. */
interface Waiter {
  readonly txid: bigint;
  readonly settle: (error?: Error) => void;
}

/** Waits for transactions of one replica. */
export class Waiters {
  readonly #waiters = new Set<Waiter>();

  /** How many wait. */
  get count(): number {
    return this.#waiters.size;
  }

  /**
   * Resolves once {@link reached} is told of `txid` or a later one.
   *
   * @throws the signal's reason, or what {@link fail} is given
   */
  wait(txid: bigint, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => waiter.settle(signal.reason);
      const waiter: Waiter = {
        txid,
        settle: (error) => {
          this.#waiters.delete(waiter);
          signal.removeEventListener("abort", onAbort);
          if (error) reject(error);
          else resolve();
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  /** A transaction is seen. */
  reached(txid: bigint): void {
    for (const waiter of [...this.#waiters]) if (txid >= waiter.txid) waiter.settle();
  }

  /** Nothing will be seen any more. */
  fail(error: Error): void {
    for (const { settle } of [...this.#waiters]) settle(error);
  }
}
