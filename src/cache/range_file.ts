/**
 * One fetched range as a file: who it is of, a checksum a block, the bytes.
 *
 *     "LSRANGE1" | object 20 | block size 4 | offset 8 | size 8 | checksum 8 a block | checksum of it 8 | bytes
 *
 * Numbers are little-endian; checksums are CRC-64/ISO. A part of the range is checked without the rest of it.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import type { ByteRange } from "../storage/object_store.ts";

/** Gives the checksum of bytes. */
export type Checksum = (bytes: Uint8Array) => bigint;

/** A file's place and name: all that its head must repeat. */
export interface RangeName extends ByteRange {
  /** Names key and content of the object, in 40 hex digits. */
  readonly object: string;
}

/** Bytes under one checksum. */
export const BLOCK_SIZE: number = 16 * 1024;

const MAGIC = "LSRANGE1";
const OBJECT_OFFSET = 8;
const OBJECT_SIZE = 20;
const BLOCK_SIZE_OFFSET = 28;
const RANGE_OFFSET = 32;
const CHECKSUMS_OFFSET = 48;
const CHECKSUM_SIZE = 8;

/** What a CRC begins with, and is turned over by at its end. */
const CRC_START = 2n ** 64n - 1n;

/** The shim's CRC-64. */
export function shimChecksum(native: Native): Checksum {
  const crc = new BigUint64Array(1);
  const words = new Uint8Array(crc.buffer);
  return (bytes) => {
    crc[0] = CRC_START;
    native.calls.ls_crc_add(bytes as Uint8Array<ArrayBuffer>, bytes.length, words);
    return crc[0] ^ CRC_START;
  };
}

/** Bytes before those of a range of `size` bytes. */
export function headSize(size: number): number {
  return CHECKSUMS_OFFSET + (Math.ceil(size / BLOCK_SIZE) + 1) * CHECKSUM_SIZE;
}

/** The file of a range. */
export function encodeRangeFile(name: RangeName, bytes: Uint8Array, checksum: Checksum): Uint8Array {
  const start = headSize(bytes.length);
  const file = new Uint8Array(start + bytes.length);
  file.set(bytes, start);
  const view = new DataView(file.buffer);
  new TextEncoder().encodeInto(MAGIC, file);
  for (let i = 0; i < OBJECT_SIZE; i++) {
    file[OBJECT_OFFSET + i] = parseInt(name.object.slice(i * 2, i * 2 + 2), 16);
  }
  view.setUint32(BLOCK_SIZE_OFFSET, BLOCK_SIZE, true);
  view.setBigUint64(RANGE_OFFSET, BigInt(name.offset), true);
  view.setBigUint64(RANGE_OFFSET + 8, BigInt(name.size), true);
  let at = CHECKSUMS_OFFSET;
  for (let block = 0; block < bytes.length; block += BLOCK_SIZE, at += CHECKSUM_SIZE) {
    view.setBigUint64(at, checksum(bytes.subarray(block, block + BLOCK_SIZE)), true);
  }
  view.setBigUint64(at, checksum(file.subarray(0, at)), true);
  return file;
}

/** The checksums of a range's blocks; undefined where the head is damaged, or another range's. */
export function decodeHead(
  name: RangeName,
  head: Uint8Array,
  checksum: Checksum,
): readonly bigint[] | undefined {
  const end = headSize(name.size) - CHECKSUM_SIZE;
  if (head.length !== end + CHECKSUM_SIZE) return undefined;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (view.getBigUint64(end, true) !== checksum(head.subarray(0, end))) return undefined;
  const object = Array.from(
    head.subarray(OBJECT_OFFSET, OBJECT_OFFSET + OBJECT_SIZE),
    (byte) => byte.toString(16).padStart(2, "0"),
  ).join("");
  const isNamed = new TextDecoder().decode(head.subarray(0, MAGIC.length)) === MAGIC &&
    object === name.object && view.getUint32(BLOCK_SIZE_OFFSET, true) === BLOCK_SIZE &&
    view.getBigUint64(RANGE_OFFSET, true) === BigInt(name.offset) &&
    view.getBigUint64(RANGE_OFFSET + 8, true) === BigInt(name.size);
  if (!isNamed) return undefined;
  return Array.from(
    { length: Math.ceil(name.size / BLOCK_SIZE) },
    (_, i) => view.getBigUint64(CHECKSUMS_OFFSET + i * CHECKSUM_SIZE, true),
  );
}

/** Whether blocks from number `first` on are what was written. */
export function areWhole(
  blocks: Uint8Array,
  first: number,
  checksums: readonly bigint[],
  checksum: Checksum,
): boolean {
  for (let at = 0, block = first; at < blocks.length; at += BLOCK_SIZE, block++) {
    if (checksum(blocks.subarray(at, at + BLOCK_SIZE)) !== checksums[block]) return false;
  }
  return true;
}
