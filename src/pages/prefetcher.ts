/**
 * Loads what readers will want next: hears how far they have come, asks what follows, has it fetched.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import type { PlanFile } from "../view/plan_file.ts";
import { viewInfo } from "../view/view_info.ts";
import type { Ahead } from "./ahead.ts";
import { ChainMap } from "./chain_map.ts";
import { ConnectionMemory } from "./connection_memory.ts";
import { type FrameRange, frameStates, NEWEST } from "./frames.ts";
import { FtsAhead } from "./fts_ahead.ts";
import { IndexAhead } from "./index_ahead.ts";
import { OverflowAhead } from "./overflow_ahead.ts";
import type { LoadedBy } from "./page_intake.ts";
import type { PageLoader } from "./page_loader.ts";
import { ReadAhead } from "./read_ahead.ts";
import { SchemaMap } from "./schema_map.ts";
import { TreeMap } from "./tree_map.ts";

/** Pages by their first byte; of an overflow page it is the high byte of a page number. */
const TYPE = { overflow: 0, indexInterior: 2, tableInterior: 5, indexLeaf: 10, tableLeaf: 13 } as const;

/** Interior pages of one tree that are loaded together, at most: 1 MB of stored bytes or so. */
const INTERIORS_MAX = 512;

/** In place of an interior page: all of them were asked for. */
const ALL_INTERIORS = 0;

/** A tree of so few leaves is loaded as a whole once so many of them had to be waited for. */
const SMALL_TREE_LEAVES = 256;
const SMALL_TREE_MISSES = 8;

/** Roots that are loaded with the opening, at most. */
const ROOTS_MAX = 64;

/** Below a root, so few pages are interior ones, or a small tree's leaves: with the opening they are loaded, too. */
const FEW_CHILDREN = 32;

/** Stored pages take about half of their size. */
const STORED_SHARE = 1 / 2;

/** Pages of overflow chains that may be on their way at once, whatever the pool holds. */
const CHAIN_WINDOW_MAX = 16_384;

/** What stands before the type of page 1, and where in it the bytes are told that pages leave free. */
const DATABASE_HEADER_SIZE = 100;
const RESERVED_OFFSET = 20;

/** Words of one chain as the shim tells it. */
const CHAIN_WORDS = 3;

/** A reader that has come to a page. */
export interface ReachedPage {
  readonly viewId: number;
  readonly pgno: number;
  readonly connection: number;
  /** The index's leaf that it has read since it came to the page before; 0 for none. */
  readonly indexLeaf: number;
  /** Length of its chain of requests. */
  readonly depth: number;
  /** Whether it has to wait. */
  readonly isMiss: boolean;
}

/** What {@link Prefetcher} works with. */
export interface PrefetcherOptions {
  readonly native: Native;
  readonly loader: PageLoader;
  readonly fileOf: (objectId: number) => PlanFile | undefined;
  readonly pageSize: number;
  /** Bound on what is loaded ahead for one reader, in bytes of pages. */
  readonly bytesMax: number;
  /** Bound on the pool, in bytes of pages. */
  readonly cacheBytesMax: number;
  /** Whether all pages will be fetched anyway. */
  readonly areAllWanted: boolean;
}

/** One connection's ways. */
interface Reader {
  readonly along: ReadAhead;
  readonly byIndex: IndexAhead;
  readonly byWord: FtsAhead;
  readonly overflow: OverflowAhead;
  last: ReachedPage;
}

/** Reads ahead for all connections of one replica. */
export class Prefetcher {
  readonly #options: PrefetcherOptions;
  readonly #tree = new TreeMap();
  readonly #schema = new SchemaMap(this.#tree);
  readonly #chains = new ChainMap();
  readonly #readers = new ConnectionMemory<Reader>();
  /** By root: the interior page above the leaf that was reached first, or {@link ALL_INTERIORS}. */
  readonly #visited = new Map<number, number>();
  /** By root: leaves that readers had to wait for since the tree was loaded as a whole. */
  readonly #missed = new Map<number, number>();
  /** Roots that come with the opening, and whose children are to come, too; by whose chain. */
  #opened: { readonly at: ReachedPage; readonly roots: Set<number> } | undefined;
  /** Bytes that pages leave free at their end. */
  #reserved = 0;

