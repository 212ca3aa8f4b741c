/**
 * What a writer does that is meant to endure: commits one transaction after the other, reads them beside that, and closes and
 * opens its replica now and then.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { openReplica, type Replica } from "../../mod.ts";
import { formatTxid } from "../../src/ltx/txid.ts";
import { InvariantWriter } from "../support/invariant_writer.ts";
import type { PlainDatabase } from "../support/sqlite.ts";
import { checkOnce, digestOnce } from "./endurance_check.ts";
import { type Counts, type Ledger, nameOf, textOf } from "./endurance_ledger.ts";
import { heapTold, openOptions } from "./endurance_reader.ts";
import { bookError, isThreadRound, QUIET, threadRound } from "./endurance_round.ts";
import { Rounds } from "./endurance_rounds.ts";
import type { Stored, SubjectStart, SubjectWork } from "./endurance_subject.ts";
import { sleep } from "./follow_reader.ts";
import { connectPlain } from "./replica_connection.ts";

const WRITE_PAUSE_MS = 500;
const ROUND_PAUSE_MS = 2_000;

/** Of that many rounds one closes the replica and opens it again. */
const REOPEN_EVERY = 30;

const VACUUM_MS = 40_000;

/** Pause between two attempts to open, and how long they may fail, in ms. */
const REOPEN_MS = 500;
const REOPEN_MS_MAX = 600_000;

/** A replica that is open for writing, with its connections. */
interface Open {
  readonly replica: Replica;
  readonly writing: PlainDatabase;
  readonly reading: PlainDatabase;
  readonly writer: InvariantWriter;
}

/** Writes. */
export class WritingSubject implements SubjectWork {
  readonly #start: SubjectStart;
  readonly #ledger: Ledger;
  readonly #rounds: { readonly write: Rounds; readonly round: Rounds };
  #open: Open;
  #generation = 0;
  /** Until it is told its pace for good. */
  #isHurrying = true;
  /** Counts of replicas that were closed. */
  readonly #before: Counts = {};

  /** Opens an empty replica, or one that an earlier run has left. */
  static async open(start: SubjectStart, ledger: Ledger): Promise<WritingSubject> {
    mkdirSync(join(start.folder, "log"), { recursive: true });
    return new WritingSubject(start, ledger, await openWriter(start));
  }

