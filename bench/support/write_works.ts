/**
 * What systems are asked to write, the same for all of them: rows of `orders`, changed one after the other.
 *
 * No change makes a row longer than it was: the Go VFS damages a replica whose database grows.
 *
 * @module
 */
import { Random } from "../../tests/support/random.ts";

/** One way of writing. */
export interface Work {
  readonly name: WorkName;
  /** In words, for tables and plots. */
  readonly about: string;
  /** It asks for what the others have not. */
  readonly isOurs?: boolean;
  /** It is long enough for it to matter whether pages are in memory before. */
  readonly isLong?: boolean;
}

/** Names of all works. */
export type WorkName = "flat" | "paced" | "bulk" | "interval" | "sync" | "durable";

/** All works. */
export const WORKS: readonly Work[] = [
  { name: "flat", about: "transactions of one row, flat out", isLong: true },
  { name: "paced", about: "transactions of one row, 50 a second", isLong: true },
  { name: "bulk", about: "10,000 rows in one transaction", isLong: true },
  { name: "interval", about: "COMMIT → durable, nothing asked" },
  { name: "sync", about: "COMMIT → durable, by sync()", isOurs: true },
  { name: "durable", about: "COMMIT with litestream_durable", isOurs: true },
];

/** Rows of the one large transaction. */
export const BULK_ROWS = 10_000;
/**
 * Of them, those that lie beside each other: groups share few pages, so a share of the rows is one of the
 * pages.
 */
const GROUP_ROWS = 7;

/** New values of a row. */
export interface Change {
  readonly id: number;
  readonly amount: number;
  readonly note: string;
}

/** Performs one change; see {@link parametersOf}. */
export const UPDATE = "UPDATE orders SET amount = ?, note = ? WHERE id = ?";

/** The parameters of {@link UPDATE}. */
export function parametersOf({ id, amount, note }: Change): [number, string, number] {
  return [amount, note, id];
}

/** The changes of a work in their order, for a table of so many rows; more than anybody gets done. */
export function changesOf(name: WorkName, rows: number): Generator<Change> {
  return name === "bulk" ? groupedChanges(rows) : scatteredChanges(rows);
}

function* scatteredChanges(rows: number): Generator<Change> {
  const random = new Random(11);
  for (let i = 0;; i++) yield change(i, 1 + random.next(rows));
}

/** Groups of neighbours, scattered over the table. */
function* groupedChanges(rows: number): Generator<Change> {
  const count = Math.ceil(BULK_ROWS / GROUP_ROWS);
  const spacing = Math.floor(rows / count);
  if (spacing < GROUP_ROWS) throw new RangeError(`Cannot change ${BULK_ROWS} rows: the table has ${rows}`);
  const groups = shuffled(Array.from({ length: count }, (_, i) => 1 + i * spacing), new Random(12));
  for (let i = 0; i < BULK_ROWS; i++) {
    yield change(i, groups[Math.floor(i / GROUP_ROWS)]! + i % GROUP_ROWS);
  }
}

function change(i: number, id: number): Change {
  return { id, amount: 2 + i % 100, note: `change ${String(i).padStart(9, "0")}` };
}

function shuffled(values: number[], random: Random): number[] {
  for (let i = values.length - 1; i > 0; i--) {
    const j = random.next(i + 1);
    [values[i], values[j]] = [values[j]!, values[i]!];
  }
  return values;
}

/** The work of a name. */
export function workOf(name: string): Work {
  const found = WORKS.find((work) => work.name === name);
  if (found) return found;
  throw new Error(`Cannot run work "${name}": expected ${WORKS.map(({ name }) => name).join(", ")}`);
}
