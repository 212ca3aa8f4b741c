/**
 * Which rows of a table changed, out of the pages planned for it.
 *
 * @module
 */
import type { Row } from "./btree_page.ts";
import type { RowChange } from "./change.ts";
import type { Comparison } from "./comparison.ts";
import { databaseFault } from "./fault.ts";
import { pacedSort } from "./paced_sort.ts";
import { RowCursor } from "./row_cursor.ts";
import { readRowKey, rowidColumns, type RowKey } from "./row_key.ts";
import { compareSqlValues } from "./sql_value.ts";
import type { KeyColumn } from "./table_definition.ts";
import { hasSameKey, type Table, type TablePlan, treeKind } from "./table_plan.ts";

/** Gives the changed rows of a table that the later state has. */
export function rowChanges(comparison: Comparison, plan: TablePlan): AsyncGenerator<RowChange> {
  const { from, to } = plan.pair;
  if (from === null || !hasSameKey(plan.pair) || plan.fromPages.length === 0 || plan.toPages.length === 0) {
    return unpairedRows(comparison, plan);
  }
  return to!.definition.rowidName === null ? joinByKey(comparison, plan) : mergeByRowid(comparison, plan);
}

/** All rows, in stored order: deleted ones, then inserted ones. */
async function* unpairedRows(comparison: Comparison, plan: TablePlan): AsyncGenerator<RowChange> {
  for (const [side, kind] of [["from", "delete"], ["to", "insert"]] as const) {
    const table = plan.pair[side];
    if (table === null) continue;
    const cursor = cursorOf(comparison, plan, side);
    for (let row = await cursor.next(); row; row = await cursor.next()) {
      const { columns } = await readRowKey(comparison[side], row, table.definition);
      yield { kind, table: plan.pair.name, key: columns };
    }
  }
}

/** Both sides ascend by rowid, so a row of each is in memory. */
async function* mergeByRowid(comparison: Comparison, plan: TablePlan): AsyncGenerator<RowChange> {
  const { from, to, name: table } = plan.pair;
  const change = (kind: RowChange["kind"], { definition }: Table, row: Row): RowChange => {
    return { kind, table, key: rowidColumns(definition.rowidName!, row.rowid) };
  };
  const before = cursorOf(comparison, plan, "from");
  const after = cursorOf(comparison, plan, "to");
  let old = await before.next();
  let now = await after.next();
  while (old !== undefined || now !== undefined) {
    if (now === undefined || (old !== undefined && old.rowid < now.rowid)) {
      yield change("delete", from!, old!);
      old = await before.next();
    } else if (old === undefined || now.rowid < old.rowid) {
      yield change("insert", to!, now);
      now = await after.next();
    } else {
      if (!await comparison.isSameRecord(old, now)) yield change("update", to!, now);
      old = await before.next();
      now = await after.next();
    }
  }
}

/** A changed row, kept to be sorted. */
interface FoundRow {
  readonly kind: RowChange["kind"];
  readonly key: RowKey;
}

/** A row whose key has been read. */
interface KeyedRow {
  readonly key: RowKey;
  readonly row: Row;
}

/**
 * A row of each side in turn; a row waits until the other side shows one of its key. What waits at a time is what has
 * changed, and by how much one side is ahead of the other; what is found is sorted, so it is all held.
 */
async function* joinByKey(comparison: Comparison, plan: TablePlan): AsyncGenerator<RowChange> {
  const { from, to, name: table } = plan.pair;
  const definitions = {
    from: { ...from!.definition, keyColumns: comparedColumns(from!, to!) },
    to: { ...to!.definition, keyColumns: comparedColumns(to!, from!) },
  };
  const before = cursorOf(comparison, plan, "from");
  const after = cursorOf(comparison, plan, "to");
  const join = new RowJoin(comparison);
  for (;;) {
    const [oldRow, newRow] = [await before.next(), await after.next()];
    if (oldRow === undefined && newRow === undefined) break;
    const old = oldRow && { row: oldRow, key: await readRowKey(comparison.from, oldRow, definitions.from) };
    const now = newRow && { row: newRow, key: await readRowKey(comparison.to, newRow, definitions.to) };
    await join.take(old, now);
  }
  for (const { kind, key } of await pacedSort(join.finish(), compareFound, comparison.pace)) {
    yield { kind, table, key: key.columns };
  }
}

/** Pairs rows of both sides by key, in whatever order they come. */
class RowJoin {
  readonly #comparison: Comparison;
  readonly #found: FoundRow[] = [];
  readonly #oldWaiting = new Map<string, KeyedRow>();
  readonly #newWaiting = new Map<string, KeyedRow>();

  constructor(comparison: Comparison) {
    this.#comparison = comparison;
  }

  /** Takes the next row of each side. */
  async take(old: KeyedRow | undefined, now: KeyedRow | undefined): Promise<void> {
    if (old && now && old.key.identity === now.key.identity) return await this.#compare(old, now);
    if (old) {
      const half = takeWaiting(this.#newWaiting, old);
      if (half) await this.#compare(old, half);
      else wait(this.#oldWaiting, old);
    }
    if (now) {
      const half = takeWaiting(this.#oldWaiting, now);
      if (half) await this.#compare(half, now);
      else wait(this.#newWaiting, now);
    }
  }

  /** Gives what has changed, once both sides have ended. */
  finish(): FoundRow[] {
    for (const { key } of this.#oldWaiting.values()) this.#found.push({ kind: "delete", key });
    for (const { key } of this.#newWaiting.values()) this.#found.push({ kind: "insert", key });
    return this.#found;
  }

  async #compare(old: KeyedRow, now: KeyedRow): Promise<void> {
    if (await this.#comparison.isSameRecord(old.row, now.row)) return;
    this.#found.push({ kind: "update", key: now.key });
  }
}

function takeWaiting(waiting: Map<string, KeyedRow>, { key }: KeyedRow): KeyedRow | undefined {
  const half = waiting.get(key.identity);
  if (half) waiting.delete(key.identity);
  return half;
}

function wait(waiting: Map<string, KeyedRow>, { key, row }: KeyedRow): void {
  if (waiting.has(key.identity)) {
    throw databaseFault("compare rows by their keys", "a key twice", "each key once");
  }
  // A copy, so that a waiting row does not keep its page.
  waiting.set(key.identity, { key, row: { ...row, local: row.local.slice() } });
}

/**
 * The key's columns as a state names them, each with the collation that both states have; where they have two, text is
 * compared as it is: what is one key under either may be several under the other.
 */
function comparedColumns({ definition }: Table, other: Table): readonly KeyColumn[] {
  return definition.keyColumns.map((column, i) => {
    const isSame = column.collation === other.definition.keyColumns[i]!.collation;
    return isSame ? column : { ...column, collation: "binary" };
  });
}

function compareFound(a: FoundRow, b: FoundRow): number {
  for (let i = 0; i < a.key.values.length; i++) {
    const order = compareSqlValues(a.key.values[i]!, b.key.values[i]!);
    if (order !== 0) return order;
  }
  return a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : 0;
}

function cursorOf(comparison: Comparison, plan: TablePlan, side: "from" | "to"): RowCursor {
  const pages = side === "from" ? plan.fromPages : plan.toPages;
  return new RowCursor(comparison[side], pages, treeKind(plan.pair[side]!));
}
