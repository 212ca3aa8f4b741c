import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";

/** `[level, minTxid, maxTxid, modifiedMs?]` */
export type Short = readonly [number, number, number, number?];

/** The file that the short form names. */
export function file([level, min, max, modifiedMs = 0]: Short): ReplicaFile {
  const range = { minTxid: BigInt(min), maxTxid: BigInt(max) };
  const key = ltxKey("s3", level, formatLtxFileName(range));
  return { ...range, level, modifiedMs, key, etag: `"${modifiedMs}"`, size: 200 };
}

/** The short form of files, times left out. */
export function short(files: readonly ReplicaFile[]): number[][] {
  return files.map(({ level, minTxid, maxTxid }) => [level, Number(minTxid), Number(maxTxid)]);
}
