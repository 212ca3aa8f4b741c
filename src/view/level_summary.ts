/**
 * What lies on each level of a replica.
 *
 * @module
 */
import type { ReplicaFile } from "./restore_plan.ts";

/** The files of one level. */
export interface LevelSummary {
  /** 0 as written, 1–8 compacted, 9 snapshots. */
  readonly level: number;
  /** How many there are. */
  readonly files: number;
  /** Of all of them, as stored. */
  readonly bytes: number;
  /** First transaction in any of them. */
  readonly minTxid: bigint;
  /** Last transaction in any of them. */
  readonly maxTxid: bigint;
  /** When the oldest one was stored, by the store's clock. */
  readonly oldest: Date;
  /** When the newest one was. */
  readonly newest: Date;
}

/** Sums files up by level, lowest first; levels without files are left out. */
export function summarizeLevels(files: readonly ReplicaFile[]): LevelSummary[] {
  const byLevel = Map.groupBy(files, ({ level }) => level);
  return [...byLevel.keys()].sort((a, b) => a - b).map((level) => summaryOf(level, byLevel.get(level)!));
}

function summaryOf(level: number, files: readonly ReplicaFile[]): LevelSummary {
  let bytes = 0;
  let { minTxid, maxTxid, modifiedMs: oldestMs, modifiedMs: newestMs } = files[0]!;
  for (const file of files) {
    bytes += file.size;
    if (file.minTxid < minTxid) minTxid = file.minTxid;
    if (file.maxTxid > maxTxid) maxTxid = file.maxTxid;
    oldestMs = Math.min(oldestMs, file.modifiedMs);
    newestMs = Math.max(newestMs, file.modifiedMs);
  }
  const [oldest, newest] = [new Date(oldestMs), new Date(newestMs)];
  return { level, files: files.length, bytes, minTxid, maxTxid, oldest, newest };
}
