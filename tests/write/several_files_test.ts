/** A COMMIT over several files, one of which cannot be committed any more: nothing of it is in any, but for files in WAL mode. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica, register, type Replica, type ReplicaDatabase } from "../../mod.ts";
import { listLogs, readLog } from "../../src/write/write_log.ts";
import { drivers, rowsOf, withConnection } from "../replica/drivers.ts";

async function inFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "several-files-test-"));
  try {
    await act(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Opens a replica whose log has a folder of its own. */
async function opened(folder: string, name: string, log = name): Promise<Replica> {
  await mkdir(join(folder, `${log}.log`), { recursive: true });
  return await openReplica(`file://${folder}/${name}`, {
    write: true,
    bufferPath: join(folder, `${log}.log`, "log"),
    syncIntervalMs: 0,
    pollIntervalMs: 0,
    compact: false,
  });
}

/** Makes the table, and has it stored: the next transaction begins a file of the log. */
async function begin(replica: Replica): Promise<void> {
  withConnection(replica, undefined, (db) => db.exec("CREATE TABLE t(a)"));
  await replica.sync();
}

/** Begins a transaction over tables, writes `value` to each. */
function writeAll(db: ReplicaDatabase, tables: readonly string[], value: number): void {
  db.exec("BEGIN");
  for (const table of tables) db.exec(`INSERT INTO ${table} VALUES (${value})`);
}

/** Gives up what is left of a transaction whose COMMIT failed. */
function rollBack(db: ReplicaDatabase): void {
  try {
    db.exec("ROLLBACK");
  } catch {
    // SQLite has rolled back already
  }
}

function assertRows(db: ReplicaDatabase, tables: readonly string[], wanted: readonly number[]): void {
  for (const table of tables) {
    assert.deepEqual(rowsOf(db, `SELECT a FROM ${table}`).map(({ a }) => a), wanted, table);
  }
}

/** What a reader finds. */
async function stored(folder: string, name: string): Promise<unknown[]> {
  await using replica = await openReplica(`file://${folder}/${name}`, { pollIntervalMs: 0 });
  return withConnection(replica, undefined, (db) => rowsOf(db, "SELECT a FROM t").map(({ a }) => a));
}

/** A COMMIT fails while a log has no folder; nothing of it is anywhere, and the next one is in all. */
async function assertAllOrNone(
  db: ReplicaDatabase,
  tables: readonly string[],
  logFolder: string,
): Promise<void> {
  writeAll(db, tables, 1);
  await rename(logFolder, `${logFolder}.away`);
  assert.throws(() => db.exec("COMMIT"), /disk|full|open|I\/O/);
  rollBack(db);
  assertRows(db, tables, []);
  await rename(`${logFolder}.away`, logFolder);
  assertRows(db, tables, []);
  writeAll(db, tables, 2);
  db.exec("COMMIT");
  assertRows(db, tables, [2]);
}

for (const { name, Database } of drivers) {
  for (const broken of ["one", "two"]) {
    const which = broken === "one" ? "main database's" : "attached one's";
    test(`a COMMIT over two replicas is in none where the ${which} log cannot be written: ${name}`, () =>
      inFolder(async (folder) => {
        const [one, two] = [await opened(folder, "one"), await opened(folder, "two")];
        await begin(one);
        await begin(two);
        const db = one.connect(Database);
        db.exec(`ATTACH '${two.path()}' AS two`);
        await assertAllOrNone(db, ["main.t", "two.t"], join(folder, `${broken}.log`));
        db.close();
        await one.close();
        await two.close();
        assert.deepEqual([await stored(folder, "one"), await stored(folder, "two")], [[2], [2]]);
      }));
  }

  test(`a COMMIT over a file and a replica is in none where the log cannot be written: ${name}`, () =>
    inFolder(async (folder) => {
      const replica = await opened(folder, "replica");
      await begin(replica);
      await using _registration = await register({ default: true, Database });
      const db = new Database(join(folder, "plain.db"));
      db.exec("CREATE TABLE p(a)");
      db.exec(`ATTACH '${replica.path()}' AS r`);
      await assertAllOrNone(db, ["p", "r.t"], join(folder, "replica.log"));
      db.close();
      await replica.close();
      assert.deepEqual(await stored(folder, "replica"), [2]);
    }));

  for (const main of ["file", "replica"]) {
    test(`a COMMIT over a file in WAL mode and a replica leaves the file's part where the log cannot be written: ${main} first, ${name}`, () =>
      inFolder(async (folder) => {
        const replica = await opened(folder, "replica");
        await begin(replica);
        await using _registration = await register({ default: true, Database });
        const plain = join(folder, "plain.db");
        const alone = new Database(plain);
        alone.exec("PRAGMA journal_mode = WAL");
        alone.exec("CREATE TABLE p(a)");
        const db = main === "file" ? new Database(plain) : replica.connect(Database);
        db.exec(`ATTACH '${main === "file" ? replica.path() : plain}' AS other`);
        writeAll(db, ["p", "t"], 1);
        await rename(join(folder, "replica.log"), join(folder, "away"));
        assert.throws(() => db.exec("COMMIT"), /disk|full|open|I\/O/);
        rollBack(db);
        assertRows(db, ["p"], [1]);
        assertRows(db, ["t"], []);
        assertRows(alone, ["p"], [1]);
        await rename(join(folder, "away"), join(folder, "replica.log"));
        db.close();
        alone.close();
        await replica.close();
        assert.deepEqual(await stored(folder, "replica"), []);
      }));
  }

  test(`a COMMIT over two replicas is in none after a conflict in one of them: ${name}`, () =>
    inFolder(async (folder) => {
      const one = await opened(folder, "one");
      await begin(one);
      const begun = await opened(folder, "two", "begun");
      await begin(begun);
      await begun.close();
      const [two, rival] = [await opened(folder, "two"), await opened(folder, "two", "rival")];
      const db = one.connect(Database);
      db.exec(`ATTACH '${two.path()}' AS two`);
      writeAll(db, ["main.t", "two.t"], 1);
      withConnection(rival, undefined, (other) => other.exec("INSERT INTO t VALUES (9)"));
      await rival.close();
      await two.refresh().catch(() => {}); // where the transaction is held against it, it is told of that
      assert.throws(() => db.exec("COMMIT"));
      rollBack(db);
      assertRows(db, ["main.t"], []);
      db.close();
      await one.close();
      await two.close().catch(() => {});
      assert.deepEqual([await stored(folder, "one"), await stored(folder, "two")], [[], [9]]);
      for (const log of await listLogs(join(folder, "two.log", "log"))) {
        assert.deepEqual((await readLog(log))?.txids ?? [], [], "nothing of it is kept as committed");
      }
    }));
}
