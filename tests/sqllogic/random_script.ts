/**
 * Scripts drawn at random: tables with indexes that come and go, rows that change, and many queries whose answers plain
 * SQLite tells.
 *
 * @module
 */
import { Random } from "../support/random.ts";
import type { QueryRecord, Script, ScriptRecord, StatementRecord } from "./script.ts";

/** How long a script is. */
export interface RandomScriptOptions {
  readonly statements: number;
  /** Queries after each statement. */
  readonly queriesEach: number;
}

const COLUMNS = ["a", "b", "r", "s", "t"];
const COMPARISONS = ["=", "<>", "<", "<=", ">", ">=", "IS", "IS NOT"];
const AGGREGATES = ["count", "sum", "min", "max", "avg", "total", "count(DISTINCT", "group_concat"];
const ROWS_MAX = 120;
const TABLES_MAX = 3;

/** Draws a script: the same one for the same seed. */
export function randomScript(seed: number, { statements, queriesEach }: RandomScriptOptions): Script {
  const draw = new Draw(seed);
  const records: ScriptRecord[] = [];
  const add = (sql: string) => records.push(statement(records.length + 1, sql));
  for (const sql of draw.tables()) add(sql);
  for (let i = 0; i < statements; i++) {
    add(draw.change());
    for (let k = 0; k < queriesEach; k++) records.push(query(records.length + 1, draw.query()));
  }
  return { name: `random-${seed}`, records };
}

function statement(line: number, sql: string): StatementRecord {
  return { kind: "statement", line, conditions: [], isOwn: false, varies: false, sql, fails: false };
}

function query(line: number, sql: string): QueryRecord {
  const rest = { types: "T", sort: "nosort", label: undefined, expected: undefined } as const;
  return { kind: "query", line, conditions: [], isOwn: false, varies: true, sql, ...rest };
}

