/**
 * Leaves of full-text indices (FTS5): which words they hold, and the rows of each.
 *
 * @module
 */
import { varintAt, varintEnd } from "./page_varint.ts";

const TABLE_LEAF = 0x0d;
const PAGE_HEADER_SIZE = 8;

/** Rowids of a full-text index's own leaves: the segment, 6 bits that are 0, the leaf's number in 31 bits. */
const SEGMENT = 2 ** 37;
const LEAF_NUMBER = 2 ** 31;
const SEGMENT_MAX = 2 ** 16 - 1;

/** A leaf begins with where its first rowid and its footer are. */
const HEADER_SIZE = 4;

/** Beyond it a number is none of the rowids that are looked for. */
const ROWID_MAX = Number.MAX_SAFE_INTEGER;

/** The rowid of a segment's leaf in the table that holds them. */
export function ftsLeafRowid(segment: number, number: number): number {
  return segment * SEGMENT + number;
}

/** One leaf of a segment. Words are as the index has them, one character a byte. */
export class FtsLeaf {
  readonly segment: number;
  /** Counted from 1 in its segment. */
  readonly number: number;
  /** The words that begin here, in their order. */
  readonly words: readonly string[];
  readonly #bytes: Uint8Array;
  /** Where the rows of each word begin, and where they end. */
  readonly #starts: readonly number[];
  readonly #ends: readonly number[];
  /** Where a word ends that began before. */
  readonly #headEnd: number;

  /**
   * Bytes of damaged leaves are read as far as they make sense.
   *
   * @see SQLite's source, ext/fts5/fts5_index.c, "Segment leaf"
   */
  constructor(rowid: number, bytes: Uint8Array) {
    this.segment = Math.floor(rowid / SEGMENT);
    this.number = rowid % LEAF_NUMBER;
    this.#bytes = bytes;
    const footer = Math.min(bytes.length, bytes[2]! * 256 + bytes[3]!);
    const offsets = wordOffsets(bytes, footer);
    const words: string[] = [];
    const starts: number[] = [];
    for (const [i, offset] of offsets.entries()) {
      const kept = i === 0 ? 0 : varintAt(bytes, offset);
      const sizeAt = i === 0 ? offset : varintEnd(bytes, offset);
      const start = varintEnd(bytes, sizeAt);
      const end = start + varintAt(bytes, sizeAt);
      if (!(kept >= 0 && end >= start && end <= footer)) break;
      words.push((words.at(-1) ?? "").slice(0, kept) + String.fromCharCode(...bytes.subarray(start, end)));
      starts.push(end);
    }
    this.words = words;
    this.#starts = starts;
    this.#headEnd = offsets[0] ?? footer;
    this.#ends = [...offsets.slice(1, words.length), footer];
  }

  /** Rowids of one of the words, ascending; of the last one more may follow in the next leaf. */
  rowids(index: number): number[] {
    const [start, end] = [this.#starts[index], this.#ends[index]];
    if (start === undefined || end === undefined) return [];
    const { rowids, isExact } = doclist(this.#bytes, start, end);
    // With detail=none no positions follow, and these are no rowids.
    return isExact || index === this.words.length - 1 ? rowids : [];
  }

  /** Rowids of the word that began in a leaf before. */
  headRowids(): number[] {
    const first = this.#bytes[0]! * 256 + this.#bytes[1]!;
    return first < HEADER_SIZE ? [] : doclist(this.#bytes, first, this.#headEnd).rowids;
  }
}

/** The leaves of segments that a page holds; none for a page of another kind. `page` is a leaf of a table. */
export function ftsLeaves(page: Uint8Array): FtsLeaf[] {
  const leaves: FtsLeaf[] = [];
  // Cells of a damaged page may lie over one another.
  let bytesLeft = page.length;
  for (const { rowid, blob } of blobRows(page)) {
    const segment = Math.floor(rowid / SEGMENT);
    const isLeaf = segment > 0 && segment <= SEGMENT_MAX && rowid % SEGMENT < LEAF_NUMBER;
    if (!isLeaf || blob.length < HEADER_SIZE || bytesLeft <= 0) continue;
    leaves.push(new FtsLeaf(rowid, blob));
    bytesLeft -= blob.length;
  }
  return leaves;
}

/** The blob of a row that is in a page as a whole; undefined where it is not. `page` is a leaf of a table. */
export function blobOf(page: Uint8Array, rowid: number): Uint8Array | undefined {
  for (const row of blobRows(page)) if (row.rowid === rowid) return row.blob;
  return undefined;
}

/** Rows whose record is NULL, in place of the rowid, and a blob that is in the page as a whole. */
function* blobRows(page: Uint8Array): Generator<{ rowid: number; blob: Uint8Array }> {
  if (page[0] !== TABLE_LEAF || page.length < PAGE_HEADER_SIZE) return;
  const count = page[3]! * 256 + page[4]!;
  for (let i = 0; i < count; i++) {
    const pointer = PAGE_HEADER_SIZE + i * 2;
    if (pointer + 2 > page.length) return;
    const cell = page[pointer]! * 256 + page[pointer + 1]!;
    const rowidAt = varintEnd(page, cell);
    const record = varintEnd(page, rowidAt);
    const end = record + varintAt(page, cell);
    const start = record + varintAt(page, record);
    const serialType = varintAt(page, record + 2);
    const isBlob = page[record + 1] === 0 && varintEnd(page, record + 2) === start &&
      serialType >= 12 && serialType % 2 === 0 && start + (serialType - 12) / 2 === end;
    // All rows of such a table are alike, but for two small ones.
    if (!isBlob && i > 1) return;
    if (isBlob && end <= page.length) {
      yield { rowid: varintAt(page, rowidAt), blob: page.subarray(start, end) };
    }
  }
}

function wordOffsets(bytes: Uint8Array, footer: number): number[] {
  const offsets: number[] = [];
  for (let at = footer, offset = 0; at < bytes.length; at = varintEnd(bytes, at)) {
    const distance = varintAt(bytes, at);
    offset += distance;
    if (!(distance > 0 && offset >= HEADER_SIZE && offset < footer)) break;
    offsets.push(offset);
  }
  return offsets;
}

/**
 * Rowids, each but the first as a distance, each followed by twice the size of its positions and these; and
 * whether they end where they should.
 */
function doclist(bytes: Uint8Array, start: number, end: number): { rowids: number[]; isExact: boolean } {
  const rowids: number[] = [];
  let rowid = 0;
  let at = start;
  while (at < end) {
    const value = varintAt(bytes, at);
    at = varintEnd(bytes, at);
    const isAscending = rowids.length === 0 || value > 0;
    rowid = rowids.length === 0 ? value : rowid + value;
    if (at > end || !isAscending || Math.abs(rowid) > ROWID_MAX) return { rowids, isExact: false };
    rowids.push(rowid);
    const size = Math.floor(varintAt(bytes, at) / 2);
    if (!(size >= 0)) return { rowids, isExact: false };
    at = varintEnd(bytes, at) + size;
  }
  return { rowids, isExact: at === end };
}
