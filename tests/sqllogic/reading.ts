/**
 * Scripts read: their statements make a primary with plain SQLite, which becomes a replica; their queries are asked of
 * the replica, by each driver, and of the primary's file.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openReplica, type Replica } from "../../mod.ts";
import type { TestedDriver } from "../support/all_drivers.ts";
import { compareQuery, compareStatement } from "./answer.ts";
import { type Answer, ScriptConnection } from "./connection.ts";
import { Outcome } from "./outcome.ts";
import type { Primary } from "./primary.ts";
import {
  applies,
  commonEngine,
  type Engine,
  type QueryRecord,
  type Script,
  type StatementRecord,
} from "./script.ts";
import { applySetting, type Setting } from "./setting.ts";

/** How scripts are read. */
export interface Reading {
  readonly primary: Primary;
  readonly setting: Setting;
  readonly drivers: readonly TestedDriver[];
}

/** One driver's two connections. */
interface Reader {
  readonly ours: ScriptConnection;
  readonly plain: ScriptConnection;
  readonly labels: Map<string, string>;
}

/** Runs scripts one after the other on one primary. */
export async function readScripts(scripts: readonly Script[], reading: Reading): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), "sqllogic-read-"));
  const run = new ReadingRun(reading, folder);
  try {
    for (const script of scripts) await run.script(script);
    return run.outcome;
  } finally {
    await run.close();
    await rm(folder, { recursive: true, force: true });
  }
}

class ReadingRun {
  readonly outcome = new Outcome();
  readonly #reading: Reading;
  readonly #folder: string;
  readonly #engine: Engine;
  #replica: Replica | undefined;
  #readers: Reader[] = [];
  #isStale = true;

  constructor(reading: Reading, folder: string) {
    this.#reading = reading;
    this.#folder = folder;
    this.#engine = commonEngine(reading.drivers.map((driver) => {
      const memory = ScriptConnection.ofFile(":memory:", driver, folder);
      const engine = memory.engine();
      memory.close();
      return engine;
    }));
  }

  async script(script: Script): Promise<void> {
    for (const { labels } of this.#readers) labels.clear();
    for (const record of script.records) {
      if (!applies(record, this.#engine)) this.outcome.skipped++;
      else if (record.kind === "halt") break;
      else if (record.kind === "query") await this.#query(script, record);
      else if (record.isOwn) await this.#ownStatement(script, record);
      else this.#statement(script, record);
    }
    if (this.#isInTransaction()) {
      throw new Error(`Cannot go on after ${script.name}: a transaction is open, expected none`);
    }
  }

  #statement(script: Script, record: StatementRecord): void {
    this.outcome.statements++;
    this.#isStale = true;
    const error = this.#reading.primary.run(record.sql);
    if (record.fails === (error !== "")) return;
    this.outcome.differs(
      script,
      record,
      `on the primary "${error}", expected ${record.fails ? "an error" : "none"}`,
    );
  }

  async #ownStatement(script: Script, record: StatementRecord): Promise<void> {
    await this.#renew();
    for (const { ours, plain } of this.#readers) {
      compareStatement(this.outcome, script, record, [ours.run(record.sql), plain.run(record.sql)]);
    }
  }

  /** A query inside a writer's transaction is not a reader's to see. */
  async #query(script: Script, record: QueryRecord): Promise<void> {
    if (this.#isStale && this.#isInTransaction()) {
      this.outcome.skipped++;
      return;
    }
    await this.#renew();
    for (const { ours, plain, labels } of this.#readers) {
      const answers: [Answer, Answer] = [ours.ask(record.sql), plain.ask(record.sql)];
      compareQuery(this.outcome, script, record, answers, labels);
    }
  }

  #isInTransaction(): boolean {
    const { primary } = this.#reading;
    if (primary.run("BEGIN") !== "") return true;
    primary.run("ROLLBACK");
    return false;
  }

  /** Has readers see what the primary has. */
  async #renew(): Promise<void> {
    if (!this.#isStale) return;
    const txid = await this.#reading.primary.publish();
    if (this.#replica) await this.#replica.waitFor(txid);
    else await this.#open();
    this.#isStale = false;
  }

  async #open(): Promise<void> {
    const { primary, setting, drivers } = this.#reading;
    this.#replica = await openReplica(primary.url, { pollIntervalMs: 0, ...setting.open });
    for (const driver of drivers) {
      const [own, other] = ["ours", "plain"].map((side) =>
        join(this.#folder, `${driver.name}-${side}`.replace(/\W+/g, "-"))
      );
      for (const path of [own, other]) mkdirSync(path!);
      const ours = ScriptConnection.ofReplica(this.#replica, driver, own!);
      const plain = ScriptConnection.ofFile(primary.path, driver, other!);
      plain.rows("PRAGMA trusted_schema = OFF"); // as it is for readers
      for (const each of [ours, plain]) applySetting(each, setting);
      this.#readers.push({ ours, plain, labels: new Map() });
    }
  }

  async close(): Promise<void> {
    for (const { ours, plain } of this.#readers) {
      ours.close();
      plain.close();
    }
    await this.#replica?.close();
  }
}
