/**
 * The replica that demo_replica.ts made, brought to this machine: a local copy that is kept up, and a plain file of an
 * earlier moment. Runs in Deno and in Bun.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { openReplica, type ReplicaDatabase } from "../mod.ts";

const folder = process.argv[2]!;
const IS_BUN = "Bun" in globalThis;
const driver = IS_BUN ? "bun:sqlite" : "node:sqlite"; // not literals: each runtime has only its own
const module = await import(driver);
const Database = module.Database ?? module.DatabaseSync;
const version = IS_BUN ? `Bun ${process.versions.bun}` : `Deno ${process.versions.deno}`;
const copy = join(folder, "copy.db");
const restored = join(folder, "restored.db");
const AVERAGE = "SELECT count(*) AS n, round(avg(stars), 3) AS stars FROM ratings";

/** Rows of a query, which must be those wanted where some are. */
function rowsOf(db: ReplicaDatabase, sql: string, wanted?: unknown): string {
  const rows = JSON.stringify(db.prepare(sql).all());
  if (wanted !== undefined && rows !== wanted) throw new Error(`WRONG: ${sql}: ${rows}, expected ${wanted}`);
  return rows;
}

/** Asks a plain file, with nothing of ours in between. */
function plainRows(path: string, sql: string, wanted: string): void {
  const db = new Database(path);
  try {
    rowsOf(db, sql, wanted);
    rowsOf(db, "PRAGMA integrity_check", '[{"integrity_check":"ok"}]');
  } finally {
    db.close();
  }
}

console.log(`\n${version}: a local copy`);
const replica = await openReplica(`file://${join(folder, "replica")}`, { hydrate: copy });
const db = replica.connect();
const rows = rowsOf(db, AVERAGE); // need not wait
await replica.hydrated();
const { pages, pagesTotal } = replica.hydration!;
const mark = replica.mark();
rowsOf(db, "PRAGMA integrity_check", '[{"integrity_check":"ok"}]');
rowsOf(db, AVERAGE, rows);
const { localReads, misses } = replica.stats(mark);
if (pages !== pagesTotal || misses > 0) {
  throw new Error(`WRONG: ${pages} of ${pagesTotal} pages, ${misses} misses`);
}
console.log(`  ${pages} pages in a file; a full check read ${localReads} there, and asked for none`);

const before = replica.connect({ asOf: 5n });
const then = rowsOf(before, AVERAGE);
await replica.restore(restored, { asOf: 5n });
plainRows(restored, AVERAGE, then);
console.log(`  restore() of TXID 5, from before the damage: ${then}`);
before.close();
db.close();
await replica.close();
plainRows(copy, AVERAGE, rows);
console.log(`  after close() any SQLite opens the copy: ${rows}`);
process.exit(0);
