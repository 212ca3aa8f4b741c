/**
 * Runs a scenario in this runtime and compares all that is read with what `litestream restore` makes of the same TXID.
 *
 * @module
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { ReplicaDatabase } from "../../mod.ts";
import { ObjectGoneError, ReplicaError, RestorePlanError, StateGoneError } from "../../src/errors.ts";
import { parseTxid } from "../../src/ltx/txid.ts";
import { IS_BUN, rowsOf } from "../replica/drivers.ts";
import { modelTxid, reachable, timedFiles } from "../replica/past_model.ts";
import { allDrivers, type TestedDriver } from "../support/all_drivers.ts";
import { type Answer, answerOf, firstDifference } from "./answers.ts";
import { Draw } from "./draw.ts";
import { answersOf, digestOf, Oracle, type RestoredState, withState } from "./oracle.ts";
import {
  countOf,
  type Counts,
  type Difference,
  type DifferenceKind,
  noCounts,
  type Outcome,
} from "./outcome.ts";
import { drawQueries, type Query } from "./query_set.ts";
import { type OpenReader, Readers } from "./readers.ts";
import type {
  AskedMoment,
  QueryEvent,
  ReaderSettings,
  RestoreEvent,
  Scenario,
  ScenarioEvent,
} from "./scenario.ts";
import { World } from "./world.ts";

/** How a scenario is run. */
export interface RunOptions {
  /** Changes what ours answers: so that tests see a difference found. */
  readonly spoil?: (sql: string, answer: Answer) => Answer;
  /** How often a moment that was refused is asked for again. */
  readonly retries?: number;
}

/** How many TXIDs Litestream's own restore is asked for at the end, of each primary. */
const REACHED_MAX = 8;

/** A moment by what it names now. */
interface Moment {
  readonly asOf?: bigint | Date;
  readonly text: string;
}

/** What one event reads. */
interface Reading {
  readonly event: number;
  readonly reader: number;
  readonly settings: ReaderSettings;
  readonly driver: TestedDriver;
  readonly moment: AskedMoment;
  readonly questions: number;
  readonly isHydrated: boolean;
}

/** Runs it; what differs is told, not thrown. */
export async function runScenario(scenario: Scenario, options: RunOptions = {}): Promise<Outcome> {
  const world = await World.start(scenario);
  try {
    const run = new ScenarioRun(scenario, world, await allDrivers(), options);
    return await run.all();
  } finally {
    await world.close();
  }
}

class ScenarioRun {
  readonly #scenario: Scenario;
  readonly #world: World;
  readonly #drivers: readonly TestedDriver[];
  readonly #options: RunOptions;
  readonly #readers: Readers;
  readonly #oracles: readonly Oracle[];
  readonly #counts: Counts = noCounts();
  readonly #differences: Difference[] = [];
  readonly #notes: string[] = [];
  #isSettled = false;

  constructor(scenario: Scenario, world: World, drivers: readonly TestedDriver[], options: RunOptions) {
    this.#scenario = scenario;
    this.#world = world;
    this.#drivers = drivers;
    this.#options = options;
    this.#readers = new Readers(world, scenario.readers);
    this.#oracles = world.places.map((place) => new Oracle(place, world.env));
  }

