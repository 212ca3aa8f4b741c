/**
 * What a reader of a full-text index (FTS5) will want next: a word's leaves in other segments, then its rows.
 *
 * It looks a word up in each segment in turn before it comes to the first row, and no page tells which word
 * that is. But the leaves that it comes to have few words in common, and its first row has but one of these.
 *
 * @module
 */
import { type Ahead, NOTHING_AHEAD } from "./ahead.ts";
import { FtsIndex, type FtsTables, type WordRows } from "./fts_index.ts";
import { type FtsLeaf, ftsLeaves } from "./fts_leaf.ts";
import type { RowidRange, TreeMap } from "./tree_map.ts";

/** Words looked up last by one reader. */
const SEARCHES_MAX = 4;

/** Leaves of tables that are reached after a look-up and have nothing to do with it. */
const STRAYS_MAX = 4;

/** Leaves asked for at a time in which a word may be; those of the segments that have the fewest. */
const LEAVES_MAX = 24;

/** Leaves of a segment, and of several, that are loaded as a whole. */
const SMALL_SEGMENT_MAX = 16;
const SMALL_SEGMENTS_MAX = 32;

/** Pages that lead to words or leaves and are loaded as a whole, at most. */
const INNER_MAX = 64;

/** Rows by which two places are taken for neighbours: those between may have been in memory. */
const NEIGHBOUR_MAX = 3;

/** Indices whose tables are kept in mind. */
const INDICES_MAX = 16;

/** Before and behind all words. */
const WORD_MIN = "";
const WORD_MAX = "\uffff";

/** What {@link FtsAhead} works with. */
export interface FtsAheadOptions {
  /** A page that is in memory. */
  readonly pageOf: (pgno: number) => Uint8Array | undefined;
  /** The full-text index that a table of leaves or of settings belongs to, by the table's root. */
  readonly tablesOf: (root: number) => FtsTables | undefined;
}

/** A word that a reader looks up. */
interface Search {
  readonly tables: FtsTables;
  /** The words between which it is. */
  low: string;
  high: string;
  /** By segment, the leaf that was reached last: its number, its last word. */
  readonly leaves: Map<number, { readonly number: number; readonly lastWord: string }>;
  /** Pages asked for. */
  readonly asked: Set<number>;
  /** Rowids by word, of all words that it may be; undefined while they were not looked for. */
  rows: ReadonlyMap<string, readonly number[]> | undefined;
  strays: number;
  /** Whether its rows are known, or not looked for any more. */
  isDone: boolean;
}

/** The words that a reader may look up who comes to a leaf. */
interface Span {
  readonly leaf: FtsLeaf;
  readonly low: string;
  readonly high: string;
}

/** Words whose rows a reader may have begun with. */
interface Suspect {
  readonly searches: readonly Search[];
  readonly words: readonly string[];
  /** Ascending. */
  readonly rowids: Float64Array;
  /** 1 or -1. */
  readonly direction: number;
}

/** A word that was found, and tables in which its rows were followed. */
interface FoundWord {
  readonly suspect: Suspect;
  readonly way: FtsWay;
  readonly tables: Set<number>;
  strays: number;
}

/** A reader's way along the rows of a word. */
export interface FtsWay {
  readonly rows: WordRows;
  /** 1 or -1. */
  readonly direction: number;
  /** By the root of a table: where the reader is; undefined where it has not come yet. */
  readonly tables: ReadonlyMap<number, RowidRange | undefined>;
  /** Whether the reader wants all rows, as far as that is known. */
  readonly isSure: boolean;
  /** Tells of the rows anew, after more pages came. */
  readonly more: () => WordRows;
}

/** What the pages of full-text indices that one connection reads tell about its next pages. */
export class FtsAhead {
  readonly #tree: TreeMap;
  readonly #options: FtsAheadOptions;
  /** The newest first. */
  #searches: Search[] = [];
  #suspects: Suspect[] = [];
  /** Tables that were reached since there are suspects, and where. */
  #reached = new Map<number, RowidRange>();
  /** Whether tables were reached since the newest search began. */
  #isReading = false;
  /** The word that was found last. */
  #found: FoundWord | undefined;
  /** Roots of indices' leaves; what leads to these was asked for. */
  readonly #opened = new Map<number, true>();
  /** By the root of an index's leaves: tables that were read by its rows. */
  readonly #documents = new Map<number, Set<number>>();

