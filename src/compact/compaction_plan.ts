/**
 * Which files are due to be merged, by what the replica holds and the time; never by how long a process has
 * run.
 *
 * A file is due for the level above when it was there before that level's interval began. So what is merged
 * once is not due again within the interval, and what a process left behind is due when the next one looks.
 *
 * @module
 */
import { formatLtxFileName } from "../ltx/txid.ts";
import { ltxKey } from "../storage/layout.ts";
import type { LayoutName } from "../storage/object_store.ts";
import { makeRestorePlan, type ReplicaFile, SNAPSHOT_LEVEL } from "../view/restore_plan.ts";
import { intervalStart } from "./compaction_schedule.ts";

/** Files merged at once: each holds a piece in memory. What is left waits for the next step. */
export const SOURCES_MAX = 256;

/** A file to be made. */
export interface CompactionStep {
  /** The level it is made on; 9 for a snapshot. */
  readonly level: number;
  /** What it is made of, oldest first; a snapshot's first one begins at TXID 1. */
  readonly sources: readonly ReplicaFile[];
  readonly minTxid: bigint;
  readonly maxTxid: bigint;
  /** Whether nothing that is known leads up to it. */
  readonly isBehindGap: boolean;
}

/** What a step may take. */
export interface StepBounds {
  /** Bytes of sources together. */
  readonly sizeMax: number;
}

/** The key of the file that a step makes. */
export function stepKey(layout: LayoutName, step: CompactionStep): string {
  return ltxKey(layout, step.level, formatLtxFileName(step));
}

/**
 * The merge of level `level - 1` that is due on `level`; null when there is none.
 *
 * It begins behind the newest file of `level`, ends before the first gap, and passes over files that are too
 * large.
 */
export function dueMerge(
  files: readonly ReplicaFile[],
  level: number,
  { nowMs, intervalMs, sizeMax }: StepBounds & { nowMs: number; intervalMs: number },
): CompactionStep | null {
  const reached = newestTxid(files.filter((file) => file.level === level));
  const waiting = files.filter((file) => file.level === level - 1 && file.maxTxid > reached);
  if (!waiting.some(isBefore(intervalStart(nowMs, intervalMs)))) return null;
  const sources = firstRun(waiting, reached, sizeMax);
  return sources.length === 0 ? null : stepOf(level, sources, reached);
}

/**
 * The snapshot that is due; null when there is none. A replica without any is due at once.
 *
 * @throws {RestorePlanError} the files do not make up the newest state
 */
export function dueSnapshot(
  files: readonly ReplicaFile[],
  { nowMs, intervalMs }: { nowMs: number; intervalMs: number },
): CompactionStep | null {
  if (files.length === 0) return null;
  const reached = newestTxid(files.filter((file) => file.level === SNAPSHOT_LEVEL));
  const waiting = files.filter((file) => file.maxTxid > reached);
  if (reached > 0n && !waiting.some(isBefore(intervalStart(nowMs, intervalMs)))) return null;
  const plan = makeRestorePlan(files).slice(0, SOURCES_MAX);
  return plan.at(-1)!.level === SNAPSHOT_LEVEL ? null : stepOf(SNAPSHOT_LEVEL, plan, 0n);
}

/** The largest MaxTXID; 0 where there is no file. */
export function newestTxid(files: Iterable<ReplicaFile>): bigint {
  let newest = 0n;
  for (const { maxTxid } of files) if (maxTxid > newest) newest = maxTxid;
  return newest;
}

function isBefore(boundaryMs: number): (file: ReplicaFile) => boolean {
  return (file) => file.modifiedMs < boundaryMs;
}

/** The first files that follow one another without a gap, each reaching further than the one before. */
function firstRun(waiting: ReplicaFile[], reached: bigint, sizeMax: number): ReplicaFile[] {
  waiting.sort((a, b) => compareTxids(a.minTxid, b.minTxid) || compareTxids(b.maxTxid, a.maxTxid));
  const run: ReplicaFile[] = [];
  let size = 0;
  let end = reached;
  for (const file of waiting) {
    if (file.maxTxid <= end) continue;
    const isNext = file.minTxid <= end + 1n && size + file.size <= sizeMax;
    if (run.length > 0 && (!isNext || run.length === SOURCES_MAX)) break;
    if (file.size > sizeMax) continue;
    run.push(file);
    size += file.size;
    end = file.maxTxid;
  }
  return run;
}

function compareTxids(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function stepOf(level: number, sources: readonly ReplicaFile[], reached: bigint): CompactionStep {
  const { minTxid } = sources[0]!;
  return { level, sources, minTxid, maxTxid: sources.at(-1)!.maxTxid, isBehindGap: minTxid > reached + 1n };
}
