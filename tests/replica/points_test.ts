/** `points()`: which states can be reached, and when they were written. */
import assert from "node:assert/strict";
import { utimesSync } from "node:fs";
import { test } from "node:test";
import { openReplica, type Point, type Replica, RestorePlanError } from "../../mod.ts";
import { Random } from "../support/random.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { rowsOf, thrownBy } from "./drivers.ts";
import { reachable, type TimedFile } from "./past_model.ts";

const START_MS = 1_700_000_000_000;

function timeOf(txid: number): Date {
  return new Date(START_MS + txid * 1000);
}

/** So many transactions, none of them written; `t` has as many rows as the TXID says. */
function record(folder: ReplicaFolder, count: number): void {
  folder.record("CREATE TABLE t (n INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)");
  for (let n = 2; n <= count; n++) folder.record(`INSERT INTO t VALUES (${n})`);
}

/** `[level, minTxid, maxTxid]` */
type Short = readonly [number, number, number];

/** Writes these files; the listing's times are those of an upload 10 s after the transaction. */
function write(folder: ReplicaFolder, files: readonly Short[]): void {
  for (const [level, min, max] of files) {
    folder.write(level, min, max);
    const seconds = timeOf(max).getTime() / 1000 + 10;
    utimesSync(folder.pathOf(level, min, max), seconds, seconds);
  }
}

function modelOf(files: readonly Short[]): number[] {
  return reachable(
    files.map(([level, minTxid, maxTxid]): TimedFile => ({ level, minTxid, maxTxid, createdMs: 0 })),
  );
}

function txids(points: readonly Point[]): number[] {
  return points.map(({ txid }) => Number(txid));
}

/** Asserts that the TXIDs listed open and show their state, and that no other up to `last` does. */
function assertOpens(replica: Replica, listed: readonly number[], last: number): void {
  for (let txid = 1; txid <= last; txid++) {
    const asOf = BigInt(txid);
    if (listed.includes(txid)) {
      const db = replica.connect({ asOf });
      const sql = "SELECT count(*) AS n, max(n) AS top, litestream_txid() AS txid FROM t";
      assert.deepEqual(rowsOf(db, sql), [{ n: txid, top: txid, txid: txid.toString(16).padStart(16, "0") }]);
      db.close();
    } else {
      const error = thrownBy(() => replica.connect({ asOf }));
      assert.ok(error.cause instanceof RestorePlanError, `TXID ${txid}: ${error}`);
    }
  }
}

const FILES: readonly Short[] = [
  [9, 1, 1],
  [1, 2, 5],
  [2, 6, 15],
  [9, 1, 12],
  [1, 13, 16],
  [0, 15, 15],
  [0, 16, 16],
  [0, 17, 17],
  [0, 18, 18],
  [1, 17, 18],
];

test("points() lists what connect() can open, and nothing else", () =>
  withReplicaFolder({}, async (folder) => {
    record(folder, 18);
    write(folder, FILES);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    const points = await replica.points();
    assert.deepEqual(txids(points), [1, 5, 12, 15, 16, 17, 18]);
    assert.deepEqual(txids(points), modelOf(FILES));
    assertOpens(replica, txids(points), 20);
  }));

test("points() tells the upload's time, or with exact the transaction's, which connect() goes by", () =>
  withReplicaFolder({}, async (folder) => {
    record(folder, 18);
    write(folder, FILES);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    const rough = await replica.points();
    const exact = await replica.points({ exact: true });
    assert.deepEqual(txids(exact), txids(rough));
    for (const [i, { txid, time, level, granularityMs }] of exact.entries()) {
      assert.deepEqual(time, timeOf(Number(txid)));
      assert.deepEqual(rough[i]!.time, new Date(time.getTime() + 10_000));
      assert.equal(granularityMs, i === 0 ? 0 : time.getTime() - exact[i - 1]!.time.getTime());
      assert.equal(level, [9, 1, 9, 2, 0, 0, 0][i]); // of the files that lead there, the lowest
      for (const [ms, seen] of [[0, exact[i - 1]?.txid], [1, txid]] as const) {
        const asOf = new Date(time.getTime() + ms);
        if (seen === undefined) {
          assert.ok(thrownBy(() => replica.connect({ asOf })).cause instanceof RestorePlanError);
          continue;
        }
        const db = replica.connect({ asOf });
        assert.equal(rowsOf(db, "SELECT max(n) AS n FROM t")[0]!.n, Number(seen));
        db.close();
      }
    }
  }));

