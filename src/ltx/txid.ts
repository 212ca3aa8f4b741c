import { ltxFault } from "./fault.ts";

/** The page sizes SQLite knows, in bytes, ascending. */
export const PAGE_SIZES: readonly number[] = Object.freeze([
  512,
  1024,
  2048,
  4096,
  8192,
  16384,
  32768,
  65536,
]);

/** SQLite locks bytes from 1 GiB on; the page that holds them is never stored. */
const PENDING_BYTE = 0x40000000;

const MAX_U64 = 0xffff_ffff_ffff_ffffn;
const LTX_FILE_NAME = /^([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/;

/** The TXIDs in an LTX file's name, both inclusive. */
export interface TxidRange {
  /** First transaction in the file. */
  readonly minTxid: bigint;
  /** Last transaction in the file. */
  readonly maxTxid: bigint;
}

/**
 * Writes a TXID as 16 lower-case hex digits.
 *
 * @throws {RangeError} `txid` does not fit in 64 unsigned bits
 * @see LTX format version 3, §13
 */
export function formatTxid(txid: bigint): string {
  if (txid < 0n || txid > MAX_U64) {
    throw new RangeError(`Cannot format TXID: ${txid}, expected 0 to 2^64 - 1`);
  }
  return txid.toString(16).padStart(16, "0");
}

/**
 * Reads a TXID from exactly 16 hex digits of either case.
 *
 * @throws {LtxFormatError} `text` is anything else
 * @see LTX format version 3, §13
 */
export function parseTxid(text: string): bigint {
  if (!/^[0-9a-fA-F]{16}$/.test(text)) {
    throw ltxFault("parse TXID", JSON.stringify(text.slice(0, 40)), "16 hex digits");
  }
  return BigInt(`0x${text}`);
}

/**
 * Writes the name of the file that holds `minTxid` to `maxTxid`, such as
 * `0000000000000002-0000000000000005.ltx`.
 *
 * @throws {RangeError} a TXID is zero, does not fit in 64 unsigned bits, or `minTxid` is past `maxTxid`
 * @see LTX format version 3, §13
 */
export function formatLtxFileName({ minTxid, maxTxid }: TxidRange): string {
  if (minTxid < 1n || minTxid > maxTxid) {
    throw new RangeError(
      `Cannot format LTX file name: TXIDs are ${minTxid} to ${maxTxid}, expected 1 or more, ascending`,
    );
  }
  return `${formatTxid(minTxid)}-${formatTxid(maxTxid)}.ltx`;
}

/**
 * Reads the TXIDs in a file name (without folders), or null when no LTX file bears that name: other characters,
 * upper case, a zero TXID, TXIDs in the wrong order. Listings skip those names.
 *
 * @see LTX format version 3, §13
 */
export function parseLtxFileName(name: string): TxidRange | null {
  const match = LTX_FILE_NAME.exec(name);
  if (match === null) return null;
  const minTxid = BigInt(`0x${match[1]}`);
  const maxTxid = BigInt(`0x${match[2]}`);
  return minTxid === 0n || minTxid > maxTxid ? null : { minTxid, maxTxid };
}

/**
 * Gives the page that holds SQLite's lock bytes; it is never stored, indexed or part of a checksum, but `commit`
 * counts it.
 *
 * @see LTX format version 3, §9
 */
export function lockPgno(pageSize: number): number {
  return Math.floor(PENDING_BYTE / pageSize) + 1;
}

/** Gives the page stored after `pgno` where none is missing: the next one, or the one behind the lock page. */
export function nextStoredPgno(pgno: number, pageSize: number): number {
  return pgno + 1 === lockPgno(pageSize) ? pgno + 2 : pgno + 1;
}

/** Counts the pages a snapshot of `commit` pages stores: all but the lock page. */
export function storedPageCount(commit: number, pageSize: number): number {
  return commit >= lockPgno(pageSize) ? commit - 1 : commit;
}
