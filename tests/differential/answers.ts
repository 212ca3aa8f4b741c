/**
 * What a database answers, short enough to be kept and compared.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { LocalDatabase } from "../support/local_database.ts";
import { rowsOf } from "../replica/drivers.ts";
import { isUnread, readFailure } from "../support/invariant_writer_check.ts";
import type { Query } from "./query_set.ts";

/** The number of rows and their digest, such as `12 rows 3f2a…`; or `error: ` and SQLite's words. */
export type Answer = string;

/** Rows that are shown of each side where two answers differ. */
const SHOWN_ROWS = 5;
const SHOWN_CHARACTERS = 200;

/** Asks one query; `isSorted`: in an order of our own, since plans may differ. */
export function answerOf(db: LocalDatabase, { sql }: Query, isSorted = false): Answer {
  try {
    const failure = failureOf(db);
    const values = valuesOf(db, sql, isSorted);
    const unread = values.find((value) => isUnread(value, () => failureOf(db) !== failure));
    if (unread !== undefined) return `error: ${unread}`;
    const hash = createHash("sha1");
    for (const value of values) hash.update(`${value}\n`);
    return `${values.length} rows ${hash.digest("hex")}`;
  } catch (error) {
    return `error: ${(error as Error).message}`;
  }
}

const failureOf = (db: LocalDatabase) => readFailure((sql) => rowsOf(db, sql));

function valuesOf(db: LocalDatabase, sql: string, isSorted: boolean): string[] {
  const values = rowsOf(db, sql).map(({ v }) => `${typeof v} ${v}`);
  return isSorted ? values.sort() : values;
}

/** Where the rows of two databases begin to differ, for a person. */
export function firstDifference(
  ours: LocalDatabase,
  theirs: LocalDatabase,
  sql: string,
  isSorted = false,
): string {
  try {
    const [found, wanted] = [valuesOf(ours, sql, isSorted), valuesOf(theirs, sql, isSorted)];
    const at = found.findIndex((value, i) => value !== wanted[i]);
    const from = at < 0 ? Math.min(found.length, wanted.length) : at;
    const shown = (values: string[]) =>
      values.slice(from, from + SHOWN_ROWS).map((value) => value.slice(0, SHOWN_CHARACTERS));
    return `from row ${from}: ${JSON.stringify(shown(found))}, expected ${JSON.stringify(shown(wanted))}`;
  } catch (error) {
    return String(error);
  }
}
