import type { LtxFormatError } from "../errors.ts";
import { ltxFault } from "./fault.ts";
import { maxFrameSize, MIN_FRAME_SIZE, PAGE_HEADER_SIZE } from "./frame.ts";
import { HEADER_SIZE, isSnapshot } from "./header.ts";
import { TRAILER_SIZE } from "./trailer.ts";
import { formatTxid, lockPgno, storedPageCount } from "./txid.ts";

/** Bytes of the field that gives the index's size. */
const SIZE_FIELD_SIZE = 8;

/** Bytes after the index: its size field and the trailer. */
const AFTER_INDEX = SIZE_FIELD_SIZE + TRAILER_SIZE;

/** The shortest index: its end marker. */
const END_MARKER_SIZE = 1;

/** The longest entry: a pgno of 32 bits, an offset of 53, a size of 17, at 7 bits a byte. */
export const MAX_ENTRY_SIZE: number = 5 + 8 + 3;

/** The smallest LTX file there can be, in bytes: one without pages. */
export const MIN_FILE_SIZE: number = HEADER_SIZE + PAGE_HEADER_SIZE + END_MARKER_SIZE + AFTER_INDEX;

/**
 * Where the pages of one file are; the three arrays have one entry a page, ascending by pgno.
 *
 * The frames they name lie one behind the other from byte 100 on, without holes.
 */
export interface PageIndex {
  /** Page numbers, ascending. */
  readonly pgnos: Uint32Array;
  /** Bytes from the file's start to the frame's first byte. */
  readonly offsets: Float64Array;
  /** Bytes of the frame, its header included. */
  readonly sizes: Uint32Array;
  /** Bytes from the file's start to the index; the 6 bytes before are the terminator of the frames. */
  readonly indexOffset: number;
}

/** The answer to a tail that begins after the index does. */
export interface TailTooShort {
  /** How many of the file's last bytes are needed; more only where even the index's size was out of reach. */
  readonly needBytes: number;
}

/** What must be known of a file to check its index: its size, and three fields of its header (or its name). */
export interface PageIndexContext {
  /** Bytes of the whole file. */
  fileSize: number;
  /** Size of the database after the file, in pages. */
  commit: number;
  /** Bytes of a page. */
  pageSize: number;
  /** First transaction in the file; 1 makes it a snapshot, which must hold every page. */
  minTxid: bigint;
  /** Names the file in errors. */
  key?: string;
}

/**
 * Decodes the page index that ends an LTX file. `tail` is any number of the file's last bytes, up to all of them; it is
 * read, not kept. A tail that does not reach back to the index gives {@link TailTooShort} instead.
 *
 * @throws {LtxFormatError} the index's size cannot be; an entry is cut off, out of order, past `commit`, of the lock
 *   page, of an impossible size; a frame does not begin where the one before ends; bytes follow the end marker; a
 *   snapshot lacks a page
 * @see LTX format version 3, §5 and §12
 */
export function decodePageIndex(tail: Uint8Array, context: PageIndexContext): PageIndex | TailTooShort {
  const { fileSize } = context;
  if (!Number.isSafeInteger(fileSize) || fileSize < MIN_FILE_SIZE) {
    throw indexFault(context, `file has ${fileSize} bytes`, `${MIN_FILE_SIZE} or more`);
  }
  if (tail.length > fileSize) {
    throw indexFault(context, `tail has ${tail.length} bytes`, `at most ${fileSize}`);
  }
  if (tail.length < AFTER_INDEX) return { needBytes: AFTER_INDEX };
  const indexSize = decodeIndexSize(tail, context);
  const needBytes = indexSize + AFTER_INDEX;
  if (tail.length < needBytes) return { needBytes };
  const indexOffset = fileSize - needBytes;
  const entries = tail.subarray(tail.length - needBytes, tail.length - AFTER_INDEX);
  const index = decodeEntries(entries, indexOffset, context);
  checkSnapshot(index, context);
  return index;
}

/**
 * Encodes a page index: entries, end marker and size field, without the trailer. The arrays have one entry a page; that
 * they are right is the caller's to know.
 *
 * @see LTX format version 3, §5
 */
export function encodePageIndex(
  { pgnos, offsets, sizes }: {
    pgnos: ArrayLike<number>;
    offsets: ArrayLike<number>;
    sizes: ArrayLike<number>;
  },
): Uint8Array<ArrayBuffer> {
  const scratch = new Uint8Array(pgnos.length * MAX_ENTRY_SIZE + END_MARKER_SIZE + SIZE_FIELD_SIZE);
  let at = 0;
  for (let i = 0; i < pgnos.length; i++) {
    at = writeVarint(scratch, at, pgnos[i]!);
    at = writeVarint(scratch, at, offsets[i]!);
    at = writeVarint(scratch, at, sizes[i]!);
  }
  at += END_MARKER_SIZE;
  new DataView(scratch.buffer).setBigUint64(at, BigInt(at));
  return scratch.slice(0, at + SIZE_FIELD_SIZE);
}