class Draw {
  readonly #random: Random;
  readonly #seed: number;
  readonly #tables: string[] = [];
  #indexes = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.#seed = seed;
  }

  /** Statements that make all tables. */
  *tables(): Generator<string> {
    const count = 1 + this.#random.next(TABLES_MAX);
    for (let i = 0; i < count; i++) {
      const name = `rnd${this.#seed}_${i}`;
      const key = this.#one(["id INTEGER PRIMARY KEY", "id INTEGER PRIMARY KEY DESC", "id INT PRIMARY KEY"]);
      const end = this.#random.next(3) === 0 ? " WITHOUT ROWID" : "";
      yield `CREATE TABLE ${name}(${key}, a INTEGER, b INTEGER, r REAL, s TEXT${
        this.#one(["", " COLLATE NOCASE"])
      }, t TEXT)${end}`;
      this.#tables.push(name);
      yield this.#insert(name);
    }
  }

  /** A statement that changes something. */
  change(): string {
    const table = this.#table();
    switch (this.#random.next(8)) {
      case 0:
      case 1:
        return this.#insert(table);
      case 2:
        return `UPDATE ${table} SET a = ${this.#number()}, t = ${this.#text()} WHERE ${this.#condition()}`;
      case 3:
        return `UPDATE OR IGNORE ${table} SET id = id + ${
          this.#random.next(50)
        }, r = r * 2 WHERE ${this.#condition()}`;
      case 4:
        return `DELETE FROM ${table} WHERE ${this.#condition()} AND ${this.#condition()}`;
      case 5:
        return `DROP INDEX IF EXISTS rnd${this.#seed}_index${this.#random.next(this.#indexes + 1)}`;
      default:
        return this.#index(table);
    }
  }

  #index(table: string): string {
    const columns = [this.#column(), this.#column()].map((name) =>
      name + this.#one(["", " DESC", " COLLATE NOCASE"])
    );
    const where = this.#random.next(4) === 0 ? ` WHERE ${this.#column()} IS NOT NULL` : "";
    const expression = this.#random.next(5) === 0 ? ", a + b" : "";
    return `CREATE INDEX rnd${this.#seed}_index${this.#indexes++} ON ${table}(${
      columns.join(", ")
    }${expression})${where}`;
  }

  #insert(table: string): string {
    const rows = Array.from(
      { length: 1 + this.#random.next(ROWS_MAX) },
      () =>
        `(${
          this.#random.next(2000)
        }, ${this.#number()}, ${this.#number()}, ${this.#number()} / 8.0, ${this.#text()}, ${this.#text()})`,
    );
    return `INSERT OR REPLACE INTO ${table} VALUES ${rows.join(", ")}`;
  }

  /** A query of one of several shapes. */
  query(): string {
    const [table, other] = [this.#table(), this.#table()];
    const where = this.#where();
    switch (this.#random.next(8)) {
      case 0:
        return `SELECT id, ${this.#expression()}, ${this.#expression()} FROM ${table} WHERE ${where} ORDER BY ${this.#column()}, id`;
      case 1:
        return `SELECT * FROM ${table} WHERE ${where} ORDER BY ${this.#column()} DESC, id LIMIT ${
          this.#random.next(40)
        } OFFSET ${this.#random.next(9)}`;
      case 2:
        return `SELECT ${this.#aggregate()}, ${this.#aggregate()} FROM ${table} WHERE ${where}`;
      case 3:
        return `SELECT ${this.#column()} AS g, ${this.#aggregate()} FROM ${table} WHERE ${where} GROUP BY g HAVING count(*) > ${
          this.#random.next(3)
        } ORDER BY g`;
      case 4:
        return `SELECT DISTINCT ${this.#column()}, ${this.#column()} FROM ${table} WHERE ${where} ORDER BY 1, 2`;
      case 5:
        return `SELECT x.id, y.id, x.s FROM ${table} x ${
          this.#one(["", "LEFT "])
        }JOIN ${other} y ON x.${this.#column()} = y.${this.#column()} AND x.id < ${
          this.#random.next(900)
        } ORDER BY 1, 2, 3 LIMIT 200`;
      case 6:
        return `SELECT id, a FROM ${table} WHERE ${where} ${
          this.#one(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"])
        } SELECT id, a FROM ${other} WHERE ${this.#condition()} ORDER BY 1, 2`;
      default:
        return `SELECT id, (SELECT ${this.#aggregate()} FROM ${other} y WHERE y.a = x.a) FROM ${table} x WHERE ${where} AND EXISTS (SELECT 1 FROM ${other} z WHERE z.b ${
          this.#one(COMPARISONS)
        } x.a) ORDER BY id LIMIT 60`;
    }
  }

  #where(): string {
    const count = 1 + this.#random.next(3);
    const parts = Array.from({ length: count }, () => this.#condition());
    return `(${parts.join(this.#one([" AND ", " OR "]))})`;
  }

  #condition(): string {
    const column = this.#column();
    switch (this.#random.next(7)) {
      case 0:
        return `${column} BETWEEN ${this.#number()} AND ${this.#number()}`;
      case 1:
        return `${column} IN (${
          Array.from({ length: 1 + this.#random.next(9) }, () => this.#number()).join(", ")
        })`;
      case 2:
        return `${column} ${this.#one(["IS NULL", "NOT NULL"])}`;
      case 3:
        return `s ${this.#one(["LIKE", "NOT LIKE", "GLOB"])} '${this.#letter()}${
          this.#one(["%", "*", "_%"])
        }'`;
      case 4:
        return `${this.#expression()} ${this.#one(COMPARISONS)} ${this.#expression()}`;
      case 5:
        return `NOT (${column} ${this.#one(COMPARISONS)} ${this.#number()})`;
      default:
        return `${column} ${this.#one(COMPARISONS)} ${this.#one([this.#number(), this.#text()])}`;
    }
  }

  #expression(): string {
    const number = this.#number();
    return this.#one([
      `a + b * ${number}`,
      `abs(a - ${number})`,
      `coalesce(r, ${number})`,
      `CASE WHEN a > b THEN a ELSE ${number} END`,
      `length(s) + a`,
      `a % 7`,
      `s || t`,
      `-b`,
      `nullif(a, b)`,
      `id / 3`,
    ]);
  }

  #aggregate(): string {
    const name = this.#one(AGGREGATES);
    const column = this.#column();
    return name.includes("(") ? `${name} ${column})` : `${name}(${name === "count" ? "*" : column})`;
  }

  #number(): string {
    return this.#random.next(9) === 0 ? "NULL" : String(this.#random.next(400) - 100);
  }

  #text(): string {
    if (this.#random.next(9) === 0) return "NULL";
    const length = this.#random.next(40) === 0 ? 900 : this.#random.next(12);
    return `'${Array.from({ length }, () => this.#letter()).join("")}'`;
  }

  #letter(): string {
    return String.fromCharCode(this.#one([65, 97]) + this.#random.next(6));
  }

  #column(): string {
    return this.#one(COLUMNS);
  }

  #table(): string {
    return this.#one(this.#tables);
  }

  #one<T>(items: readonly T[]): T {
    return items[this.#random.next(items.length)]!;
  }
}
