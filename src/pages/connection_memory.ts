/**
 * What is known of the connections that read, the latest of them.
 *
 * @module
 */

/** Connections that are kept in mind; the oldest are forgotten. */
const CONNECTIONS_MAX = 256;

/** After so long without a use a connection is forgotten, in ms: nobody tells that it was closed. */
const IDLE_MS_MAX = 60_000;

interface Known<V> {
  readonly value: V;
  usedMs: number;
}

/** One value for each connection. */
export class ConnectionMemory<V> {
  readonly #known = new Map<number, Known<V>>();
  readonly #nowMs: () => number;

  /** `nowMs` is a clock that only goes on. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Connections that are kept in mind. */
  get size(): number {
    return this.#known.size;
  }

  /** What is known of a connection; this is no use of it. */
  get(connection: number): V | undefined {
    return this.#known.get(connection)?.value;
  }

  /** A connection is used: gives what is known of it, which is what `make` gives where that is nothing. */
  use(connection: number, make: () => V): V {
    const usedMs = this.#nowMs();
    const known = this.#known.get(connection) ?? { value: make(), usedMs };
    known.usedMs = usedMs;
    this.#known.delete(connection); // so that it becomes the newest
    this.#known.set(connection, known);
    for (const [oldest, { usedMs: lastMs }] of this.#known) {
      if (this.#known.size <= CONNECTIONS_MAX && usedMs - lastMs < IDLE_MS_MAX) break;
      this.#known.delete(oldest);
    }
    return known.value;
  }

  /** Forgets a connection; gives what was known of it. */
  take(connection: number): V | undefined {
    const value = this.get(connection);
    this.#known.delete(connection);
    return value;
  }

  /** All that is known, from the longest unused on. */
  *values(): IterableIterator<V> {
    for (const { value } of this.#known.values()) yield value;
  }
}
