/**
 * A connection in miniature that reads rows with long values: what is asked for comes a round trip later.
 *
 * @module
 */
import { BtreePage, type TreeKind } from "../../src/diff/btree_page.ts";
import type { Ahead } from "../../src/pages/ahead.ts";
import { ChainMap, type ToldChain } from "../../src/pages/chain_map.ts";
import { OverflowAhead } from "../../src/pages/overflow_ahead.ts";
import { TreeMap } from "../../src/pages/tree_map.ts";
import type { DatabasePages } from "./database_pages.ts";

/** What reading a page takes that is there, in round trips: 50 µs of 25 ms. */
const PAGE_TIME = 0.002;

/** Pages of the file that come with a miss, itself included: 16 KiB that do not compress. */
const NEIGHBOURS = 4;

/** A row's leaf, and the pages of its chain as they are linked. */
export interface RealRow {
  readonly rowid: number;
  readonly leaf: number;
  /** Interior pages that lead to the leaf, the root first. */
  readonly path: readonly number[];
  readonly chain: readonly number[];
}

/** The page after an overflow page in its chain, or 0. */
export function nextPgno(page: Uint8Array): number {
  return new DataView(page.buffer, page.byteOffset).getUint32(0);
}

/** Chains of a leaf's cells, as `ls_run_chains()` tells them. */
export function chainsOf(pages: DatabasePages, leaf: number): ToldChain[] {
  const { pageSize } = pages;
  const bytes = pages.page(leaf);
  const kind: TreeKind = bytes[leaf === 1 ? 100 : 0] === 0x0d ? "table" : "index";
  const cells = new BtreePage(bytes, leaf, pageSize, kind).rows().filter(({ overflow }) => overflow !== 0);
  return cells.map(({ overflow, payloadSize, local }) => ({
    first: overflow,
    length: Math.ceil((payloadSize - local.length) / (pageSize - 4)),
  }));
}

/** All rows of a table in key order. */
export function rowsOf(pages: DatabasePages, root: number, path: readonly number[] = []): RealRow[] {
  const page = new BtreePage(pages.page(root), root, pages.pageSize, "table");
  if (!page.leaf) return page.children().flatMap((child) => rowsOf(pages, child, [...path, root]));
  return page.rows().map(({ rowid, overflow }) => {
    const chain: number[] = [];
    for (let pgno = overflow; pgno !== 0; pgno = nextPgno(pages.page(pgno))) chain.push(pgno);
    return { rowid: Number(rowid), leaf: root, path, chain };
  });
}

/** How a {@link ChainReader} reads. */
export interface ChainReaderOptions {
  /** Without it, nothing is asked for ahead. */
  readonly hasOverflowAhead?: boolean;
  /** Whether pages that come ahead tell which page is next, too. */
  readonly isEager?: boolean;
  readonly windowMax?: number;
}

/** Counts what a reader waited for, and what came and was not read. */
export class ChainReader {
  /** How long it waited, in round trips. */
  roundTrips = 0;
  /** Pages that came, and those of them that were reached. */
  readonly memory = new Set<number>();
  readonly reached = new Set<number>();
  /** Pages that were asked for ahead. */
  readonly asked = new Set<number>();
  readonly tree = new TreeMap();
  readonly chains = new ChainMap();
  readonly overflow: OverflowAhead;
  readonly #pages: DatabasePages;
  readonly #options: ChainReaderOptions;
  readonly #marks = new Set<number>();
  readonly #flights = new Map<number, number>();
  #time = 0;

  constructor(pages: DatabasePages, options: ChainReaderOptions = {}) {
    const { windowMax = 256 } = options;
    this.#pages = pages;
    this.#options = options;
    this.overflow = new OverflowAhead(this.tree, this.chains, { windowMax });
  }

  /** Pages that were asked for ahead and not reached. */
  get wasted(): number {
    return [...this.asked].filter((pgno) => !this.reached.has(pgno)).length;
  }

  /** Reads a row; without its chain if its long value is not wanted. */
  read({ path, leaf, chain }: RealRow, hasValue = true): void {
    for (const pgno of [...path, leaf]) this.#reach(pgno, false);
    for (const pgno of hasValue ? chain : []) this.#reach(pgno, true);
  }

  #reach(pgno: number, isChain: boolean): void {
    this.#time += PAGE_TIME;
    this.#land(this.#time);
    this.reached.add(pgno);
    const isMiss = !this.memory.has(pgno);
    if (!isMiss && !this.#marks.delete(pgno)) return;
    const { hasOverflowAhead = true } = this.#options;
    if (isMiss && !this.#flights.has(pgno)) this.#load(withNeighbours(pgno));
    if (hasOverflowAhead) this.#take(this.overflow.reached(pgno, isMiss));
    if (isMiss) {
      const landing = this.#flights.get(pgno)!;
      this.roundTrips += landing - this.#time;
      this.#land(landing);
    }
    if (isChain && hasOverflowAhead) this.#takeNext(pgno);
  }

  #takeNext(pgno: number): void {
    this.#take(this.overflow.next(pgno, nextPgno(this.#pages.page(pgno))));
  }

  #take({ pgnos, mark }: Ahead): void {
    if (pgnos.includes(mark)) this.#marks.add(mark);
    for (const pgno of pgnos) if (this.#isAbsent(pgno)) this.asked.add(pgno);
    this.#load(pgnos.length === 1 ? withNeighbours(pgnos[0]!) : pgnos);
  }

  #isAbsent(pgno: number): boolean {
    return pgno <= this.#pages.pageCount && !this.memory.has(pgno) && !this.#flights.has(pgno);
  }

  #load(pgnos: readonly number[]): void {
    for (const pgno of pgnos) if (this.#isAbsent(pgno)) this.#flights.set(pgno, this.#time + 1);
  }

  /** Takes in what has come until now; what it leads to is asked for as it comes. */
  #land(now: number): void {
    for (;;) {
      const [pgno, time] = this.#flights.entries().next().value ?? [0, Infinity];
      if (time > now) break;
      this.#flights.delete(pgno);
      this.memory.add(pgno);
      this.#time = time;
      this.#learn(pgno);
    }
    this.#time = now;
  }

  #learn(pgno: number): void {
    const page = this.#pages.page(pgno);
    const type = page[pgno === 1 ? 100 : 0]!;
    const isInterior = this.tree.learn(pgno, page);
    if (type === 0x0d || type === 0x0a || type === 0x02) {
      this.chains.learned(pgno, chainsOf(this.#pages, pgno));
    }
    if (this.#options.hasOverflowAhead === false) return;
    if (isInterior || type === 0x0d) this.#take(this.overflow.learned(pgno));
    else if (this.#options.isEager && type === 0) this.#takeNext(pgno);
  }
}

/** A page that is wanted alone, and those that come with it. */
function withNeighbours(pgno: number): number[] {
  return Array.from({ length: NEIGHBOURS }, (_, i) => pgno + i);
}
