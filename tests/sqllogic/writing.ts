/**
 * Scripts written: all of them runs on a replica that is open for writing, and on a plain file; what is stored is
 * restored and compared.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openReplica, type Replica } from "../../mod.ts";
import type { TestedDriver } from "../support/all_drivers.ts";
import { Random } from "../support/random.ts";
import { folderUrl } from "../support/real.ts";
import { compareQuery, compareStatement } from "./answer.ts";
import { ScriptConnection } from "./connection.ts";
import { contentsOf, differingParts } from "./contents.ts";
import { Outcome } from "./outcome.ts";
import { applies, type Script } from "./script.ts";
import { applySetting, type Setting } from "./setting.ts";

/** How scripts are written. */
export interface Writing {
  readonly setting: Setting;
  readonly driver: TestedDriver;
  /** Decides after which statements is stored. */
  readonly seed: number;
  /** Makes a plain database file of a replica: a real `litestream restore`. */
  readonly restore: (url: string, path: string) => Promise<void>;
}

/** Of so many statements one is followed by a store. */
const SYNC_EVERY = 6;

/** Runs scripts one after the other on one database. */
export async function writeScripts(scripts: readonly Script[], writing: Writing): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), "sqllogic-write-"));
  try {
    const run = new WritingRun(writing, folder);
    await run.all(scripts);
    await run.compareRestored();
    return run.outcome;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

class WritingRun {
  readonly outcome = new Outcome();
  readonly #writing: Writing;
  readonly #folder: string;
  readonly #url: string;
  readonly #random: Random;

  constructor(writing: Writing, folder: string) {
    this.#writing = writing;
    this.#folder = folder;
    this.#url = folderUrl(join(folder, "replica"));
    this.#random = new Random(writing.seed);
    for (const side of ["ours", "plain"]) mkdirSync(join(folder, side));
  }

  async all(scripts: readonly Script[]): Promise<void> {
    const { setting } = this.#writing;
    await using replica = await openReplica(this.#url, {
      write: true,
      bufferPath: join(this.#folder, "log"),
      syncIntervalMs: 0,
      pollIntervalMs: 0,
      ...setting.open,
    });
    for (const script of scripts) {
      const ours = ScriptConnection.ofReplica(replica, this.#writing.driver, join(this.#folder, "ours"));
      const plain = this.#openPlain();
      plain.run("PRAGMA synchronous = OFF");
      for (const each of [ours, plain]) {
        each.run(`PRAGMA page_size = ${setting.pageSize}`); // does nothing where there are pages
        applySetting(each, setting);
      }
      try {
        await this.#script(script, replica, [ours, plain]);
      } finally {
        for (const each of [ours, plain]) each.close();
      }
    }
    await replica.sync();
  }

  #openPlain(path = "plain.db"): ScriptConnection {
    return ScriptConnection.ofFile(
      join(this.#folder, path),
      this.#writing.driver,
      join(this.#folder, "plain"),
    );
  }

  async #script(
    script: Script,
    replica: Replica,
    [ours, plain]: readonly [ScriptConnection, ScriptConnection],
  ): Promise<void> {
    const [engine, labels] = [plain.engine(), new Map<string, string>()];
    for (const record of script.records) {
      if (!applies(record, engine)) this.outcome.skipped++;
      else if (record.kind === "halt") break;
      else if (record.kind === "query") {
        compareQuery(this.outcome, script, record, [ours.ask(record.sql), plain.ask(record.sql)], labels);
      } else {
        compareStatement(this.outcome, script, record, [ours.run(record.sql), plain.run(record.sql)]);
        if (this.#random.next(SYNC_EVERY) === 0 && !plain.isInTransaction()) await replica.sync();
      }
    }
    if (plain.isInTransaction()) {
      throw new Error(`Cannot go on after ${script.name}: a transaction is open, expected none`);
    }
  }

  /** Holds what was stored against the plain file. */
  async compareRestored(): Promise<void> {
    await this.#writing.restore(this.#url, join(this.#folder, "restored.db"));
    const [restored, plain] = [this.#openPlain("restored.db"), this.#openPlain()];
    try {
      for (const part of differingParts(contentsOf(restored), contentsOf(plain))) {
        this.outcome.note(`restored, ${this.#writing.setting.name}: ${part}`);
      }
    } finally {
      for (const each of [restored, plain]) each.close();
    }
  }
}
