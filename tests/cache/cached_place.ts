/**
 * A replica in a bucket behind a gate that can be shut, and a folder for its cache.
 *
 * The server runs on the thread that tests: queries go through a {@link Reader}, on a thread of their own.
 *
 * @module
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { Reader } from "../replica/reader.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { ReplicaFolder, type ReplicaFolderOptions } from "../support/replica_folder.ts";
import type { Row } from "../support/sqlite.ts";
import { Gate } from "./gate.ts";

const PREFIX = "db/";

/** How the replica is opened; `path` is where it lies in the bucket. */
type PlaceOptions = OpenOptions & { path?: string };

/** What a test of the cache is played in. */
export class CachedPlace {
  readonly folder: ReplicaFolder;
  readonly s3: FakeS3;
  readonly cacheDir: string;
  /** What was logged, over all replicas. */
  readonly notices: string[] = [];
  /** Between the replica and its bucket. */
  readonly gate: Gate;

  private constructor(folder: ReplicaFolder, s3: FakeS3, gate: Gate) {
    this.folder = folder;
    this.s3 = s3;
    this.gate = gate;
    this.cacheDir = mkdtempSync(join(tmpdir(), "disk-cache-"));
  }

  /** Makes one, gives it to `use`, and takes it down. */
  static async with(
    use: (place: CachedPlace) => Promise<void>,
    options: ReplicaFolderOptions = {},
  ): Promise<void> {
    const s3 = await FakeS3.start();
    const place = new CachedPlace(await ReplicaFolder.make(options), s3, await Gate.before(s3.endpoint));
    try {
      await use(place);
    } finally {
      await place.gate.close();
      await place.s3.close();
      place.folder.close();
      rmSync(place.cacheDir, { recursive: true, force: true });
    }
  }

  /** Has the bucket hold just what the folder does. */
  push(): void {
    const keys = new Set<string>();
    for (const level of readdirSync(join(this.folder.path, "ltx"))) {
      const path = join(this.folder.path, "ltx", level);
      for (const name of readdirSync(path)) {
        const key = `${PREFIX}${level.padStart(4, "0")}/${name}`;
        const bytes = readFileSync(join(path, name));
        if (Buffer.compare(this.s3.get(key) ?? new Uint8Array(0), bytes) !== 0) this.s3.put(key, bytes);
        keys.add(key);
      }
    }
    for (const key of this.s3.keys()) if (!keys.has(key)) this.s3.remove(key);
  }

  /** Opens the replica with the cache. */
  async open({ path = PREFIX, ...options }: PlaceOptions = {}): Promise<Replica> {
    const { accessKeyId, secretAccessKey, bucket } = this.s3.options;
    return await openReplica(`s3://${bucket}/${path}?endpoint=${this.gate.endpoint}`, {
      credentials: { accessKeyId, secretAccessKey },
      cacheDir: this.cacheDir,
      pollIntervalMs: 0,
      log: ({ message }) => void this.notices.push(message),
      ...options,
    });
  }

  /** Opens the replica, gives it to `use` with what asks a connection of it, and closes it. */
  async with(
    options: PlaceOptions,
    use: (replica: Replica, rows: (sql: string) => Promise<Row[]>) => Promise<void> | void,
  ): Promise<void> {
    const replica = await this.open(options);
    const reader = await Reader.start({ shared: replica.share() });
    const rows = async (sql: string) => {
      const { rows, error } = await reader.ask(sql);
      if (error) throw new Error(error.lastError || error.message);
      return rows;
    };
    try {
      await use(replica, rows);
    } finally {
      await reader.close();
      await replica.close();
    }
  }
}
