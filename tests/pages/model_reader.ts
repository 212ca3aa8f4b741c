/**
 * A connection in miniature: what it reaches is in memory or missed, and what is asked for ahead is there at once.
 *
 * @module
 */
import type { Ahead } from "../../src/pages/ahead.ts";
import type { TreeMap } from "../../src/pages/tree_map.ts";

/** What loads ahead. */
export interface Source {
  reached(pgno: number, isMiss: boolean): Ahead;
  learned(pgno: number): Ahead;
}

/** What a reader is made of. */
export interface ModelReaderOptions {
  readonly map: TreeMap;
  readonly ahead: Source;
  /** The page's bytes, of which the map learns; without them, nothing is learned. */
  readonly page?: (pgno: number) => Uint8Array | undefined;
  /** Pages of the file that come with a miss, itself included. */
  readonly neighbours?: number;
}

/** Counts what a reader waited for and what came ahead. */
export class ModelReader {
  readonly memory = new Set<number>();
  readonly asked = new Set<number>();
  readonly used = new Set<number>();
  readonly askings: (readonly number[])[] = [];
  misses: number[] = [];
  readonly #marks = new Set<number>();
  readonly #options: ModelReaderOptions;

  constructor(options: ModelReaderOptions) {
    this.#options = options;
  }

  /** Pages that came ahead and were not reached. */
  get unused(): number {
    return [...this.asked].filter((pgno) => !this.used.has(pgno)).length;
  }

  reach(pgno: number): void {
    const { ahead, neighbours = 1 } = this.#options;
    if (this.asked.has(pgno)) this.used.add(pgno);
    if (this.memory.has(pgno)) {
      if (this.#marks.delete(pgno)) this.#take(ahead.reached(pgno, false));
      return;
    }
    this.misses.push(pgno);
    const found = ahead.reached(pgno, true);
    for (let i = 0; i < neighbours; i++) this.#load(pgno + i);
    this.#take(found);
  }

  #load(pgno: number): void {
    if (this.memory.has(pgno)) return;
    const { map, ahead, page } = this.#options;
    const bytes = page?.(pgno);
    if (page && bytes === undefined) return;
    this.memory.add(pgno);
    if (bytes && map.learn(pgno, bytes)) this.#take(ahead.learned(pgno));
  }

  #take({ pgnos, mark }: Ahead): void {
    if (mark !== 0) this.#marks.add(mark);
    if (pgnos.length > 0) this.askings.push(pgnos);
    for (const pgno of pgnos) {
      if (!this.memory.has(pgno)) this.asked.add(pgno);
      this.#load(pgno);
    }
  }
}