  async all(): Promise<Outcome> {
    try {
      for (const [i, event] of this.#scenario.events.entries()) await this.#happen(i, event);
    } finally {
      await this.#readers.closeAll();
    }
    const { written } = this.#world;
    this.#counts.scenarios = 1;
    this.#counts.primaries = this.#scenario.primaries.length;
    this.#counts.statements = written.statements;
    const [differences, notes] = [this.#differences, [...this.#notes, ...this.#readers.warnings]];
    return { counts: this.#counts, differences, notes, refusedStatements: written.refused };
  }

  async #happen(i: number, event: ScenarioEvent): Promise<void> {
    if (event.kind === "write") return await this.#world.write(event.primary, event.steps, event.isAwaited);
    if (event.kind === "pause") return await new Promise((resolve) => setTimeout(resolve, event.ms));
    if (event.kind === "close") return await this.#readers.close(event.reader);
    if (event.kind === "settle") {
      await this.#world.settle();
      this.#isSettled = true;
      return;
    }
    try {
      if (event.kind === "reach") await this.#reach(i, event.reader);
      else if (event.kind === "restore") await this.#restore(i, event);
      else await this.#query(i, event);
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      this.#differ("error", i, described(error));
    }
  }

  #differ(kind: DifferenceKind, event: number, text: string): void {
    this.#differences.push({ kind, event, text });
  }

  // --- moments ---

  async #momentOf({ by, part = 0 }: AskedMoment, { replica }: OpenReader, primary: number): Promise<Moment> {
    if (by === "refreshed") {
      const before = this.#world.synced(primary);
      const txid = await replica.refresh();
      if (txid < before) throw new ReplicaError(`refresh() gives TXID ${txid}, expected ${before} or later`);
    }
    if (by === "txid") {
      const newest = [replica.txid, this.#world.synced(primary)].reduce((a, b) => a > b ? a : b);
      return ofTxid(1n + BigInt(Math.floor(part * (Number(newest) + 1))));
    }
    if (by === "point") {
      const points = await replica.points();
      return ofTxid(points[Math.floor(part * points.length)]!.txid);
    }
    if (by === "date") {
      const { startMs } = this.#world;
      const date = new Date(startMs + Math.floor(part * (Date.now() - startMs)));
      return { asOf: date, text: date.toISOString() };
    }
    return { text: "latest" };
  }

  #reading(event: number, { reader, moment, ...more }: QueryEvent | RestoreEvent): Reading {
    const settings = this.#scenario.readers[reader]!;
    const { driver = 0, questions = 0, isHydrated = false } = more as Partial<QueryEvent>;
    // what SQLite in WASM gives is compared with what the runtime's own gives
    const chosen = this.#drivers[settings.sqlite === "wasm" ? 0 : driver % this.#drivers.length]!;
    return { event, reader, settings, driver: chosen, moment, questions, isHydrated };
  }

  // --- queries ---

