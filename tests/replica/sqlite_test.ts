/** A replica's connection beside everything else that SQLite does: writing, temporary tables, other files. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica, type ReplicaDatabase } from "../../mod.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { openPlain } from "../support/sqlite.ts";
import { assertSame, drivers, resultCode, rowsOf, tableSql, thrownBy, valueOf } from "./drivers.ts";

const SQLITE_READONLY = 8;

interface Place {
  readonly db: ReplicaDatabase;
  readonly folder: ReplicaFolder;
  /** A folder for local files. */
  readonly local: string;
}

/** Runs a test on each driver, on a replica with table `t`. */
function eachDriver(name: string, use: (place: Place) => void | Promise<void>): void {
  for (const { name: driver, Database } of drivers) {
    test(`${driver}: ${name}`, () =>
      withReplicaFolder({}, async (folder) => {
        folder.record(tableSql(3000));
        folder.snapshot();
        folder.step("UPDATE t SET b = 'new' WHERE id % 10 = 0");
        const local = mkdtempSync(join(tmpdir(), "replica-local-"));
        await using replica = await openReplica(folder.url);
        const db = replica.connect(Database);
        try {
          await use({ db, folder, local });
          assertSame(db, folder);
        } finally {
          db.close();
          rmSync(local, { recursive: true });
        }
      }));
  }
}

for (
  const sql of [
    "INSERT INTO t (a) VALUES (1)",
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "CREATE TABLE u (a)",
    "DROP TABLE t",
    "CREATE INDEX i ON t (b)",
    "PRAGMA user_version = 5",
    "VACUUM",
    "REINDEX",
    "ANALYZE",
    "BEGIN IMMEDIATE; DELETE FROM t",
    "SAVEPOINT s; DELETE FROM t",
  ]
) {
  eachDriver(`${sql} is refused: attempt to write a readonly database`, ({ db }) => {
    const error = thrownBy(() => db.exec(sql));
    assert.match(error.message, /attempt to write a readonly database/);
    assert.equal(resultCode(error) ?? SQLITE_READONLY, SQLITE_READONLY);
  });
}

eachDriver(
  "BEGIN IMMEDIATE begins a read transaction, as SQLite does on every read-only file",
  ({ db, folder }) => {
    db.exec("BEGIN IMMEDIATE");
    assert.equal(valueOf(db, "SELECT count(*) FROM t"), folder.rows("SELECT count(*) AS n FROM t")[0]!.n);
    db.exec("COMMIT");
  },
);

eachDriver("temporary tables, indexes, views and triggers work beside the replica", ({ db, folder }) => {
  db.exec(`CREATE TEMP TABLE mine AS SELECT id, a FROM t WHERE a < 5000;
    CREATE INDEX temp.mine_a ON mine (a);
    CREATE TEMP VIEW seen AS SELECT t.id, t.b FROM t JOIN mine USING (id);
    UPDATE mine SET a = a + 1; DELETE FROM mine WHERE id % 2`);
  const wanted = folder.rows("SELECT count(*) AS n FROM t WHERE a < 5000 AND id % 2 = 0");
  assert.deepEqual(rowsOf(db, "SELECT count(*) AS n FROM seen"), wanted);
});

eachDriver("sorts and temporary tables that overflow to files leave none behind", async ({ db, folder }) => {
  const before = new Set(readdirSync(tmpdir()));
  db.exec(
    "PRAGMA temp_store = FILE; PRAGMA cache_size = 5; PRAGMA temp.cache_size = 5; PRAGMA cache_spill = 1",
  );
  const sql =
    "SELECT x.id AS i, y.id AS j FROM t x JOIN t y ON x.a = y.a + 1 ORDER BY x.b DESC, y.b, i, j LIMIT 500";
  assert.deepEqual(rowsOf(db, sql), folder.rows(sql));
  db.exec("CREATE TEMP TABLE big AS SELECT a.b || b.b AS c FROM t a, t b LIMIT 20000");
  assert.equal(valueOf(db, "SELECT count(DISTINCT c) > 1 FROM big"), 1);
  db.exec("DROP TABLE big");
  assert.deepEqual(await namesThatStay(before), []);
});

