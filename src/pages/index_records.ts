/**
 * What the records of an index's page tell: where their rows are, and which keys begin alike.
 *
 * @module
 */
import { varintAt, varintEnd } from "./page_varint.ts";

const INDEX_INTERIOR = 0x02;
const INDEX_LEAF = 0x0a;

/** Bytes of values by serial type, below 12; 8 and 9 are the numbers 0 and 1 themselves, 7 is no integer. */
const SIZES = [0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0];
const REAL = 7;
const INTEGER_LAST = 9;

/** The records of a page, in its order. */
export interface IndexRecords {
  /** What each ends with: NaN where that is no integer, or not in the page. */
  readonly rowids: Float64Array;
  /** 1 where the first column is that of the record before. */
  readonly isEqual: Uint8Array;
}

/**
 * The records of an index's page, leaf or interior; undefined when the page is of another kind, or has more than fits.
 *
 * Primary keys of WITHOUT ROWID tables look the same as rowids where they are integers.
 *
 * @see SQLite's file format, "Representation Of SQL Indices"
 */
export function indexRecords(page: Uint8Array): IndexRecords | undefined {
  const type = page[0];
  if (type !== INDEX_INTERIOR && type !== INDEX_LEAF) return undefined;
  const headerSize = type === INDEX_LEAF ? 8 : 12;
  if (page.length < headerSize) return undefined;
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const count = view.getUint16(3);
  if (headerSize + count * 6 > page.length) return undefined;
  const payloadMax = Math.floor((page.length - 12) * 64 / 255) - 23;
  const rowids = new Float64Array(count);
  const isEqual = new Uint8Array(count);
  let bytesLeft = page.length; // cells that lie over one another would be looked at again and again
  for (let i = 0, before = -1; i < count; i++) {
    const cell = view.getUint16(headerSize + i * 2) + (type === INDEX_LEAF ? 0 : 4);
    const isShort = page[cell]! < 0x80;
    const payloadSize = isShort ? page[cell]! : varintAt(page, cell);
    const record = isShort ? cell + 1 : varintEnd(page, cell);
    // The end of a longer record is in another page.
    const isWhole = payloadSize > 0 && payloadSize <= payloadMax && record + payloadSize <= page.length;
    if (isWhole && (bytesLeft -= payloadSize) < 0) return undefined;
    rowids[i] = isWhole ? lastInteger(page, view, record, record + payloadSize) : NaN;
    if (isWhole && before >= 0) isEqual[i] = isSameFirst(page, before, record) ? 1 : 0;
    before = isWhole ? record : -1;
  }
  return { rowids, isEqual };
}

function lastInteger(page: Uint8Array, view: DataView, record: number, end: number): number {
  const headerEnd = record + varintAt(page, record);
  let at = varintEnd(page, record);
  if (headerEnd > end || at >= headerEnd) return NaN;
  let serialType = 0;
  while (at < headerEnd) {
    serialType = page[at]! < 0x80 ? page[at]! : varintAt(page, at);
    at = page[at]! < 0x80 ? at + 1 : varintEnd(page, at);
  }
  if (!(serialType > 0 && serialType <= INTEGER_LAST) || serialType === REAL) return NaN;
  const start = end - SIZES[serialType]!;
  return start < headerEnd ? NaN : integer(view, start, serialType);
}

function integer(view: DataView, at: number, serialType: number): number {
  if (serialType === 1) return view.getInt8(at);
  if (serialType === 2) return view.getInt16(at);
  if (serialType === 3) return view.getInt8(at) * 0x1_0000 + view.getUint16(at + 1);
  if (serialType === 4) return view.getInt32(at);
  if (serialType === 5) return view.getInt16(at) * 2 ** 32 + view.getUint32(at + 2);
  if (serialType === 6) return view.getInt32(at) * 2 ** 32 + view.getUint32(at + 4);
  return serialType - 8;
}

/** Whether two records begin with the same value, by its type and bytes. */
function isSameFirst(page: Uint8Array, one: number, other: number): boolean {
  // Long headers, as of many columns or long text, are rare.
  const isShort = page[one]! < 0x80 && page[other]! < 0x80;
  const typeAt = isShort ? one + 1 : varintEnd(page, one);
  const otherTypeAt = isShort ? other + 1 : varintEnd(page, other);
  if (page[typeAt] !== page[otherTypeAt]) return false;
  const start = one + (isShort ? page[one]! : varintAt(page, one));
  const otherStart = other + (isShort ? page[other]! : varintAt(page, other));
  const serialType = page[typeAt]! < 0x80 ? page[typeAt]! : varintAt(page, typeAt);
  if (serialType > 0x7f && serialType !== varintAt(page, otherTypeAt)) return false;
  const size = SIZES[serialType] ?? Math.floor((serialType - 12) / 2);
  if (!(size >= 0 && start + size <= page.length && otherStart + size <= page.length)) return false;
  // Keys are in order: it is their ends that differ.
  for (let i = size - 1; i >= 0; i--) {
    if (page[start + i] !== page[otherStart + i]) return false;
  }
  return true;
}
