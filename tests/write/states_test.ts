/** Which state a writer's connections see: at a moment, held, EXCLUSIVE or pinned; and what is stored. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { openReplica, type Replica, type ReplicaDatabase } from "../../mod.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { listLogs } from "../../src/write/write_log.ts";
import { drivers, rowsOf, thrownBy, valueOf, withConnection } from "../replica/drivers.ts";
import { lz4 } from "../support/lz4.ts";
import { type Bucket, levelZero, withBucket } from "./rival.ts";

/** Commits on a connection of its own. */
function run(replica: Replica, sql: string): void {
  withConnection(replica, undefined, (db) => db.exec(sql));
}

/** Page 1 as it is in the newest file. */
function storedPageOne(bucket: Bucket): DataView {
  const { pgno, page } = decodeFile(levelZero(bucket).at(-1)!, lz4).frames[0]!;
  assert.equal(pgno, 1);
  return new DataView(page.buffer, page.byteOffset);
}

/** With a replica in a folder, which can be read while this thread waits. */
async function withFolder(act: (open: () => Promise<Replica>) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "states-test-"));
  const options = { write: true, bufferPath: join(folder, "log"), syncIntervalMs: 0, pollIntervalMs: 0 };
  try {
    await act(() => openReplica(`file://${folder}/replica`, { ...options, compact: false }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A row that was 'first' at the moment that this gives, and is 'secnd' now. */
async function makeMoment(open: () => Promise<Replica>): Promise<string> {
  const replica = await open();
  run(replica, "CREATE TABLE t(who)");
  run(replica, "INSERT INTO t VALUES ('first')");
  await replica.sync();
  const moment = new Date().toISOString();
  while (new Date().toISOString() <= moment) await delay(1);
  run(replica, "UPDATE t SET who = 'secnd'");
  await replica.close();
  return moment;
}

for (const { name, Database } of drivers) {
  test(`a moment never shows the newest rows, whatever was updated before: ${name}`, async () => {
    // Numbers that SQLite counts up by itself, and those that moments get, meet at some distance.
    for (let updates = 1; updates < 6; updates++) {
      await withFolder(async (open) => {
        const moment = await makeMoment(open);
        await using replica = await open();
        const db = replica.connect(Database);
        const who = () => valueOf(db, "SELECT who FROM t");
        assert.equal(who(), "secnd");
        const past = replica.connect(Database, { asOf: new Date(moment) });
        assert.equal(valueOf(past, "SELECT who FROM t"), "first");
        for (let i = 0; i < updates; i++) db.exec(`UPDATE t SET who = 'third${i}'`);
        db.exec(`PRAGMA litestream_time = '${moment}'`);
        assert.equal(who(), "first", `after ${updates} updates`);
        db.exec("PRAGMA litestream_time = latest");
        assert.equal(who(), `third${updates - 1}`);
        past.close();
        db.close();
      });
    }
  });
}

test("the schema version that is stored is the database's own", () =>
  withBucket(async (bucket) => {
    await using replica = await bucket.open("log");
    const [db, other] = [replica.connect(), replica.connect()];
    for (let round = 0; round < 3; round++) {
      db.exec("PRAGMA litestream_time = 'latest'"); // each time its own differs from the one before
      db.exec("INSERT INTO t(who) VALUES ('row')");
      await replica.sync();
      assert.equal(storedPageOne(bucket).getUint32(40), 1, `round ${round}`);
      assert.equal(valueOf(other, "SELECT count(*) FROM t"), round + 1);
    }
    other.exec("CREATE TABLE u(a)");
    db.exec("INSERT INTO u VALUES (1)");
    await replica.sync();
    assert.equal(storedPageOne(bucket).getUint32(40), 2);
    db.close();
    other.close();
  }));

for (const end of ["COMMIT", "ROLLBACK"]) {
  test(`a transaction that has written nothing is no conflict with another's commit: ${end}`, () =>
    withBucket(async (bucket) => {
      await using one = await bucket.open("one");
      await using two = await bucket.open("two");
      const db = two.connect();
      db.exec("BEGIN IMMEDIATE");
      run(one, "INSERT INTO t(who) VALUES ('one')");
      await one.sync();
      assert.equal(await two.refresh(), 2n);
      assert.equal(valueOf(db, "SELECT count(*) FROM t"), 0, "its state stays");
      db.exec(end);
      assert.equal(valueOf(db, "SELECT count(*) FROM t"), 1);
      db.exec("INSERT INTO t(who) VALUES ('two')");
      db.close();
      assert.equal(await two.sync(), 3n);
      assert.deepEqual(await bucket.rows(), ["one", "two"]);
    }));
}

test("a transaction that begins to write after another's commit is told to begin anew", () =>
  withBucket(async (bucket) => {
    await using one = await bucket.open("one");
    await using two = await bucket.open("two");
    const db = two.connect();
    db.exec("BEGIN IMMEDIATE");
    run(one, "INSERT INTO t(who) VALUES ('one')");
    await one.sync();
    await two.refresh();
    const error = thrownBy(() => {
      db.exec("INSERT INTO t(who) VALUES ('on top of the old state')");
      db.exec("COMMIT");
    });
    // By this code alone does SQLite forget what it has in memory of the transaction.
    assert.match(String(error), /disk I\/O error/);
    assert.match(String(two.lastError), /another writer has stored a newer state/);
    db.exec("INSERT INTO t(who) VALUES ('anew')"); // SQLite has rolled back
    db.close();
    await two.sync();
    assert.deepEqual(await bucket.rows(), ["one", "anew"]);
  }));

test("a connection with locking_mode = EXCLUSIVE keeps to the bound on what waits to be stored", () =>
  withBucket(async (bucket) => {
    const bound = 1024 * 1024;
    await using replica = await bucket.open("log", { unsyncedBytesMax: bound });
    const db = replica.connect();
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    const size = 200_000;
    let committed = 0;
    const error = thrownBy(() => {
      for (; committed < 20; committed++) {
        db.exec(`INSERT INTO t(who) VALUES (printf('%.*c', ${size}, 'x'))`);
      }
    });
    assert.match(String(error), /database or disk is full/);
    assert.match(
      String(replica.lastError),
      /Cannot write: \d+ bytes wait to be stored, expected at most 1048576/,
    );
    assert.ok(committed > 2, `${committed} committed`);
    const [path] = await listLogs(join(bucket.folder, "log"));
    assert.ok((await stat(path!)).size < bound + 2 * size);
    db.close();
    await replica.sync();
    assert.equal((await bucket.rows()).length, committed);
  }));

/** First transactions of a connection that keeps its lock, and the rows they leave. */
const firsts: [string, string[]][] = [
  ["INSERT INTO t(who) VALUES ('before')", ["before"]],
  ["DELETE FROM t WHERE 0", []],
  ["PRAGMA journal_mode = PERSIST; DELETE FROM t WHERE 0", []],
  ["BEGIN IMMEDIATE; ROLLBACK", []],
];

for (const [first, before] of firsts) {
  test(`litestream_write_enabled = 0 holds for a connection with locking_mode = EXCLUSIVE, too, after ${first}`, () =>
    withBucket(async (bucket) => {
      await using replica = await bucket.open("log");
      const [db, other] = [replica.connect(), replica.connect()];
      db.exec("PRAGMA locking_mode = EXCLUSIVE");
      db.exec(first);
      other.exec("PRAGMA litestream_write_enabled = 0");
      assert.throws(() => db.exec("INSERT INTO t(who) VALUES ('off')"));
      assert.match(String(replica.lastError), /litestream_write_enabled is 0/);
      other.exec("PRAGMA litestream_write_enabled = 1");
      db.close();
      other.exec("INSERT INTO t(who) VALUES ('on')");
      other.close();
      await replica.sync();
      assert.deepEqual(await bucket.rows(), [...before, "on"]);
    }));
}

/** Why open files cannot be counted here. */
const noFiles = existsSync("/proc/self/fd") ? false : "counting open files needs /proc";

/** Open files of a log. */
function openLogs({ folder }: Bucket): string[] {
  const paths = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ""; // the one that reads the folder
    }
  });
  return paths.filter((path) => path.startsWith(join(folder, "log.")) && !path.includes(".lock"));
}

