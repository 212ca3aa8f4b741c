/**
 * What the known files offer a view that stands at a position.
 *
 * @see Litestream VFS reference, section 22 "What a correct follower must do"
 * @module
 */
import { type ReplicaFile, SNAPSHOT_LEVEL } from "../view/restore_plan.ts";

/** Beyond this many files an advance gives way to a plan that reaches as far with few (see {@link REPLAN_SHARE}). */
export const ADVANCE_FILES_MAX = 256;

/** A long advance gives way to a plan with fewer than its files divided by this. */
export const REPLAN_SHARE = 4;

/** What a follower does next. */
export type FollowStep =
  /** Nothing lies beyond the position. */
  | { readonly kind: "current" }
  /** The files of levels 0–8 to apply, in this order: each begins at most one past what is reached and ends beyond it. */
  | { readonly kind: "advance"; readonly files: ReplicaFile[] }
  /** A whole plan that ends beyond the position and begins with a snapshot newer than it. */
  | { readonly kind: "replan"; readonly plan: ReplicaFile[] }
  /** Files lie beyond the position and none leads there; `next` begins lowest. */
  | { readonly kind: "gap"; readonly next: ReplicaFile }
  /** The last TXID of all files is below the position; 0n: there are no files. */
  | { readonly kind: "behind"; readonly newest: bigint };

/**
 * Decides how a view at `position` goes on, given all known files in any order.
 *
 * Files that end at or below the position never count, whatever their level. A newer snapshot reaches at least as far
 * as the files that lead on from the position; it is taken when it reaches further, or when the advance is long and
 * the plan much shorter.
 *
 * Levels listed at different moments may show `"gap"` or `"behind"` where there is none: a file may have left its level
 * before that was listed, and its successor have come to another level after that was. Where Litestream alone compacts,
 * this does not happen when each level is listed after the ones below it, and all after the last file was read.
 */
export function followStep(position: bigint, files: readonly ReplicaFile[]): FollowStep {
  const beyond = files.filter((file) => file.maxTxid > position);
  if (beyond.length === 0) return endOf(position, files);
  beyond.sort((a, b) => a.minTxid < b.minTxid ? -1 : a.minTxid > b.minTxid ? 1 : 0);

  const rest = beyond.filter((file) => file.level !== SNAPSHOT_LEVEL);
  const advance = filesFrom(position, rest);
  const snapshot = newestSnapshot(beyond);
  if (snapshot !== undefined) {
    const plan = [snapshot, ...filesFrom(snapshot.maxTxid, rest)];
    if (replanIsBetter(advance, plan)) return { kind: "replan", plan };
  }
  return advance.length > 0 ? { kind: "advance", files: advance } : { kind: "gap", next: rest[0]! };
}

function endOf(position: bigint, files: readonly ReplicaFile[]): FollowStep {
  let newest = 0n;
  for (const { maxTxid } of files) if (maxTxid > newest) newest = maxTxid;
  return newest < position ? { kind: "behind", newest } : { kind: "current" };
}

/** The files that take `reached` furthest, in few steps; `files` come by ascending MinTXID. */
function filesFrom(reached: bigint, files: readonly ReplicaFile[]): ReplicaFile[] {
  const steps: ReplicaFile[] = [];
  let next = 0;
  for (;;) {
    let best: ReplicaFile | undefined;
    for (; next < files.length && files[next]!.minTxid <= reached + 1n; next++) {
      const file = files[next]!;
      if (file.maxTxid > reached && (best === undefined || isBetter(file, best))) best = file;
    }
    if (best === undefined) return steps;
    steps.push(best);
    reached = best.maxTxid;
  }
}

/** The order of preference of `makeRestorePlan()`. */
function isBetter(a: ReplicaFile, b: ReplicaFile): boolean {
  if (a.maxTxid !== b.maxTxid) return a.maxTxid > b.maxTxid;
  if (a.minTxid !== b.minTxid) return a.minTxid < b.minTxid;
  if (a.level !== b.level) return a.level > b.level;
  return a.modifiedMs < b.modifiedMs;
}

function newestSnapshot(files: readonly ReplicaFile[]): ReplicaFile | undefined {
  let newest: ReplicaFile | undefined;
  for (const file of files) {
    if (file.level === SNAPSHOT_LEVEL && (newest === undefined || isBetter(file, newest))) newest = file;
  }
  return newest;
}

function replanIsBetter(advance: readonly ReplicaFile[], plan: readonly ReplicaFile[]): boolean {
  const reached = advance.at(-1)?.maxTxid;
  if (reached === undefined || plan.at(-1)!.maxTxid > reached) return true;
  return advance.length > ADVANCE_FILES_MAX && plan.length * REPLAN_SHARE < advance.length;
}
