/**
 * A connection in miniature that reads rows by an index: what it waited for, and what came ahead.
 *
 * @module
 */
import type { Ahead } from "../../src/pages/ahead.ts";
import { IndexAhead } from "../../src/pages/index_ahead.ts";
import { indexRecords } from "../../src/pages/index_records.ts";
import { TreeMap } from "../../src/pages/tree_map.ts";
import { type DatabasePages, databasePages, fillOrders } from "./database_pages.ts";

const INDEX_LEAF = 0x0a;
const INDEX_INTERIOR = 0x02;
const TABLE_LEAF = 0x0d;

/** A table with an index, and the leaf of each row. */
export interface Indexed {
  readonly pages: DatabasePages;
  readonly map: TreeMap;
  readonly table: number;
  readonly index: number;
  readonly indexLeaves: number[];
  readonly leafOf: ReadonlyMap<number, number>;
}

/** A row as an index leads to it. */
export interface IndexedRow {
  readonly indexLeaf: number;
  readonly rowid: number;
}

/** Orders by customer; the key as SQL of `i`, which counts them. */
export async function indexed(
  pageSize: number,
  rowCount: number,
  textSize: number,
  key?: string,
): Promise<Indexed> {
  const pages = await databasePages(pageSize, (db) => fillOrders(db, rowCount, textSize, false, key));
  const map = new TreeMap();
  for (let pgno = 1; pgno <= pages.pageCount; pgno++) map.learn(pgno, pages.page(pgno));
  const [table, index] = [pages.roots.get("orders")!, pages.roots.get("by_customer")!];
  const leafOf = new Map(pages.tree(table).rows.map(({ rowid, leaf }) => [rowid, leaf]));
  return { pages, map, table, index, indexLeaves: pages.tree(index).leaves, leafOf };
}

/** Some rows in the order of the index; those that interior pages lead to are left out. */
export function rowsOf({ pages, indexLeaves }: Indexed, first: number, count: number): IndexedRow[] {
  return indexLeaves.flatMap((indexLeaf) =>
    [...indexRecords(pages.page(indexLeaf))!.rowids].map((rowid) => ({ indexLeaf, rowid }))
  ).slice(first, first + count);
}

/** Reads rows by an index. */
export class IndexReader {
  readonly asked = new Set<number>();
  readonly read = new Set<number>();
  /** How often the reader waited, where all that is asked for at a time is there after one wait. */
  waits = 0;
  /** Pages that nobody had asked for, of the index and of the table. */
  indexMisses = 0;
  misses = 0;
  /** Pages of the table that came ahead and were not read before they were forgotten. */
  wasted = 0;
  readonly #world: Indexed;
  readonly #ahead: IndexAhead;
  /** Pages, and after how many waits they are there. */
  readonly #memory = new Map<number, number>();
  readonly #marks = new Set<number>();

  constructor(world: Indexed, ahead: IndexAhead = new IndexAhead(world.map)) {
    this.#world = world;
    this.#ahead = ahead;
  }

  /** Pages that came ahead and were not read. */
  get unused(): number {
    return [...this.asked].filter((pgno) => !this.read.has(pgno)).length;
  }

  /** Reads rows in turn, the page of the index first where another one is needed. */
  readRows(rows: readonly IndexedRow[]): this {
    let page = 0;
    for (const { indexLeaf, rowid } of rows) {
      if (indexLeaf !== page) this.#reachIndex(indexLeaf);
      page = indexLeaf;
      this.readRow(rowid);
    }
    return this;
  }

  /** Reads a row by its rowid. */
  readRow(rowid: number): void {
    const leaf = this.#world.leafOf.get(rowid)!;
    this.read.add(leaf);
    const isThere = this.#isThere(leaf);
    if (!this.#memory.has(leaf)) this.misses++;
    if (isThere && !this.#marks.has(leaf)) return;
    this.#marks.delete(leaf);
    this.#load(leaf);
    this.#take(this.#ahead.reached(leaf));
    if (!isThere) this.waits++;
  }

  #isThere(pgno: number): boolean {
    return (this.#memory.get(pgno) ?? Infinity) <= this.waits;
  }

  #load(pgno: number): void {
    if (!this.#memory.has(pgno)) this.#memory.set(pgno, this.waits + 1);
  }

  /** All pages go from memory; what they told stays. */
  forget(): void {
    this.wasted += this.unused;
    for (const pages of [this.#memory, this.#marks, this.asked, this.read]) pages.clear();
  }

  #reachIndex(pgno: number): void {
    const isThere = this.#isThere(pgno);
    if (isThere && !this.#marks.has(pgno)) return;
    this.#marks.delete(pgno);
    if (!this.#memory.has(pgno)) {
      this.indexMisses++;
      for (const ahead of this.#ahead.approached(pgno, this.#world.table)) this.#take(ahead);
    }
    this.#load(pgno);
    if (!isThere) this.waits++;
    this.#take(this.#enter(pgno));
  }

  #enter(pgno: number): Ahead {
    return this.#ahead.entered(pgno, this.#world.pages.page(pgno), this.#world.table);
  }

  #take({ pgnos, mark }: Ahead): void {
    if (mark !== 0) this.#marks.add(mark);
    for (const pgno of pgnos) {
      if (this.#memory.has(pgno)) continue;
      this.#load(pgno);
      const type = this.#world.pages.page(pgno)[0];
      if (type === TABLE_LEAF) this.asked.add(pgno);
      const isIndex = type === INDEX_LEAF || type === INDEX_INTERIOR;
      if (this.#ahead.isWanted(pgno)) this.#take(isIndex ? this.#enter(pgno) : this.#ahead.learned(pgno));
    }
  }
}
