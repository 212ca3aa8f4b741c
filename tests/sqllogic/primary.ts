/**
 * The database that scripts make with plain SQLite, and its replica: written by ourselves in a folder, or by a real
 * Litestream.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Daemon, folderUrl, startDaemon } from "../support/real.ts";
import { ReplicaFolder } from "../support/replica_folder.ts";
import { openPlain, openPrimary, type PlainDatabase } from "../support/sqlite.ts";

/** A database with a replica. */
export interface Primary {
  /** A plain file with the same content, in rollback mode. */
  readonly path: string;
  readonly url: string;
  /** Runs a statement; returns the error's message, empty where there was none. */
  run(sql: string): string;
  /** Brings what was committed to the replica; returns its TXID. Not inside a transaction. */
  publish(): Promise<bigint>;
  close(): Promise<void>;
}

/** Every so many transactions come as a file of level 1, too, and as a snapshot. */
const LEVEL_1_EVERY = 4;
const SNAPSHOT_EVERY = 9;
/** An empty file is no database yet: there is nothing to replicate. */
const FIRST_PAGE = "PRAGMA user_version = 1; PRAGMA user_version = 0";

/** A primary whose replica is written by ourselves, each transaction as a file. */
export class FolderPrimary implements Primary {
  readonly #folder: ReplicaFolder;
  #published: Uint8Array = new Uint8Array();
  #level1 = 0;

  static async make(pageSize: number): Promise<FolderPrimary> {
    return new FolderPrimary(await ReplicaFolder.make({ pageSize, setup: FIRST_PAGE }));
  }

  private constructor(folder: ReplicaFolder) {
    this.#folder = folder;
  }

  get path(): string {
    return this.#folder.source.path;
  }

  get url(): string {
    return this.#folder.url;
  }

  run(sql: string): string {
    return attempt(this.#folder.source, sql);
  }

  publish(): Promise<bigint> {
    const bytes = new Uint8Array(readFileSync(this.path));
    if (Buffer.compare(bytes, this.#published) !== 0) {
      this.#published = bytes;
      const txid = this.#folder.step(() => {});
      if (txid % LEVEL_1_EVERY === 0) {
        this.#folder.write(1, this.#level1 + 1, txid);
        this.#level1 = txid;
      }
      if (txid % SNAPSHOT_EVERY === 0) this.#folder.snapshot();
    }
    return Promise.resolve(BigInt(this.#folder.txid));
  }

  close(): Promise<void> {
    this.#folder.close();
    return Promise.resolve();
  }
}

/** A primary in WAL mode that a real Litestream replicates; the plain file gets the same statements. */
export class DaemonPrimary implements Primary {
  readonly path: string;
  readonly url: string;
  readonly #folder: string;
  readonly #databases: readonly [PlainDatabase, PlainDatabase];
  readonly #daemon: Daemon;

  static async make(pageSize: number): Promise<DaemonPrimary> {
    const folder = await mkdtemp(join(tmpdir(), "sqllogic-daemon-"));
    const url = folderUrl(join(folder, "replica"));
    const plain = await openPlain(join(folder, "plain.db"));
    plain.exec(`PRAGMA page_size = ${pageSize}`);
    plain.exec("PRAGMA synchronous = OFF");
    const replicated = await openPrimary(join(folder, "source.db"), { pageSize });
    for (const database of [plain, replicated]) database.exec(FIRST_PAGE);
    const daemon = await startDaemon({ db: replicated.path, url });
    return new DaemonPrimary(folder, url, [plain, replicated], daemon);
  }

  private constructor(
    folder: string,
    url: string,
    databases: readonly [PlainDatabase, PlainDatabase],
    daemon: Daemon,
  ) {
    [this.#folder, this.url, this.#databases, this.#daemon] = [folder, url, databases, daemon];
    this.path = databases[0].path;
  }

  run(sql: string): string {
    const [first, second] = this.#databases.map((database) => attempt(database, sql));
    if (first !== second) {
      throw new Error(`Cannot run "${sql}" on both: "${first}", and "${second}" in WAL mode`);
    }
    return first!;
  }

  publish(): Promise<bigint> {
    return this.#daemon.sync();
  }

  async close(): Promise<void> {
    await this.#daemon.stop();
    for (const database of this.#databases) database.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function attempt(database: PlainDatabase, sql: string): string {
  try {
    database.all(sql); // to its end, where exec() may take one step
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
