/**
 * Writers of one bucket: in processes of their own, which can be stopped, resumed and killed.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { Compactor } from "../../src/compact/compactor.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { decodeHeader, HEADER_SIZE } from "../../src/ltx/header.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { listLogs, readLog, readLogPages, type WriteLog } from "../../src/write/write_log.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { type Fault, FaultSchedule, type FaultSubject } from "../support/faults.ts";
import { openLocal } from "../support/local_database.ts";
import { lz4 } from "../support/lz4.ts";

/** What a rival is told; `who` is the row that it inserts, or what the rows begin with. */
export type Command =
  | { act: "insert"; who: string }
  | { act: "race"; who: string; count: number }
  | { act: "rows" | "sync" | "refresh" | "close" };

/** An error's name and message. */
export interface PlainError {
  readonly name: string;
  readonly message: string;
}

/** What it answers. */
export type Answer = { value: unknown } | { error: PlainError; lastError?: PlainError };

/** What came of a race: rows that it was told are stored, and those that it committed beside. */
export interface Told {
  readonly stored: string[];
  /** TXIDs after each that is stored. */
  readonly txids: number[];
  readonly waiting: string[];
  readonly failure?: PlainError;
}

/** An error that a rival told of. */
export class RivalError extends Error {
  /** What `lastError` was there. */
  readonly lastError: PlainError | undefined;

  constructor({ error, lastError }: { error: PlainError; lastError?: PlainError }) {
    super(error.message);
    this.name = error.name;
    this.lastError = lastError;
  }
}

/** A writer in another process. */
export class Rival {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #input: Interface;
  readonly #ended: Promise<void>;
  #complaint = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#input = createInterface({ input: child.stdout! });
    this.#lines = this.#input[Symbol.asyncIterator]();
    this.#ended = new Promise((resolve) => child.once("close", () => resolve()));
    child.stderr!.on("data", (data) => this.#complaint += data);
  }