  async #query(event: number, asked: QueryEvent): Promise<void> {
    const reading = this.#reading(event, asked);
    const opened = await this.#readers.get(reading.reader);
    if (reading.isHydrated && reading.settings.hydrate) await opened.replica.hydrated();
    const moment = await this.#momentOf(reading.moment, opened, reading.settings.primary);
    await this.#granted(reading, moment, () => this.#compare(reading, opened, moment));
  }

  /** Has a moment read; where it is refused, Litestream must refuse it too. */
  async #granted(reading: Reading, moment: Moment, read: () => Promise<void>): Promise<void> {
    const { retries = 2 } = this.#options;
    const refused: string[] = [];
    for (let attempt = 0;; attempt++) {
      try {
        await read();
        if (attempt > 0) this.#counts.transient++;
        for (const text of refused) {
          this.#notes.push(`event ${reading.event}: ${moment.text} was refused once: ${text}`);
        }
        return;
      } catch (error) {
        if (!isRefusal(error)) throw error;
        if (await this.#isRefusedRightly(reading, moment, error)) {
          this.#counts.refusals++;
          return;
        }
        refused.push(described(error));
        if (attempt < retries) continue;
        this.#differ(
          "reach",
          reading.event,
          `${moment.text} is refused, and Litestream restores it: ${described(error)}`,
        );
        return;
      }
    }
  }

  /**
   * Whether Litestream cannot make the state either, or none of the files is left that ours knew: what is there may then be
   * another database's, and nothing is inferred.
   */
  async #isRefusedRightly({ settings, reader }: Reading, { asOf }: Moment, error: Error): Promise<boolean> {
    const { primary } = settings;
    if (/nothing tells that what is there now is the same/.test(described(error))) {
      await (await this.#readers.get(reader)).replica.refresh(); // which must be possible
      return true;
    }
    const gone = error instanceof LostState ? error.txid : asOf;
    if (typeof gone === "bigint") {
      return gone > this.#world.synced(primary) || await this.#oracles[primary]!.live(gone) === undefined;
    }
    if (gone === undefined) return false;
    const { source, layout } = this.#world.places[primary]!.archive;
    return modelTxid(await timedFiles(source, layout), gone.getTime()) === undefined;
  }

  async #compare(reading: Reading, opened: OpenReader, moment: Moment): Promise<void> {
    const { driver, settings } = reading;
    const Database = settings.sqlite === "wasm" ? undefined : driver.Database;
    const isMoved = reading.moment.isMoved === true && moment.asOf !== undefined;
    const options = moment.asOf === undefined || isMoved ? {} : { asOf: moment.asOf };
    const { replica } = opened;
    const db = (Database ? replica.connect(Database, options) : replica.connect(options)) as ReplicaDatabase;
    try {
      if (isMoved) move(db, moment, opened);
      db.exec("BEGIN");
      const txid = this.#txidOf(db, opened, moment);
      if (this.#isOther(reading, opened, moment, txid)) return;
      await this.#compareAll(reading, { opened, db, txid, moment });
    } finally {
      db.close();
    }
  }

  #txidOf(db: ReplicaDatabase, opened: OpenReader, moment: Moment): bigint {
    const [row] = asked(
      opened,
      moment,
      () => rowsOf(db, "SELECT litestream_txid() AS txid, count(*) AS n FROM sqlite_schema"),
    );
    return parseTxid(String(row!.txid));
  }

  /** Whether another TXID is shown than must be. */
  #isOther({ event, settings }: Reading, opened: OpenReader, { asOf, text }: Moment, txid: bigint): boolean {
    if (typeof asOf === "bigint" && txid !== asOf) {
      this.#differ("txid", event, `${text} shows TXID ${txid}`);
      return true;
    }
    if (asOf === undefined) {
      if (txid < opened.seen) {
        this.#differ("txid", event, `TXID ${txid} after ${opened.seen}`);
        return true;
      }
      opened.seen = txid;
    }
    if (txid <= this.#world.synced(settings.primary) || !this.#isSettled) return false;
    this.#differ("txid", event, `TXID ${txid}, expected at most ${this.#world.synced(settings.primary)}`);
    return true;
  }

  async #compareAll(
    reading: Reading,
    { opened, db, txid, moment }: { opened: OpenReader; db: ReplicaDatabase; txid: bigint; moment: Moment },
  ): Promise<void> {
    const { settings, event, driver } = reading;
    const isSorted = settings.sqlite === "wasm";
    const draw = new Draw(
      this.#scenario.seed * 31 + Number(txid) * 7 + settings.primary + reading.questions * 1009,
    );
    const drawn = asked(opened, moment, () => drawQueries(draw, (sql) => rowsOf(db, sql)), txid);
    const queries = drawn.filter(({ isPlanBound }) => !isSorted || !isPlanBound);
    const found = queries.map((query) => this.#ask(opened, db, query, { isSorted, txid }));
    const state = await this.#oracles[settings.primary]!.at(txid);
    if (!state) {
      this.#counts.unverified++;
      return;
    }
    const wanted = answersOf(state, driver, queries, isSorted);
    const other = found.findIndex((answer, i) => answer !== wanted[i]);
    if (other >= 0) {
      const text = this.#tell(db, state, reading, queries[other]!, [found[other]!, wanted[other]!]);
      this.#differ("answer", event, `TXID ${txid}, ${text}`);
    }
    const [last] = rowsOf(db, "SELECT litestream_txid() AS txid");
    if (parseTxid(String(last!.txid)) !== txid) {
      this.#differ("txid", event, `TXID ${txid} becomes ${last!.txid}`);
    }
    this.#countCase(reading, opened, queries.length);
  }

  #ask(
    { replica }: OpenReader,
    db: ReplicaDatabase,
    query: Query,
    { isSorted, txid }: { isSorted: boolean; txid: bigint },
  ): Answer {
    const answer = answerOf(db, query, isSorted);
    const cause = /^error: .*(disk I\/O|unable to open|unable to get the page)/.test(answer)
      ? replica.lastError
      : undefined;
    if (cause instanceof StateGoneError) throw new LostState(txid, cause);
    const { spoil = (_, given) => given } = this.#options;
    return spoil(query.sql, cause ? `${answer}: ${cause.name}: ${cause.message}` : answer);
  }

  #tell(
    db: ReplicaDatabase,
    state: RestoredState,
    { settings, driver }: Reading,
    query: Query,
    answers: Answer[],
  ): string {
    const isSorted = settings.sqlite === "wasm";
    const rows = withState(
      state,
      driver.Database,
      (theirs) => firstDifference(db, theirs, query.sql, isSorted),
    );
    return `${this.#world.places[settings.primary]!.setup.name} by ${driver.name}: ${query.sql}\n  ${
      answers[0]
    }, expected ` +
      `${answers[1]}\n  ${rows}`;
  }

  // --- restored files ---

  async #restore(event: number, asked: RestoreEvent): Promise<void> {
    const reading = this.#reading(event, asked);
    const opened = await this.#readers.get(reading.reader);
    const moment = await this.#momentOf(reading.moment, opened, reading.settings.primary);
    await this.#granted(reading, moment, async () => {
      const path = join(this.#world.places[reading.settings.primary]!.folder, `ours-${event}.db`);
      const options = moment.asOf === undefined ? {} : { asOf: moment.asOf };
      const { txid } = await opened.replica.restore(path, { ...options, force: true });
      const state = await this.#oracles[reading.settings.primary]!.at(txid);
      const isSame = state && digestOf(path) === digestOf(state.untouched);
      rmSync(path);
      if (typeof moment.asOf === "bigint" && moment.asOf !== txid) {
        this.#differ("txid", event, `restore() at ${moment.text} makes TXID ${txid}`);
      }
      if (!state) return void this.#counts.unverified++;
      if (!isSame) this.#differ("bytes", event, `TXID ${txid}: restore() makes other bytes than Litestream`);
      this.#counts.restores++;
      this.#countCase(reading, opened, 0);
    });
  }

  // --- which states there are ---

  /** With nobody writing any more: which TXIDs and times can be reached is a matter of the files alone. */
  async #reach(event: number, reader: number): Promise<void> {
    if (!this.#isSettled) return;
    const settings = this.#scenario.readers[reader]!;
    const { source, layout } = this.#world.places[settings.primary]!.archive;
    const oracle = this.#oracles[settings.primary]!;
    const opened = await this.#readers.get(reader);
    const files = await timedFiles(source, layout);
    const txids = reachable(files);
    const listed = (await opened.replica.points()).map(({ txid }) => Number(txid));
    if (`${listed}` !== `${txids}`) {
      this.#differ("reach", event, `points() lists ${listed}, expected ${txids}`);
    }
    const newest = Number(this.#world.synced(settings.primary));
    const draw = new Draw(this.#scenario.seed + event);
    const all = Array.from({ length: newest + 1 }, (_, i) => i + 1);
    const tried = all.filter(() => draw.next(all.length) < REACHED_MAX);
    for (const txid of tried) {
      const live = await oracle.live(BigInt(txid));
      const isThere = txids.includes(txid);
      if ((live !== undefined) !== isThere) {
        this.#differ(
          "reach",
          event,
          `litestream restore ${live ? "gives" : "refuses"} TXID ${txid} of ${txids}`,
        );
      }
      const kept = live && await oracle.at(BigInt(txid));
      if (kept && digestOf(kept.untouched) !== live) {
        this.#differ("bytes", event, `Litestream makes two files of TXID ${txid}`);
      }
      const reading = this.#reading(event, {
        kind: "query",
        reader,
        driver: txid,
        moment: { by: "txid", isMoved: txid % 3 === 0 },
        questions: 0,
      });
      const moment = ofTxid(BigInt(txid));
      const { refusals } = this.#counts;
      await this.#granted(reading, moment, () => this.#compare(reading, opened, moment));
      if (isThere && this.#counts.refusals > refusals) {
        this.#differ("reach", event, `TXID ${txid} is refused`);
      }
    }
    const { startMs } = this.#world;
    for (const part of draw.many(6, () => draw.next(1000) / 1000)) {
      this.#reachDate(event, opened, startMs + Math.floor(part * (Date.now() - startMs)), files);
    }
  }

  #reachDate(event: number, opened: OpenReader, ms: number, files: Parameters<typeof modelTxid>[0]): void {
    const wanted = modelTxid(files, ms);
    const asOf = new Date(ms);
    let found: number | undefined;
    try {
      const db = opened.replica.connect({ asOf });
      try {
        found = Number(this.#txidOf(db, opened, { asOf, text: asOf.toISOString() }));
      } finally {
        db.close();
      }
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
    if (found !== wanted) {
      this.#differ("reach", event, `${asOf.toISOString()} shows TXID ${found}, expected ${wanted}`);
    }
  }

  // --- counting ---

  #countCase(
    { settings, driver, moment, isHydrated }: Reading,
    { isWarm }: OpenReader,
    queries: number,
  ): void {
    this.#counts.cases++;
    this.#counts.queries += queries;
    const { prefetch = "auto", cacheBytesMax, cacheDir, hydrate, sqlite } = settings;
    const names = [
      `runtime ${IS_BUN ? "Bun" : "Deno"}`,
      `driver ${queries === 0 ? "none: restore()" : sqlite === "wasm" ? "SQLite in WASM" : driver.name}`,
      `place ${this.#scenario.place}`,
      `written ${this.#isSettled ? "by nobody any more" : "meanwhile"}`,
      `moment ${moment.by}${moment.isMoved ? ", moved there" : ""}`,
      `prefetch ${prefetch}`,
      `pool ${cacheBytesMax === undefined ? "64 MiB" : `${cacheBytesMax / 1024 / 1024} MiB`}`,
      `disk cache ${cacheDir ? `${cacheDir}, ${isWarm ? "warm" : "cold"}` : "none"}`,
      `local copy ${hydrate ? `${hydrate}, ${isHydrated ? "whole" : "on its way"}` : "none"}`,
      `page size ${this.#world.places[settings.primary]!.setup.pageSize}`,
      `auto_vacuum ${this.#world.places[settings.primary]!.setup.autoVacuum}`,
      `pages as ${this.#scenario.daemon.writesFrames ? "frames" : "blocks"}`,
    ];
    for (const name of names) countOf(this.#counts.settings, name);
  }
}