  private constructor(start: SubjectStart, ledger: Ledger, open: Open) {
    this.#start = start;
    this.#ledger = ledger;
    this.#open = open;
    const { pace } = start;
    const onFault = (text: string) => ledger.fault(text);
    this.#rounds = {
      write: new Rounds({
        name: "write",
        pauseMs: WRITE_PAUSE_MS,
        pace,
        work: () => this.#write(),
        onFault,
      }),
      round: new Rounds({
        name: "round",
        pauseMs: ROUND_PAUSE_MS,
        pace,
        work: (round) => this.#round(round),
        onFault,
      }),
    };
  }

  #write(): void {
    this.#booked("write", () => {
      const { writer } = this.#open;
      try {
        writer.step();
      } finally {
        this.#generation = Math.max(this.#generation, writer.generation); // VACUUM can fail after it was committed
      }
    });
  }

  async #round(round: number): Promise<void> {
    if (round % REOPEN_EVERY === REOPEN_EVERY - 1) return await this.#reopen();
    if (isThreadRound(round, this.#isHurrying)) {
      return await threadRound("joined thread", { shared: this.#open.replica.share() }, this.#ledger);
    }
    const kinds = [
      () =>
        this.#booked(
          "check",
          () => void checkOnce(this.#open.reading, round % 9 === 0 ? "integrity" : "rows"),
        ),
      () => this.#booked("connection", () => this.#connection()),
    ];
    await kinds[round % kinds.length]!();
  }

  #connection(): void {
    const database = connectPlain(this.#open.replica);
    try {
      checkOnce(database, "marks");
    } finally {
      database.close();
    }
  }

  /** Does something, and books that it was done, or its error. */
  #booked(what: string, act: () => void): void {
    const beganMs = Date.now();
    try {
      act();
      this.#ledger.count(what);
    } catch (error) {
      this.#book(what, error, beganMs);
    }
  }

  #book(what: string, error: unknown, beganMs: number): void {
    bookError(this.#ledger, what, error, { replica: this.#open.replica, beganMs });
  }

  /** Closes and opens it; what storage does not take now it takes from the log later. */
  async #reopen(): Promise<void> {
    await this.#rounds.write.hold();
    try {
      await this.#shut();
      this.#open = await this.#openAgain();
      const found = this.#open.writer.generation;
      if (found < this.#generation || found > this.#generation + 1) {
        this.#ledger.fault(`opened at generation ${found}, ${this.#generation} was committed`);
      }
      this.#ledger.count("reopen");
    } finally {
      this.#rounds.write.go();
    }
  }

  async #shut(): Promise<void> {
    const { replica, writing, reading } = this.#open;
    const beganMs = Date.now();
    addTo(this.#before, { ...replica.stats() });
    writing.close();
    reading.close();
    try {
      await replica.close();
    } catch (error) {
      this.#book("close", error, beganMs);
    }
  }

  async #openAgain(): Promise<Open> {
    for (const untilMs = Date.now() + REOPEN_MS_MAX;;) {
      const beganMs = Date.now();
      try {
        return await openWriter(this.#start);
      } catch (error) {
        if (beganMs > untilMs) throw error;
        const reason = error instanceof Error && error.cause instanceof Error ? error.cause : undefined;
        this.#ledger.book({
          what: "open",
          text: textOf(error, reason),
          name: nameOf(error, reason),
          beganMs,
        });
        await sleep(REOPEN_MS);
      }
    }
  }

  /** Stores what was committed, and tells what that is. */
  async recover(): Promise<Stored> {
    const { replica, reading } = this.#open;
    const txid = await replica.sync();
    checkOnce(reading, "integrity");
    return { txid: formatTxid(txid), ...digestOnce(reading) };
  }

  async hold(): Promise<void> {
    await this.#rounds.round.hold(); // which may let writing go on
    await this.#rounds.write.hold();
  }

  fill(): void {
    checkOnce(this.#open.reading, "rows");
  }

  go(): void {
    this.#rounds.write.go();
    this.#rounds.round.go();
  }

  pace(pace: number): void {
    this.#isHurrying = false;
    this.#rounds.write.pace = pace;
    this.#rounds.round.pace = pace;
  }

  stats(): Counts {
    const all = { ...this.#before };
    addTo(all, { ...this.#open.replica.stats() });
    return all;
  }

  async close(): Promise<void> {
    await this.#rounds.round.stop();
    await this.#rounds.write.stop();
    await this.#shut();
  }
}

async function openWriter(start: SubjectStart): Promise<Open> {
  const replica = await openReplica(start.url, {
    ...openOptions(),
    ...heapTold,
    ...QUIET,
    write: true,
    bufferPath: join(start.folder, "log", "w"),
    flushOnSignals: false,
  });
  const databases: PlainDatabase[] = [];
  try {
    for (let i = 0; i < 2; i++) databases.push(connectPlain(replica));
    const [writing, reading] = databases as [PlainDatabase, PlainDatabase];
    const writer = InvariantWriter.on(writing, { seed: start.seed, vacuumMs: VACUUM_MS });
    return { replica, writing, reading, writer };
  } catch (error) {
    const reason = replica.lastError;
    for (const database of databases) database.close();
    await replica.close({ force: true });
    throw reason ? new Error(String(error), { cause: reason }) : error;
  }
}

function addTo(sum: Counts, counts: Counts): void {
  for (const [name, count] of Object.entries(counts)) sum[name] = (sum[name] ?? 0) + count;
}
