/**
 * Every driver that this runtime has: `bun:sqlite` and `node:sqlite` in Bun; `node:sqlite` and `@db/sqlite` in Deno, the
 * latter by its stand-in unless `DB_SQLITE_MODULE` names a module that exports `Database`.
 *
 * @module
 */
import process from "node:process";
import type { DatabaseClass } from "../../mod.ts";
import type { LocalDatabase } from "./local_database.ts";

/** A driver under test. */
export interface TestedDriver {
  readonly name: string;
  readonly Database: DatabaseClass<LocalDatabase>;
}

async function load(module: string, member: string): Promise<DatabaseClass<LocalDatabase>> {
  return (await import(module))[member];
}

/** The drivers of this runtime; or SQLite in WASM, which `connect()` gives without a class. */
export async function allDrivers(): Promise<TestedDriver[]> {
  if (process.env.LITESTREAM_VFS_SQLITE === "wasm") {
    return [{ name: "SQLite in WASM", Database: undefined as unknown as DatabaseClass<LocalDatabase> }];
  }
  const node = { name: "node:sqlite", Database: await load("node:sqlite", "DatabaseSync") };
  if ("Bun" in globalThis) {
    return [{ name: "bun:sqlite", Database: await load("bun:sqlite", "Database") }, node];
  }
  const module = process.env.DB_SQLITE_MODULE;
  const name = module ? "@db/sqlite" : "stand-in for @db/sqlite, over the system's SQLite";
  return [node, { name, Database: await load(module ?? "./db_sqlite_stand_in.ts", "Database") }];
}
