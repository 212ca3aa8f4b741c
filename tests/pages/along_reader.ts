/**
 * A connection in miniature that goes along trees: what it reaches is in memory or missed, and what is asked for ahead
 * is there at once.
 *
 * @module
 */
import type { Ahead } from "../../src/pages/ahead.ts";
import { ReadAhead } from "../../src/pages/read_ahead.ts";
import type { TreeMap } from "../../src/pages/tree_map.ts";

/** What a reader is made of. */
export interface AlongReaderOptions {
  readonly map: TreeMap;
  readonly windowMax?: number;
  readonly treeMax?: number;
  /** The page's bytes, of which the map learns; without them, nothing is learned. */
  readonly page?: (pgno: number) => Uint8Array | undefined;
  /** Pages of the file that come with a miss, itself included. */
  readonly neighbours?: number;
  /** How many of the first of some scattered pages come at a time; all unless given. */
  readonly spreadMax?: number;
}

/** Counts what a reader waited for and what came ahead. */
export class AlongReader {
  readonly ahead: ReadAhead;
  readonly memory = new Set<number>();
  readonly asked = new Set<number>();
  readonly used = new Set<number>();
  readonly askings: Ahead[] = [];
  readonly misses: number[] = [];
  readonly #marks = new Set<number>();
  readonly #options: AlongReaderOptions;

  constructor(options: AlongReaderOptions) {
    const { map, windowMax = 256, treeMax = 0 } = options;
    this.#options = options;
    this.ahead = new ReadAhead(map, { windowMax, treeMax });
  }

  /** Pages that came ahead and were not reached. */
  get unused(): number {
    return [...this.asked].filter((pgno) => !this.used.has(pgno)).length;
  }

  /** Reads pages in turn. */
  reachAll(pgnos: Iterable<number>): this {
    for (const pgno of pgnos) this.reach(pgno);
    return this;
  }

  reach(pgno: number): void {
    if (this.asked.has(pgno)) this.used.add(pgno);
    if (this.memory.has(pgno)) {
      if (this.#marks.delete(pgno)) this.#take(this.ahead.reached(pgno));
      return;
    }
    this.misses.push(pgno);
    const found = this.ahead.reached(pgno);
    for (let i = 0; i < (this.#options.neighbours ?? 1); i++) this.#load(pgno + i);
    this.#take(found);
  }

  #load(pgno: number): void {
    if (this.memory.has(pgno)) return;
    const { map, page } = this.#options;
    const bytes = page?.(pgno);
    if (page && bytes === undefined) return;
    this.memory.add(pgno);
    if (bytes && map.learn(pgno, bytes)) this.#take(this.ahead.learned(pgno));
  }

  #take(asked: Ahead): void {
    const { pgnos, mark, otherMark = 0, spread = 0 } = asked;
    if (pgnos.length > 0) this.askings.push(asked);
    const count = spread > 0 ? Math.min(pgnos.length, this.#options.spreadMax ?? spread) : pgnos.length;
    const marks = spread > 0 ? [this.ahead.trim(asked, count)] : [mark, otherMark];
    for (const each of marks) if (each !== 0) this.#marks.add(each);
    for (const pgno of pgnos.slice(0, count)) {
      if (!this.memory.has(pgno)) this.asked.add(pgno);
      this.#load(pgno);
    }
  }
}
