import type { DatabaseState } from "./database_state.ts";
import { databaseFault } from "./fault.ts";
import { PayloadReader } from "./payload_reader.ts";
import { decodeValue, readValues } from "./record.ts";
import { foldCase } from "./table_definition.ts";
import { readTreePage, rowPages } from "./tree_walk.ts";

/** A table that has a tree. */
export interface SchemaTable {
  /** As created. */
  readonly name: string;
  /** Root page of its tree. */
  readonly root: number;
  /** Its `CREATE TABLE`. */
  readonly sql: string;
}

/** What a state of a database consists of. */
export interface Schema {
  /** Tables by name in lower case; views and virtual tables, which have no tree, are left out. */
  readonly tables: ReadonlyMap<string, SchemaTable>;
  /** Root pages of the indices, automatic ones among them. */
  readonly indexRoots: readonly number[];
}

/** Columns of sqlite_schema: type, name, tbl_name, rootpage, sql. */
const POSITIONS = [0, 1, 3, 4];

/** Sixteen times the SQL that SQLite reads as it is usually built. */
const RECORD_SIZE_MAX = 16_000_000;

/**
 * Reads sqlite_schema, whose tree begins at page 1; its overflow pages count as pages of its tree.
 *
 * @throws {ReplicaError} the tree or one of its records is broken
 */
export async function readSchema(state: DatabaseState): Promise<Schema> {
  const tables = new Map<string, SchemaTable>();
  const indexRoots: number[] = [];
  if (state.commit === 0) return { tables, indexRoots };
  const pages = await rowPages({ state, root: 1, kind: "table", seen: state.treePages });
  for (const pgno of pages) {
    for (const row of (await readTreePage(state, pgno, "table")).rows()) {
      if (row.payloadSize > RECORD_SIZE_MAX) {
        throw databaseFault(
          "read sqlite_schema",
          `${row.payloadSize} bytes of one record`,
          `up to ${RECORD_SIZE_MAX}`,
        );
      }
      const stored = await readValues(new PayloadReader(state, row, state.treePages), POSITIONS);
      const [type, name, root, sql] = stored.map((value) => decodeValue(value, state.encoding));
      if (root === 0 || root === null || (type !== "table" && type !== "index")) continue;
      if (typeof root !== "number") {
        throw databaseFault("read sqlite_schema", `root page ${root}`, "a number");
      }
      if (type === "index") indexRoots.push(root);
      else if (typeof name === "string" && typeof sql === "string") addTable(tables, { name, root, sql });
      else throw databaseFault("read sqlite_schema", "a table without name or SQL", "both");
    }
  }
  return { tables, indexRoots };
}

function addTable(tables: Map<string, SchemaTable>, table: SchemaTable): void {
  const name = foldCase(table.name);
  if (tables.has(name)) throw databaseFault("read sqlite_schema", `two tables "${name}"`, "one of a name");
  tables.set(name, table);
}
