/** Bugs of the VFS in Go, each by its number and how it is with ours; others' tests lie by their subjects. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Replica, ReplicaDatabase } from "../../mod.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { decodeHeader, HEADER_SIZE } from "../../src/ltx/header.ts";
import { listLogs } from "../../src/write/write_log.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { lz4 } from "../support/lz4.ts";
import { bucketOf, levelZero, LTX, Outage, PlainImage, Rival, withBucket } from "./rival.ts";

const HOUR = 3_600_000;

function withConnection<T>(replica: Replica, act: (db: ReplicaDatabase) => T): T {
  const db = replica.connect();
  try {
    return act(db);
  } finally {
    db.close();
  }
}

/** Rows of a thousand bytes each. */
function fill(db: ReplicaDatabase, count: number): void {
  db.exec(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
     INSERT INTO t(who) SELECT printf('%.*c', 1000, 'x') FROM n`,
  );
}

function assertWhole(db: ReplicaDatabase): void {
  assert.deepEqual({ ...db.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
}

test("W5: what was committed was lost with its process, and close() hid an upload that failed", async () => {
  const faults = new Outage([{ fault: { kind: "status", status: 503 }, method: "PUT", key: LTX }]);
  await withBucket(async (bucket) => {
    const killed = await Rival.start(bucket.url, bucket.options("log"));
    await killed.ask({ act: "insert", who: "before the kill" });
    await killed.kill();
    assert.deepEqual(await bucket.rows(), [], "nothing was stored");
    faults.isOn = false;
    const next = await bucket.open("log", { requestTimeoutMs: 1_500 });
    assert.deepEqual(await bucket.rows(), ["before the kill"]);
    faults.isOn = true;
    withConnection(next, (db) => db.exec("INSERT INTO t(who) VALUES ('before close()')"));
    await assert.rejects(next.close(), { name: "DeadlineError", message: /Cannot put/ });
    assert.equal((await listLogs(join(bucket.folder, "log"))).length, 1, "it is kept");
    faults.isOn = false;
    await (await bucket.open("log")).close();
    assert.deepEqual(await bucket.rows(), ["before the kill", "before close()"]);
  }, { faults });
});

test("W8: a database that shrank had its old size and pages when it was opened again", () =>
  withBucket(async (bucket) => {
    const replica = await bucket.open("log");
    const sizes: number[] = [];
    const stored = async (sql: string) => {
      withConnection(replica, (db) => db.exec(sql));
      await replica.sync();
      sizes.push(replica.size.commit);
      const { commit } = decodeHeader(levelZero(bucket).at(-1)!.subarray(0, HEADER_SIZE));
      assert.equal(commit, sizes.at(-1), "as it is stored");
      await using reader = await bucket.open("", { write: false });
      assert.equal(reader.size.commit, sizes.at(-1), "as it is opened again");
      withConnection(reader, (db) => {
        assert.equal(db.prepare("PRAGMA page_count").get().page_count, sizes.at(-1));
        assertWhole(db);
      });
    };
    withConnection(replica, (db) => fill(db, 120));
    await stored("INSERT INTO t(who) VALUES ('full')");
    withConnection(replica, (db) => db.exec("DELETE FROM t WHERE id > 3"));
    await stored("VACUUM");
    assert.ok(sizes[0]! > 30 && sizes[1]! <= 4, `${sizes} pages`);
    await stored("INSERT INTO t(who) VALUES (printf('%.*c', 9000, 'y'))"); // pages that were there once
    await replica.close();
  }));

test("W9: a slow upload held up reads and writes", async () => {
  const faults = new Outage([{ fault: { kind: "slow", delayMs: 1_500 }, method: "PUT", key: LTX }]);
  await withBucket(async (bucket) => {
    await using replica = await bucket.open("log");
    const db = replica.connect();
    db.exec("INSERT INTO t(who) VALUES ('being stored')");
    const syncing = replica.sync();
    const puts = () => bucket.server.log.filter(({ method, key }) => method === "PUT" && LTX.test(key));
    const before = puts().length;
    while (puts().length === before) await delay(2);
    // The server answers on this very thread: whatever waited for the upload here would wait for ever.
    for (let i = 0; i < 20; i++) {
      db.exec(`INSERT INTO t(who) VALUES ('meanwhile ${i}')`);
      assert.equal(db.prepare("SELECT count(*) AS n FROM t").get().n, i + 2);
      withConnection(replica, (other) => assertWhole(other));
    }
    assert.equal(puts().at(-1)!.status, 0, "it is not answered yet");
    assert.equal(await syncing, 2n);
    db.close();
    assert.equal(await replica.sync(), 3n);
  }, { faults });
});

test("W10: a snapshot beside a writer lacked what it had stored since it was opened", () =>
  withBucket(async (bucket) => {
    await using replica = await bucket.open("log");
    withConnection(replica, (db) => fill(db, 50));
    await replica.sync();
    withConnection(replica, (db) => db.exec("UPDATE t SET who = 'new' WHERE id % 5 = 0"));
    assert.equal(await replica.sync(), 3n);
    withConnection(replica, (db) => db.exec("INSERT INTO t(who) VALUES ('not stored yet')"));
    await bucket.compact(25 * HOUR);
    const snapshots = bucket.server.keys().filter((key) => key.includes("/0009/"));
    assert.deepEqual(snapshots, ["db/0009/0000000000000001-0000000000000003.ltx"]);
    await using alone = await FakeS3.start();
    alone.put(snapshots[0]!, bucket.server.get(snapshots[0]!)!);
    const rows = await bucketOf(alone, bucket.folder).rows();
    assert.equal(rows.length, 50);
    assert.equal(rows.filter((who) => who === "new").length, 10);
    assert.equal(await replica.sync(), 4n, "and the writer goes on");
    assert.equal((await bucket.rows()).at(-1), "not stored yet");
  }));

test("W11: a truncation to no pages could not be encoded, and no upload came through from then on", () =>
  withBucket(async (bucket) => {
    await using replica = await bucket.open("log");
    const db = replica.connect();
    db.exec("PRAGMA cache_size = 4"); // so that the transaction spills
    // SQLite truncates the new database to nothing as it undoes the transaction, to a page where it commits.
    for (const [commit, end] of ["ROLLBACK", "ROLLBACK TO s; COMMIT"].entries()) {
      db.exec("BEGIN");
      db.exec("SAVEPOINT s");
      db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, who TEXT)");
      fill(db, 200);
      for (const sql of end.split("; ")) db.exec(sql);
      assert.equal(replica.size.commit, commit, end);
      assert.equal(await replica.sync(), BigInt(commit), end);
      assert.equal(levelZero(bucket).length, commit, end);
    }
    db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, who TEXT)");
    db.exec("INSERT INTO t(who) VALUES ('one')");
    assert.equal(await replica.sync(), 2n);
    assert.deepEqual(await bucket.rows(), ["one"]);
    // The least that a database shrinks to later is a page.
    db.exec("DROP TABLE t");
    db.exec("VACUUM");
    assert.equal(await replica.sync(), 3n);
    db.close();
    assert.deepEqual(levelZero(bucket).map((bytes) => decodeFile(bytes, lz4).header.commit), [1, 2, 1]);
    const image = new PlainImage();
    for (const object of levelZero(bucket)) image.apply(object);
    const out = join(bucket.folder, "image.db");
    assert.deepEqual(await image.query(out, "SELECT count(*) FROM sqlite_schema"), [0]);
  }, { isEmpty: true }));
