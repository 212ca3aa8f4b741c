/** `diff --sql`: the script makes the older state the newer one. */
import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { RandomTables } from "../diff/random_tables.ts";
import { Random } from "../support/random.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { contentOf } from "./content.ts";
import { runMain } from "./running.ts";

const DATABASES = Number(env.SCRIPT_DATABASES ?? 6);
const SEED = Number(env.SCRIPT_SEED ?? Date.now() % 2 ** 31);

/** Runs the script between a state and the newest, and compares what it makes with that. Gives the script. */
async function assertScript(folder: ReplicaFolder, from: number): Promise<string> {
  const first = from.toString(16).padStart(16, "0");
  const { code, out, err } = await runMain(["diff", folder.url, "--from", first, "--sql"]);
  assert.equal(code, 0, err);
  const [before, after] = ["before.db", "after.db"].map((name) => join(folder.home, name)) as [
    string,
    string,
  ];
  assert.equal((await runMain(["restore", folder.url, before, "--at", first, "--force"])).code, 0);
  copyFileSync(folder.source.path, after);
  const changed = new DatabaseSync(before);
  (changed as { enableDefensive?(isOn: boolean): void }).enableDefensive?.(false);
  try {
    changed.exec(out);
  } catch (cause) {
    throw new Error(out.slice(0, 4_000), { cause });
  } finally {
    changed.close();
  }
  assert.equal(contentOf(before), contentOf(after), out.slice(0, 4_000));
  return out;
}

const CASES: Record<string, [before: string, after: string]> = {
  "of many rows whose key is NULL, one is deleted": [
    "CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES (NULL, 'a'), (NULL, 'b'), ('k', 'c')",
    "DELETE FROM t WHERE v = 'b'",
  ],
  "rows whose key is NULL in part are changed": [
    "CREATE TABLE t (a, b, v, PRIMARY KEY (a, b)); INSERT INTO t VALUES (1, NULL, 'a'), (1, NULL, 'b'), (2, 2, 'c')",
    "UPDATE t SET v = v || '!'",
  ],
  "a view has another SELECT, its trigger is as it was": [
    `CREATE TABLE t (x); CREATE VIEW v AS SELECT x FROM t;
      CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.x); END`,
    `DROP VIEW v; CREATE VIEW v AS SELECT x + 1 AS x FROM t;
      CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.x); END`,
  ],
  "a view is dropped with its trigger": [
    `CREATE TABLE t (x); CREATE VIEW v AS SELECT x FROM t;
      CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.x); END`,
    "DROP VIEW v",
  ],
  "all rows of a table are put in anew, at other rowids": [
    "CREATE TABLE tags (name TEXT PRIMARY KEY); INSERT INTO tags VALUES ('a'), ('c')",
    "DELETE FROM tags; INSERT INTO tags VALUES ('a'), ('b'), ('c')",
  ],
  "a table has its name in other letters": [
    "CREATE TABLE Foo (x PRIMARY KEY); INSERT INTO Foo VALUES (1); CREATE INDEX Bar ON Foo (x)",
    "DROP TABLE Foo; CREATE TABLE foo (x PRIMARY KEY, y); INSERT INTO foo VALUES (2, 3); CREATE INDEX bar ON foo (x)",
  ],
  "a key has a collation of its own": [
    "CREATE TABLE t (k TEXT, v, PRIMARY KEY (k COLLATE NOCASE)); INSERT INTO t VALUES ('abc', 1), ('d', 3)",
    "UPDATE t SET k = 'ABC' WHERE v = 1; UPDATE t SET v = 2",
  ],
  "a column has a collation, its key has none": [
    `CREATE TABLE t (k TEXT COLLATE NOCASE, v, PRIMARY KEY (k COLLATE BINARY));
      INSERT INTO t VALUES ('abc', 1), ('ABC', 2)`,
    "UPDATE t SET v = 3 WHERE v = 2",
  ],
  "a column is called rowid, and no key is declared": [
    "CREATE TABLE t (rowid, v); INSERT INTO t VALUES (7, 'a'), (1, 'b'), (1, 'c')",
    "UPDATE t SET v = 'd' WHERE v = 'a'; DELETE FROM t WHERE v = 'c'",
  ],
  "columns have all the names of the rowid": [
    "CREATE TABLE t (rowid, oid, _rowid_); INSERT INTO t VALUES (1, 1, 1), (1, 1, 2)",
    "UPDATE t SET oid = 2 WHERE _rowid_ = 2",
  ],
  "an AUTOINCREMENT goes on where it was": [
    "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO t (x) VALUES (1), (2)",
    "INSERT INTO t (x) VALUES (3), (4), (5); DELETE FROM t WHERE x > 3",
  ],
  "the first AUTOINCREMENT comes": [
    "CREATE TABLE u (x)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO t (x) VALUES (1), (2); DELETE FROM t",
  ],
  "AUTOINCREMENT has gone on, and no row tells of it": [
    "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO t (x) VALUES (1), (2)",
    "INSERT INTO t (x) VALUES (3); DELETE FROM t WHERE x = 3",
  ],
  "AUTOINCREMENT begins anew": [
    "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO t (x) VALUES (1), (2)",
    "UPDATE t SET x = 3; DELETE FROM sqlite_sequence",
  ],
  "a key is a REAL beyond all integers": [
    "CREATE TABLE t (k REAL PRIMARY KEY, v); INSERT INTO t VALUES (1e19, 1), (-1e300, 1)",
    "UPDATE t SET v = 2",
  ],
  "a value is no text that could be read": [
    "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    "UPDATE t SET v = CAST(x'61ff62' AS TEXT) WHERE k = 1; UPDATE t SET v = char(65533) WHERE k = 2",
  ],
  "keys differ in what is no text": [
    `CREATE TABLE t (k TEXT PRIMARY KEY, v);
      INSERT INTO t VALUES (CAST(x'61ff' AS TEXT), 1), (CAST(x'61fe' AS TEXT), 1), ('b', 2)`,
    "UPDATE t SET v = 3 WHERE v = 1",
  ],
  "a key was not all readable": [
    "CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES (CAST(x'61ff' AS TEXT), 1), ('b', 2)",
    "UPDATE t SET v = 3",
  ],
  "no table is left": ["CREATE TABLE t (x); INSERT INTO t VALUES (1)", "DROP TABLE t"],
};

