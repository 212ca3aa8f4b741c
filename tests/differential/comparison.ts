/**
 * One reading, compared with what Litestream makes of the TXID that it showed.
 *
 * @module
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { ReplicaDatabase } from "../../mod.ts";
import { ReplicaError, StateGoneError } from "../../src/errors.ts";
import { parseTxid } from "../../src/ltx/txid.ts";
import { IS_BUN, rowsOf } from "../replica/drivers.ts";
import { type Answer, answerOf, firstDifference } from "./answers.ts";
import { Draw } from "./draw.ts";
import { type Moment, moveTo } from "./moment.ts";
import { answersOf, digestOf, type RestoredState, withState } from "./oracle.ts";
import { countOf } from "./outcome.ts";
import { drawQueries, type Query } from "./query_set.ts";
import type { OpenReader } from "./readers.ts";
import { LostState } from "./refusal.ts";
import type { Reading, RunState } from "./run_state.ts";

/** A connection that reads, and what it sees. */
interface Connection {
  readonly run: RunState;
  readonly reading: Reading;
  readonly opened: OpenReader;
  readonly db: ReplicaDatabase;
}

const SEEN = "SELECT litestream_txid() AS txid, count(*) AS n FROM sqlite_schema";

/**
 * Opens a connection at a moment, asks it all there is to ask in one transaction, and compares.
 *
 * @throws {LostState} the state was deleted meanwhile
 * @throws {ReplicaError} what ours throws
 */
export async function compareQueries(
  run: RunState,
  reading: Reading,
  opened: OpenReader,
  moment: Moment,
): Promise<void> {
  await withConnection(run, reading, opened, moment, async (connection, txid) => {
    if (!isOther(connection, moment, txid)) await compareAnswers(connection, txid);
  });
}

/** The TXID that a connection at a moment sees. */
export async function txidAt(
  run: RunState,
  reading: Reading,
  opened: OpenReader,
  moment: Moment,
): Promise<bigint> {
  let seen = 0n;
  await withConnection(run, reading, opened, moment, (_, txid) => {
    seen = txid;
    return Promise.resolve();
  });
  return seen;
}

async function withConnection(
  run: RunState,
  reading: Reading,
  opened: OpenReader,
  moment: Moment,
  use: (connection: Connection, txid: bigint) => Promise<void>,
): Promise<void> {
  const { replica } = opened;
  const Database = reading.settings.sqlite === "wasm" ? undefined : reading.driver.Database;
  const isMoved = reading.moment.isMoved === true && moment.asOf !== undefined;
  const options = moment.asOf === undefined || isMoved ? {} : { asOf: moment.asOf };
  const db = (Database ? replica.connect(Database, options) : replica.connect(options)) as ReplicaDatabase;
  try {
    if (isMoved) moveTo(db, moment);
    db.exec("BEGIN");
    const connection = { run, reading, opened, db };
    const [row] = asked(connection, txidOf(moment) ?? replica.txid, () => rowsOf(db, SEEN));
    await use(connection, parseTxid(String(row!.txid)));
  } finally {
    db.close();
  }
}

function txidOf({ asOf }: Moment): bigint | undefined {
  return typeof asOf === "bigint" ? asOf : undefined;
}

/** What `act` gives; a state that is lost under it is told as such, other failures by their reason. */
function asked<T>({ opened }: Connection, txid: bigint, act: () => T): T {
  try {
    return act();
  } catch (error) {
    const cause = opened.replica.lastError;
    if (cause instanceof StateGoneError) throw new LostState(txid, cause);
    throw new ReplicaError(`Cannot ask: ${(error as Error).message}`, { cause: cause ?? error });
  }
}

/** Whether another TXID is seen than must be, which is told. */
function isOther({ run, reading, opened }: Connection, { asOf, text }: Moment, txid: bigint): boolean {
  const synced = run.world.synced(reading.settings.primary);
  const told = (found: string) => {
    run.differ("txid", reading, found);
    return true;
  };
  if (typeof asOf === "bigint" && txid !== asOf) return told(`${text} shows TXID ${txid}`);
  if (run.isSettled && txid > synced) return told(`TXID ${txid}, expected at most ${synced}`);
  if (asOf !== undefined) return false;
  if (txid < opened.seen) return told(`TXID ${txid} after ${opened.seen}`);
  opened.seen = txid;
  return false;
}

