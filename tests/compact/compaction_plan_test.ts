import assert from "node:assert/strict";
import { test } from "node:test";
import { type CompactionStep, dueMerge, dueSnapshot, stepKey } from "../../src/compact/compaction_plan.ts";
import { COMPACTION_SCHEDULE, nextBoundaryMs } from "../../src/compact/compaction_schedule.ts";
import { planRetention } from "../../src/compact/retention_plan.ts";
import { RestorePlanError } from "../../src/errors.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";

/** `[level, minTxid, maxTxid, modifiedMs, size?]` */
type Short = readonly [number, number, number, number, number?];

const HOUR = 3_600_000;

function file([level, min, max, modifiedMs, size = 200]: Short): ReplicaFile {
  const range = { minTxid: BigInt(min), maxTxid: BigInt(max) };
  const key = ltxKey("s3", level, formatLtxFileName(range));
  return { ...range, level, modifiedMs, key, etag: `"${key}"`, size };
}

function shortOf(file: ReplicaFile): string {
  return `${file.level}:${file.minTxid}-${file.maxTxid}`;
}

function stepOf(step: CompactionStep | null): string[] | null {
  return step === null ? null : step.sources.map(shortOf);
}

/** Level 1 at 30 s is asked for at time 60 s. */
function mergeOf(files: readonly Short[], sizeMax = Infinity): string[] | null {
  return stepOf(dueMerge(files.map(file), 1, { nowMs: 60_500, intervalMs: 30_000, sizeMax }));
}

test("dueMerge() takes all that waits once something was there before the interval began", () => {
  assert.equal(mergeOf([]), null);
  assert.equal(mergeOf([[0, 1, 1, 60_000], [0, 2, 2, 60_400]]), null);
  assert.deepEqual(mergeOf([[0, 1, 1, 59_999], [0, 2, 2, 60_400]]), ["0:1-1", "0:2-2"]);
});

test("dueMerge() goes on behind the level's newest file", () => {
  const files: Short[] = [[1, 1, 2, 30_000], [1, 3, 4, 0], [0, 4, 4, 1], [0, 5, 5, 2], [0, 6, 6, 3]];
  assert.deepEqual(mergeOf(files), ["0:5-5", "0:6-6"]);
  assert.equal(mergeOf(files.slice(0, 3)), null);
});

test("dueMerge() takes files that overlap, none twice, and ends before a gap", () => {
  assert.deepEqual(
    mergeOf([[1, 1, 4, 0], [0, 3, 6, 0], [0, 5, 5, 0], [0, 5, 8, 0], [0, 8, 8, 0], [0, 10, 10, 0]]),
    [
      "0:3-6",
      "0:5-8",
    ],
  );
  assert.deepEqual(mergeOf([[1, 1, 4, 0], [0, 7, 7, 0], [0, 8, 8, 0], [0, 10, 10, 0]]), ["0:7-7", "0:8-8"]);
});

test("dueMerge() keeps to the size and number of sources, and passes over what is too large", () => {
  const files = Array.from({ length: 600 }, (_, i): Short => [0, i + 1, i + 1, 0]);
  assert.equal(mergeOf(files)?.length, 256);
  assert.deepEqual(mergeOf(files, 450), ["0:1-1", "0:2-2"]);
  const large: Short[] = [[0, 1, 1, 0, 999], [0, 2, 2, 0], [0, 3, 3, 0, 999], [0, 4, 4, 0]];
  assert.deepEqual(mergeOf(large, 500), ["0:2-2"]);
  assert.deepEqual(mergeOf([...large, [1, 2, 2, 0]], 500), ["0:4-4"]);
  assert.equal(mergeOf([[0, 1, 1, 0, 999]], 500), null);
});

/** A snapshot every hour, asked for at half past two. */
function snapshotOf(files: readonly Short[]): string[] | null {
  return stepOf(dueSnapshot(files.map(file), { nowMs: 2.5 * HOUR, intervalMs: HOUR }));
}

