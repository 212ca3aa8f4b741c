/**
 * Which files lead from one transaction to a later one.
 *
 * @module
 */
import { type ReplicaFile, SNAPSHOT_LEVEL } from "../view/restore_plan.ts";

/**
 * Files, snapshots aside, that hold all that was written after `from` up to `to`, perhaps more before; undefined where they
 * do not reach it.
 */
export function catchUpPlan(
  files: readonly ReplicaFile[],
  from: bigint,
  to: bigint,
): ReplicaFile[] | undefined {
  const plan: ReplicaFile[] = [];
  for (let reached = from; reached < to;) {
    let best: ReplicaFile | undefined;
    for (const file of files) {
      if (file.level === SNAPSHOT_LEVEL || file.minTxid > reached + 1n || file.maxTxid <= reached) continue;
      if (best === undefined || file.maxTxid > best.maxTxid) best = file;
    }
    if (best === undefined) return undefined;
    plan.push(best);
    reached = best.maxTxid;
  }
  return plan;
}
