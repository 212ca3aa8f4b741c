import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { summarizeLevels } from "../../src/view/level_summary.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";

const file = (level: number, [minTxid, maxTxid]: [bigint, bigint], size: number, modifiedMs: number) =>
  ({ key: "", tag: "", size, modifiedMs, level, minTxid, maxTxid }) as unknown as ReplicaFile;

test("summarizeLevels() sums files up by level, whatever their order", () => {
  const files = [
    file(9, [1n, 5n], 400, 50),
    file(0, [7n, 7n], 10, 70),
    file(0, [6n, 6n], 20, 90),
    file(9, [1n, 2n], 100, 20),
    file(1, [4n, 5n], 7, 60),
    file(1, [2n, 9n], 8, 40),
    file(1, [6n, 6n], 9, 50),
    file(2, [3n, 4n], 5, 30),
  ];
  assert.deepEqual(summarizeLevels(files), [
    { level: 0, files: 2, bytes: 30, minTxid: 6n, maxTxid: 7n, oldest: new Date(70), newest: new Date(90) },
    { level: 1, files: 3, bytes: 24, minTxid: 2n, maxTxid: 9n, oldest: new Date(40), newest: new Date(60) },
    { level: 2, files: 1, bytes: 5, minTxid: 3n, maxTxid: 4n, oldest: new Date(30), newest: new Date(30) },
    { level: 9, files: 2, bytes: 500, minTxid: 1n, maxTxid: 5n, oldest: new Date(20), newest: new Date(50) },
  ]);
  assert.deepEqual(summarizeLevels([]), []);
});

test("Replica.levels() tells what lies in the folder", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x)");
    folder.snapshot();
    folder.step("INSERT INTO t VALUES (1)");
    await using replica = await openReplica(folder.url);
    const levels = await replica.levels();
    assert.deepEqual(levels.map(({ level, files, maxTxid }) => [level, files, maxTxid]), [[0, 2, 2n], [
      9,
      1,
      1n,
    ]]);
    assert.ok(levels.every(({ bytes, oldest, newest }) => bytes > 0 && oldest <= newest));
  }));
