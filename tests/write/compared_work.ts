/**
 * The same statements on a replica that is written to and on a plain file.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { openReplica } from "../../mod.ts";
import type { allDrivers } from "../support/all_drivers.ts";
import type { LocalDatabase } from "../support/local_database.ts";
import { Random } from "../support/random.ts";
import { dump, Workload } from "./workload.ts";

/** How statements are drawn, and where they run. */
export interface Round {
  readonly pageSize: number;
  readonly journalMode: string;
  readonly seed: number;
  /** Statements; 220 unless given. */
  readonly steps?: number;
  readonly Database: Awaited<ReturnType<typeof allDrivers>>[number]["Database"];
}

/** What came of it: the plain file is `local.db` in the folder. */
export interface Compared {
  /** What the database was at each TXID. */
  readonly states: Map<bigint, string>;
  /** Transactions that were committed. */
  readonly transactions: number;
}

/** What running a statement came to: nothing, or the first words of an error. */
export function run(database: LocalDatabase, sql: string): string {
  try {
    for (const statement of sql.split("; ")) database.exec(statement);
    return "";
  } catch (error) {
    return String((error as Error).message).slice(0, 20);
  }
}

/** Runs a workload on both, which must agree all along; what is committed is stored now and then. */
export async function compareWork(
  folder: string,
  url: string,
  { pageSize, journalMode, seed, steps = 220, Database }: Round,
): Promise<Compared> {
  const random = new Random(seed);
  const states = new Map<bigint, string>();
  const options = { write: true, bufferPath: join(folder, "log"), syncIntervalMs: 0 };
  await using replica = await openReplica(url, options);
  const local = new Database(join(folder, "local.db"));
  let written = replica.connect(Database);
  for (const database of [written, local]) {
    database.exec(`PRAGMA page_size = ${pageSize}`);
    database.exec(`PRAGMA auto_vacuum = ${seed % 3}`);
    database.prepare(`PRAGMA journal_mode = ${journalMode}`).all();
    database.exec("PRAGMA cache_size = 8"); // so that transactions spill
  }
  const workload = new Workload(seed);
  let transactions = 0;
  for (let step = 0; step < steps; step++) {
    const sql = workload.next();
    const failure = run(local, sql);
    assert.equal(run(written, sql), failure, `step ${step}: ${sql.slice(0, 80)}`);
    if (!workload.isOpen && failure === "" && sql !== "ROLLBACK") transactions++;
    if (step % 10 === 0) assert.equal(dump(written), dump(local), `step ${step}: ${sql.slice(0, 80)}`);
    if (workload.isOpen || random.next(12) > 0) continue;
    states.set(await replica.sync(), dump(local));
    assert.equal(dump(written), dump(local), `after sync at step ${step}`);
    if (random.next(3) > 0) continue;
    written.close();
    written = replica.connect(Database);
    assert.deepEqual({ ...written.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
  }
  if (workload.isOpen) { for (const database of [written, local]) database.exec("COMMIT"); }
  states.set(await replica.sync(), dump(local));
  written.close();
  local.close();
  return { states, transactions };
}
