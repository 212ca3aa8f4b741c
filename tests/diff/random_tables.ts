/**
 * Random tables of every form that a table can have, and random statements about them.
 *
 * @module
 */
import type { Random } from "../support/random.ts";
import type { PlainDatabase } from "../support/sqlite.ts";

const KEY_TYPES = ["", "TEXT", "INTEGER", "REAL", "BLOB", "NUMERIC"];

/** What the statements are run on. */
interface DatabaseToChange {
  readonly db: PlainDatabase;
  readonly pageSize: number;
}

/** Random tables, and random statements about them. */
export class RandomTables {
  readonly #random: Random;
  readonly #database: DatabaseToChange;
  #names = 0;

  constructor(random: Random, database: DatabaseToChange) {
    this.#random = random;
    this.#database = database;
  }

  /** One of them. */
  one<T>(items: readonly T[]): T {
    return items[this.#random.next(items.length)]!;
  }

  /** Whether what has this chance comes about. */
  chance(percent: number): boolean {
    return this.#random.next(100) < percent;
  }

  /** Runs what a database may refuse. */
  run(sql: string): void {
    try {
      this.#database.db.exec(sql);
    } catch (error) {
      if (!/constraint|mismatch|no such|cannot|error in|duplicate|UNIQUE/i.test(String(error))) {
        throw new Error(sql, { cause: error });
      }
    }
  }

  /** What there is. */
  tables(): { name: string; sql: string }[] {
    return this.#database.db.all(
      "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    ) as { name: string; sql: string }[];
  }

  /** Makes a table with some rows. */
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

  /** The same for a column of a key. */
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

  /** Puts rows in, or in place of others. */
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

  /** One more statement, or a few. */
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