  constructor(tree: TreeMap, options: FtsAheadOptions) {
    this.#tree = tree;
    this.#options = options;
  }

  /**
   * A leaf of a table is there which the reader came to. Of the answers, all but the first only mark; leaves
   * that are marked are to be told.
   */
  entered(pgno: number, page: Uint8Array): readonly Ahead[] {
    const tables = this.#options.tablesOf(this.#tree.root(pgno));
    if (tables === undefined) return [];
    const index = this.#index(tables);
    const leaves = ftsLeaves(page);
    const spans = leaves.flatMap((leaf) => spanOf(leaf, index));
    const search = spans.length > 0 ? this.#searchOf(tables, spans) : undefined;
    const pgnos = search ? elsewhere(search, index) : leaves.length > 0 ? [] : smallSegments(index);
    // The leaf itself too: later readers find it in memory, and tell by it what they look for.
    const marks = leaves.length > 0 ? [...pgnos, pgno] : pgnos;
    return marks.map((mark, i) => ({ pgnos: i === 0 ? pgnos : [], mark }));
  }

  /** A reader comes to a page, which need not be there; gives what leads to words and leaves of its index. */
  approached(pgno: number): Ahead {
    const tables = this.#options.tablesOf(this.#tree.root(pgno));
    if (tables === undefined || this.#opened.has(tables.leaves)) return NOTHING_AHEAD;
    const pgnos = this.#innerPages(tables);
    if (pgnos.length === 0) return NOTHING_AHEAD;
    putNewest(this.#opened, tables.leaves, true, INDICES_MAX);
    return { pgnos, mark: 0 };
  }

  #innerPages({ leaves, words }: FtsTables): number[] {
    const tree = this.#tree.leaves(words, INNER_MAX) ?? this.#tree.interiorChildren(words);
    const inner = this.#tree.interiorChildren(leaves);
    return [tree, inner].flatMap((pages) => pages.length <= INNER_MAX ? pages : []);
  }

  /** The search that leaves belong to; undefined where they tell nothing new. */
  #searchOf(tables: FtsTables, spans: readonly Span[]): Search | undefined {
    const [search] = this.#searches;
    if (search?.tables.leaves === tables.leaves) {
      const next = spans.find(({ leaf }) => search.leaves.get(leaf.segment)?.number === leaf.number - 1);
      const word = next && search.leaves.get(next.leaf.segment)!.lastWord;
      if (word !== undefined && word >= search.low && word <= search.high) {
        // The reader goes on: it is the last word of the leaf before.
        narrow(search, [{ ...next!, low: word, high: word }]);
        return search.isDone ? undefined : search;
      }
      const fitting = spans.filter(({ low, high }) => low <= search.high && high >= search.low);
      if (!search.isDone && fitting.length > 0) {
        narrow(search, fitting);
        return search;
      }
    }
    if (this.#isReading) this.#giveUp();
    this.#isReading = false;
    this.#forgetSuspects();
    this.#found = undefined;
    const begun: Search = {
      tables,
      low: WORD_MIN,
      high: WORD_MAX,
      leaves: new Map(),
      asked: new Set(),
      rows: undefined,
      strays: 0,
      isDone: false,
    };
    narrow(begun, spans);
    this.#searches = [begun, ...this.#searches.slice(0, SEARCHES_MAX - 1)];
    return begun;
  }

  /** A leaf of a table was reached; gives where its reader goes, once that is known. */
  reached(tableRoot: number, range: RowidRange): FtsWay | undefined {
    if (this.#options.tablesOf(tableRoot)) return undefined;
    const searches = this.#searches.filter(({ isDone }) => !isDone);
    if (searches.length === 0) return this.#wayElsewhere(tableRoot, range);
    this.#isReading = true;
    const seen = this.#reached.get(tableRoot);
    const isFirst = this.#suspects.length === 0;
    const left = isFirst
      ? this.#suspectsAt(searches, range)
      : this.#suspects.filter((suspect) => isNext(suspect, seen, range));
    if (left.length === 0) {
      if (seen) this.#giveUp();
      for (const search of searches) search.isDone ||= ++search.strays > STRAYS_MAX;
      return undefined;
    }
    this.#suspects = left;
    this.#reached.set(tableRoot, range);
    // Of several words, rows of one of them alone may be nothing to the reader.
    const isKnown = left.length === 1 && (searches.length === 1 || !isFirst);
    return isKnown ? this.#way(left[0]!, searches.length === 1) : undefined;
  }

  #suspectsAt(searches: readonly Search[], range: RowidRange): Suspect[] {
    const [newest, before] = searches.map((search) => {
      search.rows ??= this.#index(search.tables).rowsBetween(search.low, search.high);
      const all = [...search.rows].filter(([, rowids]) => rowids.some((rowid) => isIn(range, rowid)));
      return all.map(([word, rowids]) => suspect([search], [word], rowids));
    });
    const both = (before ?? []).flatMap((one) =>
      newest!.map((other) => {
        const rowids = new Set(one.rowids);
        const common = other.rowids.filter((rowid) => rowids.has(rowid));
        return suspect([...one.searches, ...other.searches], [...one.words, ...other.words], common);
      })
    );
    return [...newest!, ...before ?? [], ...both].flatMap((suspect) => {
      const forward = isNext(suspect, undefined, range);
      const found: Suspect = { ...suspect, direction: forward ? 1 : -1 };
      return forward || isNext(found, undefined, range) ? [found] : [];
    });
  }

  /** Goes along the rows of a word that is known in a table that is reached later than others. */
  #wayElsewhere(tableRoot: number, range: RowidRange): FtsWay | undefined {
    const found = this.#found;
    if (found === undefined || found.tables.has(tableRoot)) return undefined;
    if (!isNext(found.suspect, undefined, range)) {
      if (++found.strays > STRAYS_MAX) this.#found = undefined;
      return undefined;
    }
    found.tables.add(tableRoot);
    this.#documentsOf(found.suspect).add(tableRoot);
    return { ...found.way, tables: new Map([[tableRoot, range]]) };
  }

