/**
 * LZ4 in TypeScript, written from its two specifications for the tests: slow, strict, and independent of `liblz4`, so
 * that one can be held against the other.
 *
 * @module
 */

import type { Lz4 } from "../../src/ltx/lz4.ts";
import { xxHash32 } from "../../src/ltx/xxhash32.ts";

const MIN_MATCH = 4;
/** The last bytes of a block are always literals. */
const LAST_LITERALS = 5;
/** No match begins within this many bytes of a block's end. */
const MATCH_LIMIT = 12;
const MAX_DISTANCE = 0xffff;
const FRAME_MAGIC = 0x184d2204;

/** @see LZ4 Block Format Description, and LZ4 Frame Format Description 1.6 */
export const lz4: Lz4 = { compressBlock, decompressBlock, decompressFrame };

function compressBlock(src: Uint8Array): Uint8Array {
  const out: number[] = [];
  const lastSeen = new Map<number, number>();
  const view = new DataView(src.buffer, src.byteOffset, src.length);
  let anchor = 0;
  let at = 0;
  while (at <= src.length - MATCH_LIMIT) {
    const word = view.getUint32(at, true);
    const candidate = lastSeen.get(word);
    lastSeen.set(word, at);
    if (candidate === undefined || at - candidate > MAX_DISTANCE) {
      at++;
      continue;
    }
    let matchSize = MIN_MATCH;
    while (
      at + matchSize < src.length - LAST_LITERALS && src[at + matchSize] === src[candidate + matchSize]
    ) matchSize++;
    pushSequence(out, src.subarray(anchor, at), at - candidate, matchSize);
    at += matchSize;
    anchor = at;
  }
  pushSequence(out, src.subarray(anchor), 0, 0);
  return Uint8Array.from(out);
}

/** Adds literals and a match; without a match (size 0) it is the block's last sequence. */
function pushSequence(out: number[], literals: Uint8Array, distance: number, matchSize: number): void {
  const extraMatch = matchSize === 0 ? 0 : matchSize - MIN_MATCH;
  out.push((Math.min(literals.length, 15) << 4) | Math.min(extraMatch, 15));
  pushLength(out, literals.length);
  for (const byte of literals) out.push(byte);
  if (matchSize === 0) return;
  out.push(distance & 0xff, distance >> 8);
  pushLength(out, extraMatch);
}

function pushLength(out: number[], length: number): void {
  if (length < 15) return;
  let rest = length - 15;
  for (; rest >= 255; rest -= 255) out.push(255);
  out.push(rest);
}

function decompressBlock(src: Uint8Array, dstSize: number): Uint8Array | null {
  const dst = new Uint8Array(dstSize);
  return readBlock(src, dst, { start: 0, windowStart: 0, end: dstSize }) === dstSize ? dst : null;
}

/**
 * Decodes a block to `dst[start…]`, never past `end`; matches reach back to `windowStart`. Gives where it stopped, or -1
 * when the block is malformed.
 */
function readBlock(
  src: Uint8Array,
  dst: Uint8Array,
  { start, windowStart, end }: { start: number; windowStart: number; end: number },
): number {
  let from = 0;
  let to = start;
  const readLength = (nibble: number): number => {
    let length = nibble;
    if (nibble < 15) return length;
    for (;;) {
      const byte = src[from++];
      if (byte === undefined) return Infinity;
      length += byte;
      if (byte < 255) return length;
    }
  };
  while (from < src.length) {
    const token = src[from++]!;
    const literalSize = readLength(token >> 4);
    if (literalSize > src.length - from || literalSize > end - to) return -1;
    dst.set(src.subarray(from, from + literalSize), to);
    from += literalSize;
    to += literalSize;
    if (from === src.length) return to;
    // A distance, a token and the last literals are still to come, and room for them.
    if (src.length - from < 2 + 1 + LAST_LITERALS || end - to < MATCH_LIMIT) return -1;
    const distance = src[from]! | (src[from + 1]! << 8);
    from += 2;
    const matchSize = readLength(token & 15) + MIN_MATCH;
    if (distance === 0 || distance > to - windowStart || matchSize > end - to - LAST_LITERALS) return -1;
    for (let i = 0; i < matchSize; i++, to++) dst[to] = dst[to - distance]!;
  }
  return -1;
}

