/**
 * A full-text index (FTS5) as far as its pages are in memory: where a word's rows stand.
 *
 * @module
 */
import { blobOf, type FtsLeaf, ftsLeafRowid, ftsLeaves } from "./fts_leaf.ts";
import { varintAt, varintEnd } from "./page_varint.ts";
import type { TreeMap } from "./tree_map.ts";

const INDEX_INTERIOR = 0x02;
const INDEX_LEAF = 0x0a;
const DEPTH_MAX = 20;

/** The row that names all segments; what follows its first 4 bytes in the newer of two formats. */
const STRUCTURE_ROWID = 10;
const STRUCTURE_NEWER = [0xff, 0, 0, 1];
const NEWER_NUMBERS = 5;

/** FTS5's own bounds are 2,000 segments and 64 levels. */
const SEGMENTS_MAX = 64;

/** FTS5's own bounds of a segment's name and of its leaves' numbers. */
const SEGMENT_ID_MAX = 2 ** 16 - 1;
const LEAF_NUMBER_MAX = 2 ** 31 - 1;

/** Leaves that one word's rows are followed along in a segment, and rows of it there. */
const LEAVES_MAX = 8;
const ROWIDS_MAX = 2048;

/** Leaves in which the words are that one of them is to be told from. */
const WIDTH_MAX = 24;

/** Root pages of a full-text index's own tables. */
export interface FtsTables {
  /** The table that holds the leaves. */
  readonly leaves: number;
  /** The tree that leads from words to leaves. */
  readonly words: number;
  /** The table that holds its settings, which is read first. */
  readonly settings: number;
}

/** One segment: its leaves' numbers. */
export interface FtsSegment {
  readonly id: number;
  readonly first: number;
  readonly last: number;
}

/** The rows of a word. */
export interface WordRows {
  /** Ascending. */
  readonly rowids: Float64Array;
  /** Pages that would tell of more, further on. */
  readonly next: readonly number[];
}

/** One full-text index, to be used at once: pages are looked at once. */
export class FtsIndex {
  readonly #tree: TreeMap;
  readonly #tables: FtsTables;
  readonly #pageOf: (pgno: number) => Uint8Array | undefined;
  readonly #leaves = new Map<number, FtsLeaf | undefined>();
  #segments: FtsSegment[] | undefined;

  /** `pageOf` gives a page that is in memory. */
  constructor(tree: TreeMap, tables: FtsTables, pageOf: (pgno: number) => Uint8Array | undefined) {
    this.#tree = tree;
    this.#tables = tables;
    const pages = new Map<number, Uint8Array | undefined>();
    this.#pageOf = (pgno) => {
      if (!pages.has(pgno)) pages.set(pgno, pageOf(pgno));
      return pages.get(pgno);
    };
  }

  /** Its segments; none while that is not known. */
  get segments(): readonly FtsSegment[] {
    const page = this.#pageOf(this.leafPage(0, STRUCTURE_ROWID) ?? this.#tables.leaves);
    const record = page && blobOf(page, STRUCTURE_ROWID);
    return this.#segments ??= record ? segmentsIn(record) : [];
  }

  /** The page with a segment's leaf; an interior page on the way where that was not seen. */
  leafPage(segment: number, number: number): number | undefined {
    return this.#tree.leafOf(this.#tables.leaves, ftsLeafRowid(segment, number));
  }

  /** The number of the leaf in which a segment has a word; a page that is missing to tell it. */
  find({ id, first }: FtsSegment, word: string): { readonly number: number } | { readonly missing: number } {
    let number = first;
    let pgno = this.#tables.words;
    for (let depth = 0; depth < DEPTH_MAX; depth++) {
      const page = this.#pageOf(pgno);
      if (page === undefined) return { missing: pgno };
      const found = lastUpTo(page, id, word);
      if (found === undefined) break;
      number = found.number ?? number;
      if (found.child === undefined) break;
      pgno = found.child;
    }
    return { number: Math.max(first, number) };
  }

  /** A leaf of a segment; undefined where it is not in memory. */
  leaf(segment: number, number: number): FtsLeaf | undefined {
    const key = ftsLeafRowid(segment, number);
    if (!this.#leaves.has(key)) {
      const page = this.#pageOf(this.leafPage(segment, number) ?? 0);
      this.#leaves.set(
        key,
        page && ftsLeaves(page).find((leaf) => leaf.segment === segment && leaf.number === number),
      );
    }
    return this.#leaves.get(key);
  }

  /** The rows of a word in all segments, as far as they are known in order. */
  rowsOf(word: string): WordRows {
    const next: number[] = [];
    const rowids: number[] = [];
    let last = Infinity;
    for (const segment of this.segments) {
      const found = this.find(segment, word);
      if ("missing" in found) continue;
      const part = this.#rowsIn(segment, found.number, word);
      for (const rowid of part.rowids) rowids.push(rowid);
      if (!part.isWhole) last = Math.min(last, part.rowids.at(-1) ?? Infinity);
      next.push(...part.next);
    }
    // A row that was written again is in two segments.
    const sorted = Float64Array.from(rowids).sort();
    return { rowids: sorted.filter((rowid, i) => rowid <= last && rowid !== sorted[i - 1]), next };
  }

  /**
   * Rowids of all words from one to another, in no order; of a word whose rows go on in another leaf, those
   * in its first. None where the words are in many leaves.
   */
  rowsBetween(low: string, high: string): Map<string, number[]> {
    const rows = new Map<string, number[]>();
    const leaves = this.#leavesBetween(low, high);
    if (leaves.length > Math.max(WIDTH_MAX, this.segments.length * 2)) return rows;
    for (const [segment, number] of leaves) {
      const leaf = this.leaf(segment, number);
      for (const [i, word] of leaf?.words.entries() ?? []) {
        if (word < low || word > high) continue;
        const before = rows.get(word);
        if (before === undefined) rows.set(word, leaf!.rowids(i));
        else for (const rowid of leaf!.rowids(i)) before.push(rowid);
      }
    }
    return rows;
  }

  #leavesBetween(low: string, high: string): [segment: number, number: number][] {
    return this.segments.flatMap((segment) => {
      const [from, to] = [this.find(segment, low), this.find(segment, high)];
      if ("missing" in from || "missing" in to) return [];
      const count = Math.min(WIDTH_MAX, to.number - from.number) + 1;
      return Array.from({ length: count }, (_, i): [number, number] => [segment.id, from.number + i]);
    });
  }

  #rowsIn({ id, last }: FtsSegment, number: number, word: string): WordRows & { isWhole: boolean } {
    const begun = this.leaf(id, number);
    let rowids = begun?.rowids(begun.words.indexOf(word)) ?? [];
    const part = (isWhole: boolean, next: number[] = []) => ({
      rowids: Float64Array.from(rowids),
      next,
      isWhole,
    });
    if (begun?.words.at(-1) !== word) return part(true);
    for (let at = number + 1; at <= last; at++) {
      if (at > number + LEAVES_MAX || rowids.length > ROWIDS_MAX) return part(false);
      const leaf = this.leaf(id, at);
      if (leaf === undefined) return part(false, [this.leafPage(id, at) ?? 0]);
      rowids = rowids.concat(leaf.headRowids());
      if (leaf.words.length > 0) break;
    }
    return part(true);
  }
}

