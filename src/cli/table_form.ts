/**
 * How SQL names the rows of a table, reads them whole, and writes them.
 *
 * @module
 */
import type { RowChange } from "../diff/change.ts";
import { type CellValue, sqlName, sqlText } from "./cell_text.ts";
import { cellOf } from "./change_text.ts";
import type { QueryThread } from "./query_thread.ts";

type Key = RowChange["key"];

/** Collations that `diff()` and SQLite have alike; all others are compared as the first. */
const COLLATIONS = ["BINARY", "NOCASE", "RTRIM"];

/** Rows to be copied. */
export interface RowSource {
  readonly sql: string;
  /** The table, and its columns in the query's order. */
  readonly into: string;
}

/** How the rows of one table are written, by what its schema says. */
export class TableForm {
  readonly #name: string;
  /** All that can be set. */
  readonly #columns: readonly string[];
  /** Of columns of the primary key; where no column says so, BINARY. */
  readonly #collations: ReadonlyMap<string, string>;
  /** Whether rows have a rowid that is no column. */
  readonly #isRowidHidden: boolean;
  /** A name of that rowid that no column has taken. */
  readonly #rowid: string | undefined;
  /** Whether that rowid is all that tells a row from others. */
  readonly #isRowidKey: boolean;

  /** Reads what a state's schema says. */
  static async read(queries: QueryThread, table: string): Promise<TableForm> {
    const read = async (sql: string) => (await queries.rows(sql, { named: { table }, positional: [] })).rows;
    const columns = await read("SELECT name, type, pk, hidden FROM pragma_table_xinfo(:table)");
    const [[isWithoutRowid, sql] = []] = await read(
      "SELECT wr, (SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = :table COLLATE NOCASE) " +
        "FROM pragma_table_list WHERE schema = 'main' AND name = :table COLLATE NOCASE",
    );
    const terms = await read(
      "SELECT x.name, x.coll FROM pragma_index_list(:table) l, pragma_index_xinfo(l.name) x " +
        "WHERE l.origin = 'pk' AND x.key = 1",
    );
    return new TableForm(table, {
      columns,
      terms,
      isWithoutRowid: isWithoutRowid === 1n,
      // a column's own collation, which the key may have another one than, is nowhere to be asked for
      isCollated: /\bcollate\b/i.test(String(sql)),
    });
  }

  private constructor(
    name: string,
    { columns, terms, isWithoutRowid, isCollated }: {
      readonly columns: readonly (readonly CellValue[])[];
      readonly terms: readonly (readonly CellValue[])[];
      readonly isWithoutRowid: boolean;
      readonly isCollated: boolean;
    },
  ) {
    this.#name = name;
    this.#columns = columns.filter(([, , , hidden]) => hidden === 0n).map(([column]) => String(column));
    this.#collations = new Map((isCollated ? terms : []).map(([column, collation]) => {
      const known = COLLATIONS.find((known) => known === String(collation).toUpperCase());
      return [String(column), known ?? COLLATIONS[0]!];
    }));
    const keys = columns.filter(([, , pk]) => pk !== 0n);
    const isAlias = keys.length === 1 && /^integer$/i.test(String(keys[0]![1])) && terms.length === 0;
    this.#isRowidHidden = !isWithoutRowid && !isAlias;
    this.#isRowidKey = keys.length === 0;
    const taken = new Set(columns.map(([column]) => String(column).toLowerCase()));
    this.#rowid = ["rowid", "_rowid_", "oid"].find((free) => !taken.has(free));
  }

  /** Whether a key names one row: not where part of it is NULL, which many may have, or text that was not all readable. */
  meets(key: Key): boolean {
    if (this.#isRowidKey) return this.#rowid !== undefined;
    return Object.values(key).every((value) =>
      value !== null && !(typeof value === "string" && value.includes("\ufffd"))
    );
  }

  /** The condition that a key's row meets; with `"?"`, by parameters. */
  where(key: Key, parameter?: "?"): string {
    return Object.entries(key).map(([column, value]) => {
      const name = this.#isRowidKey ? this.#rowid! : sqlName(column);
      const collation = this.#collations.get(column);
      const collated = collation === undefined ? name : `${name} COLLATE ${collation}`;
      return `${collated} IS ${parameter ?? sqlText(cellOf(value))}`;
    }).join(" AND ");
  }

  /** The values of those parameters. */
  values(key: Key): CellValue[] {
    return Object.values(key).map(cellOf);
  }

  /**
   * A query for rows, and what they are put into. Each column is followed, behind all of them, by its bytes where it is text, of
   * which a driver may not show all.
   */
  get rows(): RowSource {
    const columns = this.#columns.map(sqlName);
    const all = this.#isRowidHidden && this.#rowid !== undefined ? [this.#rowid, ...columns] : columns;
    const bytes = all.map((name) => `iif(typeof(${name}) = 'text', CAST(${name} AS BLOB), NULL)`);
    const table = sqlName(this.#name);
    return {
      sql: `SELECT ${[...all, ...bytes].join(", ")} FROM ${table}`,
      into: `${table} (${all.join(", ")})`,
    };
  }

  /** A query for the rowid of a row with a key, by parameters, where that is hidden and no key; else undefined. */
  rowidOf(key: Key): string | undefined {
    if (!this.#isRowidHidden || this.#isRowidKey || this.#rowid === undefined) return undefined;
    return `SELECT ${this.#rowid} FROM ${sqlName(this.#name)} WHERE ${this.where(key, "?")}`;
  }

  /** A query for the key of the row at a rowid, a parameter; its columns are those of a key. */
  keyAt(key: Key): string {
    const columns = Object.keys(key).map(sqlName).join(", ");
    return `SELECT ${columns} FROM ${sqlName(this.#name)} WHERE ${this.#rowid} IS ?`;
  }
}