/** A transaction whose state was deleted under it. */
class LostState extends Error {
  readonly txid: bigint | undefined;

  constructor(txid: bigint | undefined, cause: Error) {
    super(`lost: ${cause.message}`, { cause });
    this.txid = txid;
  }
}

function ofTxid(txid: bigint): Moment {
  return { asOf: txid, text: `TXID ${txid}` };
}

/** Moves an open connection. */
function move(db: ReplicaDatabase, moment: Moment, opened: OpenReader): void {
  const { asOf } = moment;
  const text = typeof asOf === "bigint" ? `txid:${asOf.toString(16).padStart(16, "0")}` : asOf!.toISOString();
  try {
    rowsOf(db, `PRAGMA litestream_time = '${text}'`);
  } catch (error) {
    const cause = opened.replica.lastError;
    const isOwn = /Cannot (find|make|open)/.test((error as Error).message);
    throw isOwn ? new RestorePlanError(`${(error as Error).message}`, "unreachable", { cause }) : error;
  }
}

/** What `act` gives; a state that was lost under it is told as such. */
function asked<T>({ replica }: OpenReader, _: Moment, act: () => T, txid?: bigint): T {
  try {
    return act();
  } catch (error) {
    const cause = replica.lastError;
    if (cause instanceof StateGoneError) throw new LostState(txid, cause);
    throw new ReplicaError(`Cannot ask: ${(error as Error).message}`, { cause: cause ?? error });
  }
}

/** Whether it says, as documented, that the state is not there any more, or not yet. */
function isRefusal(error: unknown): error is Error {
  if (error instanceof LostState) return true;
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    if (
      each instanceof RestorePlanError || each instanceof StateGoneError || each instanceof ObjectGoneError
    ) return true;
  }
  return false;
}

/** An error with its causes. */
function described(error: unknown): string {
  const texts: string[] = [];
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    texts.push(`${each.name}: ${each.message}`);
  }
  return texts.join(" < ");
}
