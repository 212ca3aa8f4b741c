import assert from "node:assert/strict";
import { env } from "node:process";
import { test } from "node:test";
import { Random } from "../support/random.ts";
import { changeLine, type ChangingDatabase, diff, naiveDiff, withDatabase } from "./database_pair.ts";

const DATABASES = Number(env.DIFF_DATABASES ?? 10);
const SEED = Number(env.DIFF_SEED ?? Date.now() % 2 ** 31);
const PAGE_SIZES = [512, 512, 1024, 2048, 4096, 4096, 8192, 16384, 65536];
const ENCODINGS = ["UTF-8", "UTF-8", "UTF-16le", "UTF-16be"];
const KEY_TYPES = ["", "TEXT", "INTEGER", "REAL", "BLOB", "NUMERIC"];

/** Random tables, and random statements about them. */
class Script {
  readonly #random: Random;
  readonly #database: ChangingDatabase;
  #names = 0;

  constructor(random: Random, database: ChangingDatabase) {
    this.#random = random;
    this.#database = database;
  }

  one<T>(items: readonly T[]): T {
    return items[this.#random.next(items.length)]!;
  }

  chance(percent: number): boolean {
    return this.#random.next(100) < percent;
  }

  run(sql: string): void {
    try {
      this.#database.db.exec(sql);
    } catch (error) {
      if (!/constraint|mismatch|no such|cannot|error in|duplicate|UNIQUE/i.test(String(error))) {
        throw new Error(sql, { cause: error });
      }
    }
  }

  tables(): { name: string; sql: string }[] {
    return this.#database.db.all(
      "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    ) as { name: string; sql: string }[];
  }

  createTable(name = `t${this.#names++}`): void {
    const nocase = this.chance(15) ? " COLLATE NOCASE" : "";
    const generated = this.chance(25) ? ", g AS (length(c1)) " + this.one(["VIRTUAL", "STORED"]) : "";
    const rest = ` /* , PRIMARY KEY( */ c1${generated}, "c 2" TEXT DEFAULT 'x)(', c3 -- , c4\n`;
    const type = this.one(KEY_TYPES);
    this.run(
      this.one([
        () => `CREATE TABLE ${name}(${rest})`,
        () =>
          `CREATE TABLE ${name}(id INTEGER PRIMARY KEY ${this.one(["", "AUTOINCREMENT", "ASC"])}, ${rest})`,
        () => `CREATE TABLE ${name}(${rest}, id INTEGER, PRIMARY KEY("id" DESC))`,
        () => `CREATE TABLE ${name}(id INTEGER PRIMARY KEY DESC, ${rest})`,
        () => `CREATE TABLE ${name}(k1 ${type}${nocase} PRIMARY KEY, ${rest})`,
        () =>
          `CREATE TABLE ${name}(k1 ${type}, ${rest}, k2 TEXT, CONSTRAINT "p k" PRIMARY KEY(k2, [k1] DESC))`,
        () => `CREATE TABLE ${name}(k1 ${type}${nocase} PRIMARY KEY, ${rest}) WITHOUT ROWID`,
        () => `CREATE TABLE ${name}(${rest}, k1 ${type}, k2, PRIMARY KEY(k2 DESC, k1, k2)) WITHOUT ROWID`,
        () => `CREATE TABLE ${name}(${rest}, id INTEGER PRIMARY KEY) WITHOUT ROWID`,
      ])(),
    );
    if (this.chance(40)) this.run(`CREATE INDEX i${this.#names++} ON ${name}(c1, c3)`);
    this.insert(name, this.one([0, 3, 30, 200]));
  }

  /** An SQL expression, its value taken from the script's own numbers. */
  value(): string {
    const n = this.#random.next(1000);
    const long = this.#random.next(4 * this.#database.pageSize) + 1;
    return this.one([
      () => "NULL",
      () => String(n),
      () => `${n}.${this.#random.next(4)}`,
      () => String(2n ** 62n - BigInt(n)),
      () => `-${2 ** 40 + n}`,
      () => `'text ${n} é😀'`,
      () => `'It''s ${n}'`,
      () => `x'${n.toString(16).padStart(8, "0")}'`,
      () => `replace(hex(zeroblob(${long})), '00', '${String.fromCharCode(97 + n % 26)}é')`,
      () => `CAST(replace(hex(zeroblob(${Math.ceil(long / 3)})), '0', 'x${n}') AS BLOB)`,
    ])();
  }

  key(): string {
    const n = this.#random.next(300);
    const size = this.chance(10) ? this.#database.pageSize : 3;
    return this.one([
      () => String(n),
      () => String(n),
      () => `${n}.${this.#random.next(3)}`,
      () => `'${this.one(["key", "Key", "KEY"])} ${n}'`,
      () => `'${n}' || replace(hex(zeroblob(${size})), '00', 'kk')`,
      () => `x'${n.toString(16).padStart(4, "0")}'`,
      () => this.chance(20) ? "NULL" : String(2n ** 60n + BigInt(n)),
    ])();
  }

  insert(name: string, count: number): void {
    const columns = this.#database.db.all(`PRAGMA table_info("${name}")`).map((column) =>
      String(column.name)
    );
    const stored = columns.filter((column) => column !== "g");
    const verb = this.one(["INSERT OR IGNORE", "INSERT OR REPLACE"]);
    this.run("BEGIN");
    for (let i = 0; i < count; i++) {
      const values = stored.map((column) =>
        column === "id" ? String(this.#random.next(1000)) : /^k\d/.test(column) ? this.key() : this.value()
      );
      const names = stored.map((column) => `"${column}"`);
      this.run(`${verb} INTO "${name}"(${names}) VALUES (${values})`);
    }
    this.run("COMMIT");
  }

  step(): void {
    const tables = this.tables();
    if (tables.length === 0) return this.createTable();
    const { name, sql } = this.one(tables);
    const n = this.#random.next(1000);
    const row = /k1/.test(sql)
      ? `k1 = ${this.key()}`
      : /\bid\b/.test(sql)
      ? `id = ${n}`
      : `rowid = ${n % 100}`;
    const where = this.one([row, row, `length(c1) % 7 = ${n % 7}`, `abs(random()) % 1000 < 10 AND ${n} > 0`]);
    const column = this.one(["c1", '"c 2"', "c3"]);
    this.one([
      () => this.insert(name, this.one([1, 1, 5, 40])),
      () => this.insert(name, 3),
      () => this.run(`UPDATE "${name}" SET ${column} = ${this.value()} WHERE ${where}`),
      () => this.run(`UPDATE "${name}" SET ${column} = ${this.value()} WHERE ${where}`),
      () => this.overwrite(name, column, n),
      () => this.overwrite(name, column, n),
      () => this.run(`UPDATE "${name}" SET ${column} = ${column}`),
      () => this.run(`DELETE FROM "${name}" WHERE ${where}`),
      () => this.chance(20) && this.run(`DELETE FROM "${name}"`),
      () =>
        this.run(
          `UPDATE OR IGNORE "${name}" SET ${/k1/.test(sql) ? "k1" : "c1"} = ${this.key()} WHERE ${row}`,
        ),
      () => this.chance(40) && this.createTable(),
      () => this.chance(30) && this.run(`DROP TABLE "${name}"`),
      () => this.chance(20) && (this.run(`DROP TABLE "${name}"`), this.createTable(name)),
      () => this.chance(30) && this.run(`ALTER TABLE "${name}" ADD COLUMN d${n} TEXT DEFAULT 'later'`),
      () => this.chance(15) && this.run(`ALTER TABLE "${name}" DROP COLUMN "c 2"`),
      () => this.chance(20) && this.run(`ALTER TABLE "${name}" RENAME COLUMN c3 TO e${n}`),
      () => this.chance(20) && this.run(`ALTER TABLE "${name}" RENAME TO t${this.#names++}`),
      () => this.run(`CREATE INDEX i${this.#names++} ON "${name}"(${column})`),
      () => this.chance(25) && this.run("VACUUM"),
      () => this.run("PRAGMA incremental_vacuum(3)"),
    ])();
  }

  /** Changes a character in long values, whose length stays. */
  overwrite(name: string, column: string, n: number): void {
    const text =
      `substr(${column}, 1, length(${column}) - ${n}) || '#' || substr(${column}, length(${column}) - ${n} + 2)`;
    this.run(
      `UPDATE "${name}" SET ${column} = ${text} WHERE typeof(${column}) = 'text' AND length(${column}) > ${
        n + 5
      }
      AND (length(${column}) % 5) = ${n % 5}`,
    );
  }
}

async function compareWithSql(database: ChangingDatabase, script: Script): Promise<void> {
  const from = database.state();
  for (let steps = 1 + script.one([0, 1, 2, 5, 10]); steps > 0; steps--) script.step();
  const to = database.state();
  const lines = (await diff(from, to)).map(changeLine);
  const expected = await naiveDiff(database, from, to);
  const found = new Set(lines);
  // Rows whose key has a NULL may have the same key.
  const twice = lines.filter((line, i) => !/=NULL/.test(line) && lines.indexOf(line) !== i);
  assert.deepEqual(twice, [], "changes reported twice");
  assert.deepEqual([...expected.lines].filter((line) => !found.has(line)), [], "changes not reported");
  const surplus = lines.filter((line) => !expected.lines.has(line));
  const unexpected = surplus.filter((line) => !expected.rewritten.has(line) || !isAltered(database, line));
  assert.deepEqual(unexpected, [], "changes that are none");
}

/**
 * A column added later makes a row's bytes other ones when the row is rewritten; a dropped one rewrites all; a whole
 * number in a REAL column has two forms.
 */
function isAltered(database: ChangingDatabase, line: string): boolean {
  const name = line.split(" ")[1]!;
  const sql = String(database.db.all("SELECT sql FROM sqlite_schema WHERE name = ?", name)[0]?.sql);
  return / d\d+ TEXT/.test(sql) || !/c 2/.test(sql) || /REAL/.test(sql);
}

test(`diffDatabases() finds what a comparison by SQL finds (DIFF_SEED=${SEED}, DIFF_DATABASES=${DATABASES})`, async () => {
  for (let i = 0; i < DATABASES; i++) {
    const random = new Random(SEED + i);
    const one = <T>(items: readonly T[]): T => items[random.next(items.length)]!;
    const pageSize = one(PAGE_SIZES);
    const setup = `PRAGMA encoding = '${one(ENCODINGS)}'; PRAGMA auto_vacuum = ${one([0, 0, 1, 2])};`;
    try {
      await withDatabase({ pageSize, setup }, async (database) => {
        const script = new Script(random, database);
        for (let tables = 1 + random.next(4); tables > 0; tables--) script.createTable();
        for (let rounds = 0; rounds < 6; rounds++) await compareWithSql(database, script);
      });
    } catch (cause) {
      throw new Error(`DIFF_SEED=${SEED + i} DIFF_DATABASES=1, pages of ${pageSize}, ${setup}`, { cause });
    }
  }
});