for (const [name, [before, after]] of Object.entries(CASES)) {
  test(`a script where ${name}`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(before);
      folder.step(after);
      await assertScript(folder, 1);
    }));
}

for (
  const [name, declared, change] of [
    ["no key is declared", "slug TEXT", "UPDATE docs SET body = 'x ' || body WHERE slug <> 'b'"],
    [
      "the key is no integer",
      "slug TEXT PRIMARY KEY",
      "UPDATE docs SET body = 'x ' || body WHERE slug <> 'b'",
    ],
    [
      "a row takes a deleted one's rowid",
      "slug TEXT PRIMARY KEY",
      "DELETE FROM docs WHERE slug = 'c'; INSERT INTO docs VALUES ('d', 'four')",
    ],
    ["a row has another rowid", "slug TEXT PRIMARY KEY", "REPLACE INTO docs VALUES ('a', 'other')"],
    [
      "rows that are the same have others",
      "slug TEXT PRIMARY KEY",
      "DELETE FROM docs; INSERT INTO docs VALUES ('z', 'new'), ('b', 'two'), ('a', 'one')",
    ],
  ] as const
) {
  test(`rowids are those of the newer state, and full-text search finds the rows by them, where ${name}`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(
        `CREATE TABLE docs (${declared}, body); CREATE VIRTUAL TABLE f USING fts5 (body, content = 'docs');
        CREATE TRIGGER i AFTER INSERT ON docs BEGIN INSERT INTO f (rowid, body) VALUES (new.rowid, new.body); END;
        CREATE TRIGGER d AFTER DELETE ON docs BEGIN
          INSERT INTO f (f, rowid, body) VALUES ('delete', old.rowid, old.body); END;
        CREATE TRIGGER u AFTER UPDATE ON docs BEGIN
          INSERT INTO f (f, rowid, body) VALUES ('delete', old.rowid, old.body);
          INSERT INTO f (rowid, body) VALUES (new.rowid, new.body); END;
        PRAGMA recursive_triggers = ON;
        INSERT INTO docs VALUES ('a', 'one'), ('b', 'two'), ('c', 'three')`,
      );
      folder.step(change);
      await assertScript(folder, 1);
      const rowsIn = (path: string) => {
        const db = new DatabaseSync(path);
        try {
          db.exec("INSERT INTO f (f, rank) VALUES ('integrity-check', 1)");
          return JSON.stringify(db.prepare("SELECT rowid, * FROM docs ORDER BY 1").all());
        } finally {
          db.close();
        }
      };
      assert.equal(rowsIn(join(folder.home, "before.db")), rowsIn(join(folder.home, "after.db")));
    }));
}

test("a script that writes to a table of a virtual one says what SQLite's shell needs", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE VIRTUAL TABLE f USING fts5(x); CREATE TABLE t (x)");
    folder.step("INSERT INTO t VALUES (1)");
    assert.doesNotMatch(await assertScript(folder, 1), /defensive/);
    folder.step("INSERT INTO f VALUES ('some words')");
    assert.match(await assertScript(folder, 2), /^-- Writes to "f_\w+", .* "\.dbconfig defensive off"/m);
  }));

test(`scripts between random states (SCRIPT_SEED=${SEED}, SCRIPT_DATABASES=${DATABASES})`, async () => {
  for (let i = 0; i < DATABASES; i++) {
    const random = new Random(SEED + i);
    const pageSize = [512, 1024, 4096][random.next(3)]!;
    const setup = `PRAGMA encoding = '${["UTF-8", "UTF-16le"][random.next(2)]}'`;
    try {
      await withReplicaFolder({ pageSize, setup }, async (folder) => {
        const tables = new RandomTables(random, { db: folder.source, pageSize });
        folder.step(() => {
          for (let count = 1 + random.next(4); count > 0; count--) tables.createTable();
        });
        for (let round = 1; round <= 3; round++) {
          folder.step(() => {
            for (let steps = 1 + random.next(10); steps > 0; steps--) tables.step();
          });
          await assertScript(folder, 1 + random.next(round));
        }
      });
    } catch (cause) {
      throw new Error(`SCRIPT_SEED=${SEED + i} SCRIPT_DATABASES=1, pages of ${pageSize}, ${setup}`, {
        cause,
      });
    }
  }
});
