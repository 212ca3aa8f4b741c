/**
 * What a scenario happens in: primaries on a thread that writes them, a Litestream daemon, replicas and their archives.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { OpenOptions } from "../../mod.ts";
import {
  type Daemon,
  folderUrl,
  litestreamFrameBinary,
  type S3Server,
  startDaemon,
  startS3Server,
} from "../support/real.ts";
import { Archive, type ArchivePlaces } from "./archive.ts";
import type { PrimarySetup, Step } from "./primary_script.ts";
import type { PrimaryAnswer, PrimaryCall, PrimaryThreadStart } from "./primary_thread.ts";
import type { Scenario } from "./scenario.ts";

/** A primary and its replica. */
export interface Place {
  readonly setup: PrimarySetup;
  /** The primary's file. */
  readonly path: string;
  /** Of the replica. */
  readonly url: string;
  readonly archive: ArchivePlaces;
  /** For what belongs to this primary. */
  readonly folder: string;
}

/** How many statements ran, and why some did not. */
export interface WrittenCounts {
  statements: number;
  refused: string[];
}

/** A scenario's surroundings. */
export class World {
  readonly folder: string;
  readonly places: readonly Place[];
  readonly written: WrittenCounts = { statements: 0, refused: [] };
  readonly startMs = Date.now();
  readonly #server: S3Server | undefined;
  readonly #thread: PrimaryThread;
  readonly #writing: Promise<unknown>[] = [];
  readonly #synced: bigint[];
  #daemon: Daemon | undefined;

  /** Makes the primaries and starts the daemon. */
  static async start(scenario: Scenario): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), "differential-"));
    const server = scenario.place === "s3" ? await startS3Server() : undefined;
    const places = scenario.primaries.map((setup) => placeOf(folder, setup, server));
    const thread = await PrimaryThread.start({
      primaries: places.map(({ setup, path }) => ({ ...setup, path })),
      archives: places.map(({ archive }) => archive),
    });
    const world = new World(folder, places, thread, server);
    const { writesFrames, ...settings } = scenario.daemon;
    const frames = writesFrames ? litestreamFrameBinary() : undefined;
    const [first, ...beside] = places.map(({ path, url }) => ({ db: path, url }));
    world.#daemon = await startDaemon({
      ...settings,
      ...first!,
      beside,
      ...(server && { env: server.env }),
      ...(frames && { binary: frames }),
    });
    return world;
  }

  private constructor(folder: string, places: readonly Place[], thread: PrimaryThread, server?: S3Server) {
    this.folder = folder;
    this.places = places;
    this.#thread = thread;
    this.#server = server;
    this.#synced = places.map(() => 0n);
  }

  /** Has statements run; ends when they are in the replica where `isAwaited` says so, else at once. */
  async write(primary: number, steps: readonly Step[], isAwaited: boolean): Promise<void> {
    const writing = this.#thread.run(primary, steps).then(({ statements, refused }) => {
      this.written.statements += statements;
      this.written.refused.push(...refused);
    });
    this.#writing.push(writing);
    if (!isAwaited) return;
    await writing;
    await this.#sync(primary);
  }

  async #sync(primary: number): Promise<void> {
    this.#synced[primary] = await this.#daemon!.sync(this.places[primary]!.path);
  }

  /** The newest TXID that is surely in the replica. */
  synced(primary: number): bigint {
    return this.#synced[primary]!;
  }

  /** Has everything written and replicated, and ends the daemon. */
  async settle(): Promise<void> {
    await Promise.all(this.#writing);
    for (const i of this.places.keys()) await this.#sync(i);
    for (const { archive } of this.places) new Archive(archive).collect();
    await this.#daemon!.stop();
    this.#daemon = undefined;
    for (const { archive } of this.places) new Archive(archive).collect();
  }

  /** What our side needs to open a replica. */
  get access(): OpenOptions {
    if (!this.#server) return {};
    const { accessKey, secretKey } = this.#server;
    return { credentials: { accessKeyId: accessKey, secretAccessKey: secretKey } };
  }

  /** What Litestream needs to read one. */
  get env(): Record<string, string> {
    return this.#server?.env ?? {};
  }

  /** Ends everything and deletes it. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#writing);
    await this.#daemon?.stop();
    await this.#thread.close();
    await this.#server?.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

function placeOf(home: string, setup: PrimarySetup, server: S3Server | undefined): Place {
  const folder = join(home, setup.name);
  mkdirSync(folder);
  const replica = server ? join(server.folder, setup.name) : join(folder, "replica");
  return {
    setup,
    folder,
    path: join(folder, "primary.db"),
    url: server ? server.url(setup.name) : folderUrl(replica),
    archive: { source: replica, layout: server ? "s3" : "folder", target: join(folder, "archive") },
  };
}

/** The thread of `primary_thread.ts`. */
class PrimaryThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, (answer: PrimaryAnswer) => void>();
  readonly #ended: Promise<unknown>;
  #nextId = 1;

  static async start(start: PrimaryThreadStart): Promise<PrimaryThread> {
    const thread = new PrimaryThread(start);
    await Promise.race([
      new Promise<PrimaryAnswer>((resolve) => thread.#waiting.set(0, resolve)),
      thread.#ended,
    ]);
    return thread;
  }

  private constructor(start: PrimaryThreadStart) {
    this.#worker = new Worker(new URL("./primary_thread.ts", import.meta.url), { workerData: start });
    this.#worker.on("message", (answer: PrimaryAnswer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    this.#ended = new Promise((resolve, reject) => {
      this.#worker.once("error", reject);
      this.#worker.once("exit", resolve);
    });
    this.#ended.catch(() => {}); // whoever waits hears of it
  }

  async run(primary: number, steps?: readonly Step[]): Promise<PrimaryAnswer> {
    const id = this.#nextId++;
    const answered = new Promise<PrimaryAnswer>((resolve) => this.#waiting.set(id, resolve));
    this.#worker.postMessage({ id, primary, ...(steps && { steps }) } satisfies PrimaryCall);
    const ended = this.#ended.then(() => {
      throw new Error("Cannot write primary: its thread has ended");
    });
    return await Promise.race([answered, ended]);
  }

  async close(): Promise<void> {
    await this.run(0);
    await this.#worker.terminate();
  }
}
