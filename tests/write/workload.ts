/**
 * Statements drawn at random, the same for two databases: all kinds that write, in transactions that end either way.
 *
 * @module
 */
import type { LocalDatabase } from "../support/local_database.ts";
import { Random } from "../support/random.ts";

/** Rows as text, of everything there is: equal databases have equal dumps. */
export function dump(database: LocalDatabase): string {
  const parts: string[] = [];
  const all = (sql: string) => database.prepare(sql).all();
  const schema = all("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name, type");
  parts.push(JSON.stringify(schema));
  for (const { name, type } of schema as { name: string; type: string }[]) {
    if (type !== "table" || name.startsWith("sqlite_")) continue;
    const rows = all(`SELECT rowid AS r, a, b, hex(c) AS c FROM "${name}" ORDER BY rowid`);
    parts.push(name, JSON.stringify(rows));
  }
  for (const pragma of ["user_version", "auto_vacuum"]) {
    parts.push(pragma, JSON.stringify(all(`PRAGMA ${pragma}`)));
  }
  return parts.join("\n");
}

/** Draws statements. */
export class Workload {
  readonly #random: Random;
  #tables = 0;
  #depth = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  /** Whether a transaction is open after what was drawn so far. */
  get isOpen(): boolean {
    return this.#depth > 0;
  }

  /** The next statement. */
  next(): string {
    const { length } = this.#random.next(40) === 0 ? { length: 20_000 } : { length: this.#random.next(900) };
    const table = `t${this.#random.next(Math.max(1, this.#tables))}`;
    const value = this.#random.next(100_000);
    const blob = `zeroblob(${this.#random.next(8) === 0 ? length * 3 : length})`;
    const draw = this.#random.next(100);
    if (this.#tables === 0 || (draw < 3 && this.#tables < 6)) return this.#create();
    if (draw < 40) return `INSERT INTO ${table}(a, b, c) VALUES (${value}, '${"x".repeat(length)}', ${blob})`;
    if (draw < 55) return `UPDATE ${table} SET a = a + 1, b = b || '${value}' WHERE a % 7 = ${value % 7}`;
    if (draw < 65) return `DELETE FROM ${table} WHERE a % 11 = ${value % 11}`;
    if (draw < 68) {
      return `INSERT INTO ${table}(a, b, c) SELECT a + 1, b, c FROM ${table} ORDER BY rowid LIMIT ${
        value % 60
      }`;
    }
    if (draw < 70) return `PRAGMA user_version = ${value}`;
    if (draw < 72) return `DROP INDEX IF EXISTS ${table}_a`;
    if (draw < 74) return `CREATE INDEX IF NOT EXISTS ${table}_a ON ${table}(a, b)`;
    if (draw < 76) return `REINDEX`;
    if (draw < 78) return `PRAGMA incremental_vacuum(5)`;
    return this.#transaction(draw);
  }

  #create(): string {
    return `CREATE TABLE t${this.#tables++}(a INTEGER, b TEXT, c BLOB)`;
  }

  #transaction(draw: number): string {
    if (this.#depth === 0) {
      if (draw < 82) return "VACUUM";
      this.#depth = 1;
      return draw < 90 ? "BEGIN" : draw < 97 ? "BEGIN IMMEDIATE" : "BEGIN EXCLUSIVE";
    }
    if (draw < 84) {
      this.#depth++;
      return `SAVEPOINT s${this.#depth}`;
    }
    if (this.#depth > 1) {
      const name = `s${this.#depth--}`;
      return draw < 92 ? `RELEASE ${name}` : `ROLLBACK TO ${name}; RELEASE ${name}`;
    }
    this.#depth = 0;
    return draw < 95 ? "COMMIT" : "ROLLBACK";
  }
}
