/**
 * Which files may be deleted: covered by others, old enough, and never the newest of their level.
 *
 * What stays can be reached: each file that is left, and that ends at or behind the base, ends a restore plan
 * that the replica still has.
 *
 * @module
 */
import { type ReplicaFile, SNAPSHOT_LEVEL } from "../view/restore_plan.ts";
import { newestTxid } from "./compaction_plan.ts";
import type { CompactionSchedule } from "./compaction_schedule.ts";

/**
 * Files to delete, in the order in which they may go: what is killed in between leaves all of it reachable.
 */
export interface RetentionPlan {
  readonly level0: readonly ReplicaFile[];
  readonly levels: readonly ReplicaFile[];
  /** Last: they say how far the levels may go. */
  readonly snapshots: readonly ReplicaFile[];
}

/** Plans what may be deleted of a listing. */
export function planRetention(
  files: readonly ReplicaFile[],
  { schedule, nowMs }: {
    schedule: Pick<CompactionSchedule, "snapshotRetentionMs" | "l0RetentionMs">;
    nowMs: number;
  },
): RetentionPlan {
  const base = baseTxid(files, nowMs - schedule.snapshotRetentionMs);
  const ended = files.filter((file) => file.level > 0 && file.maxTxid < base);
  const covers = level0Covers(files);
  const level0 = coveredLevel0(covers, nowMs - schedule.l0RetentionMs, files);
  const gone = new Set(level0);
  const needed = new Set([...covers].filter(([file]) => !gone.has(file)).map(([, cover]) => cover));
  const levels = ended.filter((file) => file.level < SNAPSHOT_LEVEL && !needed.has(file));
  return {
    level0,
    levels: withoutNewest(levels, files),
    snapshots: ended.filter((file) => file.level === SNAPSHOT_LEVEL),
  };
}

/**
 * Where the newest snapshot from before `beforeMs` ends; 0 when there is none.
 *
 * Litestream deletes that snapshot too, unless it is the newest of all, and so cannot go back beyond the next
 * one.
 */
function baseTxid(files: readonly ReplicaFile[], beforeMs: number): bigint {
  return newestTxid(files.filter((file) => file.level === SNAPSHOT_LEVEL && file.modifiedMs < beforeMs));
}

/**
 * For each file of level 0 that a file of levels 1–8 covers, that one: of several the one that ends first.
 */
function level0Covers(files: readonly ReplicaFile[]): Map<ReplicaFile, ReplicaFile> {
  const covers = files.filter((file) => file.level > 0 && file.level < SNAPSHOT_LEVEL).sort(byEnd);
  const coverOf = new Map<ReplicaFile, ReplicaFile>();
  let next = 0;
  for (const file of files.filter(({ level }) => level === 0).sort(byEnd)) {
    while (next < covers.length && covers[next]!.maxTxid < file.maxTxid) next++;
    const cover = firstFrom(covers, next, file.minTxid);
    if (cover !== undefined) coverOf.set(file, cover);
  }
  return coverOf;
}

function byEnd(a: ReplicaFile, b: ReplicaFile): number {
  return a.maxTxid < b.maxTxid ? -1 : a.maxTxid > b.maxTxid ? 1 : a.level - b.level;
}

/**
 * The covered files of level 0 from before `beforeMs`, where all that have the same cover are: one that
 * stayed without those before it would lead nowhere.
 */
function coveredLevel0(
  covers: ReadonlyMap<ReplicaFile, ReplicaFile>,
  beforeMs: number,
  files: readonly ReplicaFile[],
): ReplicaFile[] {
  const young = new Set<ReplicaFile>();
  for (const [file, cover] of covers) if (file.modifiedMs >= beforeMs) young.add(cover);
  const old = [...covers].filter(([, cover]) => !young.has(cover)).map(([file]) => file);
  return withoutNewest(old, files);
}

/** The first cover from `next` on that begins at or before `minTxid`. */
function firstFrom(covers: readonly ReplicaFile[], next: number, minTxid: bigint): ReplicaFile | undefined {
  for (let i = next; i < covers.length; i++) if (covers[i]!.minTxid <= minTxid) return covers[i];
  return undefined;
}

/** Leaves out each level's newest file: it tells where the level goes on. */
function withoutNewest(doomed: readonly ReplicaFile[], files: readonly ReplicaFile[]): ReplicaFile[] {
  const newest = new Map<number, bigint>();
  for (const { level, maxTxid } of files) {
    if (maxTxid > (newest.get(level) ?? 0n)) newest.set(level, maxTxid);
  }
  return doomed.filter((file) => file.maxTxid !== newest.get(file.level));
}