test("dueSnapshot() is due at once where there is none, then as the levels are", () => {
  assert.equal(snapshotOf([]), null);
  assert.deepEqual(snapshotOf([[0, 1, 1, 2.4 * HOUR]]), ["0:1-1"]);
  assert.equal(snapshotOf([[9, 1, 1, 0], [0, 1, 1, 0]]), null);
  assert.equal(snapshotOf([[9, 1, 1, 0], [0, 2, 2, 2.1 * HOUR]]), null);
  const files: Short[] = [[9, 1, 1, 0], [1, 2, 3, 1.9 * HOUR], [0, 3, 3, 1.9 * HOUR], [0, 4, 4, 2.2 * HOUR]];
  assert.deepEqual(snapshotOf(files), ["9:1-1", "1:2-3", "0:4-4"]);
  const step = dueSnapshot(files.map(file), { nowMs: 2.5 * HOUR, intervalMs: HOUR })!;
  assert.equal(stepKey("folder", step), "ltx/9/0000000000000001-0000000000000004.ltx");
});

test("dueSnapshot() throws where the newest state cannot be reached", () => {
  assert.throws(() => snapshotOf([[9, 1, 1, 0], [0, 3, 3, 0]]), RestorePlanError);
});

/** What may go at hour 100: 24 h of snapshots, 5 minutes of level 0. */
function retentionOf(files: readonly Short[]): string[][] {
  const plan = planRetention(files.map(file), { schedule: COMPACTION_SCHEDULE, nowMs: 100 * HOUR });
  return [plan.level0, plan.levels, plan.snapshots].map((files) => files.map(shortOf));
}

test("planRetention() deletes of level 0 what is covered and old with all that has the same cover", () => {
  const [old, young] = [99 * HOUR, 100 * HOUR - 1000];
  const level0 = [1, 2, 3, 4, 5, 6].map((txid): Short => [0, txid, txid, txid < 4 ? old : young]);
  assert.deepEqual(retentionOf(level0), [[], [], []]);
  assert.deepEqual(retentionOf([...level0, [9, 1, 6, old]])[0], [], "a snapshot covers for later only");
  assert.deepEqual(retentionOf([...level0, [1, 1, 2, old]])[0], ["0:1-1", "0:2-2"]);
  assert.deepEqual(retentionOf([...level0, [1, 1, 2, old], [1, 3, 4, old]])[0], ["0:1-1", "0:2-2"]);
  assert.deepEqual(retentionOf([...level0, [1, 1, 2, old], [2, 1, 5, old]])[0], ["0:1-1", "0:2-2"]);
});

test("planRetention() never deletes a level's newest file", () => {
  assert.deepEqual(retentionOf([[0, 1, 1, 0], [0, 2, 2, 0], [1, 1, 2, 0]]), [["0:1-1"], [], []]);
  const files: Short[] = [[1, 1, 2, 0], [2, 1, 2, 0], [9, 1, 2, 0], [9, 1, 5, 0], [1, 3, 4, 0]];
  assert.deepEqual(retentionOf(files), [[], ["1:1-2"], ["9:1-2"]]);
});

test("planRetention() keeps the newest snapshot from before the retention: the rest begins from it", () => {
  const snapshots: Short[] = [[9, 1, 10, 20 * HOUR], [9, 1, 20, 50 * HOUR], [9, 1, 30, 90 * HOUR]];
  const levels: Short[] = [[1, 1, 10, 0], [1, 11, 19, 0], [1, 20, 20, 0], [1, 21, 30, 0], [3, 1, 15, 0], [
    3,
    16,
    30,
    0,
  ]];
  assert.deepEqual(retentionOf([...snapshots, ...levels]), [[], ["1:1-10", "1:11-19", "3:1-15"], ["9:1-10"]]);
  assert.deepEqual(retentionOf([snapshots[2]!, ...levels]), [[], [], []]);
});

test("planRetention() keeps a cover as long as what it covers", () => {
  const files: Short[] = [[0, 3, 3, 100 * HOUR], [0, 9, 9, 0], [1, 1, 4, 0], [1, 5, 8, 0], [9, 1, 8, 0]];
  assert.deepEqual(retentionOf(files), [[], [], []]);
  assert.deepEqual(retentionOf(files.slice(1)), [[], ["1:1-4"], []]);
});

test("nextBoundaryMs() is the next multiple of the shortest interval, or of a longer one before it", () => {
  assert.equal(nextBoundaryMs(COMPACTION_SCHEDULE, 60_000), 90_000);
  assert.equal(nextBoundaryMs(COMPACTION_SCHEDULE, 59_999), 60_000);
  const schedule = { ...COMPACTION_SCHEDULE, levelsMs: [7000, 10_000] };
  assert.equal(nextBoundaryMs(schedule, 8000), 10_000);
});
