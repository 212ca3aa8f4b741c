/**
 * What `outage_test.ts` is played in: a writer, Litestream's daemon, an S3 server, a proxy before it, and a process that
 * reads through that.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { AwsClient } from "aws4fetch";
import type { OpenOptions } from "../../mod.ts";
import type { ProxyFault, ProxyStart, ProxyState } from "../support/flaky_proxy.ts";
import { type Daemon, type S3Server, startDaemon, startS3Server, until } from "../support/real.ts";
import { openPrimary, type PlainDatabase } from "../support/sqlite.ts";
import { IS_BUN, noiseSql } from "./drivers.ts";

/** How the process that reads is begun. */
export interface ChildSettings {
  readonly url: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** How long the keys of each call of a credentials function hold, the last for all further ones; 0: no word. */
  readonly lifeMs?: readonly number[];
  readonly options: Pick<OpenOptions, "pollIntervalMs" | "requestTimeoutMs" | "readTimeoutMs">;
  /** Of the second opening; 0: there is none. */
  readonly maxStaleMs: number;
}

/** What it is asked. */
export type Ask =
  /** Forget what was told and counted. */
  | { kind: "mark" }
  /** Query a page that is not in memory, on another thread, or on the one that everything else happens on. */
  | { kind: "cold" | "blocked" }
  /** Open a transaction and leave it open; go on in it. */
  | { kind: "begin" | "goOn" }
  /** Have SQLite check everything. */
  | { kind: "check" }
  /** Wait until `txid` is seen. */
  | { kind: "recover"; txid: string; timeoutMs: number }
  | { kind: "status" }
  /** Close everything; the process should end by itself then. */
  | { kind: "end" };

/** An event of a replica, and when it came, in ms since the mark. */
export interface Told {
  readonly by: "plain" | "strict";
  readonly type: "error" | "stale" | "gap";
  readonly ms: number;
  readonly text: string;
}

/** What came of the queries from memory since the mark. */
export interface HotReport {
  count: number;
  slowestMs: number;
  /** Whatever should not be: errors, mixtures, steps back. */
  faults: string[];
  /** Transactions that did not begin since the replica was too old, and what the last one said. */
  staleCount: number;
  staleText: string;
  lagMsMax: number;
}

/** How a transaction came to be seen: time and looks since it was asked. */
export interface Recovery {
  readonly ms: number;
  readonly polls: number;
  readonly failedPolls: number;
  /** Looks since a credentials function was called last. */
  readonly pollsSinceKeys: number;
}

/** What a transaction that stayed open gave. */
export interface PinnedAnswer {
  /** Whether it saw what it had seen before. */
  readonly isSame: boolean;
  /** What SQLite's check gave. */
  readonly check: string;
  /** Why it could not go on; empty where it could. */
  readonly error: string;
}

/** How the process that reads is. */
export interface Status {
  readonly txid: string;
  readonly lagMs: number;
  readonly lastError: string;
  readonly pragmaError: string;
  readonly counts: Record<"listRequests" | "getRequests" | "polls" | "failedPolls", number>;
  readonly told: readonly Told[];
  readonly hot: HotReport;
  readonly credentialsCalls: number;
  readonly now: string;
  readonly unhandled: readonly string[];
}

/** A query that needed a page: how long it took, and why it failed, in our words and in the driver's. */
export interface ColdAnswer {
  readonly ms: number;
  readonly error: string;
  readonly driver: string;
}

/** The process that reads. */
export class Observer {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  readonly #ended: Promise<string>;
  #printed = "";
  #nextId = 1;

  /** Starts it, and waits until it has opened the replica. */
  static async start(settings: ChildSettings, env: Record<string, string> = {}): Promise<Observer> {
    const observer = new Observer(settings, env);
    await observer.#answer(0);
    return observer;
  }

