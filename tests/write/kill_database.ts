/**
 * The database that killed writers write: each transaction is a number of its writer, and what is missing,
 * twice, or of a transaction that was given up shows.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { LocalDatabase } from "../support/local_database.ts";

/** Rows that a writer keeps, so that the database stays small. */
const KEPT = 400;

/** How many bulky rows there are; each is written anew in turn. */
const SLOTS = 6;

/** Bytes of every 7th, every 61st bulky row. */
const BULK_SIZE = 20_000;
const BULK_SIZE_MAX = 400_000;

/** What a database has. */
export interface Found {
  /** Number of the last transaction by writer. */
  readonly last: Record<string, number>;
  /** What is wrong with it, in words; empty: nothing. */
  readonly faults: string[];
}

/** Makes the tables where they are not there. */
export function makeTables(db: LocalDatabase): void {
  db.exec("BEGIN IMMEDIATE");
  db.exec("CREATE TABLE IF NOT EXISTS counter(w INTEGER PRIMARY KEY, last INTEGER)");
  db.exec("CREATE TABLE IF NOT EXISTS n(w INTEGER, i INTEGER, pad TEXT)");
  db.exec("CREATE INDEX IF NOT EXISTS n_by_number ON n(w, i)");
  db.exec("CREATE TABLE IF NOT EXISTS bulk(slot INTEGER PRIMARY KEY, i INTEGER, body BLOB)");
  db.exec("COMMIT");
}

/** Runs writer `w`'s transaction `i`, on a connection that has begun one. */
export function runTransaction(db: LocalDatabase, w: number, i: number): void {
  db.exec(`INSERT INTO n VALUES (${w}, ${i}, printf('%.*c', ${1 + (i * 37) % 300}, 'x'))`);
  db.exec(`DELETE FROM n WHERE w = ${w} AND i <= ${i - KEPT}`);
  db.exec(`INSERT INTO counter VALUES (${w}, ${i}) ON CONFLICT DO UPDATE SET last = ${i}`);
  const size = i % 61 === 0 ? BULK_SIZE_MAX : i % 7 === 0 ? BULK_SIZE : 0;
  if (size > 0) db.exec(`REPLACE INTO bulk VALUES (${i % SLOTS}, ${i}, randomblob(${size}))`);
}

/** A transaction that spills into the write log and is given up. */
export function runGivenUp(db: LocalDatabase): void {
  db.exec("UPDATE n SET pad = 'given up'");
  db.exec("DELETE FROM bulk");
}

/** Looks at all there is. */
export function inspect(db: LocalDatabase): Found {
  const faults: string[] = [];
  const last: Record<string, number> = {};
  for (const row of db.prepare("SELECT w, last FROM counter ORDER BY w").all()) last[row.w] = row.last;
  const rows = db.prepare(
    `SELECT w, count(*) AS n, count(DISTINCT i) AS numbers, min(i) AS low, max(i) AS most,
       sum(length(pad) <> 1 + i * 37 % 300) AS wrong FROM n NOT INDEXED GROUP BY w ORDER BY w`,
  ).all();
  for (const row of rows) {
    const most = last[row.w] ?? 0;
    const n = Math.min(KEPT, most);
    const wanted = { w: row.w, n, numbers: n, low: most - n + 1, most, wrong: 0 };
    const found = JSON.stringify({ ...row });
    if (found !== JSON.stringify(wanted)) {
      faults.push(`rows are ${found}, expected ${JSON.stringify(wanted)}`);
    }
  }
  if (rows.length !== Object.keys(last).length) faults.push(`rows of ${rows.length} writers`);
  const check = Object.values(db.prepare("PRAGMA integrity_check").get()).join();
  if (check !== "ok") faults.push(check);
  return { last, faults };
}

/** A digest of all rows: equal databases have equal ones. */
export function digest(db: LocalDatabase): string {
  const hash = createHash("sha256");
  for (
    const sql of ["SELECT * FROM counter", "SELECT * FROM n", "SELECT slot, i, hex(body) AS body FROM bulk"]
  ) {
    for (const row of db.prepare(`${sql} ORDER BY 1, 2`).all()) hash.update(JSON.stringify({ ...row }));
  }
  return hash.digest("hex");
}
