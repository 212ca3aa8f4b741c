/**
 * A writer that is to be killed: commits numbered transactions, and tells of each that is committed.
 *
 * Lines on its standard output: `open` and what it found, `<writer> <number>` a transaction was committed,
 * `sync <TXID>` all up to there is stored, `digest` and that of the database, once.
 *
 * @module
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { joinReplica, openReplica, type Replica, type SharedReplica } from "../../mod.ts";
import type { CompactionSchedule } from "../../src/compact/compaction_schedule.ts";
import { Compactor } from "../../src/compact/compactor.ts";
import { FolderStore } from "../../src/storage/folder.ts";
import { type FolderLocation, parseReplicaUrl } from "../../src/storage/replica_url.ts";
import type { LocalDatabase } from "../support/local_database.ts";
import { nativeLz4 } from "../support/native_lz4.ts";
import { Random } from "../support/random.ts";
import { digest, inspect, makeTables, runGivenUp, runTransaction } from "./kill_database.ts";

/** How a child works. */
export interface KillChildOptions {
  readonly url: string;
  readonly bufferPath: string;
  /** Of the S3 server; absent where the replica is a folder. */
  readonly endpoint?: string;
  /**
   * `one` connection; `two`, in turn; one and another on a `thread` of its own; one whose commits are
   * `durable`; `check`: nothing is written, and it ends by itself.
   */
  readonly way: "one" | "two" | "thread" | "durable" | "check";
  /** Whether it is compacted all the time, by the folder at `url`, in place of when it is due. */
  readonly isCompacting?: boolean;
  readonly seed: number;
}

/** What a thread does. */
type ThreadData =
  | { readonly kind: "write"; readonly shared: SharedReplica; readonly last: number }
  | { readonly kind: "compact"; readonly url: string };

/** So short that a writer sees all of it before it is killed. */
const SCHEDULE: CompactionSchedule = {
  levelsMs: [40, 150],
  snapshotMs: 200,
  snapshotRetentionMs: 150,
  l0RetentionMs: 60,
};

const WAITED_MS = 10_000;

function tell(line: string): void {
  writeSync(1, `${line}\n`);
}

/** Begins a transaction, however busy the database is. */
function begin(db: LocalDatabase): void {
  for (const until = Date.now() + WAITED_MS;;) {
    try {
      return void db.exec("BEGIN IMMEDIATE");
    } catch (error) {
      if (Date.now() > until || !/busy|locked/i.test(String(error))) throw error;
    }
  }
}

/** Commits one writer's numbers, one after the other. */
class Numbers {
  readonly #db: LocalDatabase;
  readonly #writer: number;
  #last: number;

  constructor(replica: Replica, writer: number, last: number) {
    this.#db = replica.connect();
    this.#db.exec("PRAGMA cache_size = 8"); // so that transactions spill
    this.#writer = writer;
    this.#last = last;
  }

  /** From now on a commit waits until it is stored. */
  beDurable(): this {
    this.#db.exec("PRAGMA litestream_durable = on");
    return this;
  }

  next(): void {
    const i = this.#last + 1;
    if (i % 23 === 0) {
      begin(this.#db);
      runGivenUp(this.#db);
      this.#db.exec("ROLLBACK");
    }
    begin(this.#db);
    runTransaction(this.#db, this.#writer, i);
    this.#db.exec("COMMIT");
    this.#last = i;
    tell(`${this.#writer} ${i}`);
  }
}

/** The thread: writer 3. */
async function writeBeside({ shared, last }: { shared: SharedReplica; last: number }): Promise<void> {
  const numbers = new Numbers(await joinReplica(shared), 3, last);
  parentPort!.postMessage("begun");
  for (;;) {
    numbers.next();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** The thread that compacts. */
async function compactBeside({ url }: { url: string }): Promise<void> {
  const store = new FolderStore(parseReplicaUrl(url) as FolderLocation);
  const lz4 = await nativeLz4();
  const compactor = new Compactor({ store, layout: "folder", lz4, schedule: SCHEDULE });
  parentPort!.postMessage("begun");
  for (;;) {
    const { failures, foreign } = await compactor.run();
    if (failures.length + foreign.length > 0) throw new Error(JSON.stringify({ failures, foreign }));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function startThread(threadData: ThreadData): Promise<void> {
  const worker = new Worker(new URL(import.meta.url), { workerData: threadData });
  worker.once("error", fail);
  return new Promise((resolve) => worker.once("message", () => resolve()));
}

function fail(error: unknown): never {
  console.error(error);
  process.exit(1);
}

async function main(options: KillChildOptions): Promise<void> {
  const { url, bufferPath, endpoint, way, isCompacting = false, seed } = options;
  const replica = await openReplica(url, {
    write: true,
    bufferPath,
    syncIntervalMs: 20,
    compact: !isCompacting,
    ...(endpoint ? { endpoint, credentials: { accessKeyId: "key", secretAccessKey: "secret" } } : {}),
  });
  const db = replica.connect();
  makeTables(db);
  const found = inspect(db);
  tell(`open ${JSON.stringify(found)}`);
  if (way === "check") {
    tell(`digest ${digest(db)}`);
    db.close();
    return await replica.close();
  }
  db.close();
  if (isCompacting) await startThread({ kind: "compact", url });
  await write(replica, { way, random: new Random(seed), lastOf: (writer) => found.last[writer] ?? 0 });
}

interface Work {
  readonly way: KillChildOptions["way"];
  readonly random: Random;
  readonly lastOf: (writer: number) => number;
}

async function write(replica: Replica, { way, random, lastOf }: Work): Promise<never> {
  const own = (writer: number) => new Numbers(replica, writer, lastOf(writer));
  const writers = way === "two" ? [own(1), own(2)] : [way === "durable" ? own(4).beDurable() : own(1)];
  if (way === "thread") await startThread({ kind: "write", shared: replica.share(), last: lastOf(3) });
  for (;;) {
    for (const numbers of writers) numbers.next();
    if (random.next(8) === 0) await new Promise((resolve) => setTimeout(resolve, random.next(12)));
    if (random.next(30) === 0) tell(`sync ${await replica.sync()}`);
  }
}

if (isMainThread) {
  await main(JSON.parse(process.argv[2]!) as KillChildOptions).catch(fail);
} else {
  const data = workerData as ThreadData;
  if (data?.kind === "write") await writeBeside(data);
  if (data?.kind === "compact") await compactBeside(data);
}
