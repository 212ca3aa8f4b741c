/**
 * The reader's side of an {@link InvariantWriter}: what must hold in one transaction, and from one to the next.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { CHECKED_TABLES, type CheckedTable, markedIds, PRINT_SQL, valueSql } from "./invariant_writer.ts";
import type { Row } from "./sqlite.ts";

/** Runs one statement and gives its rows. */
export type Query = (sql: string) => Row[];

/** Which state a transaction saw. */
export interface SeenState {
  readonly txid: string;
  readonly generation: number;
}

/**
 * What does not hold: `"content"` what is seen is no state of the database · `"moved"` a transaction sees two generations
 * · `"renamed"` the TXID changes within a transaction · `"backwards"` a state before the one seen last · `"ambiguous"` other
 * data under the same TXID.
 */
export type ViolationKind = "content" | "moved" | "renamed" | "backwards" | "ambiguous";

/** Something that cannot be in one state of the database, or not after what was seen before. */
export class InvariantViolation extends Error {
  override name = "InvariantViolation";
  readonly kind: ViolationKind;

  constructor(kind: ViolationKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** How much of the database a check reads. */
export type CheckDepth = "marks" | "rows" | "integrity";

const VALID = (table: CheckedTable) => `(value IS ${valueSql(table)} AND print IS ${PRINT_SQL})`;

/** The state that is seen. */
export function seenState(query: Query): SeenState {
  const row = query("SELECT generation, litestream_txid() AS txid FROM head")[0];
  if (typeof row?.generation !== "number" || typeof row.txid !== "string") {
    throw new InvariantViolation("content", `head is ${JSON.stringify(row)}`);
  }
  return { txid: row.txid, generation: row.generation };
}

/**
 * Checks that what is seen is `state`, whole; the caller has a transaction open.
 *
 * @throws {InvariantViolation} it is not
 * @throws what the driver throws
 */
export function checkState(query: Query, state: SeenState, depth: CheckDepth): void {
  for (const table of CHECKED_TABLES) {
    if (table.markEvery > 0) checkMarks(query, table, state);
    if (depth !== "marks") checkRows(query, table);
  }
  if (depth === "integrity") checkIntegrity(query);
  const now = seenState(query);
  if (now.txid === state.txid && now.generation === state.generation) return;
  throw new InvariantViolation(
    now.generation === state.generation ? "renamed" : "moved",
    `one transaction sees ${JSON.stringify(state)}, then ${JSON.stringify(now)}`,
  );
}

/**
 * Everything that is seen, as one SHA-256 in hex: databases of equal rows have equal ones. The caller has a transaction
 * open where others write.
 */
export function digestOf(query: Query): string {
  const hash = createHash("sha256");
  const add = (sql: string) => hash.update(JSON.stringify(query(sql).map(Object.values)));
  for (const { name } of CHECKED_TABLES) {
    add(`SELECT id, version, value, print, hex(noise) AS noise FROM ${name} ORDER BY id`);
  }
  for (const name of ["head", "clock", "sums"]) add(`SELECT * FROM ${name} ORDER BY 1`);
  return hash.digest("hex");
}

function checkMarks(query: Query, table: CheckedTable, { generation }: SeenState): void {
  const ids = markedIds(table);
  const found = query(`SELECT count(*) AS count, min(version) AS low, max(version) AS high,
    sum(NOT ${VALID(table)}) AS invalid FROM ${table.name} WHERE id IN (${ids})`)[0]!;
  expectSame(`marks of ${table.name}`, found, {
    count: ids.length,
    low: generation,
    high: generation,
    invalid: 0,
  });
}

function checkRows(query: Query, table: CheckedTable): void {
  const found = query(`SELECT count(*) AS count, coalesce(sum(value), 0) AS total,
    coalesce(sum(version), 0) AS versions, coalesce(sum(NOT ${
    VALID(table)
  }), 0) AS invalid FROM ${table.name}`)[0]!;
  const sums = query(`SELECT count, total, versions FROM sums WHERE name = '${table.name}'`)[0]!;
  expectSame(`rows of ${table.name}`, found, { ...sums, invalid: 0 });
}

/** Why the last read of a connection to a replica failed; undefined where it is no replica's. */
export function readFailure(query: Query): unknown {
  return Object.values(query("PRAGMA litestream_error")[0] ?? {})[0];
}

/**
 * Whether an integrity check tells of a page that it could not read. `hasFailed` says whether some read failed meanwhile: pages
 * of the pointer map and of the freelist that were read, and are no good, are told of in the same words.
 */
export function isUnread(found: string, hasFailed: () => boolean): boolean {
  return found.includes("unable to get the page") ||
    /Failed to read ptrmap|failed to get page/.test(found) && hasFailed();
}

/**
 * Checks the database by `PRAGMA integrity_check`, which tells of a page that cannot be read among the faults of the database.
 *
 * @throws {InvariantViolation} it is not whole
 * @throws {Error} some of it cannot be read
 */
export function checkIntegrity(query: Query): void {
  const before = readFailure(query);
  const found = query("PRAGMA integrity_check(3)").map(Object.values).join("; ");
  if (isUnread(found, () => readFailure(query) !== before)) {
    throw new Error(`Cannot check integrity: ${found}`);
  }
  if (found !== "ok") throw new InvariantViolation("content", `integrity_check: ${found}`);
}

function expectSame(what: string, found: Row, expected: Row): void {
  if (Object.keys(expected).every((name) => found[name] === expected[name])) return;
  throw new InvariantViolation(
    "content",
    `${what}: ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`,
  );
}

/**
 * Checks that one state follows on another of the same reader.
 *
 * @throws {InvariantViolation} it lies before that, or shows other data under the same TXID
 */
export function checkOrder(before: SeenState | undefined, now: SeenState): void {
  if (before === undefined) return;
  const isBack = now.txid < before.txid || now.generation < before.generation;
  const isOther = now.txid === before.txid && now.generation !== before.generation;
  if (!isBack && !isOther) return;
  const text = `one transaction sees ${JSON.stringify(before)}, the next ${JSON.stringify(now)}`;
  throw new InvariantViolation(isBack ? "backwards" : "ambiguous", text);
}