test(
  "a reader that stays holds files of its own time alone, however often is stored",
  { skip: noFiles },
  () =>
    withBucket(async (bucket) => {
      await using replica = await bucket.open("log");
      const [db, reader] = [replica.connect(), replica.connect()];
      db.exec("INSERT INTO t(who) VALUES ('before')");
      reader.exec("PRAGMA cache_size = 1");
      reader.exec("BEGIN");
      assert.equal(valueOf(reader, "SELECT count(*) FROM t"), 1);
      for (let i = 0; i < 30; i++) {
        db.exec(`INSERT INTO t(who) VALUES (printf('%.*c', 9000, 'x'))`);
        await replica.sync();
        assert.ok(openLogs(bucket).length <= 3, openLogs(bucket).join("\n"));
      }
      assert.deepEqual(rowsOf(reader, "SELECT who FROM t"), [{ who: "before" }]);
      assert.equal(valueOf(reader, "PRAGMA integrity_check"), "ok");
      reader.exec("COMMIT");
      assert.equal(valueOf(reader, "SELECT count(*) FROM t"), 31);
      db.close();
      reader.close();
    }),
);

test("a connection with locking_mode = EXCLUSIVE reads what it wrote after that is stored", () =>
  withBucket(async (bucket) => {
    await using replica = await bucket.open("log");
    const db = replica.connect();
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    db.exec("PRAGMA cache_size = 2");
    for (let i = 0; i < 5; i++) {
      db.exec("INSERT INTO t(who) VALUES (printf('%.*c', 20000, 'x'))");
      await replica.sync();
    }
    assert.deepEqual({ ...db.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
    assert.equal(db.prepare("SELECT sum(length(who)) AS n FROM t").get().n, 100_000);
    db.close();
  }));

/** What refuses a transaction of the first connection. */
const refusals: [string, (db: ReplicaDatabase, other: ReplicaDatabase, replica: Replica) => Promise<void>][] =
  [
    ["litestream_write_enabled = 0", (db, other) => {
      other.exec("PRAGMA litestream_write_enabled = 0");
      assert.throws(() => db.exec("INSERT INTO t(who) VALUES ('refused')"));
      other.exec("PRAGMA litestream_write_enabled = 1");
      return Promise.resolve();
    }],
    ["the bound", async (db, _other, replica) => {
      const large = (size: number) => `INSERT INTO t(who) VALUES (printf('%.*c', ${size}, 'x'))`;
      db.exec(`BEGIN; ${large(1_500_000)}; DELETE FROM t WHERE length(who) > 100; COMMIT`);
      assert.throws(() => {
        for (let i = 0; i < 20; i++) db.exec(large(200_000));
      });
      await replica.sync();
    }],
  ];

/** A connection with that journal. Where it is defensive, as this driver's are at first, SQLite keeps a journal. */
function journaled(replica: Replica, mode: string): ReplicaDatabase {
  const db = replica.connect(drivers.at(-1)!.Database);
  (db as { enableDefensive?(on: boolean): void }).enableDefensive?.(false);
  assert.equal(valueOf(db, `PRAGMA journal_mode = ${mode}`), mode);
  return db;
}

for (const [what, refuse] of refusals) {
  for (const journal of ["delete", "off"]) {
    const how = `locking_mode = EXCLUSIVE and journal_mode = ${journal}`;
    test(`what a connection with ${how} is told after ${what} refused it is committed`, () =>
      withBucket(async (bucket) => {
        const replica = await bucket.open("log", { unsyncedBytesMax: 2 ** 20 });
        const [db, other] = [journaled(replica, journal), replica.connect()];
        db.exec("PRAGMA locking_mode = EXCLUSIVE");
        db.exec("INSERT INTO t(who) VALUES ('before')");
        await refuse(db, other, replica);
        db.exec("INSERT INTO t(who) VALUES ('after')");
        assert.equal(
          other.prepare("SELECT count(*) AS n FROM t WHERE who = 'after'").get().n,
          1,
          "others see it",
        );
        db.close();
        other.close();
        await replica.close();
        const rows = await bucket.rows();
        assert.deepEqual(rows.filter((who) => who.length < 100), ["before", "after"]);
      }));
  }
}

test("what a connection with locking_mode = EXCLUSIVE is told after another writer's commit is committed", () =>
  withBucket(async (bucket) => {
    const [one, two] = [await bucket.open("one"), await bucket.open("two")];
    const db = two.connect();
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    db.exec("BEGIN IMMEDIATE");
    run(one, "INSERT INTO t(who) VALUES ('one')");
    await one.sync();
    await two.refresh();
    assert.throws(() => {
      db.exec("INSERT INTO t(who) VALUES ('old')");
      db.exec("COMMIT");
    });
    const told: string[] = [];
    for (let i = 0; i < 3; i++) {
      try {
        db.exec(`INSERT INTO t(who) VALUES ('anew${i}')`);
        told.push(`anew${i}`);
      } catch {
        // not told
      }
    }
    db.close();
    await two.sync();
    await one.close();
    await two.close();
    assert.deepEqual(await bucket.rows(), ["one", ...told]);
  }));
