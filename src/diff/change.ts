import type { SqlValue } from "./sql_value.ts";

/** A row that is in one state only, or is another one. */
export interface RowChange {
  /** What happened to the row between the two states. */
  readonly kind: "insert" | "update" | "delete";
  /** The table's name. */
  readonly table: string;
  /**
   * The primary key's columns by name, of the later state where the row is in both; `{ rowid }` in a table without
   * primary key.
   */
  readonly key: Record<string, SqlValue>;
}

/** A table that is in one state only, or whose `CREATE TABLE` is another one. */
export interface TableChange {
  /** What happened to the table between the two states. */
  readonly kind: "table-created" | "table-dropped" | "schema-changed";
  /** The table's name. */
  readonly table: string;
}

/** One difference between two states of a database. */
export type Change = RowChange | TableChange;
