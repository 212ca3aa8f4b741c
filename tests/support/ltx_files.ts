import assert from "node:assert/strict";
import { LtxFormatError } from "../../src/errors.ts";
import { Crc64 } from "../../src/ltx/checksum.ts";
import { encodeFile, type LtxPage } from "../../src/ltx/encoder.ts";
import { decodeFrame, type FrameEncoding } from "../../src/ltx/frame.ts";
import { decodeHeader, type LtxHeaderFields } from "../../src/ltx/header.ts";
import { decodePageIndex, encodePageIndex, type PageIndex } from "../../src/ltx/page_index.ts";
import { storedPageCount } from "../../src/ltx/txid.ts";
import { lz4 } from "./lz4.ts";
import { Random } from "./random.ts";

/** Asserts an LtxFormatError in the form all messages have, and gives it. */
export function assertFault(act: () => unknown, message: RegExp): LtxFormatError {
  let thrown: unknown;
  assert.throws(act, (error) => {
    thrown = error;
    return true;
  });
  assert.ok(thrown instanceof LtxFormatError, `threw ${thrown}`);
  assert.match(thrown.message, /^Cannot [a-z][^:]*: .+, expected .*[^.]$/);
  assert.match(thrown.message, message);
  return thrown;
}

/** Asserts that `act` gives a value or throws an LtxFormatError, and gives the value or null. */
export function valueOrFault<T>(act: () => T): T | null {
  try {
    return act();
  } catch (error) {
    if (error instanceof LtxFormatError) return null;
    throw error;
  }
}

/** Pages of four kinds in turn: text that compresses, zeros, noise that does not, and a few bytes in a desert. */
export function samplePage(pageSize: number, pgno: number): Uint8Array {
  const random = new Random(pgno * 7919 + pageSize);
  if (pgno % 4 === 3) return random.bytes(pageSize);
  const page = new Uint8Array(pageSize);
  if (pgno % 4 === 1) {
    for (let i = 0; i < pageSize; i++) {
      page[i] = "select sandwich from menu where pgno = "[i % 39]!.charCodeAt(0);
    }
  }
  if (pgno % 4 !== 2) { for (let i = 0; i < 20; i++) page[random.next(pageSize)] = random.next(256); }
  return page;
}

/** The pages of a file, made up. */
export function samplePages(pageSize: number, pgnos: readonly number[]): LtxPage[] {
  return pgnos.map((pgno) => ({ pgno, page: samplePage(pageSize, pgno) }));
}

/** Header fields of a snapshot 1-1 of that many pages. */
export function snapshotFields(pageSize: number, commit: number): LtxHeaderFields {
  return { pageSize, commit, minTxid: 1n, maxTxid: 1n, timestampMs: 1_700_000_000_123 };
}

/** A whole file, made up: a snapshot where `minTxid` is 1. */
export function sampleFile(
  fields: Partial<LtxHeaderFields> = {},
  { pgnos = [1, 2, 3], encoding = "block" }: { pgnos?: number[]; encoding?: FrameEncoding } = {},
): Uint8Array {
  const all = { ...snapshotFields(512, 3), ...fields };
  return encodeFile(all, samplePages(all.pageSize, pgnos), { lz4, encoding });
}

/** Stamps the right file checksum on a changed file whose frames still decode, so that what comes after is reached. */
export function resealFile(file: Uint8Array): Uint8Array {
  const bytes = file.slice();
  const header = decodeHeader(bytes);
  const index = decodePageIndex(bytes, { ...header, fileSize: bytes.length });
  assert.ok("pgnos" in index);
  const crc = new Crc64().update(bytes.subarray(0, 100));
  for (let i = 0; i < index.pgnos.length; i++) {
    const stored = bytes.subarray(index.offsets[i]!, index.offsets[i]! + index.sizes[i]!);
    const frame = decodeFrame(stored, { pgno: index.pgnos[i]!, pageSize: header.pageSize, lz4 });
    crc.update(stored.subarray(0, frame.headerSize)).update(frame.page);
  }
  crc.update(bytes.subarray(index.indexOffset - 6, bytes.length - 8));
  new DataView(bytes.buffer).setBigUint64(bytes.length - 8, crc.checksum());
  return bytes;
}

/** An index as typed arrays, its frames one behind the other. */
export function contiguousIndex(pgnos: ArrayLike<number>, frameSize: number): PageIndex {
  const count = pgnos.length;
  return {
    pgnos: Uint32Array.from(pgnos),
    offsets: Float64Array.from({ length: count }, (_, i) => 100 + i * frameSize),
    sizes: new Uint32Array(count).fill(frameSize),
    indexOffset: 100 + count * frameSize + 6,
  };
}

/** The last bytes of a file that has this index, from the index on; the trailer is zeros. */
export function tailOf(index: Parameters<typeof encodePageIndex>[0]): Uint8Array {
  const encoded = encodePageIndex(index);
  const tail = new Uint8Array(encoded.length + 16);
  tail.set(encoded);
  return tail;
}

/** The pages a snapshot of `commit` pages stores. */
export function snapshotPgnos(commit: number, pageSize: number): Uint32Array {
  const count = storedPageCount(commit, pageSize);
  const lock = 0x40000000 / pageSize + 1;
  return new Uint32Array(count).map((_, i) => i + 1 < lock ? i + 1 : i + 2);
}
