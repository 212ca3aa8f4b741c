import { formatChecksum, isChecksum } from "./checksum.ts";
import { ltxFault } from "./fault.ts";
import { formatTxid, PAGE_SIZES } from "./txid.ts";

/** Bytes of an LTX header. */
export const HEADER_SIZE = 100;

/** Header flag: the database's rolling checksum is not tracked. Litestream sets it on every file. */
export const NO_CHECKSUM = 0x2;

/** What a `Date` holds at most, in ms on either side of the Unix epoch. */
export const DATE_MS_MAX = 8.64e15;

const MAGIC = 0x4c545831; // "LTX1"
const MAX_U32 = 0xffff_ffff;
const MAX_U64 = 0xffff_ffff_ffff_ffffn;

/** Where each field stands, in bytes from the file's start. */
const OFFSETS = {
  flags: 4,
  pageSize: 8,
  commit: 12,
  minTxid: 16,
  maxTxid: 24,
  timestampMs: 32,
  preApplyChecksum: 40,
  walOffset: 48,
  walSize: 56,
  walSalt1: 64,
  walSalt2: 68,
  nodeId: 72,
} as const satisfies Record<keyof LtxHeader, number>;

/**
 * The first 100 bytes of an LTX file.
 *
 * @see LTX format version 3, §3
 */
export interface LtxHeader {
  /** 0 or {@link NO_CHECKSUM}. */
  readonly flags: number;
  /** Bytes of a database page. */
  readonly pageSize: number;
  /** Size of the database after this file, in pages. */
  readonly commit: number;
  /** First transaction contained. */
  readonly minTxid: bigint;
  /** Last transaction contained. */
  readonly maxTxid: bigint;
  /** Milliseconds since the Unix epoch. */
  readonly timestampMs: number;
  /** Rolling database checksum before this file, or 0 when it is not tracked or the file is a snapshot. */
  readonly preApplyChecksum: bigint;
  /** Byte offset in the source WAL, or 0. */
  readonly walOffset: number;
  /** Bytes of the source WAL consumed, or 0. */
  readonly walSize: number;
  /** First salt of the source WAL, or 0. */
  readonly walSalt1: number;
  /** Second salt of the source WAL, or 0. */
  readonly walSalt2: number;
  /** Id of the creator, or 0; Litestream never sets it. */
  readonly nodeId: bigint;
}

/**
 * What a writer must say of a file; the other fields are {@link NO_CHECKSUM} for `flags` and zero for the rest
 * unless given.
 */
export type LtxHeaderFields =
  & Pick<LtxHeader, "pageSize" | "commit" | "minTxid" | "maxTxid" | "timestampMs">
  & Partial<LtxHeader>;

/** Tells whether a file holds the whole database: its transactions begin at 1. */
export function isSnapshot(header: Pick<LtxHeader, "minTxid">): boolean {
  return header.minTxid === 1n;
}

/** Tells whether a file leaves the database's rolling checksum out; the file's own checksum is always there. */
export function isNoChecksum(header: Pick<LtxHeader, "flags">): boolean {
  return (header.flags & NO_CHECKSUM) !== 0;
}

/**
 * Decodes and validates the header of an LTX file. `bytes` begins where the file does and may go on after the header;
 * it is read, not kept. The result is frozen. `key` names the file in errors.
 *
 * @throws {LtxFormatError} fewer than 100 bytes, a rule of §3.1 is broken, or a time or WAL position is past 2^53 - 1
 * @see LTX format version 3, §3
 */
export function decodeHeader(bytes: Uint8Array, { key }: { key?: string } = {}): LtxHeader {
  const act = "decode LTX header";
  if (bytes.length < HEADER_SIZE) {
    throw ltxFault(act, `${bytes.length} bytes`, `${HEADER_SIZE} or more`, { key });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_SIZE);
  const magic = view.getUint32(0);
  if (magic !== MAGIC) {
    throw ltxFault(act, `magic is 0x${magic.toString(16).padStart(8, "0")}`, `0x4c545831`, {
      key,
      offset: 0,
    });
  }
  const header: LtxHeader = Object.freeze({
    flags: view.getUint32(OFFSETS.flags),
    pageSize: view.getUint32(OFFSETS.pageSize),
    commit: view.getUint32(OFFSETS.commit),
    minTxid: view.getBigUint64(OFFSETS.minTxid),
    maxTxid: view.getBigUint64(OFFSETS.maxTxid),
    timestampMs: Number(view.getBigInt64(OFFSETS.timestampMs)),
    preApplyChecksum: view.getBigUint64(OFFSETS.preApplyChecksum),
    walOffset: Number(view.getBigInt64(OFFSETS.walOffset)),
    walSize: Number(view.getBigInt64(OFFSETS.walSize)),
    walSalt1: view.getUint32(OFFSETS.walSalt1),
    walSalt2: view.getUint32(OFFSETS.walSalt2),
    nodeId: view.getBigUint64(OFFSETS.nodeId),
  });
  checkHeader(header, act, key);
  return header;
}

