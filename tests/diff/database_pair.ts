/**
 * Two states of a database file as pages, and what SQL says of their differences.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Change } from "../../src/diff/change.ts";
import { diffDatabases, type DiffOptions } from "../../src/diff/diff.ts";
import type { PageSource } from "../../src/diff/page_source.ts";
import { openPlain, type PlainDatabase } from "../support/sqlite.ts";

/** Pages of a file, and which were read. */
export class FilePages implements PageSource {
  readonly reads: number[] = [];
  readonly bytes: Uint8Array;
  readonly pageSize: number;

  constructor(bytes: Uint8Array, pageSize: number) {
    this.bytes = bytes;
    this.pageSize = pageSize;
  }

  get commit(): number {
    return this.bytes.length / this.pageSize;
  }

  page(pgno: number): Promise<Uint8Array> {
    assert.ok(pgno >= 1 && pgno <= this.commit, `page ${pgno} of ${this.commit} was asked for`);
    this.reads.push(pgno);
    return Promise.resolve(this.bytes.subarray((pgno - 1) * this.pageSize, pgno * this.pageSize));
  }
}

/** Pages of the longer file that differ, or that only it has. */
export function changedPages(from: FilePages, to: FilePages): Uint32Array {
  const changed: number[] = [];
  const { pageSize } = to;
  for (let pgno = 1; pgno <= Math.max(from.commit, to.commit); pgno++) {
    const [a, b] = [from, to].map(({ bytes }) => bytes.subarray((pgno - 1) * pageSize, pgno * pageSize));
    if (Buffer.compare(a!, b!) !== 0) changed.push(pgno);
  }
  return Uint32Array.from(changed);
}

/** A database in a folder of its own, whose states are remembered. */
export class ChangingDatabase {
  readonly home: string;
  readonly db: PlainDatabase;
  readonly pageSize: number;

  static async make(pageSize = 4096, setup = ""): Promise<ChangingDatabase> {
    const home = mkdtempSync(join(tmpdir(), "diff-"));
    const db = await openPlain(join(home, "changing.db"));
    db.exec(`PRAGMA page_size = ${pageSize}`);
    if (setup !== "") db.exec(setup);
    db.all("PRAGMA journal_mode = DELETE");
    db.exec("PRAGMA synchronous = OFF");
    return new ChangingDatabase(home, db, pageSize);
  }

  private constructor(home: string, db: PlainDatabase, pageSize: number) {
    this.home = home;
    this.db = db;
    this.pageSize = pageSize;
  }

  state(): FilePages {
    return new FilePages(new Uint8Array(readFileSync(this.db.path)), this.pageSize);
  }

  /** Opens a state as a database of its own. */
  async open(state: FilePages, name: string): Promise<PlainDatabase> {
    const path = join(this.home, `${name}.db`);
    writeFileSync(path, state.bytes);
    return await openPlain(path);
  }