test("points() keeps to a range, from its first moment on and before its last", () =>
  withReplicaFolder({}, async (folder) => {
    record(folder, 40);
    write(folder, [[9, 1, 1], ...Array.from({ length: 39 }, (_, i): Short => [0, i + 2, i + 2])]);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    const all = Array.from({ length: 40 }, (_, i) => i + 1);
    for (const exact of [true, false]) {
      const lateMs = exact ? 0 : 10_000;
      const at = (txid: number, ms = 0) => new Date(timeOf(txid).getTime() + lateMs + ms);
      const listed = async (from?: Date, to?: Date) =>
        txids(await replica.points({ exact, ...(from && { from }), ...(to && { to }) }));
      assert.deepEqual(await listed(at(10), at(13)), [10, 11, 12]);
      assert.deepEqual(await listed(at(10, 1), at(13, 1)), [11, 12, 13]);
      assert.deepEqual(await listed(at(38)), [38, 39, 40]);
      assert.deepEqual(await listed(undefined, at(3)), [1, 2]);
      assert.deepEqual(await listed(at(13), at(10)), []);
      assert.deepEqual(await listed(new Date(0), at(1)), []);
      assert.deepEqual(await listed(at(41)), []);
      assert.deepEqual(await listed(new Date(-8.64e15), new Date(8.64e15)), all);
    }
    await assert.rejects(replica.points({ from: new Date(NaN) }), RangeError);
    await assert.rejects(replica.points({ to: new Date(NaN), exact: true }), RangeError);
  }));

test("points({ exact }) of a range reads few headers, and none twice", () =>
  withReplicaFolder({ pageSize: 512 }, async (folder) => {
    record(folder, 400);
    write(folder, [[9, 1, 1], ...Array.from({ length: 399 }, (_, i): Short => [0, i + 2, i + 2]), [
      9,
      1,
      390,
    ]]);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    const range = { exact: true, from: timeOf(200), to: timeOf(205) };
    let mark = replica.stats();
    assert.deepEqual(txids(await replica.points(range)), [200, 201, 202, 203, 204]);
    const { getRequests } = replica.stats(mark);
    assert.ok(getRequests <= 5 + 2 * (2 * Math.log2(400) + 4), `${getRequests} headers`);
    mark = replica.stats();
    await replica.points(range);
    assert.equal(replica.stats(mark).getRequests, 0);
    assert.equal((await replica.points()).length, 400);
    assert.equal(replica.stats(mark).getRequests, 0); // the listing tells it
  }));

test("points() sees what was written since it was opened, and what is deleted", () =>
  withReplicaFolder({}, async (folder) => {
    record(folder, 6);
    write(folder, [[9, 1, 1], [0, 2, 2], [0, 3, 3]]);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    assert.deepEqual(txids(await replica.points()), [1, 2, 3]);
    write(folder, [[0, 4, 4], [1, 2, 4]]);
    assert.deepEqual(txids(await replica.points()), [1, 2, 3, 4]);
    folder.delete(0, 2, 2);
    assert.deepEqual(txids(await replica.points()), [1, 4]);
    assertOpens(replica, [1, 4], 5);
    folder.delete(9, 1, 1);
    assert.deepEqual(await replica.points(), []);
  }));

test("points() ends with its signal's reason, and a closed replica refuses it", () =>
  withReplicaFolder({}, async (folder) => {
    record(folder, 2);
    write(folder, [[9, 1, 2]]);
    const replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    const reason = new Error("enough");
    await assert.rejects(replica.points({ signal: AbortSignal.abort(reason) }), reason);
    const abort = new AbortController();
    const points = replica.points({ exact: true, signal: abort.signal });
    abort.abort(reason);
    await assert.rejects(points, reason);
    assert.equal((await replica.points({ exact: true })).length, 1);
    await replica.close();
    await assert.rejects(replica.points(), { name: "ReplicaClosedError" });
  }));

test("points() and connect() agree on replicas at random", { timeout: 120_000 }, async () => {
  const seed = Date.now() % 2 ** 31;
  for (let round = 0; round < 15; round++) {
    await withReplicaFolder({ pageSize: 512 }, async (folder) => {
      const random = new Random(seed + round);
      const count = 8 + random.next(25);
      record(folder, count);
      const files = new Map<string, Short>();
      const add = (...file: Short) => files.set(file.join(), file);
      add(9, 1, count);
      if (random.next(2) === 0) add(9, 1, 1);
      for (let i = random.next(3); i > 0; i--) add(9, 1, 1 + random.next(count));
      for (let i = random.next(30); i > 0; i--) {
        const min = 1 + random.next(count);
        add(random.next(4), min, min + random.next(Math.min(6, count - min + 1)));
      }
      const all = [...files.values()];
      write(folder, all);
      // Files that overlap are told of as times that fall.
      await using replica = await openReplica(folder.url, { pollIntervalMs: 0, log: () => {} });
      for (const exact of [false, true]) {
        const listed = txids(await replica.points({ exact }));
        assert.deepEqual(listed, modelOf(all), `seed ${seed}, round ${round}: ${all.join(" ")}`);
      }
      assertOpens(replica, modelOf(all), count);
    });
  }
});