  private constructor(settings: ChildSettings, env: Record<string, string>) {
    const script = fileURLToPath(new URL("./outage_child.ts", import.meta.url));
    const before = IS_BUN ? [script] : ["run", "-A", "--no-check", script];
    this.#child = spawn(process.execPath, [...before, JSON.stringify(settings)], {
      env: { ...process.env, ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child.stderr!.on("data", (data) => this.#printed += data);
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.#take(line));
    this.#ended = new Promise((resolve) => {
      this.#child.on("close", (code, signal) => {
        const how = signal ?? String(code);
        const error = new Error(`the process that reads ended with ${how}: ${this.#printed}`);
        for (const { reject } of this.#waiting.values()) reject(error);
        this.#waiting.clear();
        resolve(how);
      });
    });
  }

  #take(line: string): void {
    const { id, value, error } = JSON.parse(line) as { id: number; value?: unknown; error?: string };
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(error));
  }

  #answer<T>(id: number): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
    });
  }

  /** Asks it something. */
  ask<T>(call: Ask): Promise<T> {
    const id = this.#nextId++;
    const answer = this.#answer<T>(id);
    this.#child.stdin!.write(`${JSON.stringify({ ...call, id })}\n`);
    return answer;
  }

  /** How it is. */
  status(): Promise<Status> {
    return this.ask<Status>({ kind: "status" });
  }

  /** Stops it in the middle of whatever it does, or lets it go on. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    process.kill(this.#child.pid!, signal); // the child's own kill() may take it for dead from then on
  }

  /** Has it close everything, and tells how it ended (`"0"` by itself), how long closing took and what it printed. */
  async end(): Promise<{ how: string; closeMs: number; printed: string }> {
    const closeMs = await this.ask<number>({ kind: "end" });
    this.#child.stdin!.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 15_000);
    const how = await this.#ended;
    clearTimeout(timer);
    return { how, closeMs, printed: this.#printed };
  }

  /** Ends it whatever it does. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

/** The writer, its replica, and the proxy before that. */
export class World {
  readonly folder: string;
  readonly server: S3Server;
  readonly #db: PlainDatabase;
  readonly #daemon: Daemon;
  readonly #proxy: Worker;
  #port = 0;
  #value = 0;

  private constructor(parts: { folder: string; server: S3Server; db: PlainDatabase; daemon: Daemon }) {
    this.folder = parts.folder;
    this.server = parts.server;
    this.#db = parts.db;
    this.#daemon = parts.daemon;
    const { endpoint, region, accessKey, secretKey } = parts.server;
    const start: ProxyStart = { endpoint, region, accessKeyId: accessKey, secretAccessKey: secretKey };
    this.#proxy = new Worker(new URL("../support/flaky_proxy.ts", import.meta.url), { workerData: start });
  }

  /** Makes one, gives it to `use`, and takes all of it down. */
  static async with(use: (world: World) => Promise<void>, daemonOptions: object = {}): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), "outage-"));
    const server = await startS3Server();
    const db = await openPrimary(join(folder, "source.db"));
    const url = server.url("db");
    const daemon = await startDaemon({
      db: db.path,
      url,
      env: server.env,
      snapshotInterval: "1h",
      ...daemonOptions,
    });
    const world = new World({ folder, server, db, daemon });
    try {
      db.exec(noiseSql(4000));
      db.exec("CREATE TABLE a (v INTEGER); CREATE TABLE b (v INTEGER)");
      db.exec("INSERT INTO a VALUES (0); INSERT INTO b VALUES (0)");
      await daemon.sync();
      await world.set({ kind: "none" });
      await use(world);
    } finally {
      await world.#proxy.terminate();
      await daemon.stop();
      db.close();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** The replica through the proxy. */
  get url(): string {
    return this.server.url("db").replace(
      encodeURIComponent(this.server.endpoint),
      encodeURIComponent(`http://127.0.0.1:${this.#port}`),
    );
  }

  /** Makes requests go wrong, or well again. */
  async set(fault: ProxyFault): Promise<ProxyState> {
    const answered = new Promise<ProxyState>((resolve) => this.#proxy.once("message", resolve));
    this.#proxy.postMessage(fault);
    const state = await answered;
    this.#port = state.port;
    return state;
  }

  /** Commits `count` transactions, each a file of its own, past the proxy; gives the last TXID. */
  async commit(count = 1): Promise<bigint> {
    let txid = 0n;
    for (let i = 0; i < count; i++) {
      this.#value++;
      this.#db.exec(`BEGIN; UPDATE a SET v = ${this.#value}; UPDATE b SET v = ${this.#value}; COMMIT`);
      txid = await this.#daemon.sync();
    }
    return txid;
  }

  /** Deletes the files of level 0 but the last once level 1 has them, as retention does. */
  async retain(): Promise<void> {
    const names = await this.files(0);
    const last = names.at(-2)?.slice(17, 33) ?? "";
    await until("level 1 to have them", async () => {
      return (await this.files(1)).some((name) => name.slice(17, 33) >= last);
    });
    const { accessKey, secretKey, region, endpoint, bucket } = this.server;
    const client = new AwsClient({
      accessKeyId: accessKey,
      secretAccessKey: secretKey,
      region,
      service: "s3",
    });
    for (const name of names.slice(0, -1)) {
      const { ok, status } = await client.fetch(`${endpoint}/${bucket}/db/0000/${name}`, {
        method: "DELETE",
      });
      if (!ok) throw new Error(`Cannot delete ${name}: status ${status}`);
    }
  }

  /** Names of the files of a level. */
  async files(level: number): Promise<string[]> {
    const folder = join(this.server.folder, `db/${String(level).padStart(4, "0")}`);
    return (await readdir(folder)).filter((name) => name.endsWith(".ltx")).sort();
  }

  /** Waits until these levels hold a file. */
  waitForLevels(levels: readonly number[]): Promise<void> {
    return this.#daemon.waitForLevels(levels);
  }
}
