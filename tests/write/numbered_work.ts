/**
 * Transactions by number: what a database has after each is known, so that anything else is found out.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { LocalDatabase } from "../support/local_database.ts";

/** Rows of the table that spilling transactions rewrite; in pages of 512 bytes, one a page. */
const WIDE_ROWS = 600;
/** How often one rewrites them: more than the 1 MiB that a writer buffers. */
const WIDE_PASSES = 5;
/** Rows that the other table keeps. */
const ROWS_KEPT = 30;
const WIDE_EVERY = 32;

/** Pages that SQLite may keep before it spills them. */
export const CACHE_PAGES = 10;

/** Whether a transaction is one of those that spill. */
function isWide(number: number): boolean {
  return number % WIDE_EVERY === 9;
}

/** Statements of a transaction, without its BEGIN and COMMIT. Number 1 makes the database. */
export function statementsOf(number: number): string[] {
  const made = number === 1 ? schema() : [];
  return [
    ...made,
    `INSERT INTO t VALUES (${number}, ${body(number)})`,
    `DELETE FROM t WHERE n <= ${number - ROWS_KEPT}`,
    `UPDATE last SET n = ${number}`,
    ...(isWide(number) ? rewrite(number) : []),
  ];
}

/** Statements that are to be rolled back, after they were written in part. */
export function statementsGivenUp(number: number): string[] {
  return ["DELETE FROM t", ...rewrite(-number), `UPDATE last SET n = ${-number}`];
}

function schema(): string[] {
  return [
    "CREATE TABLE t(n INTEGER PRIMARY KEY, body TEXT)",
    "CREATE TABLE last(n INTEGER)",
    "CREATE TABLE wide(i INTEGER PRIMARY KEY, n INTEGER, body TEXT)",
    "INSERT INTO last VALUES (0)",
    `WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < ${WIDE_ROWS})
     INSERT INTO wide SELECT i, 0, ${wideBody(0)} FROM r`,
  ];
}

function rewrite(number: number): string[] {
  return Array.from({ length: WIDE_PASSES }, (_, pass) => {
    const value = pass === WIDE_PASSES - 1 ? number : number * 1000 + pass;
    return `UPDATE wide SET n = ${value}, body = ${wideBody(value)}`;
  });
}

function body(number: number): string {
  return `printf('%.*c', ${(number * 197) % 1500}, '${letter(number)}')`;
}

function wideBody(value: number): string {
  return `printf('%.*c', 380, '${letter(value)}')`;
}

function letter(value: number): string {
  return String.fromCharCode(97 + Math.abs(value) % 26);
}

/** The last transaction up to this one that spilled; 0: none. */
function lastWide(number: number): number {
  for (let at = number; at > 1; at--) if (isWide(at)) return at;
  return 0;
}

/** The last transaction that a database has; fails where it is not the database that all up to it make. */
export function checkDatabase(database: LocalDatabase): number {
  const all = (sql: string) => database.prepare(sql).all() as Record<string, unknown>[];
  assert.equal(all("PRAGMA integrity_check")[0]!.integrity_check, "ok");
  const number = Number(all("SELECT n FROM last")[0]!.n);
  const rows = all("SELECT n, body FROM t ORDER BY n");
  const first = Math.max(1, number - ROWS_KEPT + 1);
  assert.deepEqual(
    rows.map(({ n, body }) => `${n} ${body}`),
    Array.from({ length: number - first + 1 }, (_, i) => {
      const n = first + i;
      return `${n} ${letter(n).repeat((n * 197) % 1500)}`;
    }),
    `the rows of transaction ${number}`,
  );
  const wide = lastWide(number);
  const found = all("SELECT n, body, count(*) AS rows FROM wide GROUP BY n, body");
  assert.deepEqual(
    found.map((row) => ({ ...row })),
    [{ n: wide, body: letter(wide).repeat(380), rows: WIDE_ROWS }],
    `the rewritten rows of transaction ${number}`,
  );
  return number;
}
