import type { TreeKind } from "./btree_page.ts";
import type { Comparison } from "./comparison.ts";
import type { ReplicaError } from "../errors.ts";
import { databaseFault } from "./fault.ts";
import type { Pace } from "../pace.ts";
import { PageSet, pageSetOf } from "./page_set.ts";
import type { Schema, SchemaTable } from "./schema.ts";
import { foldCase, parseCreateTable, type TableDefinition } from "./table_definition.ts";
import { rowPages } from "./tree_walk.ts";

/** A table in one state. */
export interface Table extends SchemaTable {
  /** What its SQL says of its key. */
  readonly definition: TableDefinition;
}

/** A table of either state, or of both. */
export interface TablePair {
  /** Its name, of the later state where it is in both. */
  readonly name: string;
  /** The earlier state's, if it has it. */
  readonly from: Table | null;
  /** The later state's, if it has it. */
  readonly to: Table | null;
}

/** What must be read to compare a table. */
export interface TablePlan {
  /** The table. */
  readonly pair: TablePair;
  /** Row pages of the earlier state that may hold a difference, as {@link rowPages} orders them. */
  readonly fromPages: readonly number[];
  /** The same for the later state. */
  readonly toPages: readonly number[];
  /** How many row pages both have in common, unchanged and not to be read. */
  readonly sharedCount: number;
}

/** Names that an error lists at most. */
const SHOWN_NAMES_MAX = 10;

/**
 * Pairs the tables of two schemas by name, without regard to case, in the names' order.
 *
 * `names` asks for tables, internal ones too; without it, all but those whose names begin with `sqlite_`.
 *
 * @throws {ReplicaError} a name is that of no table in either
 */
export async function pairTables(
  from: Schema,
  to: Schema,
  { pace, names }: { pace: Pace; names?: readonly string[] },
): Promise<TablePair[]> {
  const wanted = names && new Set(names.map(foldCase));
  const isWanted = (name: string): boolean => wanted ? wanted.has(name) : !name.startsWith("sqlite_");
  const absent = names?.find((name) => !from.tables.has(foldCase(name)) && !to.tables.has(foldCase(name)));
  if (absent !== undefined) throw noTable(absent, from, to);
  const define = (table: SchemaTable | undefined): Table | null =>
    table ? { ...table, definition: parseCreateTable(table.sql) } : null;
  const pairs: TablePair[] = [];
  for (const key of new Set([...from.tables.keys(), ...to.tables.keys()])) {
    if (!isWanted(key)) continue;
    await pace.turn();
    const [before, after] = [from.tables.get(key), to.tables.get(key)];
    pairs.push({ name: (after ?? before)!.name, from: define(before), to: define(after) });
  }
  return pairs.sort((a, b) => a.name < b.name ? -1 : 1);
}

function noTable(name: string, from: Schema, to: Schema): ReplicaError {
  const tables = new Map([...from.tables, ...to.tables]);
  const known = [...tables.values()].map((table) => table.name).sort();
  const shown = known.slice(0, SHOWN_NAMES_MAX).join(", ") + (known.length > SHOWN_NAMES_MAX ? ", …" : "");
  const expected = known.length > 0 ? `a table (not a view or a virtual one) such as ${shown}` : "a table";
  return databaseFault(`compare table "${name}"`, "neither state has one of that name", expected);
}

/** Gives the kind of a table's tree. */
export function treeKind(table: Table): TreeKind {
  return table.definition.withoutRowid ? "index" : "table";
}

/** Tells whether rows of both states have keys that mean the same. */
export function hasSameKey({ from, to }: TablePair): boolean {
  if (from === null || to === null) return false;
  const [a, b] = [from.definition, to.definition];
  if (a.withoutRowid !== b.withoutRowid || a.keyColumns.length !== b.keyColumns.length) return false;
  if (a.rowidName !== null && b.rowidName !== null) return isKeyless(from) === isKeyless(to);
  return a.keyColumns.every(({ name }, i) => foldCase(name) === foldCase(b.keyColumns[i]!.name));
}

/**
 * Finds the pages to compare: those that changed, that are in one state's tree only, or in `extra`. Where the key's
 * meaning changed, all.
 *
 * A row of an unchanged page that both trees have is the same row in both states, so what is left out cannot hold the
 * other half of what is in. `again` walks trees whose pages have been counted before.
 */
export async function planTable(
  comparison: Comparison,
  pair: TablePair,
  { extra, again = false }: { extra?: PageSet; again?: boolean } = {},
): Promise<TablePlan> {
  // Dropped tables are not read.
  if (pair.to === null) return { pair, fromPages: [], toPages: [], sharedCount: 0 };
  const known = new Map<number, readonly number[]>();
  const walk = async (side: "from" | "to"): Promise<number[]> => {
    const table = pair[side];
    if (table === null) return [];
    const state = comparison[side];
    const seen = again ? new PageSet() : state.treePages;
    const shared = hasSameKey(pair) ? { known, isChanged: comparison.isChanged } : {};
    return await rowPages({ state, root: table.root, kind: treeKind(table), seen, ...shared });
  };
  const toPages = await walk("to");
  const fromPages = await walk("from");
  if (!hasSameKey(pair)) return { pair, fromPages, toPages, sharedCount: 0 };
  const fromSet = await pageSetOf(fromPages, comparison.pace);
  const toSet = await pageSetOf(toPages, comparison.pace);
  let sharedCount = 0;
  const pagesToRead = async (pgnos: readonly number[], others: PageSet): Promise<number[]> => {
    const pages: number[] = [];
    sharedCount = 0;
    await comparison.pace.each(pgnos, (pgno) => {
      const isShared = !comparison.isChanged(pgno) && others.has(pgno);
      if (isShared) sharedCount++;
      if (!isShared || extra?.has(pgno)) pages.push(pgno);
    });
    return pages;
  };
  return {
    pair,
    fromPages: await pagesToRead(fromPages, toSet),
    toPages: await pagesToRead(toPages, fromSet),
    sharedCount,
  };
}

/** Tells whether the rowid is the key for want of another. */
function isKeyless({ definition }: Table): boolean {
  return definition.rowidName === "rowid";
}