/** What is new among temporary files and is not gone within a second: other processes make and unlink theirs. */
async function namesThatStay(before: ReadonlySet<string>): Promise<string[]> {
  const untilMs = Date.now() + 1000;
  for (;;) {
    const names = readdirSync(tmpdir()).filter((name) => !before.has(name) && /etilqs|litestream/.test(name));
    if (names.length === 0 || Date.now() > untilMs) return names;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

eachDriver("ATTACH ':memory:' takes copies of the replica's rows", ({ db, folder }) => {
  db.exec(
    "ATTACH ':memory:' AS m; CREATE TABLE m.copy AS SELECT * FROM main.t; INSERT INTO m.copy (a) VALUES (-1)",
  );
  const n = folder.rows("SELECT count(*) + 1 AS n FROM t");
  assert.deepEqual(rowsOf(db, "SELECT count(*) AS n FROM m.copy"), n);
  db.exec("DETACH m");
});

eachDriver("ATTACH a local file: joins with it, and writes into it", async ({ db, local }) => {
  const path = join(local, "notes.db");
  const made = await openPlain(path);
  made.exec(
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, note); INSERT INTO notes VALUES (10, 'ten'), (11, 'eleven')",
  );
  made.close();
  db.exec(`ATTACH '${path}' AS l`);
  const join2 = "SELECT note, b FROM l.notes JOIN main.t USING (id) ORDER BY id";
  assert.deepEqual(rowsOf(db, join2).map(({ note }) => note), ["ten", "eleven"]);
  db.exec("BEGIN; INSERT INTO l.notes SELECT id, b FROM t WHERE id BETWEEN 20 AND 29; COMMIT");
  db.exec("BEGIN; DELETE FROM l.notes; ROLLBACK");
  assert.match(
    thrownBy(() => db.exec("BEGIN; INSERT INTO l.notes VALUES (99, 'x'); DELETE FROM t")).message,
    /readonly/,
  );
  try {
    db.exec("ROLLBACK");
  } catch {
    // rolled back already
  }
  db.exec("DETACH l");
  assert.deepEqual(readdirSync(local), ["notes.db"]);
  const again = await openPlain(path);
  assert.equal(again.all("SELECT count(*) AS n FROM notes")[0]!.n, 12);
  again.close();
});

eachDriver("ATTACH a local file that is in WAL mode", async ({ db, local }) => {
  const path = join(local, "wal.db");
  const made = await openPlain(path);
  made.all("PRAGMA journal_mode = WAL");
  made.exec("CREATE TABLE w (a); INSERT INTO w VALUES (1)");
  db.exec(`ATTACH '${path}' AS w`);
  db.exec("INSERT INTO w.w VALUES (2)");
  made.exec("INSERT INTO w VALUES (3)");
  assert.equal(valueOf(db, "SELECT sum(a) FROM w.w"), 6);
  db.exec("DETACH w");
  made.close();
});

eachDriver("VACUUM INTO makes a local copy", async ({ db, folder, local }) => {
  const path = join(local, "copy.db");
  db.exec(`VACUUM INTO '${path}'`);
  assert.deepEqual(readdirSync(local), ["copy.db"]);
  const copy = await openPlain(path);
  const all = "SELECT * FROM t ORDER BY id";
  assert.deepEqual(copy.all(all), folder.rows(all));
  assert.deepEqual(copy.all("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
  copy.exec("INSERT INTO t (a) VALUES (5)");
  copy.close();
});

test("node:sqlite: backup() makes a local copy", () =>
  withReplicaFolder({}, async (folder) => {
    const { backup } = await import("node:sqlite") as unknown as {
      backup?: (db: unknown, path: string) => Promise<number>;
    };
    if (backup === undefined) return;
    folder.step(tableSql(500));
    const { Database } = drivers.at(-1)!;
    await using replica = await openReplica(folder.url);
    const db = replica.connect(Database);
    const path = join(folder.home, "backup.db");
    await backup(db, path);
    db.close();
    const copy = await openPlain(path);
    assert.deepEqual(copy.all("SELECT * FROM t"), folder.rows("SELECT * FROM t"));
    copy.close();
  }));

test(
  "bun:sqlite: serialize() gives a copy",
  { skip: !drivers.some(({ name }) => name === "bun:sqlite") },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(tableSql(500));
      const { Database } = drivers[0] as unknown as {
        Database: {
          new (path: string): ReplicaDatabase & { serialize(): Uint8Array };
          deserialize(b: Uint8Array): ReplicaDatabase;
        };
      };
      await using replica = await openReplica(folder.url);
      const db = replica.connect(Database);
      const copy = Database.deserialize(db.serialize());
      assert.deepEqual(rowsOf(copy, "SELECT * FROM t"), folder.rows("SELECT * FROM t"));
      copy.close();
      db.close();
    }),
);

eachDriver("litestream_txid() and litestream_time() are evaluated at each step", ({ db }) => {
  const txid = db.prepare("SELECT litestream_txid() AS v");
  const time = db.prepare("SELECT litestream_time() AS v");
  for (let i = 0; i < 2; i++) {
    assert.equal(txid.get().v, "0000000000000002");
    assert.equal(time.get().v, new Date(1_700_000_002_000).toISOString());
  }
  for (const statement of [txid, time]) (statement as { finalize?(): void }).finalize?.();
});

eachDriver("PRAGMA litestream_txid and litestream_time prepared once and stepped twice", ({ db }) => {
  for (const [name, value] of [["txid", "0000000000000002"], ["time", "2023-11-14T22:13:22.000Z"]] as const) {
    const statement = db.prepare(`PRAGMA litestream_${name}`);
    for (let i = 0; i < 2; i++) assert.deepEqual(Object.values(statement.get()), [value]);
    (statement as { finalize?(): void }).finalize?.();
    assert.equal(valueOf(db, `PRAGMA LITESTREAM_${name.toUpperCase()}`), value);
  }
  assert.equal(valueOf(db, "PRAGMA litestream_error"), "");
});

eachDriver("an unknown or read-only litestream_ PRAGMA fails with words", ({ db }) => {
  assert.match(
    thrownBy(() => rowsOf(db, "PRAGMA litestream_nonsense")).message,
    /unknown PRAGMA litestream_nonsense/,
  );
  for (const name of ["txid", "lag", "error", "stats", "hydration_progress", "hydration_file"]) {
    assert.match(
      thrownBy(() => rowsOf(db, `PRAGMA litestream_${name} = 5`)).message,
      new RegExp(`Cannot set litestream_${name}: it only tells, expected no value`),
    );
  }
});

eachDriver("other PRAGMAs work as ever", ({ db, folder }) => {
  for (
    const name of ["page_size", "page_count", "user_version", "schema_version", "encoding", "freelist_count"]
  ) {
    assert.deepEqual(rowsOf(db, `PRAGMA ${name}`), folder.rows(`PRAGMA ${name}`), name);
  }
  assert.equal(valueOf(db, "PRAGMA journal_mode"), "delete");
  assert.deepEqual(rowsOf(db, "PRAGMA table_info(t)"), folder.rows("PRAGMA table_info(t)"));
  assert.equal(valueOf(db, "PRAGMA quick_check"), "ok");
});

eachDriver("two connections read at once, each in its own transaction", ({ db, folder }) => {
  const sql = "SELECT sum(a) AS s, litestream_txid() AS txid FROM t";
  db.exec("BEGIN");
  const first = rowsOf(db, sql);
  assert.equal(first[0]!.s, folder.rows("SELECT sum(a) AS s FROM t")[0]!.s);
  assert.deepEqual(rowsOf(db, sql), first);
  db.exec("COMMIT");
});

test("Ordinary databases work beside an open replica, and none is made for it", async () => {
  for (const { Database } of drivers) {
    await withReplicaFolder({}, async (folder) => {
      folder.step(tableSql(10));
      await using replica = await openReplica(folder.url);
      const db = replica.connect(Database);
      const path = join(folder.home, "plain.db");
      const plain = new Database(path);
      plain.exec("CREATE TABLE p (a); INSERT INTO p VALUES (1)");
      assert.equal(valueOf(plain, "SELECT a FROM p"), 1);
      assert.match(thrownBy(() => rowsOf(plain, "SELECT litestream_txid()")).message, /no such function/);
      plain.close();
      assert.ok(existsSync(path));
      const memory = new Database(":memory:");
      memory.exec("CREATE TABLE p (a)");
      memory.close();
      assertSame(db, folder);
      db.close();
    });
  }
});

eachDriver("run() of a statement says what it has done, as its type does", ({ db }) => {
  assert.throws(() => db.prepare("INSERT INTO t (a) VALUES (?)").run(1), /readonly/);
  db.exec("CREATE TEMP TABLE own (id INTEGER PRIMARY KEY, a)");
  const { changes, lastInsertRowid } = db.prepare("INSERT INTO own (a) VALUES (?), (?)").run(1, 2);
  assert.deepEqual([changes, lastInsertRowid], [2, 2]);
});
