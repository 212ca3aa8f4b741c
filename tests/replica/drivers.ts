/**
 * The drivers that this runtime has, seen alike, and what tests ask of a connection.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import type { DatabaseClass, Replica, ReplicaDatabase } from "../../mod.ts";
import type { ReplicaFolder } from "../support/replica_folder.ts";
import type { Row } from "../support/sqlite.ts";

export const IS_BUN = "Bun" in globalThis;

/** A driver by name, with its class. */
export interface TestedDriver {
  readonly name: string;
  readonly Database: DatabaseClass<ReplicaDatabase>;
}

async function load(name: string): Promise<TestedDriver> {
  const module = await import(name);
  return { name, Database: module.DatabaseSync ?? module.Database };
}

/** Whether connections are of SQLite in WASM: the environment has `LITESTREAM_VFS_SQLITE=wasm`. */
export const IS_WASM = process.env.LITESTREAM_VFS_SQLITE === "wasm";

/** What `connect()` takes in place of a class there. */
const NO_CLASS = undefined as unknown as DatabaseClass<ReplicaDatabase>;

/** `node:sqlite`, and in Bun `bun:sqlite` before it; or SQLite in WASM. */
export const drivers: readonly TestedDriver[] = IS_WASM
  ? [{ name: "SQLite in WASM", Database: NO_CLASS }]
  : IS_BUN
  ? [await load("bun:sqlite"), await load("node:sqlite")]
  : [await load("node:sqlite")];

/** All rows of a query as plain objects. */
export function rowsOf(db: ReplicaDatabase, sql: string, ...parameters: unknown[]): Row[] {
  const statement = db.prepare(sql);
  try {
    return statement.all(...parameters).map((row) => ({ ...row }));
  } finally {
    (statement as { finalize?(): void }).finalize?.();
  }
}

/** The first column of the first row. */
export function valueOf(db: ReplicaDatabase, sql: string, ...parameters: unknown[]): unknown {
  return Object.values(rowsOf(db, sql, ...parameters)[0] ?? {})[0];
}

/** Gives a connection to `use` and closes it in any case. */
export function withConnection<T>(
  replica: Replica,
  Database: DatabaseClass<ReplicaDatabase> | undefined,
  use: (db: ReplicaDatabase) => T,
): T {
  const db = Database ? replica.connect(Database) : replica.connect();
  try {
    return use(db);
  } finally {
    db.close();
  }
}

/** Asserts that a connection passes SQLite's own check and has the source's tables, rows and size. */
export function assertSame(db: ReplicaDatabase, folder: ReplicaFolder): void {
  assert.deepEqual(rowsOf(db, "PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
  const schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name";
  assert.deepEqual(rowsOf(db, schema), folder.rows(schema));
  for (const { name } of folder.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")) {
    const all = `SELECT rowid, * FROM "${name}" ORDER BY rowid`;
    assert.deepEqual(rowsOf(db, all), folder.rows(all), `table ${name}`);
  }
  assert.equal(valueOf(db, "PRAGMA page_count"), folder.rows("PRAGMA page_count")[0]!.page_count);
}

/** Asserts that `act` throws, and gives what it threw. */
export function thrownBy(act: () => unknown): Error & { code?: unknown; errno?: unknown; errcode?: unknown } {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof Error, `threw ${error}`);
    return error;
  }
  assert.fail("threw nothing");
}

/** SQLite's primary result code of what a driver threw; undefined where the driver does not tell. */
export function resultCode(error: unknown): number | undefined {
  const code = extendedCode(error);
  return code === undefined ? undefined : code & 0xff;
}

/** SQLite's extended result code behind a driver's error, where the driver tells it. */
export function extendedCode(error: unknown): number | undefined {
  const { errno, errcode } = error as { errno?: number; errcode?: number };
  return errno ?? errcode;
}

/** SQL that makes and fills a table `t (id, a, b)`, with an index. */
export function tableSql(rowCount: number, textSize = 100): string {
  return `CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT);
    CREATE INDEX t_a ON t (a);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rowCount})
    INSERT INTO t SELECT i, i * 7919 % 10007, printf('%0${textSize}d', i * 31) FROM n;`;
}

/** SQL that makes and fills a table `n (id, x)` of noise, which does not compress: about 1 KiB a row. */
export function noiseSql(rowCount: number): string {
  return `CREATE TABLE n (id INTEGER PRIMARY KEY, x BLOB);
    WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < ${rowCount})
    INSERT INTO n SELECT i, randomblob(900) FROM i;`;
}

/** SQL that reads every row of that table. */
export const NOISE_SUM = "SELECT count(*) AS n, sum(unicode(hex(x))) AS s FROM n";