  constructor(options: PrefetcherOptions) {
    this.#options = options;
  }

  /** Learns from pages that came into the pool for a connection: their bytes tell what hangs below them. */
  loaded(file: PlanFile, runId: number, range: FrameRange, by: LoadedBy): void {
    const { calls } = this.#options.native;
    const types = new Uint8Array(range.count);
    if (calls.ls_run_types(runId, types, range.count) < range.count) return;
    for (const [i, type] of types.entries()) {
      if (type === TYPE.tableLeaf) continue;
      if (type === TYPE.indexLeaf && !this.#isIndexWanted()) continue;
      if (type === TYPE.overflow && !this.#readers.get(by.connection)?.overflow.isUnderWay) continue;
      const frame = range.first + i;
      const page = this.#pageOf(runId, frame);
      const [state] = frameStates(this.#options.native, file, { first: frame, count: 1 }, NEWEST);
      if (page && state) this.#learn(state.pgno, page, by);
    }
    this.#learnChains(file, runId, range, by);
  }

  #isIndexWanted(): boolean {
    for (const { byIndex } of this.#readers.values()) if (byIndex.isWaiting) return true;
    return false;
  }

  #pageOf(runId: number, frame: number): Uint8Array | undefined {
    const page = new Uint8Array(this.#options.pageSize);
    return this.#options.native.calls.ls_run_page(runId, frame, page, page.length) === 0 ? page : undefined;
  }

  #learn(pgno: number, page: Uint8Array, by: LoadedBy, comer?: Reader): void {
    const type = typeOf(pgno, page);
    if (type === TYPE.overflow) return this.#learnLink(pgno, page, by);
    const isInterior = this.#tree.learn(pgno, page);
    if (isInterior) this.#loadBelow(pgno, by);
    for (const reader of this.#readers.values()) {
      const at = after(reader.last, by);
      const isWanted = type === TYPE.indexLeaf && reader !== comer && reader.byIndex.isWanted(pgno);
      if (isWanted) this.#enter(at, reader, pgno, page);
      if (!isInterior) continue;
      this.#loadAlong(at, reader, reader.along.learned(pgno));
      this.#loadScattered(at, reader.byIndex.learned(pgno));
      this.#load(at, reader.overflow.learned(pgno));
    }
  }

  /** An overflow page begins with the number of the next. */
  #learnLink(pgno: number, page: Uint8Array, by: LoadedBy): void {
    const reader = this.#readers.get(by.connection);
    if (reader === undefined) return;
    const next = new DataView(page.buffer).getUint32(0);
    this.#load(after(reader.last, by), reader.overflow.next(pgno, next));
  }

  #learnChains(file: PlanFile, runId: number, { first, count }: FrameRange, by: LoadedBy): void {
    const { native: { calls }, pageSize } = this.#options;
    const usable = pageSize - this.#reserved;
    const { commit } = file.header;
    let words = new Uint32Array(count * CHAIN_WORDS);
    const ask = () => {
      const bytes = new Uint8Array(words.buffer);
      return calls.ls_run_chains(runId, file.objectId, first, usable, commit, bytes, words.length);
    };
    let found = ask();
    if (found * CHAIN_WORDS > words.length) {
      words = new Uint32Array(found * CHAIN_WORDS);
      found = ask();
    }
    for (const pgno of this.#chains.learnedEntries(words.subarray(0, Math.max(0, found) * CHAIN_WORDS))) {
      for (const { overflow, last } of this.#readers.values()) {
        this.#load(after(last, by), overflow.learned(pgno));
      }
    }
  }

