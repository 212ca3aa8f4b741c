/**
 * Which files make up a TXID.
 *
 * @module
 */
import { RestorePlanError } from "../errors.ts";
import { formatTxid, parseLtxFileName } from "../ltx/txid.ts";
import { ownText } from "../own_text.ts";
import { levelPrefix } from "../storage/layout.ts";
import type { LayoutName, ListedObject } from "../storage/object_store.ts";

/** The level of snapshots. */
export const SNAPSHOT_LEVEL = 9;

/** One LTX file of a replica, as a listing tells it. */
export interface ReplicaFile extends ListedObject {
  /** 0 raw, 1–8 compacted, 9 snapshots. */
  readonly level: number;
  /** First transaction it contains. */
  readonly minTxid: bigint;
  /** Last transaction it contains. */
  readonly maxTxid: bigint;
}

/**
 * The LTX files among the objects of one level's listing, in their order; other objects are passed over. Some of them are kept
 * for long, the listing's text, of which keys and ETags are parts, is not.
 */
export function replicaFiles(
  objects: Iterable<ListedObject>,
  layout: LayoutName,
  level: number,
): ReplicaFile[] {
  const prefix = levelPrefix(layout, level);
  const files: ReplicaFile[] = [];
  for (const object of objects) {
    const range = parseLtxFileName(object.key.slice(prefix.length));
    if (range === null || !object.key.startsWith(prefix)) continue;
    files.push({ ...object, key: ownText(object.key), etag: ownText(object.etag), level, ...range });
  }
  return files;
}

/** Whether `a` takes the database further than `b`, or as far at less cost. */
function isBetter(a: ReplicaFile, b: ReplicaFile): boolean {
  if (a.maxTxid !== b.maxTxid) return a.maxTxid > b.maxTxid;
  if (a.minTxid !== b.minTxid) return a.minTxid < b.minTxid;
  if (a.level !== b.level) return a.level > b.level;
  return a.modifiedMs < b.modifiedMs;
}

/** The newest snapshot among the files, by MaxTXID. */
function newestSnapshot(files: ReplicaFile[]): ReplicaFile | undefined {
  let newest: ReplicaFile | undefined;
  for (const file of files) {
    if (file.level === SNAPSHOT_LEVEL && (newest === undefined || isBetter(file, newest))) newest = file;
  }
  return newest;
}

/**
 * Makes the restore plan: the files to apply in order, oldest first, beginning with the newest snapshot.
 *
 * Each step takes, of all files on all levels that begin at or below the next TXID, the one that reaches furthest.
 * With `upTo`, only files that end at or below that TXID count, and the plan ends exactly there.
 *
 * @throws {RestorePlanError} `"empty"` no file; `"gap"` TXIDs are missing between files; `"unreachable"` no files
 *   end exactly at `upTo`
 * @see Litestream VFS reference, section 6 "Restore plan algorithm"
 */
export function makeRestorePlan(
  files: readonly ReplicaFile[],
  { upTo }: { upTo?: bigint } = {},
): ReplicaFile[] {
  const eligible = upTo === undefined ? [...files] : files.filter((file) => file.maxTxid <= upTo);
  const snapshot = newestSnapshot(eligible);
  const rest = eligible.filter((file) => file.level !== SNAPSHOT_LEVEL);
  rest.sort((a, b) => a.minTxid < b.minTxid ? -1 : a.minTxid > b.minTxid ? 1 : 0);
  const plan = snapshot ? [snapshot] : [];
  let reached = snapshot?.maxTxid ?? 0n;
  let best: ReplicaFile | undefined;
  let next = 0;
  for (;;) {
    for (; next < rest.length && rest[next]!.minTxid <= reached + 1n; next++) {
      const file = rest[next]!;
      if (file.maxTxid > reached && (best === undefined || isBetter(file, best))) best = file;
    }
    if (best === undefined) break;
    plan.push(best);
    reached = best.maxTxid;
    best = undefined;
  }
  checkPlan(plan, rest[next], reached, upTo);
  return plan;
}

function checkPlan(
  plan: ReplicaFile[],
  beyond: ReplicaFile | undefined,
  reached: bigint,
  upTo?: bigint,
): void {
  if (upTo !== undefined && reached !== upTo) {
    throw new RestorePlanError(
      `Cannot make restore plan: files reach TXID ${formatTxid(reached)}, expected ${formatTxid(upTo)}`,
      "unreachable",
    );
  }
  if (beyond !== undefined && upTo === undefined) {
    throw new RestorePlanError(
      `Cannot make restore plan: files reach TXID ${formatTxid(reached)} and go on at ${
        formatTxid(beyond.minTxid)
      } ("${beyond.key}"), expected no gap`,
      "gap",
    );
  }
  if (plan.length === 0) {
    throw new RestorePlanError(
      "Cannot make restore plan: the replica has no LTX files, expected at least one",
      "empty",
    );
  }
}
