import type { Row } from "./btree_page.ts";
import type { DatabaseState } from "./database_state.ts";
import { PayloadReader } from "./payload_reader.ts";
import { decodeValue, readValues, type StoredValue, valuesOf } from "./record.ts";
import type { SqlInteger, SqlValue } from "./sql_value.ts";
import { foldCase, type TableDefinition } from "./table_definition.ts";

/** Which row of its table a row is. */
export interface RowKey {
  /** The key's columns by name. */
  readonly columns: Record<string, SqlValue>;
  /** The same in the columns' order. */
  readonly values: readonly SqlValue[];
  /** The same for equal keys of both states, and for no others. */
  readonly identity: string;
}

/** Gives the key of a row whose rowid is its key. */
export function rowidColumns(name: string, rowid: SqlInteger): Record<string, SqlValue> {
  // A column may be called __proto__: not assigned, defined.
  return Object.fromEntries([[name, rowid]]);
}

/**
 * Reads the key of a row: from its cell where the rowid is the key, or else from its record, overflow included.
 *
 * Keys are equal where SQLite has them so: 1 and 1.0, and text under `NOCASE` and `RTRIM`; other collations are taken
 * for `BINARY`. Where part of a key is NULL, which rowid tables allow more than once, the rowid decides.
 *
 * @throws {ReplicaError} the record is broken
 */
export async function readRowKey(
  state: DatabaseState,
  row: Row,
  { rowidName, keyColumns }: TableDefinition,
): Promise<RowKey> {
  if (rowidName !== null) {
    return {
      columns: rowidColumns(rowidName, row.rowid),
      values: [row.rowid],
      identity: String(row.rowid),
    };
  }
  const positions = keyColumns.map(({ position }) => position);
  const stored = row.overflow === 0
    ? valuesOf(row.local, positions)
    : await readValues(new PayloadReader(state, row, state.chainPages.keys), positions);
  const values = stored.map((value) => decodeValue(value, state.encoding));
  const parts = values.map((value, i) => identify(value, stored[i]!, keyColumns[i]!.collation));
  if (values.includes(null)) parts.push(String(row.rowid));
  const columns = Object.fromEntries(keyColumns.map(({ name }, i) => [name, values[i]!]));
  if (parts.length === 1) return { columns, values, identity: parts[0]! };
  return { columns, values, identity: parts.map((part) => `${part.length}:${part}`).join("") };
}

function identify(value: SqlValue, { bytes }: StoredValue, collation: string): string {
  if (value === null) return "n";
  if (typeof value === "number") return Number.isInteger(value) ? `i${BigInt(value)}` : `r${value}`;
  if (typeof value === "bigint") return `i${value}`;
  if (typeof value !== "string") return `b${latin1(bytes)}`;
  if (collation === "nocase") return `t${foldCase(value)}`;
  if (collation === "rtrim") return `t${value.replace(/ +$/, "")}`;
  // Malformed bytes all decode to the same.
  return value.includes("\ufffd") ? `m${latin1(bytes)}` : `t${value}`;
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) {
    text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  }
  return text;
}
