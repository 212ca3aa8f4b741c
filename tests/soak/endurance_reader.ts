/**
 * What a reader does that is meant to endure: checks state after state on connections that stay, and opens and closes
 * replicas, connections, copies and threads all the time.
 *
 * @module
 */
import { join } from "node:path";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { formatTxid } from "../../src/ltx/txid.ts";
import { Random } from "../support/random.ts";
import type { PlainDatabase } from "../support/sqlite.ts";
import { checkOnce, digestOnce } from "./endurance_check.ts";
import { type Counts, type Ledger, nameOf, textOf } from "./endurance_ledger.ts";
import {
  bookError,
  isThreadRound,
  openRound,
  pastRound,
  type RoundContext,
  threadRound,
} from "./endurance_round.ts";
import { Rounds } from "./endurance_rounds.ts";
import type { Stored, SubjectStart, SubjectWork } from "./endurance_subject.ts";
import { FollowReader } from "./follow_reader.ts";
import { connectPlain } from "./replica_connection.ts";

/** Connections that stay open; the first holds its transactions for a while. */
const CONNECTIONS = 3;
const HOLD_MS = 3_000;

/** Connections opened and closed in one round. */
const ROUND_CONNECTIONS = 10;

const CHECK_PAUSE_MS = 1_500;
const ROUND_PAUSE_MS = 2_000;

/** No more than the database, so that pages come and go. */
const CACHE_BYTES = 3 * 1024 * 1024;
const DISK_CACHE_BYTES = 8 * 1024 * 1024;

/** States that a reader remembers. */
const STATES_MAX = 200;

/** How long a reader may take to see a TXID once storage is well, and its copy to be whole, in ms. */
const RECOVER_MS = 120_000;

/** How every replica is opened: the machine may be busy. */
export function openOptions(round = 1): OpenOptions {
  return {
    cacheBytesMax: CACHE_BYTES,
    requestTimeoutMs: 20_000,
    openTimeoutMs: 60_000,
    readTimeoutMs: 45_000,
    prefetch: round % 5 === 0 ? "off" : "auto",
  };
}

/** Of the replica that stays: its core tells its heap. */
export const heapTold: OpenOptions = {
  fetch: { module: new URL("./core_heap.ts", import.meta.url), export: "coreFetch" },
};

/** Reads. */
export class ReadingSubject implements SubjectWork {
  readonly #start: SubjectStart;
  readonly #ledger: Ledger;
  readonly #replica: Replica;
  /** Why its copy was, as the log says. */
  readonly #givenUp: readonly string[];
  readonly #context: RoundContext;
  readonly #databases: readonly PlainDatabase[];
  readonly #readers: readonly FollowReader[];
  readonly #rounds: readonly Rounds[];
  /** Until it is told its pace for good. */
  #isHurrying = true;

  /** Opens the replica that stays. */
  static async open(start: SubjectStart, ledger: Ledger): Promise<ReadingSubject> {
    const givenUp: string[] = [];
    const replica = await openReplica(start.url, {
      ...openOptions(),
      ...heapTold,
      log: ({ message }) => void (message.includes("given up") && givenUp.push(message)), // errors tell the rest
      ...(start.role === "hydrating" && { hydrate: join(start.folder, "copy.db") }),
    });
    return new ReadingSubject(start, ledger, replica, givenUp);
  }

