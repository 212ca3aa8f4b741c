/**
 * Which rows have which words, as pages of a full-text index (FTS5) tell.
 *
 * @module
 */
import { varintAt, varintEnd } from "./page_varint.ts";

const TABLE_LEAF = 0x0d;
const LEAF_HEADER_SIZE = 8;

/** Rowids of an FTS5 index's own leaves: the segment, 6 bits that are 0, the leaf's number in 31 bits. */
const SEGMENT = 2 ** 37;
const LEAF_NUMBER = 2 ** 31;

/** A leaf begins with where its first rowid and its footer are. */
const FTS_HEADER_SIZE = 4;

/** Beyond it a number is none of the rowids that are looked for. */
const ROWID_MAX = Number.MAX_SAFE_INTEGER;

/** Fewer rowids lead nowhere. */
const COUNT_MIN = 2;

/** A row of an FTS5 index's table of leaves: the bytes of it that are in the page. */
interface FtsLeaf {
  readonly bytes: Uint8Array;
  readonly isWhole: boolean;
}

/**
 * The rowids of each word of two rows or more, ascending; none for a page of another kind. `page` is a leaf
 * of a table.
 *
 * Words whose rows go on from the leaf before come as what is here of them. Indices made with `detail=none`
 * give nothing.
 *
 * @see SQLite's source, ext/fts5/fts5_index.c, "Segment leaf"
 */
export function ftsRowids(page: Uint8Array): Float64Array[] {
  if (page[0] !== TABLE_LEAF || page.length < LEAF_HEADER_SIZE) return [];
  const count = page[3]! * 256 + page[4]!;
  const lists: Float64Array[] = [];
  // Cells of a damaged page may lie over one another.
  for (let i = 0, bytesLeft = page.length; i < count && bytesLeft > 0; i++) {
    const pointer = LEAF_HEADER_SIZE + i * 2;
    if (pointer + 2 > page.length) break;
    const leaf = ftsLeaf(page, page[pointer]! * 256 + page[pointer + 1]!);
    // All rows of such a table are alike, but for two small ones.
    if (leaf === undefined && i > 1) break;
    if (leaf === undefined) continue;
    for (const list of leafLists(leaf)) lists.push(list);
    bytesLeft -= leaf.bytes.length;
  }
  return lists;
}

/** The leaf that a cell's record (NULL in place of the rowid, a blob) holds; undefined for another record. */
function ftsLeaf(page: Uint8Array, cell: number): FtsLeaf | undefined {
  const rowidAt = varintEnd(page, cell);
  const rowid = varintAt(page, rowidAt);
  if (!(rowid >= SEGMENT) || Math.floor(rowid / LEAF_NUMBER) % (SEGMENT / LEAF_NUMBER) !== 0) {
    return undefined;
  }
  const record = varintEnd(page, rowidAt);
  const recordEnd = record + varintAt(page, cell);
  const start = record + varintAt(page, record);
  const serialType = varintAt(page, record + 2);
  if (page[record + 1] !== 0 || varintEnd(page, record + 2) !== start) return undefined;
  if (serialType < 12 || serialType % 2 !== 0 || start + (serialType - 12) / 2 !== recordEnd) {
    return undefined;
  }
  const isWhole = recordEnd <= page.length;
  const bytes = page.subarray(start, isWhole ? recordEnd : page.length);
  return bytes.length < FTS_HEADER_SIZE ? undefined : { bytes, isWhole };
}

function leafLists({ bytes, isWhole }: FtsLeaf): Float64Array[] {
  const firstRowid = bytes[0]! * 256 + bytes[1]!;
  const footer = bytes[2]! * 256 + bytes[3]!;
  const lists: Float64Array[] = [];
  const add = (start: number, end: number) => {
    const rowids = doclist(bytes, start, end);
    if (rowids.length >= COUNT_MIN) lists.push(Float64Array.from(rowids));
  };
  // Without the footer nobody knows where the next word begins.
  if (!isWhole || footer > bytes.length) {
    if (firstRowid >= FTS_HEADER_SIZE) add(firstRowid, bytes.length);
    return lists;
  }
  const terms = termOffsets(bytes, footer);
  if (firstRowid >= FTS_HEADER_SIZE && firstRowid < (terms[0] ?? footer)) add(firstRowid, terms[0] ?? footer);
  for (const [i, term] of terms.entries()) {
    // The first has no prefix in common with one before it.
    const suffixAt = i === 0 ? term : varintEnd(bytes, term);
    add(varintEnd(bytes, suffixAt) + varintAt(bytes, suffixAt), terms[i + 1] ?? footer);
  }
  return lists;
}

function termOffsets(bytes: Uint8Array, footer: number): number[] {
  const offsets: number[] = [];
  for (let at = footer, offset = 0; at < bytes.length; at = varintEnd(bytes, at)) {
    const distance = varintAt(bytes, at);
    offset += distance;
    if (!(distance > 0 && offset >= FTS_HEADER_SIZE && offset < footer)) break;
    offsets.push(offset);
  }
  return offsets;
}

/** Rowids, each but the first as a distance, each followed by twice the size of its positions and these. */
function doclist(bytes: Uint8Array, start: number, end: number): number[] {
  const rowids: number[] = [];
  let rowid = 0;
  for (let at = start; at < end;) {
    const value = varintAt(bytes, at);
    at = varintEnd(bytes, at);
    rowid = rowids.length === 0 ? value : rowid + value;
    const isAscending = rowids.length === 0 || value > 0;
    if (at > end || !isAscending || Math.abs(rowid) > ROWID_MAX) break;
    rowids.push(rowid);
    const size = Math.floor(varintAt(bytes, at) / 2);
    at = varintEnd(bytes, at) + size;
    if (!(size >= 0)) break;
  }
  return rowids;
}