  /** Begins to open the replica; {@link opened} tells when that is done. */
  static begin(url: string, options: OpenOptions): Rival {
    const script = fileURLToPath(new URL("./rival_child.ts", import.meta.url));
    const before = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
    const args = [...before, script, JSON.stringify({ url, options })];
    return new Rival(spawn(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"] }));
  }

  /** Starts one and waits until it has opened the replica. */
  static async start(url: string, options: OpenOptions): Promise<Rival> {
    const rival = Rival.begin(url, options);
    await rival.opened();
    return rival;
  }

  /** The TXID that it found. */
  opened(): Promise<number> {
    return this.#answer() as Promise<number>;
  }

  /** Tells it to do something, and gives what came of it. */
  async ask<T>(command: Command): Promise<T> {
    this.tell(command);
    return await this.#answer() as T;
  }

  /** The same without waiting. */
  tell(command: Command): void {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
  }

  /** What the command that was told before came to. */
  async #answer(): Promise<unknown> {
    const { value: line, done } = await this.#lines.next();
    if (done) throw new Error(`Cannot ask rival: it has ended (${this.#child.exitCode}): ${this.#complaint}`);
    const answer = JSON.parse(line) as Answer;
    if ("error" in answer) throw new RivalError(answer);
    return answer.value;
  }

  /** Stops it where it stands, as a machine that goes to sleep. */
  pause(): void {
    process.kill(this.#child.pid!, "SIGSTOP"); // the child's own kill() would end its streams, in Deno
  }

  /** Has it go on. */
  resume(): void {
    process.kill(this.#child.pid!, "SIGCONT");
  }

  /** Asks it to end; waits until it has. */
  async terminate(): Promise<void> {
    process.kill(this.#child.pid!, "SIGTERM"); // as above
    await this.#ended;
  }

  /** Ends it as `kill -9` does, unless it has ended. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }
}

/** Faults that come and go. */
export class Outage extends FaultSchedule {
  isOn = true;

  override pick(subject: FaultSubject): Fault | undefined {
    return this.isOn ? super.pick(subject) : undefined;
  }
}

/** A bucket with one replica, and what was stored in it. */
export interface Bucket {
  readonly server: FakeS3;
  /** For the logs of its writers. */
  readonly folder: string;
  readonly url: string;
  /** How often each key was stored, with effect. */
  readonly stores: ReadonlyMap<string, number>;
  /** How a writer opens it whose log has this name. */
  options(log: string, more?: OpenOptions): OpenOptions;
  /** Opens it in this process. */
  open(log: string, more?: OpenOptions): Promise<Replica>;
  /** Opens it for reading and gives the rows that are stored. */
  rows(): Promise<string[]>;
  /** Compacts it and deletes what is covered, as if that long had passed. */
  compact(afterMs: number): Promise<void>;
}

/** Level 0's keys. */
export const LTX: RegExp = /\/0000\/[0-9a-f]{16}-[0-9a-f]{16}\.ltx$/;

/** Runs with a bucket whose replica has one table `t(who)`, unless it is to be empty. */
export async function withBucket(
  act: (bucket: Bucket) => Promise<void>,
  { faults = new FaultSchedule([]), isEmpty = false }: {
    faults?: FaultSchedule;
    isEmpty?: boolean | undefined;
  } = {},
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "rivals-test-"));
  await using server = await FakeS3.start();
  try {
    const bucket = bucketOf(server, folder);
    if (!isEmpty) await begin(bucket);
    server.options.faults = faults;
    await act(bucket);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A bucket over a server that runs. */
export function bucketOf(server: FakeS3, folder: string): Bucket {
  const url = "s3://bucket/db";
  const { accessKeyId, secretAccessKey } = server.options;
  const place = { endpoint: server.endpoint, credentials: { accessKeyId, secretAccessKey } };
  const stores = new Map<string, number>();
  const put = server.put.bind(server);
  server.put = (key, ...rest) => {
    stores.set(key, (stores.get(key) ?? 0) + 1);
    return put(key, ...rest);
  };
  const options = (log: string, more: OpenOptions = {}): OpenOptions => ({
    ...place,
    write: true,
    bufferPath: join(folder, log),
    syncIntervalMs: 0,
    pollIntervalMs: 0,
    compact: false,
    ...more,
  });
  return {
    server,
    folder,
    url,
    stores,
    options,
    open: (log, more) => openReplica(url, options(log, more)),
    async rows() {
      await using reader = await openReplica(url, { ...place, pollIntervalMs: 0 });
      const db = reader.connect();
      try {
        return db.prepare("SELECT who FROM t ORDER BY rowid").all().map(({ who }) => who);
      } finally {
        db.close();
      }
    },
    async compact(afterMs) {
      const location = parseReplicaUrl(`${url}?endpoint=${server.endpoint}`);
      const store = await openStore(location, { credentials: place.credentials });
      const now = () => Date.now() + afterMs;
      await new Compactor({ store, layout: location.layout, lz4, now }).run();
      await store.close();
    },
  };
}

async function begin(bucket: Bucket): Promise<void> {
  const replica = await bucket.open("begun");
  const db = replica.connect();
  db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, who TEXT)");
  db.close();
  await replica.close();
}

/** The objects of level 0 as they are now: what a log can be laid over later. */
export function levelZero({ server }: Bucket): Uint8Array[] {
  return server.keys().filter((key) => LTX.test(key)).map((key) => server.get(key)!);
}

/** The database that files make, one laid over the other, as SQLite has it in a plain file. */
export class PlainImage {
  readonly #pages = new Map<number, Uint8Array>();
  #commit = 0;

  /** Lays an object of the replica over it. */
  apply(object: Uint8Array): void {
    const { header, frames } = decodeFile(object, lz4);
    for (const { pgno, page } of frames) this.#pages.set(pgno, page);
    this.#commit = header.commit;
  }

  /** Lays all over it that a file of a write log has. */
  async applyLog(log: WriteLog): Promise<void> {
    for (const logged of log.txids) {
      for await (const { pgno, page } of readLogPages(log, logged)) this.#pages.set(pgno, page.slice());
      this.#commit = logged.commit;
    }
  }

  /** Writes the file; gives the first column of what is asked of it, once its integrity is checked. */
  async query(path: string, sql: string): Promise<unknown[]> {
    const pages = Array.from({ length: this.#commit }, (_, i) => this.#pages.get(i + 1)!);
    await writeFile(path, Buffer.concat(pages));
    const db = await openLocal(path);
    try {
      assert.deepEqual({ ...db.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
      return db.prepare(sql).all().map((row) => Object.values(row)[0]);
    } finally {
      db.close();
    }
  }
}

/** The rows of the database that a kept log makes of level 0's objects, those of its own TXIDs left out. */
export async function readKept(path: string, objects: readonly Uint8Array[]): Promise<unknown[]> {
  const logs = await Promise.all((await listLogs(path)).map(async (name) => (await readLog(name))!));
  const first = logs.flatMap(({ txids }) => txids)[0]!.txid;
  const image = new PlainImage();
  for (const bytes of objects) {
    if (decodeHeader(bytes.subarray(0, HEADER_SIZE)).maxTxid < first) image.apply(bytes);
  }
  for (const log of logs) await image.applyLog(log);
  return await image.query(`${path}.kept.db`, "SELECT who FROM t ORDER BY rowid");
}
