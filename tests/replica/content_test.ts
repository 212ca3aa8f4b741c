/** What a replica shows is what its source holds: page sizes, encodings, every way files can follow one another. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { PAGE_SIZES } from "../../src/ltx/txid.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { assertSame, drivers, rowsOf, tableSql, valueOf, withConnection } from "./drivers.ts";

/** Opens what lies in the folder and compares it with the source through every driver. */
async function assertOpens(folder: ReplicaFolder): Promise<void> {
  await using replica = await openReplica(folder.url);
  assert.equal(replica.txid, BigInt(folder.txid));
  assert.deepEqual(replica.size, { commit: folder.commitAt(folder.txid), pageSize: folder.pageSize });
  for (const { Database } of drivers) withConnection(replica, Database, (db) => assertSame(db, folder));
}

for (const encoding of ["block", "frame"] as const) {
  for (const pageSize of PAGE_SIZES) {
    test(`Replica shows its source: pages of ${pageSize} bytes as LZ4 ${encoding}s`, () =>
      withReplicaFolder({ pageSize, encoding }, async (folder) => {
        folder.record(tableSql(Math.max(200, pageSize / 16)));
        folder.snapshot();
        folder.step("UPDATE t SET b = 'changed' WHERE id % 50 = 0");
        folder.step("CREATE TABLE u (x BLOB); INSERT INTO u VALUES (randomblob(20000)), (zeroblob(9000))");
        folder.step("DELETE FROM t WHERE id BETWEEN 20 AND 40");
        await assertOpens(folder);
      }));
  }
}

test("Replica of one L0 file shows its source", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    await assertOpens(folder);
  }));

test("Replica of a schema without rows, and of a database of one page", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("PRAGMA user_version = 7");
    assert.equal(folder.commitAt(1), 1);
    await assertOpens(folder);
  }));

test("Replica of snapshot, levels 2 and 1, and L0 shows its source", () =>
  withReplicaFolder({ pageSize: 1024 }, async (folder) => {
    folder.record(tableSql(300));
    for (let i = 2; i <= 12; i++) {
      folder.record(`UPDATE t SET b = 'step ${i}' WHERE id % 17 = ${i}; INSERT INTO t (a) VALUES (${i})`);
    }
    folder.snapshot(3);
    folder.write(2, 4, 7);
    folder.write(1, 8, 9);
    for (let i = 10; i <= 12; i++) folder.write(0, i, i);
    await assertOpens(folder);
    await using replica = await openReplica(folder.url);
    assert.equal(replica.stats().getRequests, 6);
  }));

test("Replica of overlapping files shows its source", () =>
  withReplicaFolder({ pageSize: 1024 }, async (folder) => {
    folder.record(tableSql(300));
    for (let i = 2; i <= 9; i++) folder.record(`UPDATE t SET b = 'step ${i}' WHERE id % 13 = ${i}`);
    folder.snapshot(4);
    folder.write(1, 2, 6);
    folder.write(2, 1, 5);
    folder.write(0, 5, 7);
    folder.write(0, 8, 9);
    await assertOpens(folder);
  }));

test("R2: after a shrink all pages that are left can be read", () =>
  withReplicaFolder({ pageSize: 1024, setup: "PRAGMA auto_vacuum = INCREMENTAL" }, async (folder) => {
    folder.record(tableSql(2000));
    folder.snapshot();
    folder.step("DELETE FROM t WHERE id > 1200");
    const before = folder.commitAt(folder.txid);
    folder.step((source) => source.all("PRAGMA incremental_vacuum(21)"));
    assert.equal(folder.commitAt(folder.txid), before - 21);
    await assertOpens(folder);
  }));

test("R6: file size is commit times page size after a shrink", () =>
  withReplicaFolder({ pageSize: 1024, setup: "PRAGMA auto_vacuum = INCREMENTAL" }, async (folder) => {
    folder.record(tableSql(2000));
    folder.snapshot();
    folder.step("DELETE FROM t WHERE id > 700");
    folder.step((source) => source.all("PRAGMA incremental_vacuum(30)"));
    const commit = folder.commitAt(folder.txid);
    assert.ok(commit < folder.commitAt(1));
    await using replica = await openReplica(folder.url);
    for (const { Database } of drivers) {
      withConnection(replica, Database, (db) => {
        assert.equal(valueOf(db, "PRAGMA page_count"), commit);
        assert.deepEqual(rowsOf(db, "PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
      });
    }
  }));

test("R6: a shrink followed by growth shows the pages of the growth", () =>
  withReplicaFolder({ pageSize: 1024, setup: "PRAGMA auto_vacuum = INCREMENTAL" }, async (folder) => {
    folder.record(tableSql(2000));
    folder.snapshot();
    folder.step("DELETE FROM t WHERE id > 100");
    folder.step((source) => source.all("PRAGMA incremental_vacuum"));
    folder.step("INSERT INTO t (a, b) SELECT id, hex(randomblob(60)) FROM t");
    folder.step("CREATE TABLE u AS SELECT a * 2 AS x, b || b AS y FROM t");
    await assertOpens(folder);
    folder.write(1, 2, 5);
    for (let i = 2; i <= 5; i++) folder.delete(0, i, i);
    await assertOpens(folder);
  }));

test("Replica of a database that was vacuumed shows its source", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(3000));
    folder.snapshot();
    folder.step("DELETE FROM t WHERE id % 3 > 0");
    folder.step("VACUUM");
    assert.ok(folder.commitAt(3) < folder.commitAt(1));
    await assertOpens(folder);
  }));

test("R1: an L1 file that ends below the newest L0 file does not take over", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record("CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 1)");
    for (let i = 2; i <= 14; i++) folder.record(`UPDATE t SET a = ${i}`);
    folder.snapshot(10);
    for (let i = 11; i <= 14; i++) folder.write(0, i, i);
    folder.write(1, 11, 13);
    await using replica = await openReplica(folder.url);
    assert.equal(replica.txid, 14n);
    withConnection(replica, undefined, (db) => assert.equal(valueOf(db, "SELECT a FROM t"), 14));
  }));

test(
  "Replica of 400 L0 files shows its source",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({ pageSize: 512 }, async (folder) => {
      folder.record("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)");
      folder.snapshot();
      for (let i = 2; i <= 400; i++) folder.step(`INSERT INTO t (a, b) VALUES (${i}, hex(zeroblob(${i})))`);
      await assertOpens(folder);
    }),
);

test(
  "Replica with a small buffer pool shows its source, again and again",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(`${tableSql(30_000)}; DROP INDEX t_a`);
      folder.snapshot();
      assert.ok(folder.commitAt(1) * 4096 > 2 * 1024 * 1024);
      await using replica = await openReplica(folder.url, { cacheBytesMax: 1024 * 1024 });
      withConnection(replica, undefined, (db) => {
        db.exec("PRAGMA cache_size = 5");
        for (let round = 0; round < 3; round++) assertSame(db, folder);
      });
      assert.ok(replica.stats().pagesEvicted > 0);
      assert.ok(replica.stats().poolBytes <= 1024 * 1024 + 64 * 4096, `${replica.stats().poolBytes} bytes`);
    }),
);