  #way(suspect: Suspect, isSure: boolean): FtsWay {
    const { searches, words, direction } = suspect;
    const more = () => {
      const all = searches.map((search, i) => this.#index(search.tables).rowsOf(words[i]!));
      return all.reduce((one, other) => commonRows(one, other));
    };
    const tables = new Map<number, RowidRange | undefined>(this.#reached);
    const documents = this.#documentsOf(suspect);
    for (const table of tables.keys()) documents.add(table);
    for (const table of isSure ? documents : []) if (!tables.has(table)) tables.set(table, undefined);
    const way = { rows: more(), direction, tables, isSure, more };
    this.#giveUp();
    this.#found = { suspect, way, tables: new Set(tables.keys()), strays: 0 };
    return way;
  }

  #documentsOf({ searches }: Suspect): Set<number> {
    const { leaves } = searches[0]!.tables;
    const documents = this.#documents.get(leaves) ?? new Set();
    putNewest(this.#documents, leaves, documents, INDICES_MAX);
    return documents;
  }

  #giveUp(): void {
    this.#searches = this.#searches.map((search) => ({ ...search, rows: undefined, isDone: true }));
    this.#forgetSuspects();
  }

  #forgetSuspects(): void {
    this.#suspects = [];
    this.#reached.clear();
  }

  #index(tables: FtsTables): FtsIndex {
    return new FtsIndex(this.#tree, tables, this.#options.pageOf);
  }
}

/** The words that a reader may look up who comes to a leaf; none for a leaf amid a word's rows. */
function spanOf(leaf: FtsLeaf, index: FtsIndex): Span[] {
  const { words, number } = leaf;
  if (words.length === 0) return [];
  const segment = index.segments.find(({ id }) => id === leaf.segment);
  const last = segment && index.find(segment, WORD_MAX);
  const low = number === segment?.first ? WORD_MIN : words[0]!;
  const high = last && "number" in last && last.number === number ? WORD_MAX : words.at(-1)!;
  return [{ leaf, low, high }];
}