/**
 * Encodes a header to its 100 bytes; fields left out are filled as {@link LtxHeaderFields} says.
 *
 * @throws {LtxFormatError} a rule of §3.1 is broken, or a value does not fit its field
 * @see LTX format version 3, §3
 */
export function encodeHeader(fields: LtxHeaderFields): Uint8Array<ArrayBuffer> {
  const header = completeHeader(fields);
  const act = "encode LTX header";
  checkWidths(header, act);
  checkHeader(header, act);
  const bytes = new Uint8Array(HEADER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  for (const field of ["flags", "pageSize", "commit", "walSalt1", "walSalt2"] as const) {
    view.setUint32(OFFSETS[field], header[field]);
  }
  for (const field of ["timestampMs", "walOffset", "walSize"] as const) {
    view.setBigInt64(OFFSETS[field], BigInt(header[field]));
  }
  for (const field of ["minTxid", "maxTxid", "preApplyChecksum", "nodeId"] as const) {
    view.setBigUint64(OFFSETS[field], header[field]);
  }
  return bytes;
}

/** Fills the fields a writer left out; nothing is checked. The result is frozen. */
export function completeHeader(fields: LtxHeaderFields): LtxHeader {
  return Object.freeze({
    flags: NO_CHECKSUM,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
    ...fields,
  });
}

/** The rules of §3.1, in its order. */
function checkHeader(header: LtxHeader, act: string, key?: string): void {
  const check = (holds: boolean, field: keyof LtxHeader, expected: string): void => {
    if (!holds) {
      throw ltxFault(act, `${field} is ${formatField(header, field)}`, expected, {
        key,
        offset: OFFSETS[field],
      });
    }
  };
  check((header.flags & ~NO_CHECKSUM) === 0, "flags", "no flag but 0x2");
  check(PAGE_SIZES.includes(header.pageSize), "pageSize", "a power of two from 512 to 65536");
  check(header.minTxid !== 0n, "minTxid", "1 or more");
  check(header.maxTxid !== 0n, "maxTxid", "1 or more");
  check(header.minTxid <= header.maxTxid, "maxTxid", `minTxid ${formatTxid(header.minTxid)} or more`);
  check(isDate(header.timestampMs), "timestampMs", "a whole number within 8.64e15, as a Date holds");
  check(isFileOffset(header.walOffset), "walOffset", "0 to 2^53 - 1");
  check(isFileOffset(header.walSize), "walSize", "0 to 2^53 - 1");
  const hasSalt = header.walSalt1 !== 0 || header.walSalt2 !== 0;
  check(header.walOffset !== 0 || !hasSalt, "walOffset", "1 or more where there is a salt");
  check(header.walOffset !== 0 || header.walSize === 0, "walSize", "0 where walOffset is 0");
  checkPreApplyChecksum(header, check);
}

function checkPreApplyChecksum(
  header: LtxHeader,
  check: (holds: boolean, field: keyof LtxHeader, expected: string) => void,
): void {
  const checksum = header.preApplyChecksum;
  if (isSnapshot(header)) return check(checksum === 0n, "preApplyChecksum", "0 in a snapshot");
  if (isNoChecksum(header)) return check(checksum === 0n, "preApplyChecksum", "0 under the NoChecksum flag");
  check(checksum !== 0n, "preApplyChecksum", "a checksum");
  check(isChecksum(checksum), "preApplyChecksum", "bit 63 set");
}

/** What decoding cannot get wrong: values that fit their fields. */
function checkWidths(header: LtxHeader, act: string): void {
  for (const field of ["flags", "pageSize", "commit", "walSalt1", "walSalt2"] as const) {
    const value = header[field];
    if (Number.isInteger(value) && value >= 0 && value <= MAX_U32) continue;
    throw ltxFault(act, `${field} is ${value}`, "a whole number from 0 to 2^32 - 1", {
      offset: OFFSETS[field],
    });
  }
  for (const field of ["minTxid", "maxTxid", "preApplyChecksum", "nodeId"] as const) {
    const value = header[field];
    if (typeof value === "bigint" && value >= 0n && value <= MAX_U64) continue;
    throw ltxFault(act, `${field} is ${value}`, "a bigint from 0 to 2^64 - 1", { offset: OFFSETS[field] });
  }
}

/** Whether a time is one that a `Date` holds. */
function isDate(ms: number): boolean {
  return Number.isSafeInteger(ms) && Math.abs(ms) <= DATE_MS_MAX;
}

function isFileOffset(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function formatField(header: LtxHeader, field: keyof LtxHeader): string {
  if (field === "minTxid" || field === "maxTxid") return formatTxid(header[field]);
  if (field === "preApplyChecksum") return formatChecksum(header[field]);
  if (field === "flags") return `0x${header.flags.toString(16).padStart(8, "0")}`;
  return String(header[field]);
}