/** Reads the index's size, bounded by what the file and the database leave room for. */
function decodeIndexSize(tail: Uint8Array, context: PageIndexContext): number {
  const { fileSize, commit, pageSize } = context;
  const view = new DataView(tail.buffer, tail.byteOffset + tail.length - AFTER_INDEX, AFTER_INDEX);
  const indexSize = view.getBigUint64(0);
  const roomInFile = fileSize - MIN_FILE_SIZE + END_MARKER_SIZE;
  const roomForPages = storedPageCount(commit, pageSize) * MAX_ENTRY_SIZE + END_MARKER_SIZE;
  const maxSize = Math.min(roomInFile, roomForPages);
  if (indexSize < BigInt(END_MARKER_SIZE) || indexSize > BigInt(maxSize)) {
    throw indexFault(
      context,
      `index size is ${indexSize}`,
      `${END_MARKER_SIZE} to ${maxSize}`,
      fileSize - AFTER_INDEX,
    );
  }
  return Number(indexSize);
}

function decodeEntries(bytes: Uint8Array, indexOffset: number, context: PageIndexContext): PageIndex {
  const lock = lockPgno(context.pageSize);
  const maxSize = maxFrameSize(context.pageSize);
  const capacity = countVarints(bytes) / 3 | 0;
  const pgnos = new Uint32Array(capacity);
  const offsets = new Float64Array(capacity);
  const sizes = new Uint32Array(capacity);
  const reader = new VarintReader(bytes, indexOffset, context);
  let count = 0;
  let lastPgno = 0;
  let frameOffset = HEADER_SIZE;
  for (;;) {
    const entryOffset = reader.fileOffset;
    const pgno = reader.next("pgno");
    if (pgno === 0) break;
    if (pgno <= lastPgno) {
      throw indexFault(context, `page ${pgno} follows page ${lastPgno}`, "ascending", entryOffset);
    }
    if (pgno > context.commit) {
      throw indexFault(context, `page is ${pgno}`, `at most commit ${context.commit}`, entryOffset);
    }
    if (pgno === lock) throw indexFault(context, `page is ${pgno}`, "any but the lock page", entryOffset);
    const offset = reader.next("offset");
    if (offset !== frameOffset) {
      throw indexFault(context, `frame of page ${pgno} is at ${offset}`, `${frameOffset}`, entryOffset);
    }
    const size = reader.next("size");
    if (size < MIN_FRAME_SIZE || size > maxSize) {
      const expected = `${MIN_FRAME_SIZE} to ${maxSize}`;
      throw indexFault(context, `frame of page ${pgno} has ${size} bytes`, expected, entryOffset);
    }
    pgnos[count] = lastPgno = pgno;
    offsets[count] = offset;
    sizes[count] = size;
    count++;
    frameOffset += size;
  }
  if (reader.fileOffset !== indexOffset + bytes.length) {
    throw indexFault(context, "bytes follow the end marker", "none", reader.fileOffset);
  }
  if (frameOffset !== indexOffset - PAGE_HEADER_SIZE) {
    throw indexFault(
      context,
      `frames end at ${frameOffset}`,
      `${indexOffset - PAGE_HEADER_SIZE}`,
      indexOffset,
    );
  }
  return Object.freeze({ pgnos, offsets, sizes, indexOffset });
}

/** Pages ascend, none is past commit or the lock page: so the right number of them is all of them. */
function checkSnapshot(index: PageIndex, context: PageIndexContext): void {
  const expected = storedPageCount(context.commit, context.pageSize);
  if (isSnapshot(context) && index.pgnos.length !== expected) {
    const found = `snapshot of ${context.commit} pages (TXIDs from ${
      formatTxid(1n)
    }) holds ${index.pgnos.length}`;
    throw indexFault(context, found, `${expected}`, index.indexOffset);
  }
}

/** Counts the bytes that end a varint, which is at least the number of varints read without a fault. */
function countVarints(bytes: Uint8Array): number {
  let count = 0;
  for (let i = 0; i < bytes.length; i++) count += (bytes[i]! >>> 7) ^ 1;
  return count;
}

class VarintReader {
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #context: PageIndexContext;
  #at = 0;

  constructor(bytes: Uint8Array, start: number, context: PageIndexContext) {
    this.#bytes = bytes;
    this.#start = start;
    this.#context = context;
  }

  get fileOffset(): number {
    return this.#start + this.#at;
  }

  /** Reads a uvarint in its shortest form, the only one writers use; a longer one would outgrow the bounds above. */
  next(field: string): number {
    const bytes = this.#bytes;
    let value = 0;
    let scale = 1;
    for (;;) {
      if (this.#at >= bytes.length) throw this.#fault(`${field} is cut off`, "a whole varint");
      const byte = bytes[this.#at++]!;
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw this.#fault(`${field} is ${value}`, "at most 2^53 - 1");
      if (byte < 0x80) {
        if (byte === 0 && scale > 1) throw this.#fault(`${field} ends in a zero byte`, "its shortest form");
        return value;
      }
      scale *= 128;
      if (scale > Number.MAX_SAFE_INTEGER) throw this.#fault(`${field} goes on`, "at most 8 bytes");
    }
  }

  #fault(found: string, expected: string): LtxFormatError {
    return indexFault(this.#context, found, expected, Math.max(this.#start, this.fileOffset - 1));
  }
}

function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  while (rest >= 0x80) {
    target[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  target[at++] = rest;
  return at;
}

function indexFault(
  { key }: PageIndexContext,
  found: string,
  expected: string,
  offset?: number,
): LtxFormatError {
  return ltxFault("decode page index", found, expected, { key, offset });
}