/** @see SQLite's source, ext/fts5/fts5_index.c, "Structure record" */
function segmentsIn(record: Uint8Array): FtsSegment[] {
  const isNewer = STRUCTURE_NEWER.every((byte, i) => record[4 + i] === byte);
  let at = isNewer ? 8 : 4;
  const next = () => {
    const value = varintAt(record, at);
    at = varintEnd(record, at);
    return value;
  };
  const [levelCount, segmentCount] = [next(), next(), next()];
  const segments: FtsSegment[] = [];
  if (!(segmentCount! <= SEGMENTS_MAX)) return segments;
  for (let level = 0; level < levelCount! && at < record.length; level++) {
    next();
    for (let count = next(); count > 0 && at < record.length; count--) {
      segments.push({ id: next(), first: next(), last: next() });
      for (let i = 0; isNewer && i < NEWER_NUMBERS; i++) next();
    }
  }
  return segments.slice(0, SEGMENTS_MAX).filter(isPossible);
}

function isPossible({ id, first, last }: FtsSegment): boolean {
  return id <= SEGMENT_ID_MAX && first <= last && last <= LEAF_NUMBER_MAX;
}

/** The last record up to a word in a page of the tree that leads from words to leaves. */
interface Found {
  /** The leaf that it names; undefined where all records of the segment here are greater. */
  readonly number: number | undefined;
  /** The page below, where greater ones may be that are not too great. */
  readonly child: number | undefined;
}

function lastUpTo(page: Uint8Array, segment: number, word: string): Found | undefined {
  const isLeaf = page[0] === INDEX_LEAF;
  if (!isLeaf && page[0] !== INDEX_INTERIOR) return undefined;
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const [headerSize, childSize] = isLeaf ? [8, 0] : [12, 4];
  const count = view.getUint16(3);
  if (headerSize + count * 2 > page.length) return undefined;
  let [low, high] = [0, count];
  let number: number | undefined;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const record = wordRecord(page, view.getUint16(headerSize + middle * 2) + childSize);
    if (record === undefined) return undefined;
    const isUpTo = record.segment < segment || (record.segment === segment && record.word <= word);
    if (isUpTo) low = middle + 1;
    else high = middle;
    if (isUpTo) number = record.segment === segment ? record.number : undefined;
  }
  if (isLeaf) return { number, child: undefined };
  const pointer = low === count ? 8 : view.getUint16(headerSize + low * 2);
  return pointer + 4 > page.length ? undefined : { number, child: view.getUint32(pointer) };
}

/** A record: segment, blob with the beginning of a word, twice the leaf's number and a flag. */
function wordRecord(
  page: Uint8Array,
  cell: number,
): { segment: number; word: string; number: number } | undefined {
  const record = varintEnd(page, cell);
  const end = record + varintAt(page, cell);
  const [segmentType, wordType] = [page[record + 1]!, varintAt(page, record + 2)];
  const numberAt = varintEnd(page, record + 2);
  const start = record + varintAt(page, record);
  const segmentSize = integerSize(segmentType);
  const wordEnd = start + segmentSize + (wordType - 12) / 2;
  const numberSize = integerSize(page[numberAt]!);
  if (!(wordType >= 12) || numberAt + 1 !== start || wordEnd + numberSize !== end || end > page.length) {
    return undefined;
  }
  return {
    segment: integer(page, start, segmentSize, segmentType),
    word: String.fromCharCode(...page.subarray(start + segmentSize, wordEnd)),
    number: integer(page, wordEnd, numberSize, page[numberAt]!) >>> 1,
  };
}

function integerSize(serialType: number): number {
  return serialType >= 1 && serialType <= 4 ? serialType : serialType === 8 || serialType === 9 ? 0 : NaN;
}

function integer(page: Uint8Array, at: number, size: number, serialType: number): number {
  let value = serialType === 9 ? 1 : 0;
  for (let i = 0; i < size; i++) value = value * 256 + page[at + i]!;
  return value;
}
