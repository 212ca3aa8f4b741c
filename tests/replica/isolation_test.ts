/** What a transaction sees while the replica goes on, and what SQLite keeps of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { allDrivers } from "../support/all_drivers.ts";
import type { LocalDatabase } from "../support/local_database.ts";
import {
  type ReplicaFolder,
  type ReplicaFolderOptions,
  withReplicaFolder,
} from "../support/replica_folder.ts";
import { rowsOf, tableSql, thrownBy, valueOf } from "./drivers.ts";
import { ASKED, assertAlike, looks, OFTEN, recordValue, stepValue } from "./following.ts";
import { Reader } from "./reader.ts";

const drivers = await allDrivers();

interface Place {
  readonly folder: ReplicaFolder;
  readonly replica: Replica;
  readonly db: LocalDatabase;
  connect(): LocalDatabase;
}

function eachDriver(
  name: string,
  { folder: folderOptions = {}, ...options }: OpenOptions & { folder?: ReplicaFolderOptions },
  use: (place: Place) => Promise<void>,
): void {
  for (const { name: driver, Database } of drivers) {
    test(`${driver}: ${name}`, { timeout: 60_000 }, () =>
      withReplicaFolder(folderOptions, async (folder) => {
        folder.record(tableSql(500));
        folder.snapshot();
        await using replica = await openReplica(folder.url, options);
        const open: LocalDatabase[] = [];
        const connect = () => {
          open.push(replica.connect(Database));
          return open.at(-1)!;
        };
        try {
          await use({ folder, replica, db: connect(), connect });
        } finally {
          for (const db of open) db.close();
        }
      }));
  }
}

const SUM = "SELECT count(*) AS n, sum(a) AS s, sum(length(b)) AS l FROM t";

eachDriver(
  "a transaction keeps its state while others come; the next one sees the newest",
  ASKED,
  async (place) => {
    const { folder, replica, db, connect } = place;
    const other = connect();
    for (const begin of ["BEGIN", "BEGIN DEFERRED", "SAVEPOINT s"]) {
      const wanted = folder.rows(SUM);
      db.exec(begin);
      assert.deepEqual(rowsOf(db, SUM), wanted);
      for (let i = 0; i < 4; i++) {
        folder.step(
          `INSERT INTO t (a, b) VALUES (${i}, 'new'); UPDATE t SET b = b || '.' WHERE id % 50 = ${i}`,
        );
        await replica.refresh();
        assert.deepEqual(rowsOf(db, SUM), wanted);
        assert.deepEqual(rowsOf(other, SUM), folder.rows(SUM));
      }
      folder.step("VACUUM");
      await replica.refresh();
      assert.deepEqual(rowsOf(db, SUM), wanted);
      assert.deepEqual(rowsOf(db, "PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
      db.exec(begin === "SAVEPOINT s" ? "RELEASE s" : "COMMIT");
      assert.deepEqual(rowsOf(db, SUM), folder.rows(SUM));
    }
  },
);

eachDriver("BEGIN alone pins nothing: the first read does", ASKED, async ({ folder, replica, db }) => {
  db.exec("BEGIN");
  folder.step("DELETE FROM t WHERE id = 1");
  await replica.refresh();
  assert.equal(valueOf(db, "SELECT count(*) FROM t"), 499);
  folder.step("DELETE FROM t WHERE id = 2");
  await replica.refresh();
  assert.equal(valueOf(db, "SELECT count(*) FROM t"), 499);
  db.exec("ROLLBACK");
  assert.equal(valueOf(db, "SELECT count(*) FROM t"), 498);
});

eachDriver("SQLite's own cache outlives looks that find nothing", OFTEN, async ({ folder, replica, db }) => {
  assert.deepEqual(rowsOf(db, SUM), folder.rows(SUM));
  await looks(replica, 10);
  await replica.refresh();
  const mark = replica.stats();
  assert.deepEqual(rowsOf(db, SUM), folder.rows(SUM));
  const { hits, misses } = replica.stats(mark);
  assert.equal(misses, 0);
  assert.ok(hits <= 1, `${hits} hits`);
});

eachDriver("SQLite's own cache outlives a base that gives way to a newer snapshot", ASKED, async (place) => {
  const { folder, replica, db } = place;
  folder.step("DELETE FROM t WHERE id = 1");
  await replica.refresh();
  assert.deepEqual(rowsOf(db, SUM), folder.rows(SUM));
  folder.snapshot();
  await replica.refresh();
  folder.delete(9, 1, 1);
  folder.delete(0, 2, 2);
  const mark = replica.stats();
  assert.deepEqual(rowsOf(db, SUM), folder.rows(SUM));
  const { hits, misses } = replica.stats(mark);
  assert.equal(misses, 0);
  assert.ok(hits <= 1, `${hits} hits`);
});

eachDriver("a change costs only the pages that changed", ASKED, async ({ folder, replica, db }) => {
  rowsOf(db, SUM);
  folder.step("UPDATE t SET b = 'x' WHERE id = 250");
  await replica.refresh();
  const mark = replica.stats();
  assert.deepEqual(rowsOf(db, SUM), folder.rows(SUM));
  assert.deepEqual([replica.stats(mark).misses, replica.stats(mark).getRequests], [0, 0]); // they came with the file
});

eachDriver("prepared statements see rows come and go", ASKED, async ({ folder, replica, db }) => {
  const count = db.prepare("SELECT count(*) AS n, litestream_txid() AS txid FROM t");
  for (let i = 0; i < 5; i++) {
    assert.deepEqual({ ...count.get() }, {
      n: 500 - i,
      txid: BigInt(folder.txid).toString(16).padStart(16, "0"),
    });
    folder.step(`DELETE FROM t WHERE id = ${i * 7 + 1}`);
    await replica.refresh();
  }
});

eachDriver(
  "statements see the schema change: CREATE, ALTER, DROP",
  ASKED,
  async ({ folder, replica, db }) => {
    const first = "SELECT * FROM t WHERE id = 1";
    const kept = db.prepare("SELECT count(*) AS n FROM t");
    const columns = () => Object.keys(rowsOf(db, first)[0]!);
    assert.deepEqual(columns(), ["id", "a", "b"]);
    assert.equal(kept.get().n, 500);
    folder.step("ALTER TABLE t ADD COLUMN c DEFAULT 5");
    await replica.refresh();
    assert.equal(valueOf(db, "SELECT c FROM t WHERE id = 1"), 5);
    // Before a statement has run, node:sqlite in Deno takes its columns from the schema as it was, on any database.
    assert.deepEqual(columns(), ["id", "a", "b", "c"]);
    assert.equal(kept.get().n, 500);
    folder.step("CREATE TABLE u (x); INSERT INTO u VALUES (1)");
    thrownBy(() => rowsOf(db, "SELECT x FROM u"));
    await replica.refresh();
    assert.equal(valueOf(db, "SELECT x FROM u"), 1);
    folder.step("ALTER TABLE t RENAME COLUMN a TO z");
    folder.step("DROP INDEX t_a");
    await replica.refresh();
    assert.equal(valueOf(db, "SELECT count(z) FROM t"), 500);
    assert.equal(kept.get().n, 500);
    folder.step("DROP TABLE t");
    await replica.refresh();
    assert.match(thrownBy(() => kept.get()).message, /no such table: t/);
    assert.match(thrownBy(() => rowsOf(db, first)).message, /no such table: t/);
    folder.step("CREATE TABLE t AS SELECT 9 AS id");
    await replica.refresh();
    assert.equal(kept.get().n, 1);
    assertAlike(db, folder);
  },
);

eachDriver(
  "temporary tables and triggers stay while the replica goes on",
  ASKED,
  async ({ folder, replica, db }) => {
    db.exec("CREATE TEMP TABLE mine AS SELECT id FROM t WHERE id < 10");
    db.exec("CREATE TEMP VIEW both AS SELECT t.b FROM t JOIN mine USING (id)");
    folder.step("DELETE FROM t WHERE id < 5");
    folder.step("ALTER TABLE t ADD COLUMN more");
    await replica.refresh();
    assert.equal(valueOf(db, "SELECT count(*) FROM both"), 5);
    assert.equal(valueOf(db, "SELECT count(*) FROM mine"), 9);
  },
);

eachDriver(
  "growth, shrink and VACUUM between transactions",
  { ...ASKED, folder: { setup: "PRAGMA auto_vacuum = INCREMENTAL" } },
  async ({ folder, replica, db }) => {
    const changes: (string | (() => unknown))[] = [
      "INSERT INTO t (a, b) SELECT a, b || b FROM t",
      "DELETE FROM t WHERE id > 100",
      () => folder.source.all("PRAGMA incremental_vacuum"),
      "INSERT INTO t (a, b) SELECT t.a, hex(randomblob(200)) FROM t, (SELECT 1 UNION ALL SELECT 2) LIMIT 700",
      "VACUUM",
      "DELETE FROM t",
      "VACUUM",
      "CREATE TABLE again AS SELECT 1 AS x",
    ];
    for (const change of changes) {
      folder.step(typeof change === "string" ? change : () => void change());
      await replica.refresh();
      assertAlike(db, folder);
    }
  },
);

eachDriver("a connection that idles over 100 transactions", OFTEN, async ({ folder, replica, db }) => {
  assertAlike(db, folder);
  for (let i = 0; i < 100; i++) {
    folder.step(`UPDATE t SET b = 'v${i}' WHERE id % 100 = ${i}`);
    if (i === 40) folder.write(1, 2, 30);
    if (i === 60) folder.snapshot(50);
  }
  await replica.waitFor(101n);
  assertAlike(db, folder);
});

eachDriver(
  "two replicas attached to one connection each go their own way",
  ASKED,
  async ({ folder, replica, db }) => {
    await withReplicaFolder({}, async (second) => {
      stepValue(second, 2);
      await using other = await openReplica(second.url, ASKED);
      db.exec(`ATTACH '${other.path()}' AS o`);
      const sql = "SELECT (SELECT count(*) FROM main.t) AS n, (SELECT x FROM o.v) AS x";
      assert.deepEqual(rowsOf(db, sql), [{ n: 500, x: 2 }]);
      stepValue(second, 3);
      await other.refresh();
      assert.deepEqual(rowsOf(db, sql), [{ n: 500, x: 3 }]);
      db.exec("BEGIN");
      rowsOf(db, sql);
      folder.step("DELETE FROM t WHERE id = 1");
      stepValue(second, 4);
      await Promise.all([replica.refresh(), other.refresh()]);
      assert.deepEqual(rowsOf(db, sql), [{ n: 500, x: 3 }]);
      db.exec("COMMIT");
      assert.deepEqual(rowsOf(db, sql), [{ n: 499, x: 4 }]);
      db.exec("DETACH o");
    });
  },
);

test(
  "readers in several threads see states one after the other, each whole",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(
        "CREATE TABLE v (x); INSERT INTO v VALUES (1); CREATE TABLE w (y); INSERT INTO w VALUES (1)",
      );
      folder.snapshot();
      await using replica = await openReplica(folder.url, OFTEN);
      const readers = await Promise.all([1, 2, 3, 4].map(() => Reader.start({ shared: replica.share() })));
      let ended = false;
      const sql = "SELECT x, y, litestream_txid() AS txid FROM v, w";
      const reading = readers.map(async (reader) => {
        const seen: number[] = [];
        while (!ended) {
          const { rows, error } = await reader.ask(sql);
          assert.equal(error, undefined);
          const { x, y, txid } = rows[0] as { x: number; y: number; txid: string };
          assert.deepEqual([y, Number(BigInt(`0x${txid}`))], [x, x]);
          seen.push(x);
        }
        return seen;
      });
      for (let txid = 2; txid <= 60; txid++) {
        folder.step(`UPDATE v SET x = ${txid}; UPDATE w SET y = ${txid}`);
        if (txid % 9 === 0) folder.write(1, Math.max(2, txid - 8), txid - 1);
        if (txid % 20 === 0) folder.snapshot();
        await new Promise((resolve) => setTimeout(resolve, 8));
      }
      await replica.waitFor(60n);
      await new Promise((resolve) => setTimeout(resolve, 100));
      ended = true;
      for (const seen of await Promise.all(reading)) {
        assert.ok(seen.every((x, i) => i === 0 || x >= seen[i - 1]!), `goes back: ${seen}`);
        assert.equal(seen.at(-1), 60);
        assert.ok(new Set(seen).size > 3, `saw only ${[...new Set(seen)]}`);
      }
      await Promise.all(readers.map((reader) => reader.close()));
    }),
);

test("pinned transactions of many connections are each told, and given up", () =>
  withReplicaFolder({}, async (folder) => {
    recordValue(folder, 1);
    folder.snapshot();
    await using replica = await openReplica(folder.url, ASKED);
    const open = Array.from({ length: 20 }, () => replica.connect());
    for (const [i, db] of open.entries()) {
      db.exec("BEGIN");
      assert.equal(valueOf(db, "SELECT x FROM v"), i + 1);
      stepValue(folder, i + 2);
      await replica.refresh();
    }
    assert.equal(replica.stats().pinned, 20);
    for (const [i, db] of open.entries()) assert.equal(valueOf(db, "SELECT x FROM v"), i + 1);
    for (const db of open) {
      db.exec("COMMIT");
      assert.equal(valueOf(db, "SELECT x FROM v"), 21);
      db.close();
    }
    assert.equal(replica.stats().pinned, 0);
  }));
