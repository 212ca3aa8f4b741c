/**
 * Moments as users name them.
 *
 * @module
 */
import { formatTxid } from "./ltx/txid.ts";

/**
 * A moment: a time (the newest state all of whose files were written before it), a TXID, or text as
 * `PRAGMA litestream_time` takes it, such as `"5 minutes ago"`.
 */
export type AsOf = Date | bigint | string;

/** The longest text that names a moment, in bytes of UTF-8; the shim takes 255. */
const MOMENT_BYTES_MAX = 200;

function checkTxid(txid: bigint): bigint {
  if (txid >= 1n && txid < 2n ** 64n) return txid;
  const wanted = txid < 1n ? "one from 1 on" : "one below 2^64";
  throw new RangeError(`Cannot use asOf: TXID ${txid}, expected ${wanted}`);
}

/** A moment as the core reads it. */
export function momentText(asOf: AsOf): string {
  if (typeof asOf === "bigint") return `txid:${formatTxid(checkTxid(asOf))}`;
  const text = asOf instanceof Date && Number.isFinite(asOf.getTime()) ? asOf.toISOString() : asOf;
  if (typeof text === "string" && text !== "" && new TextEncoder().encode(text).length <= MOMENT_BYTES_MAX) {
    return text;
  }
  throw new TypeError(
    `Cannot use asOf: "${String(asOf).slice(0, 100)}", expected a valid Date, a TXID or a time as text`,
  );
}
