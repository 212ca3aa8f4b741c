import type { Change } from "./change.ts";
import { Comparison, type DiffInput } from "./comparison.ts";
import { rowChanges } from "./row_comparison.ts";
import { readSchema } from "./schema.ts";
import { searchChains } from "./chain_search.ts";
import { pairTables, planTable, type TablePlan } from "./table_plan.ts";

export type { Change, RowChange, TableChange } from "./change.ts";
export type { DiffInput } from "./comparison.ts";
export type { PageSource } from "./page_source.ts";
export type { SqlValue } from "./sql_value.ts";

/** What {@link diffDatabases} is told beside its input. */
export interface DiffOptions {
  /** Ends the comparison; looked at between pages. */
  readonly signal?: AbortSignal;
  /** Tables to compare, without regard to case; all but internal ones (`sqlite_…`) unless given. */
  readonly tables?: readonly string[];
}

/**
 * Tells which tables and rows differ between two states of one database.
 *
 * Reads both schemas, the interior pages of the tables, and of the other pages only those that changed or that only one
 * state's tree has. Overflow pages are read where a row cannot be compared without; where a changed overflow page
 * belongs to none of the rows compared so far, the remaining pages are read until its row is found.
 *
 * A row changed where its stored record is another one, byte by byte: a row rewritten with the same bytes did not, one
 * moved to another page neither; one rewritten after `ADD COLUMN`, with the default now stored, did, and so did one
 * rewritten with a whole number in a `REAL` column in the other of the two forms SQLite has for it.
 *
 * Tables come in the order of their names, rows in that of their keys; text is ordered by UTF-16 unit. A dropped table
 * is one change, without its rows; a created one is followed by its rows as inserts; a renamed one is a dropped and a
 * created one. A table whose `CREATE TABLE` changed is named first, then its rows are compared as ever; only where its
 * primary key has other columns, where the rowid came or went, or became or ceased to be the key, all its rows are
 * deleted and all inserted. Views, virtual
 * tables and indices are not looked at; a virtual table's shadow tables are tables.
 *
 * Rows with a rowid for a key are compared with a few pages in memory. With another primary key, or without rowid, the
 * rows that changed are held until the table is done. Where all rows are of one state, they are not held, and come in
 * the order they are stored. Besides, 4 bytes and some are held for each page to be compared.
 *
 * @throws {ReplicaError} a page is no part of a sound database, or its source gave too few bytes; the reason of `signal`
 * once it is aborted
 * @see https://sqlite.org/fileformat2.html
 */
export async function* diffDatabases(input: DiffInput, options: DiffOptions = {}): AsyncGenerator<Change> {
  const comparison = await Comparison.open(input, options.signal);
  const to = await readSchema(comparison.to);
  const from = await readSchema(comparison.from);
  const pairs = await pairTables(from, to, { pace: comparison.pace, names: options.tables });
  const plans: TablePlan[] = [];
  for (const pair of pairs) plans.push(await planTable(comparison, pair));
  for (const plan of await searchChains(comparison, plans, to)) yield* tableChanges(comparison, plan);
}

async function* tableChanges(comparison: Comparison, plan: TablePlan): AsyncGenerator<Change> {
  const { name: table, from, to } = plan.pair;
  if (to === null) return yield { kind: "table-dropped", table };
  if (from === null) yield { kind: "table-created", table };
  else if (from.sql !== to.sql) yield { kind: "schema-changed", table };
  yield* rowChanges(comparison, plan);
}
