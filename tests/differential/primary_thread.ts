/**
 * The thread that writes a scenario's primaries, and keeps what their replicas consist of, while others read.
 *
 * @module
 */
import assert from "node:assert/strict";
import { parentPort, workerData } from "node:worker_threads";
import { openPrimary, type PlainDatabase } from "../support/sqlite.ts";
import { Archive, type ArchivePlaces } from "./archive.ts";
import type { PrimarySetup, Step } from "./primary_script.ts";

/** What the thread begins with. */
export interface PrimaryThreadStart {
  readonly primaries: readonly (PrimarySetup & { readonly path: string })[];
  readonly archives: readonly ArchivePlaces[];
}

/** Statements for one primary, by its place; without any all are closed. */
export interface PrimaryCall {
  readonly id: number;
  readonly primary: number;
  readonly steps?: readonly Step[];
}

/** What came of it. */
export interface PrimaryAnswer {
  readonly id: number;
  readonly statements: number;
  /** Statements that were refused, by the reason. */
  readonly refused: readonly string[];
}

/** Pause between steps, in ms: so that the daemon makes a TXID of each. */
const STEP_MS = 40;

/** Pause between looks at the replicas, in ms. */
const COLLECT_MS = 25;

const { primaries, archives } = workerData as PrimaryThreadStart;
const databases = await Promise.all(primaries.map((primary) => open(primary)));
const kept = archives.map((places) => new Archive(places));
const timer = setInterval(() => kept.forEach((archive) => archive.collect()), COLLECT_MS);

/** Opens a new primary. Its settings stand in its file before the daemon opens that: else the daemon's would. */
async function open({ path, ...wanted }: PrimaryThreadStart["primaries"][number]): Promise<PlainDatabase> {
  const { pageSize, autoVacuum, encoding } = wanted;
  const setup = `PRAGMA auto_vacuum = ${autoVacuum}; PRAGMA encoding = '${encoding}'`;
  const database = await openPrimary(path, { pageSize, setup });
  database.exec("CREATE TABLE first(a); DROP TABLE first; PRAGMA synchronous = NORMAL");
  const [found] = database.all("SELECT * FROM pragma_page_size, pragma_auto_vacuum, pragma_encoding");
  assert.deepEqual(found, { page_size: pageSize, auto_vacuum: autoVacuum, encoding });
  return database;
}

/** Runs a step; gives why statements of it were refused. A transaction that is left open is ended. */
function run(database: PlainDatabase, step: Step): string[] {
  const refused: string[] = [];
  for (const sql of step) {
    try {
      database.exec(sql);
    } catch (error) {
      refused.push(`${(error as Error).message}: ${sql.slice(0, 100)}`);
    }
  }
  try {
    if (step[0]!.startsWith("BEGIN")) database.exec("ROLLBACK");
  } catch {
    // it ended by itself
  }
  return refused;
}

async function answer({ id, primary, steps = [] }: PrimaryCall): Promise<void> {
  const refused: string[] = [];
  for (const step of steps) {
    refused.push(...run(databases[primary]!, step));
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
  const statements = steps.reduce((sum, step) => sum + step.length, 0);
  parentPort!.postMessage({ id, statements, refused } satisfies PrimaryAnswer);
}

function close(): void {
  clearInterval(timer);
  for (const database of databases) database.close();
}

let last = Promise.resolve();
parentPort!.on("message", (call: PrimaryCall) => {
  if (!call.steps) last = last.then(close);
  last = last.then(() => answer(call));
});
parentPort!.postMessage({ id: 0, statements: 0, refused: [] } satisfies PrimaryAnswer);
