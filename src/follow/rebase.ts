/**
 * Whether a view should lie in other files before retention removes the ones it uses.
 *
 * @module
 */
import { RestorePlanError } from "../errors.ts";
import { LEVELS } from "../view/listing.ts";
import { makeRestorePlan, type ReplicaFile, SNAPSHOT_LEVEL } from "../view/restore_plan.ts";

/** How long a file that covers another must have been there, in ms: younger ones may be covered themselves soon. */
export const COVERED_MS = 60_000;

/** A plan of more files than this gives way to one of fewer than half. */
export const PLAN_FILES_MAX = 200;

/**
 * Gives the plan that ends exactly at `position` and that the view should move to, or undefined while its own
 * `planFiles` (in the order applied) are fine or nothing else reaches the position.
 *
 * Moving is worth it for a newer snapshot to begin with, to leave files that a higher level has covered for
 * {@link COVERED_MS}, and to shorten a long plan. None of these holds for the plan it gave, so a view that
 * has moved stays until other files appear.
 *
 * @see Litestream VFS reference, section 15 "What a Litestream daemon does to the replica"
 */
export function rebasePlan(
  position: bigint,
  planFiles: readonly ReplicaFile[],
  files: readonly ReplicaFile[],
  nowMs: number,
): ReplicaFile[] | undefined {
  const plan = planTo(position, files);
  if (plan === undefined) return undefined;
  const isWorthIt = hasNewerBase(plan, planFiles) || isMuchShorter(plan, planFiles) ||
    leavesCovered(plan, coveredFiles(planFiles, files, nowMs - COVERED_MS));
  return isWorthIt ? plan : undefined;
}

function planTo(position: bigint, files: readonly ReplicaFile[]): ReplicaFile[] | undefined {
  try {
    return makeRestorePlan(files, { upTo: position });
  } catch (error) {
    if (error instanceof RestorePlanError) return undefined;
    throw error;
  }
}

function hasNewerBase(plan: readonly ReplicaFile[], planFiles: readonly ReplicaFile[]): boolean {
  const base = plan[0]!;
  return base.level === SNAPSHOT_LEVEL && base.maxTxid > (planFiles[0]?.maxTxid ?? 0n);
}

function isMuchShorter(plan: readonly ReplicaFile[], planFiles: readonly ReplicaFile[]): boolean {
  return planFiles.length > PLAN_FILES_MAX && plan.length * 2 < planFiles.length;
}

/** Whether the plan does without one of the covered files; where it needs them all, moving gains nothing. */
function leavesCovered(plan: readonly ReplicaFile[], covered: readonly ReplicaFile[]): boolean {
  const kept = new Set(plan.map(({ key }) => key));
  return covered.some(({ key }) => !kept.has(key));
}

/** The files of the plan, snapshots aside, whose TXIDs all lie in one file of a higher level, as old as `untilMs`. */
function coveredFiles(
  planFiles: readonly ReplicaFile[],
  files: readonly ReplicaFile[],
  untilMs: number,
): ReplicaFile[] {
  const covers = files.filter(({ modifiedMs }) => modifiedMs <= untilMs).sort(byMinTxid);
  const reached = LEVELS.map(() => 0n);
  let next = 0;
  return [...planFiles].sort(byMinTxid).filter((file) => {
    for (; next < covers.length && covers[next]!.minTxid <= file.minTxid; next++) {
      const { level, maxTxid } = covers[next]!;
      if (maxTxid > reached[level]!) reached[level] = maxTxid;
    }
    return reached.some((maxTxid, level) => level > file.level && maxTxid >= file.maxTxid);
  });
}

function byMinTxid(a: ReplicaFile, b: ReplicaFile): number {
  return a.minTxid < b.minTxid ? -1 : a.minTxid > b.minTxid ? 1 : 0;
}