/** Leaves of segments so small that most readers come to a good part of them. */
function smallSegments(index: FtsIndex): number[] {
  const found: number[] = [];
  for (const { id, first, last } of index.segments) {
    const count = last - first + 1;
    if (count > SMALL_SEGMENT_MAX || found.length + count > SMALL_SEGMENTS_MAX) continue;
    for (let at = first; at <= last; at++) found.push(index.leafPage(id, at) ?? 0);
  }
  return found.filter((pgno) => pgno !== 0);
}

function narrow(search: Search, spans: readonly Span[]): void {
  const low = spans.map(({ low }) => low).sort()[0]!;
  const high = spans.map(({ high }) => high).sort().at(-1)!;
  search.rows = undefined;
  if (low > search.low) search.low = low;
  if (high < search.high) search.high = high;
  for (const { leaf: { segment, number, words } } of spans) {
    search.leaves.set(segment, { number, lastWord: words.at(-1)! });
  }
}

/** Leaves of other segments in which a word may be, or what is missing to tell them. */
function elsewhere(search: Search, index: FtsIndex): number[] {
  const missing = new Set<number>();
  const bySegment: number[][] = [];
  for (const segment of index.segments) {
    if (search.leaves.has(segment.id)) continue;
    const [from, to] = [index.find(segment, search.low), index.find(segment, search.high)];
    for (const end of [from, to]) if ("missing" in end) missing.add(end.missing);
    if ("missing" in from || "missing" in to || to.number - from.number >= LEAVES_MAX) continue;
    const numbers = Array.from({ length: to.number - from.number + 1 }, (_, i) => from.number + i);
    bySegment.push(numbers.map((number) => index.leafPage(segment.id, number) ?? 0));
  }
  let left = LEAVES_MAX;
  for (const pgnos of bySegment.sort((a, b) => a.length - b.length)) {
    left -= pgnos.length;
    if (left >= 0) { for (const pgno of pgnos) missing.add(pgno); }
  }
  const fresh = [...missing].filter((pgno) => pgno !== 0 && !search.asked.has(pgno));
  for (const pgno of fresh) search.asked.add(pgno);
  return fresh;
}

function isIn({ low, high }: RowidRange, rowid: number | undefined): boolean {
  return rowid !== undefined && rowid > low && rowid <= high;
}

function suspect(searches: Search[], words: string[], rowids: Iterable<number>): Suspect {
  return { searches, words, rowids: Float64Array.from(rowids).sort(), direction: 1 };
}

/** Whether one of the next rows of a reader, the first where it is not in the table yet, lies in a range. */
function isNext({ rowids, direction }: Suspect, seen: RowidRange | undefined, range: RowidRange): boolean {
  const first = direction > 0 ? 0 : rowids.length - 1;
  const start = seen ? rowAfter(rowids, seen, direction) : first;
  for (let i = 0; i < (seen ? NEIGHBOUR_MAX : 1); i++) {
    if (isIn(range, rowids[start + i * direction])) return true;
  }
  return false;
}

/** Index of the first of some rows that lies beyond a range. */
export function rowAfter(rowids: Float64Array, { low, high }: RowidRange, direction: number): number {
  if (direction < 0) return rowids.findLastIndex((rowid) => rowid <= low);
  const index = rowids.findIndex((rowid) => rowid > high);
  return index < 0 ? rowids.length : index;
}

/** Rows that two words have in common; as far as both are known. */
function commonRows(one: WordRows, other: WordRows): WordRows {
  const rowids = new Set(other.rowids);
  return { rowids: one.rowids.filter((rowid) => rowids.has(rowid)), next: [...one.next, ...other.next] };
}

/** Puts an entry behind all others, and takes the first away where they are more than `max`. */
function putNewest<T>(entries: Map<number, T>, key: number, value: T, max: number): void {
  entries.delete(key);
  entries.set(key, value);
  if (entries.size > max) entries.delete(entries.keys().next().value!);
}