  private constructor(start: SubjectStart, ledger: Ledger, replica: Replica, givenUp: readonly string[]) {
    this.#start = start;
    this.#givenUp = givenUp;
    this.#ledger = ledger;
    this.#replica = replica;
    this.#context = { ledger, random: new Random(start.seed) };
    this.#databases = Array.from({ length: CONNECTIONS }, () => connectPlain(replica));
    this.#readers = this.#databases.map((database, i) => this.#reader(database, i));
    const { pace } = start;
    const onFault = (text: string) => ledger.fault(text);
    this.#rounds = [
      new Rounds({
        name: "check",
        pauseMs: CHECK_PAUSE_MS,
        pace,
        work: (round, isOver) => this.#check(round, isOver),
        onFault,
      }),
      new Rounds({
        name: "round",
        pauseMs: ROUND_PAUSE_MS,
        pace,
        work: (round) => this.#round(round),
        onFault,
      }),
    ];
  }

  #reader(database: PlainDatabase, number: number): FollowReader {
    return new FollowReader({
      reader: `connection ${number}`,
      query: (sql) => database.all(sql),
      pauseMs: 0,
      holdMs: number === 0 ? HOLD_MS : 0,
      statesMax: STATES_MAX,
      findingsMax: 0, // each is told, and memory is measured here
      reasonOf: (error) =>
        `${nameOf(error, this.#replica.lastError)}\n${textOf(error, this.#replica.lastError)}`,
      onFinding: ({ kind, text, atMs, ageMs }) => {
        const [name] = text.split("\n", 1);
        const beganMs = atMs - ageMs;
        if (kind === "error") this.#ledger.book({ what: "check", text, name, beganMs });
        else this.#ledger.fault(`${kind}: ${text}`);
      },
    });
  }

  async #check(round: number, isOver: () => boolean): Promise<void> {
    const depth = round % 24 === 11 ? "integrity" : round % 6 === 5 ? "rows" : "marks";
    await this.#readers[round % CONNECTIONS]!.transaction(depth, isOver);
    this.#ledger.count(`check ${depth}`);
  }

  async #round(round: number): Promise<void> {
    const { folder, role, url } = this.#start;
    const options = openOptions(round);
    if (isThreadRound(round, this.#isHurrying)) {
      if (round % 2 !== 0) return await threadRound("own core", { url, options }, this.#ledger);
      return await threadRound("joined thread", { shared: this.#replica.share() }, this.#ledger);
    }
    const kinds = [
      () => this.#again("open", options),
      () => this.#connections(),
      () =>
        this.#again("disk cache", {
          ...options,
          cacheDir: join(folder, "cache"),
          cacheDirBytesMax: DISK_CACHE_BYTES,
        }),
      ...(role === "hydrating" ? [() => this.#again("copy", { ...options, hydrate: true })] : []),
    ];
    await kinds[round % kinds.length]!();
  }

  async #again(what: string, options: OpenOptions): Promise<void> {
    await openRound(what, { url: this.#start.url, options }, this.#context);
  }

  async #connections(): Promise<void> {
    const beganMs = Date.now();
    try {
      for (let i = 0; i < ROUND_CONNECTIONS; i++) {
        const database = connectPlain(this.#replica);
        try {
          database.all("SELECT generation, litestream_txid() FROM head");
        } finally {
          database.close();
        }
      }
      this.#ledger.count("connections");
    } catch (error) {
      bookError(this.#context.ledger, "connections", error, { replica: this.#replica, beganMs });
    }
    const databases: PlainDatabase[] = [];
    await pastRound(this.#replica, databases, this.#context);
    for (const database of databases) database.close();
  }

  /** Waits for a TXID, and for the copy. */
  async recover(txid: bigint): Promise<Stored> {
    if (this.#givenUp.length > 0) throw new Error(this.#givenUp.join("\n"));
    await this.#replica.waitFor(txid, { timeoutMs: RECOVER_MS });
    if (this.#start.role === "hydrating") await this.#replica.hydrated({ timeoutMs: RECOVER_MS });
    for (const database of this.#databases) checkOnce(database, "rows");
    return { txid: formatTxid(this.#replica.txid), ...digestOnce(this.#databases[0]!) };
  }

  async hold(): Promise<void> {
    await Promise.all(this.#rounds.map((rounds) => rounds.hold()));
  }

  fill(): void {
    checkOnce(this.#databases[0]!, "rows");
  }

  go(): void {
    for (const rounds of this.#rounds) rounds.go();
  }

  pace(pace: number): void {
    this.#isHurrying = false;
    for (const rounds of this.#rounds) rounds.pace = pace;
  }

  stats(): Counts {
    return { ...this.#replica.stats() };
  }

  async close(): Promise<void> {
    await Promise.all(this.#rounds.map((rounds) => rounds.stop()));
    for (const database of this.#databases) database.close();
    await this.#replica.close();
  }
}
