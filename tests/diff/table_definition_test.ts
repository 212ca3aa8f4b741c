import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { ReplicaError } from "../../src/errors.ts";
import { parseCreateTable } from "../../src/diff/table_definition.ts";
import { withDatabase } from "./database_pair.ts";

/** The key in short: the rowid's name, or the columns with their places in the record. */
function keyOf(sql: string): string {
  const { withoutRowid, rowidName, keyColumns } = parseCreateTable(sql);
  const columns = keyColumns.map(({ name, position, collation }) =>
    `${name}@${position}${collation === "binary" ? "" : ` ${collation}`}`
  );
  return `${withoutRowid ? "without " : ""}${rowidName ?? columns.join(", ")}`;
}

const KEYS: readonly (readonly [columns: string, key: string])[] = [
  ["a, b", "rowid"],
  ["a INTEGER PRIMARY KEY, b", "a"],
  ["a integer primary key asc on conflict replace autoincrement", "a"],
  ["b, a INTEGER CONSTRAINT x PRIMARY KEY", "a"],
  ['a "INTEGER" PRIMARY KEY', "a"],
  ["a /* INT */ INTEGER -- PRIMARY KEY DESC\n PRIMARY KEY", "a"],
  ["a INTEGER PRIMARY KEY DESC", "a@0"],
  ["a INTEGER, PRIMARY KEY(a DESC)", "a"],
  ["a INTEGER, PRIMARY KEY((A) COLLATE nocase)", "a"],
  ["a INTEGER, PRIMARY KEY(a AUTOINCREMENT)", "a"],
  ["a INTEGER(4) PRIMARY KEY", "a@0"],
  ["a INT PRIMARY KEY", "a@0"],
  ["a BIG INTEGER PRIMARY KEY", "a@0"],
  ["a PRIMARY KEY", "a@0"],
  ["x, a TEXT NOT NULL COLLATE NoCase PRIMARY KEY", "a@1 nocase"],
  ["a, b, c, PRIMARY KEY(c, a DESC)", "c@2, a@0"],
  ["a, b, CONSTRAINT q PRIMARY KEY(b COLLATE rtrim) UNIQUE(a)", "b@1 rtrim"],
  ["a, b, UNIQUE(a, b) CHECK (a <> ')') PRIMARY KEY(b, b, a)", "b@1, a@0"],
  ["g AS (b + 1), h INT GENERATED ALWAYS AS (b), b TEXT PRIMARY KEY", "b@0"],
  ["g AS (b + 1) STORED, h GENERATED ALWAYS AS (b) VIRTUAL, b TEXT PRIMARY KEY", "b@1"],
  ["a DEFAULT (1 || ')') PRIMARY KEY", "a@0"],
  ["a DEFAULT -1 REFERENCES z(y) ON DELETE SET DEFAULT NOT NULL PRIMARY KEY", "a@0"],
  ["a VARCHAR(10, 2) DEFAULT 'PRIMARY KEY', b CHAR DEFAULT x'00' PRIMARY KEY", "b@1"],
  [
    "\"a\"\"b\" INTEGER, [c d] TEXT, `e``f`, 'g''h', PRIMARY KEY(\"a\"\"b\", [c d], `e``f`, 'g''h')",
    "a\"b@0, c d@1, e`f@2, g'h@3",
  ],
  ['"PRIMARY" KEY, b PRIMARY KEY', "b@1"],
  ["a GENERATED, b DEFAULT 1e-5 PRIMARY KEY, CHECK (a > 1.5e+3)", "b@1"],
  ["été, 😀 TEXT PRIMARY KEY", "😀@1"],
  ["a, b, FOREIGN KEY (a) REFERENCES z(a) ON DELETE SET NULL, PRIMARY KEY (b)", "b@1"],
];

test("parseCreateTable() finds the key and its place in the record", () => {
  for (const [columns, key] of KEYS) assert.equal(keyOf(`CREATE TABLE t(${columns})`), key, columns);
});

test("parseCreateTable() puts the key first without rowid, each collation of a column once", () => {
  const keyed = (columns: string) => keyOf(`CREATE TABLE "t("(${columns}) STRICT , WITHOUT rowid`);
  assert.equal(keyed("a INTEGER PRIMARY KEY, b"), "without a@0");
  assert.equal(keyed("x, b, a, PRIMARY KEY(a, b, a, x)"), "without a@0, b@1, x@2");
  assert.equal(keyed("x, a TEXT, PRIMARY KEY(a, a COLLATE nocase, x)"), "without a@0, x@2");
});

test("parseCreateTable() agrees with SQLite on what is the rowid and what is stored", async () => {
  await withDatabase({}, (database) => {
    for (const [columns, key] of KEYS) {
      database.db.exec("DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS z; CREATE TABLE z(y UNIQUE, a UNIQUE)");
      database.db.exec(`CREATE TABLE t(${columns})`);
      const indexed = database.db.all("PRAGMA index_list(t)").filter(({ origin }) => origin === "pk");
      assert.equal(indexed.length === 1, key.includes("@"), columns);
    }
    return Promise.resolve();
  });
});

test("parseCreateTable() rejects what is no such statement with a ReplicaError", () => {
  const statements = [
    "",
    "CREATE VIEW v AS SELECT 1",
    "CREATE TABLE t",
    "CREATE TABLE t(",
    "CREATE TABLE t(a",
    "CREATE TABLE t(a, )",
    'CREATE TABLE t("a)',
    "CREATE TABLE t(a, PRIMARY KEY(b))",
    "CREATE TABLE t(a, PRIMARY KEY(a)",
    "CREATE TABLE t(a) WITHOUT ROWID",
    "CREATE TABLE t(a DEFAULT (1)",
    `CREATE TABLE t(${"a,".repeat(600_000)}b)`,
  ];
  for (const sql of statements) assert.throws(() => parseCreateTable(sql), ReplicaError, sql.slice(0, 60));
});

test("parseCreateTable() reads a megabyte of the worst kind in bounded time", () => {
  const names = Array.from({ length: 60_000 }, (_, i) => `c${i}`).join();
  const began = process.cpuUsage();
  parseCreateTable(`CREATE TABLE t(${names}, PRIMARY KEY(${names})) WITHOUT ROWID`);
  for (const part of ["((", "/*", "--", "a b ", "((a),", "a(b) "]) {
    const sql = `CREATE TABLE t(a, PRIMARY KEY(${part.repeat(900_000 / part.length)}`;
    assert.throws(() => parseCreateTable(sql), ReplicaError, part);
  }
  const { user } = process.cpuUsage(began);
  assert.ok(user < 10_000_000, `${user} µs of CPU time`);
});
