/**
 * What sqlite_schema tells, as far as its pages were seen: where trees begin, and which table an index belongs to.
 *
 * @module
 */
import type { FtsTables } from "./fts_index.ts";
import { varintAt, varintEnd } from "./page_varint.ts";
import type { TreeMap } from "./tree_map.ts";

const TABLE_LEAF = 0x0d;
const DATABASE_HEADER_SIZE = 100;
const LEAF_HEADER_SIZE = 8;

/** Rows kept in mind; SQLite itself is slow long before. */
const ROWS_MAX = 100_000;

/** Bytes of integers by serial type; a root page is one of these. */
const INTEGER_SIZES = [0, 1, 2, 3, 4, 6, 8];

/** One row of sqlite_schema that has a tree. */
interface SchemaRow {
  readonly type: string;
  /** The table's name, one character a byte. */
  readonly table: string;
  readonly root: number;
}

/** The trees of one database. */
export class SchemaMap {
  readonly #tree: TreeMap;
  readonly #pages = new Map<number, readonly SchemaRow[]>();
  #rowCount = 0;
  #tables: Map<number, number> | undefined;
  #fullText: Map<number, FtsTables> | undefined;

  /** `tree` tells which pages are sqlite_schema's: it must have learned them before. */
  constructor(tree: TreeMap) {
    this.#tree = tree;
  }

  /** Takes what a page tells, in place of what it told before; gives whether it is one of sqlite_schema's leaves. */
  learn(pgno: number, page: Uint8Array): boolean {
    const known = this.#pages.get(pgno);
    const isSchema = page[pgno === 1 ? DATABASE_HEADER_SIZE : 0] === TABLE_LEAF && this.#isSchema(pgno);
    if (known === undefined && !isSchema) return false;
    this.#tables = undefined;
    this.#fullText = undefined;
    this.#rowCount -= known?.length ?? 0;
    this.#pages.delete(pgno);
    const rows = isSchema ? schemaRows(pgno, page) : [];
    if (!isSchema || this.#rowCount + rows.length > ROWS_MAX) return false;
    this.#pages.set(pgno, rows);
    this.#rowCount += rows.length;
    return true;
  }

  #isSchema(pgno: number): boolean {
    return pgno === 1 || this.#tree.root(pgno) === 1;
  }

  /** Root pages of all trees, in the order of their creation; page 1 is not among them. */
  get roots(): number[] {
    return this.#rows().map(({ root }) => root);
  }

  /** Root page of the table that an index belongs to, by the index's own. */
  tableOf(indexRoot: number): number | undefined {
    this.#tables ??= tablesOfIndices(this.#rows());
    return this.#tables.get(indexRoot);
  }

  /** The full-text index (FTS5) that a table of leaves or of settings belongs to, by the table's root. */
  fullTextOf(root: number): FtsTables | undefined {
    this.#fullText ??= fullTextTables(this.#rows());
    return this.#fullText.get(root);
  }

  #rows(): SchemaRow[] {
    return [...this.#pages].filter(([pgno]) => this.#isSchema(pgno)).flatMap(([, rows]) => rows);
  }
}

function rootsOfTables(rows: readonly SchemaRow[]): Map<string, number> {
  return new Map(rows.filter(({ type }) => type === "table").map(({ table, root }) => [table, root]));
}

function tablesOfIndices(rows: readonly SchemaRow[]): Map<number, number> {
  const roots = rootsOfTables(rows);
  const tables = new Map<number, number>();
  for (const { type, table, root } of rows) {
    const tableRoot = type === "index" ? roots.get(table) : undefined;
    if (tableRoot !== undefined) tables.set(root, tableRoot);
  }
  return tables;
}

/** FTS5 names its own tables after the virtual one, which has no tree. */
function fullTextTables(rows: readonly SchemaRow[]): Map<number, FtsTables> {
  const roots = rootsOfTables(rows);
  const found = new Map<number, FtsTables>();
  for (const [table, words] of roots) {
    if (!table.endsWith("_idx")) continue;
    const name = table.slice(0, -"_idx".length);
    const [leaves, settings] = [roots.get(`${name}_data`), roots.get(`${name}_config`)];
    if (leaves === undefined || settings === undefined) continue;
    const tables = { leaves, words, settings };
    found.set(leaves, tables).set(settings, tables);
  }
  return found;
}

function schemaRows(pgno: number, page: Uint8Array): SchemaRow[] {
  const start = pgno === 1 ? DATABASE_HEADER_SIZE : 0;
  if (page.length < start + LEAF_HEADER_SIZE) return [];
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const rows: SchemaRow[] = [];
  const count = Math.min(view.getUint16(start + 3), page.length / 6);
  let bytesLeft = page.length; // cells that lie over one another would be kept again and again
  for (let i = 0; i < count; i++) {
    const pointer = start + LEAF_HEADER_SIZE + i * 2;
    const row = pointer + 2 <= page.length ? schemaRow(page, view.getUint16(pointer)) : undefined;
    if (row === undefined) continue;
    if ((bytesLeft -= row.table.length) < 0) break;
    rows.push(row);
  }
  return rows;
}

/** Reads type, tbl_name and rootpage of the row in a cell; undefined where one is not in the page. */
function schemaRow(page: Uint8Array, cell: number): SchemaRow | undefined {
  const payloadSize = varintAt(page, cell);
  const record = varintEnd(page, varintEnd(page, cell));
  const recordEnd = Math.min(page.length, record + localSize(payloadSize, page.length));
  let header = varintEnd(page, record);
  let at = record + varintAt(page, record);
  const values: { serialType: number; bytes: Uint8Array }[] = [];
  for (let i = 0; i < 4; i++) {
    const serialType = varintAt(page, header);
    header = varintEnd(page, header);
    const end = at + (serialType >= 12 ? Math.floor((serialType - 12) / 2) : INTEGER_SIZES[serialType] ?? 0);
    if (header > recordEnd || !(at >= header && end <= recordEnd)) return undefined;
    values.push({ serialType, bytes: page.subarray(at, end) });
    at = end;
  }
  const [type, , table, root] = values;
  const rootPgno = rootOf(root!);
  // In UTF-16, half of these bytes are zero.
  const typeName = String.fromCharCode(...type!.bytes.subarray(0, 16).filter((byte) => byte !== 0));
  if (rootPgno === 0 || (typeName !== "table" && typeName !== "index")) return undefined;
  return { type: typeName, table: nameOf(table!.bytes), root: rootPgno };
}

function rootOf({ serialType, bytes }: { serialType: number; bytes: Uint8Array }): number {
  if (serialType === 9) return 1;
  const root = bytes.reduce((value, byte) => value * 256 + byte, 0);
  return serialType < 7 && root < 2 ** 32 ? root : 0;
}

function nameOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/**
 * Bytes of a table row's record that stand in its cell.
 *
 * @see SQLite's file format, "Cell Payload Overflow Pages"
 */
function localSize(payloadSize: number, pageSize: number): number {
  const max = pageSize - 35;
  if (payloadSize <= max) return payloadSize;
  const min = Math.floor((pageSize - 12) * 32 / 255) - 23;
  const fitted = min + (payloadSize - min) % (pageSize - 4);
  return fitted <= max ? fitted : min;
}