  /** A database was opened: what its schema names will be wanted. */
  opened(viewId: number, depth: number): void {
    const reached = { viewId, pgno: 1, connection: 0, indexLeaf: 0, depth, isMiss: false };
    this.arrived(reached);
    const roots = this.#schema.roots.slice(0, ROOTS_MAX);
    if (this.#options.areAllWanted) this.#opened = { at: reached, roots: new Set(roots) };
    this.#load(reached, { pgnos: roots, mark: 0 });
    for (const root of roots) if (this.#tree.isKnown(root)) this.#loadBelow(root, { connection: 0, depth });
  }

  /** The children of a root that has come with the opening, where they are few: the first statement is a round trip shorter. */
  #loadBelow(pgno: number, by: LoadedBy): void {
    if (!this.#opened?.roots.delete(pgno)) return;
    const children = this.#tree.interiorChildren(pgno);
    if (children.length > FEW_CHILDREN) return;
    this.#loadScattered(after(this.#opened.at, by), { pgnos: children, mark: 0 });
  }

  /** A reader comes to a page: it has to wait for it, or it was marked. */
  reached(reached: ReachedPage): void {
    const { pgno, indexLeaf, isMiss } = reached;
    const reader = this.#reader(reached);
    const index = indexLeaf === 0 ? undefined : this.#read(reached, indexLeaf);
    if (index) this.#enter(reached, reader, indexLeaf, index);
    this.#visit(reached);
    this.#load(reached, reader.byWord.approached(pgno));
    this.#loadAlong(reached, reader, reader.along.reached(pgno, isMiss));
    this.#load(reached, reader.overflow.reached(pgno, isMiss));
    const table = this.#schema.tableOf(this.#tree.root(pgno));
    if (table !== undefined) {
      for (const ahead of reader.byIndex.approached(pgno, table)) this.#loadScattered(reached, ahead);
    }
    this.#loadScattered(reached, reader.byIndex.reached(pgno));
  }

  /** A page that a reader has come to is in the pool. */
  arrived(reached: ReachedPage): void {
    const { pgno } = reached;
    const page = this.#read(reached, pgno);
    if (page === undefined) return;
    if (pgno === 1) this.#reserved = page[RESERVED_OFFSET]!;
    const reader = this.#reader(reached);
    const type = typeOf(pgno, page);
    this.#learn(pgno, page, reached, reader);
    this.#schema.learn(pgno, page);
    if (type === TYPE.indexLeaf || type === TYPE.indexInterior) {
      return this.#enter(reached, reader, pgno, page);
    }
    if (type !== TYPE.tableLeaf) return;
    this.#loadScattered(reached, reader.byIndex.reached(pgno));
    for (const ahead of reader.byWord.entered(pgno, page)) this.#load(reached, ahead);
  }

  #enter(at: ReachedPage, reader: Reader, pgno: number, page: Uint8Array): void {
    const table = this.#schema.tableOf(this.#tree.root(pgno)) ?? 0;
    this.#loadScattered(at, reader.byIndex.entered(pgno, page, table));
  }

  #read({ viewId }: ReachedPage, pgno: number): Uint8Array | undefined {
    const { native } = this.#options;
    if (viewInfo(native, viewId) === undefined) return undefined;
    const page = new Uint8Array(this.#options.pageSize);
    return native.calls.ls_view_page(viewId, pgno, page, page.length) === 0 ? page : undefined;
  }

  /**
   * The interior pages of a tree: few, and each look-up needs one. A single look-up is done with its own, so the second one
   * elsewhere asks for all.
   */
  #visit(reached: ReachedPage): void {
    const parent = this.#tree.parent(reached.pgno);
    if (parent === undefined || this.#tree.level(parent.pgno) !== 1) return;
    const root = this.#tree.root(parent.pgno);
    if (reached.isMiss) this.#countMiss(reached, root);
    const visited = this.#visited.get(root);
    if (visited === undefined) this.#visited.set(root, parent.pgno);
    else if (visited !== parent.pgno) this.#loadInteriors(reached, root);
  }

  /** A small tree that is missed again and again is worth having as a whole. */
  #countMiss(reached: ReachedPage, root: number): void {
    const count = (this.#missed.get(root) ?? 0) + 1;
    this.#missed.set(root, count);
    if (count < SMALL_TREE_MISSES || this.#tree.leafCount(root) > SMALL_TREE_LEAVES) return;
    const leaves = this.#tree.leaves(root, SMALL_TREE_LEAVES);
    if (leaves === undefined) return this.#loadInteriors(reached, root);
    this.#missed.delete(root);
    this.#loadScattered(reached, { pgnos: leaves, mark: 0 });
  }

  #loadInteriors(reached: ReachedPage, root: number): void {
    if (this.#visited.get(root) === ALL_INTERIORS) return;
    const children = this.#tree.interiorChildren(root);
    if (children.length === 0 || children.length > INTERIORS_MAX) return;
    this.#visited.set(root, ALL_INTERIORS);
    this.#loadScattered(reached, { pgnos: children.filter((child) => !this.#tree.isKnown(child)), mark: 0 });
  }

  #load(reached: ReachedPage, { pgnos, mark, otherMark = 0 }: Ahead): void {
    const { loader, fileOf } = this.#options;
    for (const each of [mark, otherMark]) if (each !== 0) loader.mark(reached.viewId, each, fileOf);
    if (pgnos.length > 0) loader.loadAhead({ ...reached, pgnos }, fileOf);
  }

  /** Pages in an order that is none in the file. */
  #loadScattered(reached: ReachedPage, { pgnos, mark, otherMark }: Ahead): void {
    this.#load(reached, { pgnos: [], mark, ...(otherMark === undefined ? {} : { otherMark }) });
    const { loader, fileOf } = this.#options;
    if (pgnos.length > 0) loader.loadAhead({ ...reached, pgnos, isScattered: true }, fileOf);
  }

