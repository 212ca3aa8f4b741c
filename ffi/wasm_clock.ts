/**
 * SharedClock: one clock for all threads of a shim in WASM.
 *
 * Runtimes count from each thread's own start, and tell the start by the time of day. Threads that were started before and
 * after that was set would disagree by as much, for ever. So a thread that comes goes by what the others have told last.
 *
 * @module
 */

/** A thread's own clocks, in ms. */
export interface ThreadClocks {
  /** Since the thread's start, whatever happens to the time of day. */
  now(): number;
  /** The time of day. */
  date(): number;
}

/** What the threads have in common, in µs: the latest time that any was told, and how far the time of day was ahead of it. */
const LATEST = 0;
const AHEAD = 1;

/** Goes on steadily on each thread, and on none behind what another was told before. */
export class SharedClock {
  /** 64-bit words of the memory that it needs. */
  static readonly WORDS = 2;

  /** Begins it, before any thread has one: it is 0 now, by the time of day. */
  static begin(words: BigInt64Array<SharedArrayBuffer>, dateMs: number = Date.now()): void {
    Atomics.store(words, AHEAD, BigInt(Math.round(dateMs * 1000)));
  }

  readonly #words: BigInt64Array<SharedArrayBuffer>;
  readonly #clocks: ThreadClocks;
  #offsetMs: number;

  constructor(
    words: BigInt64Array<SharedArrayBuffer>,
    clocks: ThreadClocks = { now: () => performance.now(), date: () => Date.now() },
  ) {
    this.#words = words;
    this.#clocks = clocks;
    this.#offsetMs = clocks.date() - this.#read(AHEAD) - clocks.now();
    this.nowMs();
  }

  /** In ms since it was begun. */
  nowMs(): number {
    const latest = this.#read(LATEST);
    const own = this.#offsetMs + this.#clocks.now();
    // Others were told more: the time of day was set just before this thread came.
    if (latest > own) this.#offsetMs += latest - own;
    const us = Math.ceil(Math.max(own, latest) * 1000);
    this.#tell(us);
    return us / 1000;
  }

  #read(word: number): number {
    return Number(Atomics.load(this.#words, word)) / 1000;
  }

  #tell(us: number): void {
    const mine = BigInt(us);
    for (let seen = Atomics.load(this.#words, LATEST); seen < mine;) {
      const found = Atomics.compareExchange(this.#words, LATEST, seen, mine);
      if (found === seen) break;
      seen = found;
    }
    Atomics.store(this.#words, AHEAD, BigInt(Math.round(this.#clocks.date() * 1000 - us)));
  }
}
