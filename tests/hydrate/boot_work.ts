/**
 * What processes that boot do to a database of files' metadata: transactions by number, of which each counts,
 * so that one that is missing, or there twice, shows.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { Random } from "../support/random.ts";

/** Files at first; with them the database has 30 MB. */
export const FILES = 14_500;

/** Files that a transaction touches. */
const TOUCHED = 6;

/** What both a replica's connection and a plain one can do. */
export interface Queried {
  rows(sql: string, ...parameters: number[]): Record<string, unknown>[];
}

/** Statements that make the database. */
export const BOOT_SQL = `CREATE TABLE done (i INTEGER);
  CREATE TABLE file (id INTEGER PRIMARY KEY, txn INTEGER, hits INTEGER, body BLOB);
  CREATE INDEX file_by_txn ON file (txn) WHERE txn > 0;
  WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < ${FILES})
  INSERT INTO file SELECT i, 0, 0, randomblob(2000) FROM i`;

function touchedBy(i: number): Set<number> {
  return new Set(
    Array.from(
      { length: TOUCHED },
      (_, k) => 1 + (Math.imul(i, 2_654_435_761) + k * 7_919 * i >>> 0) % FILES,
    ),
  );
}

/** The file that a transaction makes, or removes. */
const madeBy = (i: number) => i % 3 === 0 ? FILES + i : undefined;
const removedBy = (i: number) => i % 4 === 0 ? 1 + (i * 31) % FILES : undefined;

/** Statements of transaction `i`, without its BEGIN and COMMIT. */
export function statementsOf(i: number): string {
  const [made, removed] = [madeBy(i), removedBy(i)];
  return [
    `INSERT INTO done VALUES (${i})`,
    `UPDATE file SET txn = ${i}, hits = hits + 1 WHERE id IN (${[...touchedBy(i)]})`,
    ...(made ? [`INSERT INTO file VALUES (${made}, ${i}, 1, printf('%.*c', ${i * 53 % 3000}, 'x'))`] : []),
    ...(removed ? [`DELETE FROM file WHERE id = ${removed}`] : []),
  ].join(";");
}

/** What the database must have after so many transactions. */
export class BootModel {
  readonly #files = new Map<number, { txn: number; hits: number } | undefined>();
  last = 0;

  /** Brings it to transaction `last`. */
  advance(last: number): void {
    while (this.last < last) this.#apply(++this.last);
  }

  #apply(i: number): void {
    for (const id of touchedBy(i)) {
      const before = this.#fileOf(id);
      this.#files.set(id, before && { txn: i, hits: before.hits + 1 });
    }
    const [made, removed] = [madeBy(i), removedBy(i)];
    if (made) this.#files.set(made, { txn: i, hits: 1 });
    if (removed) this.#files.set(removed, undefined);
  }

  #fileOf(id: number): { txn: number; hits: number } | undefined {
    return this.#files.has(id) ? this.#files.get(id) : { txn: 0, hits: 0 };
  }

  /** What is wrong with a few files, and with what is counted; undefined: nothing. */
  faultOf(db: Queried, random: Random): string | undefined {
    const [counted] = db.rows("SELECT count(*) AS n, max(i) AS most, sum(i) AS sum FROM done");
    const { last } = this;
    const wanted = { n: last, most: last || null, sum: last * (last + 1) / 2 || null };
    if (!isSame(counted, wanted)) return `${text(counted)} are done, expected ${text(wanted)}`;
    const recent = [...touchedBy(Math.max(1, last - random.next(50)))];
    for (const id of [random.next(FILES) + 1, recent[random.next(recent.length)]!, removedBy(last) ?? 1]) {
      const [found] = db.rows("SELECT txn, hits FROM file WHERE id = ?", id);
      const file = this.#fileOf(id);
      if (!isSame(found, file)) return `file ${id} is ${text(found)}, expected ${text(file)}, after ${last}`;
    }
  }
}

const text = (value: unknown) => JSON.stringify(value);
const isSame = (a: object | undefined, b: object | undefined) => text(a && { ...a }) === text(b && { ...b });

/** The number of the last transaction. */
export function lastOf(db: Queried): number {
  return Number(db.rows("SELECT max(i) AS last FROM done")[0]!.last);
}

/** A digest of all rows. */
export function digestOf(db: Queried): string {
  const hash = createHash("sha256");
  for (const { i } of db.rows("SELECT i FROM done ORDER BY rowid")) hash.update(`${i} `);
  for (const { id, txn, hits, body } of db.rows("SELECT * FROM file ORDER BY id")) {
    hash.update(`\n${id} ${txn} ${hits} `).update(Buffer.from(body as Uint8Array));
  }
  return hash.digest("hex");
}