function decompressFrame(src: Uint8Array, dstSize: number): Uint8Array | null {
  const dst = new Uint8Array(dstSize);
  const view = new DataView(src.buffer, src.byteOffset, src.length);
  const head = readFrameHead(src, view, dstSize);
  if (head === null) return null;
  let from = head.size;
  let to = 0;
  for (;;) {
    if (from + 4 > src.length) return null;
    const field = view.getUint32(from, true);
    from += 4;
    if (field === 0) break;
    const size = field & 0x7fff_ffff;
    if (size > head.blockSizeMax || size > src.length - from) return null;
    const block = src.subarray(from, from + size);
    from += size;
    if (head.hasBlockChecksum) {
      if (from + 4 > src.length || view.getUint32(from, true) !== xxHash32(block)) return null;
      from += 4;
    }
    const end = Math.min(dstSize, to + head.blockSizeMax);
    if (field >= 0x8000_0000) {
      if (size > end - to) return null;
      dst.set(block, to);
      to += size;
    } else {
      to = readBlock(block, dst, { start: to, windowStart: head.areIndependent ? to : 0, end });
      if (to < 0) return null;
    }
  }
  if (head.hasContentChecksum) {
    if (from + 4 > src.length || view.getUint32(from, true) !== xxHash32(dst.subarray(0, to))) return null;
    from += 4;
  }
  return to === dstSize && from === src.length ? dst : null;
}

interface FrameHead {
  size: number;
  blockSizeMax: number;
  areIndependent: boolean;
  hasBlockChecksum: boolean;
  hasContentChecksum: boolean;
}

function readFrameHead(src: Uint8Array, view: DataView, dstSize: number): FrameHead | null {
  if (src.length < 7 || view.getUint32(0, true) !== FRAME_MAGIC) return null;
  const flags = src[4]!;
  const descriptor = src[5]!;
  const hasContentSize = (flags & 0x08) !== 0;
  const hasDictionary = (flags & 0x01) !== 0;
  const size = 7 + (hasContentSize ? 8 : 0) + (hasDictionary ? 4 : 0);
  const blockSizeId = descriptor >> 4;
  if (flags >> 6 !== 1 || (flags & 0x02) !== 0 || (descriptor & 0x8f) !== 0 || blockSizeId < 4) return null;
  if (src.length < size) return null;
  if (((xxHash32(src.subarray(4, size - 1)) >> 8) & 0xff) !== src[size - 1]) return null;
  if (hasContentSize && view.getBigUint64(6, true) !== BigInt(dstSize)) return null;
  return {
    size,
    blockSizeMax: 1 << (8 + 2 * blockSizeId),
    areIndependent: (flags & 0x20) !== 0,
    hasBlockChecksum: (flags & 0x10) !== 0,
    hasContentChecksum: (flags & 0x04) !== 0,
  };
}

/** What {@link encodeLz4Frame} may be told; left out, the frame is what Litestream 0.5.0 to 0.5.15 wrote. */
export interface Lz4FrameOptions {
  /** Bytes of content in a block; one block holds all unless given. */
  blockSize?: number;
  hasBlockChecksum?: boolean;
  hasContentSize?: boolean;
  hasContentChecksum?: boolean;
}

/** Writes an LZ4 frame of any shape, to try decoders with. */
export function encodeLz4Frame(content: Uint8Array, options: Lz4FrameOptions = {}): Uint8Array {
  const {
    blockSize = content.length,
    hasBlockChecksum = false,
    hasContentSize = false,
    hasContentChecksum = true,
  } = options;
  const flags = 0x60 | (hasBlockChecksum ? 0x10 : 0) | (hasContentSize ? 0x08 : 0) |
    (hasContentChecksum ? 0x04 : 0);
  const descriptor = [flags, 0x40, ...(hasContentSize ? littleEndian(content.length, 8) : [])];
  const out = [...littleEndian(FRAME_MAGIC, 4), ...descriptor];
  out.push((xxHash32(Uint8Array.from(descriptor)) >> 8) & 0xff);
  for (let at = 0; at < content.length; at += blockSize) {
    const plain = content.subarray(at, at + blockSize);
    const packed = compressBlock(plain);
    const isStored = packed.length >= plain.length;
    const block = isStored ? plain : packed;
    out.push(...littleEndian(block.length + (isStored ? 0x8000_0000 : 0), 4), ...block);
    if (hasBlockChecksum) out.push(...littleEndian(xxHash32(block), 4));
  }
  out.push(0, 0, 0, 0);
  if (hasContentChecksum) out.push(...littleEndian(xxHash32(content), 4));
  return Uint8Array.from(out);
}

function littleEndian(value: number, size: number): number[] {
  return Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);
}