  /** What a reader that goes along a tree wants. */
  #loadAlong(reached: ReachedPage, { along }: Reader, ahead: Ahead): void {
    const { spread = 0, above = [], pgnos } = ahead;
    if (spread === 0) {
      this.#load(reached, ahead);
      return this.#load(reached, { pgnos: above, mark: 0 });
    }
    const { loader, fileOf, pageSize } = this.#options;
    const root = this.#tree.root(pgnos[0]!);
    this.#loadInteriors(reached, root); // they tell which pages are the tree's
    const bytesMax = Math.min(spread * pageSize, this.#options.bytesMax) * STORED_SHARE;
    const isUseful = this.#tree.membership(root);
    const count = loader.loadSpread({ ...reached, pgnos, bytesMax, isUseful }, fileOf);
    this.#load(reached, { pgnos: [], mark: along.trim(ahead, count) });
  }

  #reader(reached: ReachedPage): Reader {
    const reader = this.#readers.use(reached.connection, () => this.#newReader(reached));
    reader.last = reached;
    return reader;
  }

  #newReader(reached: ReachedPage): Reader {
    const { bytesMax, cacheBytesMax, pageSize, loader, fileOf } = this.#options;
    const windowMax = Math.max(16, Math.floor(bytesMax / pageSize));
    const treeMax = cacheBytesMax * 3 / 4 / pageSize;
    const byWord = new FtsAhead(this.#tree, {
      pageOf: (pgno) => this.#read(reader.last, pgno),
      tablesOf: (root) => this.#schema.fullTextOf(root),
    });
    const reader: Reader = {
      along: new ReadAhead(this.#tree, {
        windowMax,
        treeMax,
        areThere: (pgnos) => loader.areThere({ ...reader.last, pgnos }, fileOf),
      }),
      byIndex: new IndexAhead(this.#tree, byWord),
      byWord,
      overflow: new OverflowAhead(this.#tree, this.#chains, {
        windowMax: Math.min(windowMax, CHAIN_WINDOW_MAX),
      }),
      last: reached,
    };
    return reader;
  }
}

function typeOf(pgno: number, page: Uint8Array): number {
  return page[pgno === 1 ? DATABASE_HEADER_SIZE : 0]!;
}

/** Where a reader is, once pages have come by a longer chain than its own. */
function after(last: ReachedPage, { depth }: LoadedBy): ReachedPage {
  return depth > last.depth ? { ...last, depth } : last;
}