async function compareAnswers(connection: Connection, txid: bigint): Promise<void> {
  const { run, reading, db } = connection;
  const isSorted = reading.settings.sqlite === "wasm";
  const queries = queriesFor(connection, txid).filter(({ isPlanBound }) => !isSorted || !isPlanBound);
  const found = queries.map((query) => ask(connection, query, txid));
  const state = await run.oracleOf(reading).at(txid);
  if (!state) {
    run.counts.unverified++;
    return;
  }
  const wanted = answersOf(state, reading.driver, queries, isSorted);
  const other = found.findIndex((answer, i) => answer !== wanted[i]);
  if (other >= 0) {
    const text = `${found[other]}, expected ${wanted[other]}\n  ${
      rowsThatDiffer(connection, state, queries[other]!)
    }`;
    const { name } = run.placeOf(reading).setup;
    run.differ(
      "answer",
      reading,
      `TXID ${txid}, ${name} by ${reading.driver.name}: ${queries[other]!.sql}\n  ${text}`,
    );
  }
  const [last] = rowsOf(db, SEEN);
  if (parseTxid(String(last!.txid)) !== txid) {
    run.differ("txid", reading, `TXID ${txid} becomes ${last!.txid}`);
  }
  countCase(connection.run, reading, connection.opened, queries.length);
}

/** What a TXID is asked; the same for all who ask with the same number, so that what is right is worked out once. */
function queriesFor(connection: Connection, txid: bigint): Query[] {
  const { run, reading, db } = connection;
  const seed = run.scenario.seed * 31 + Number(txid) * 7 + reading.settings.primary +
    reading.questions * 1009;
  return asked(connection, txid, () => drawQueries(new Draw(seed), (sql) => rowsOf(db, sql)));
}

function ask({ run, reading, opened, db }: Connection, query: Query, txid: bigint): Answer {
  const answer = answerOf(db, query, reading.settings.sqlite === "wasm");
  const cause = answer.startsWith("error: ") ? opened.replica.lastError : undefined;
  if (cause instanceof StateGoneError) throw new LostState(txid, cause);
  return run.spoil(query.sql, answer);
}

function rowsThatDiffer({ reading, db }: Connection, state: RestoredState, { sql }: Query): string {
  const isSorted = reading.settings.sqlite === "wasm";
  return withState(state, reading.driver.Database, (theirs) => firstDifference(db, theirs, sql, isSorted));
}

/**
 * Restores a moment by ours and compares the file byte for byte.
 *
 * @throws {ReplicaError} what ours throws
 */
export async function compareRestored(
  run: RunState,
  reading: Reading,
  opened: OpenReader,
  { asOf, text }: Moment,
): Promise<void> {
  const path = join(run.placeOf(reading).folder, `ours-${reading.event}.db`);
  const { txid } = await opened.replica.restore(path, { ...(asOf !== undefined && { asOf }), force: true });
  const digest = digestOf(path);
  rmSync(path);
  if (typeof asOf === "bigint" && asOf !== txid) {
    run.differ("txid", reading, `restore() at ${text} makes TXID ${txid}`);
  }
  const state = await run.oracleOf(reading).at(txid);
  if (!state) {
    run.counts.unverified++;
    return;
  }
  if (digest !== digestOf(state.untouched)) {
    run.differ("bytes", reading, `TXID ${txid}: restore() makes other bytes than Litestream`);
  }
  run.counts.restores++;
  countCase(run, reading, opened, 0);
}

/** Counts a case of so many queries, by each setting; without any it is a restored file. */
function countCase(run: RunState, reading: Reading, { isWarm }: OpenReader, queries: number): void {
  const { driver, moment, isHydrated, settings } = reading;
  const { prefetch = "auto", cacheBytesMax, cacheDir, hydrate, sqlite } = settings;
  const { pageSize, autoVacuum, encoding } = run.placeOf(reading).setup;
  run.counts.cases++;
  run.counts.queries += queries;
  const names = [
    `runtime ${IS_BUN ? "Bun" : "Deno"}`,
    `driver ${queries === 0 ? "none: restore()" : sqlite === "wasm" ? "SQLite in WASM" : driver.name}`,
    `place ${run.scenario.place}`,
    `written ${run.isSettled ? "by nobody any more" : "meanwhile"}`,
    `moment ${moment.by}${moment.isMoved ? ", moved there" : ""}`,
    `prefetch ${prefetch}`,
    `pool ${cacheBytesMax === undefined ? "64 MiB" : `${cacheBytesMax / 1024 / 1024} MiB`}`,
    `disk cache ${cacheDir ? `${cacheDir}, ${isWarm ? "warm" : "cold"}` : "none"}`,
    `local copy ${hydrate ? `${hydrate}, ${isHydrated ? "whole" : "on its way"}` : "none"}`,
    `page size ${pageSize}`,
    `auto_vacuum ${["none", "full", "incremental"][autoVacuum]}`,
    `encoding ${encoding}`,
    `pages as ${run.scenario.daemon.writesFrames ? "frames" : "blocks"}`,
  ];
  for (const name of names) countOf(run.counts.settings, name);
}