  close(): void {
    this.db.close();
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Makes a database, gives it to `use`, and deletes it in any case. */
export async function withDatabase(
  options: { pageSize?: number; setup?: string },
  use: (database: ChangingDatabase) => Promise<void>,
): Promise<void> {
  const database = await ChangingDatabase.make(options.pageSize, options.setup);
  try {
    await use(database);
  } finally {
    database.close();
  }
}

/** All changes between two states. */
export async function diff(from: FilePages, to: FilePages, options?: DiffOptions): Promise<Change[]> {
  return await Array.fromAsync(diffDatabases({ from, to, changed: changedPages(from, to) }, options));
}

/** A change in one line, the key's values as SQL literals. */
export function changeLine(change: Change): string {
  if (!("key" in change)) return `${change.kind} ${change.table}`;
  const key = Object.entries(change.key).map(([name, value]) => `${name}=${literal(value)}`);
  return `${change.kind} ${change.table} ${key.join(" ")}`;
}

/** The changes of all that `statements` do, each in one line. */
export async function linesOf(database: ChangingDatabase, statements: string): Promise<string[]> {
  const from = database.state();
  database.db.exec(statements);
  return (await diff(from, database.state())).map(changeLine);
}

function literal(value: unknown): string {
  if (value === null) return "NULL";
  if (typeof value === "string") return `'${value.replaceAll("'", "''")}'`;
  if (value instanceof Uint8Array) return `X'${Buffer.from(value).toString("hex").toUpperCase()}'`;
  return typeof value === "number" && Number.isInteger(value) ? String(BigInt(value)) : String(value);
}

/** What `quote()` wrote, with numbers as {@link literal} writes them. */
function literalOfQuoted(quoted: string): string {
  if (/^['XN]/.test(quoted) || /^-?\d+$/.test(quoted)) return quoted;
  return literal(Number(quoted));
}

/** Rows of a table by key, each with its columns by name. */
interface NaiveTable {
  sql: string;
  keyNames: string[];
  /** What a row is found by: `DESC` behind a column's `PRIMARY KEY` makes that column no rowid. */
  storage: string;
  isNocase: boolean;
  rows: Map<string, { key: string; columns: [name: string, value: string][] }>;
}

/** What a comparison of all rows by SQL finds. */
export interface NaiveDifference {
  /** Lines that must be there. */
  readonly lines: Set<string>;
  /** Updates that may be there beside: rows rewritten with other bytes and the same values. */
  readonly rewritten: Set<string>;
}

/** Compares all rows of both states by primary key. */
export async function naiveDiff(
  database: ChangingDatabase,
  from: FilePages,
  to: FilePages,
): Promise<NaiveDifference> {
  const [before, after] = [await naiveTables(database, from, "from"), await naiveTables(database, to, "to")];
  foldKeys(before, after);
  const difference: NaiveDifference = { lines: new Set(), rewritten: new Set() };
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    compareTables(name, before.get(name), after.get(name), difference);
  }
  return difference;
}

function compareTables(
  name: string,
  before: NaiveTable | undefined,
  after: NaiveTable | undefined,
  { lines, rewritten }: NaiveDifference,
): void {
  if (after === undefined) return void lines.add(`table-dropped ${name}`);
  if (before === undefined) lines.add(`table-created ${name}`);
  else if (before.sql !== after.sql) lines.add(`schema-changed ${name}`);
  const sameKey = before?.storage === after.storage && `${before.keyNames}` === `${after.keyNames}`;
  for (const [id, row] of after.rows) {
    const old = sameKey ? before!.rows.get(id) : undefined;
    if (old === undefined) lines.add(`insert ${name} ${row.key}`);
    else if (hasOtherValues(old.columns, row.columns)) {
      lines.add(`update ${name} ${row.key}`);
    } else rewritten.add(`update ${name} ${row.key}`);
  }
  for (const [id, row] of before?.rows ?? []) {
    if (!sameKey || !after.rows.has(id)) lines.add(`delete ${name} ${row.key}`);
  }
}

/** Columns renamed or added are compared in place; where one was dropped, the others by name. */
function hasOtherValues(before: [string, string][], after: [string, string][]): boolean {
  const byName = new Map(after);
  return before.some(([name, value], i) =>
    (before.length <= after.length ? after[i]![1] : byName.get(name) ?? value) !== value
  );
}

async function naiveTables(
  database: ChangingDatabase,
  state: FilePages,
  name: string,
): Promise<Map<string, NaiveTable>> {
  const db = await database.open(state, name);
  try {
    const tables = db.all("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND rootpage > 0")
      .filter(({ name }) => !String(name).startsWith("sqlite_"));
    return new Map(tables.map(({ name, sql }) => [String(name), naiveTable(db, String(name), String(sql))]));
  } finally {
    db.close();
  }
}

function naiveTable(db: PlainDatabase, name: string, sql: string): NaiveTable {
  const quoted = (name: unknown) => `"${String(name).replaceAll('"', '""')}"`;
  const all = db.all(`PRAGMA table_xinfo(${quoted(name)})`);
  const columns = all.map((column) => String(column.name));
  const keys = all.filter(({ pk }) => Number(pk) > 0).sort((a, b) => Number(a.pk) - Number(b.pk));
  const keyNames = keys.length === 0 ? ["rowid"] : keys.map((column) => String(column.name));
  const withoutRowid = /WITHOUT ROWID/.test(sql);
  const parts = columns.map((column) => `quote(${quoted(column)})`);
  const rowid = withoutRowid ? "0" : "rowid";
  const rows: NaiveTable["rows"] = new Map();
  const query = `SELECT CAST(${rowid} AS TEXT) || char(10) || ${parts.join(" || char(10) || ")} AS line`;
  for (const { line } of db.all(`${query} FROM ${quoted(name)} NOT INDEXED`)) {
    const [rowid, ...values] = String(line).split("\n");
    const byName = new Map(columns.map((column, i) => [column, values[i]!]));
    const key = keyNames.map((name) => keys.length === 0 ? rowid! : literalOfQuoted(byName.get(name)!));
    let id = key.join(" ");
    if (key.includes("NULL")) id += ` ${rowid}`;
    rows.set(id, { key: keyNames.map((name, i) => `${name}=${key[i]}`).join(" "), columns: [...byName] });
  }
  const storage = withoutRowid ? "without rowid" : /KEY DESC/.test(sql) ? "column" : "rowid";
  return { sql, keyNames, storage, isNocase: /NOCASE/.test(sql), rows };
}

/** Keys are the same in upper and lower case where both states have them so. */
function foldKeys(before: Map<string, NaiveTable>, after: Map<string, NaiveTable>): void {
  const fold = ({ rows }: NaiveTable) =>
    new Map([...rows].map(([id, row]) => [id.replace(/'[^']*'/g, (text) => text.toLowerCase()), row]));
  for (const [name, old] of before) {
    const now = after.get(name);
    if (!old.isNocase || !now?.isNocase) continue;
    for (const table of [old, now]) table.rows = fold(table);
  }
}
