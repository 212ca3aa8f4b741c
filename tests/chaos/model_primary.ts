/**
 * A replica of which every state is known: a small database, its transactions, and what compaction and retention make of
 * their files.
 *
 * @module
 */
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import type { LayoutName } from "../../src/storage/object_store.ts";
import { Random } from "../support/random.ts";
import { ReplicaFolder, SNAPSHOT } from "../support/replica_folder.ts";

/** Where the files of a replica are put. */
export interface Shelf {
  readonly layout: LayoutName;
  put(key: string, bytes: Uint8Array): Promise<void>;
  remove(key: string): Promise<void>;
}

/** All that a state has, as one text. */
export const STATE_SQL =
  `SELECT (SELECT generation FROM head) || ' ' || count(*) || ' ' || ifnull(group_concat(
  id || ':' || v || ':' || hex(substr(pad, 1, 3)) || length(pad)), '') AS state FROM (SELECT * FROM t ORDER BY id)`;

const ROWS_MAX = 120;
/** So many of the last transactions' files are kept: Litestream keeps minutes, so that no follower loses its way. */
const KEPT_TXIDS = 25;

/** A file that is there. */
interface Kept {
  readonly level: number;
  readonly minTxid: number;
  readonly maxTxid: number;
}

/** How a primary is made. */
export interface ModelPrimaryOptions {
  readonly seed: number;
  /** Places that get the same files. */
  readonly shelves: readonly Shelf[];
  /** Bytes of noise a row; 20 unless given. */
  readonly noiseSize?: number;
}

/** Writes a replica; every change to its files is made past any fault. */
export class ModelPrimary {
  readonly folder: ReplicaFolder;
  readonly #shelves: readonly Shelf[];
  readonly #random: Random;
  readonly #noiseSize: number;
  /** By TXID from 1: what {@link STATE_SQL} gives there. */
  readonly #states: string[] = [];
  readonly #timesMs: number[];
  #files: Kept[] = [];

  /** Makes one with its first transactions, a snapshot among them. */
  static async make(options: ModelPrimaryOptions): Promise<ModelPrimary> {
    const timesMs: number[] = [];
    const folder = await ReplicaFolder.make({
      pageSize: 1024,
      timeMs: (txid) => timesMs[txid - 1]!,
    });
    const primary = new ModelPrimary(folder, timesMs, options);
    for (let i = 0; i < 6; i++) await primary.step();
    await primary.#write(SNAPSHOT, 1, folder.txid);
    return primary;
  }

  private constructor(folder: ReplicaFolder, timesMs: number[], options: ModelPrimaryOptions) {
    this.folder = folder;
    this.#timesMs = timesMs;
    this.#shelves = options.shelves;
    this.#random = new Random(options.seed);
    this.#noiseSize = options.noiseSize ?? 20;
  }

  /** The newest transaction that is stored. */
  get txid(): bigint {
    return BigInt(this.folder.txid);
  }

  /** What a reader must see at a transaction; undefined where there is no such one. */
  stateAt(txid: bigint): string | undefined {
    return this.#states[Number(txid) - 1];
  }

  /** The database file at a transaction, as a restore gives it; `undefined` where there is no such one. */
  bytesAt(txid: bigint): Uint8Array | undefined {
    return this.stateAt(txid) === undefined ? undefined : this.folder.bytesAt(Number(txid));
  }

  /** When a transaction was committed, in ms since the Unix epoch. */
  timeAt(txid: bigint): number {
    return this.#timesMs[Number(txid) - 1]!;
  }

  /** Commits a transaction and stores its file. */
  async step(): Promise<void> {
    const txid = this.folder.txid + 1;
    this.#timesMs.push(Math.max(Date.now(), (this.#timesMs.at(-1) ?? 0) + 1));
    this.folder.record((source) => {
      for (const sql of this.#statements(txid)) source.exec(sql);
    });
    this.#states.push(String(this.folder.rows(STATE_SQL)[0]!.state));
    await this.#write(0, txid, txid);
  }

  #statements(txid: number): string[] {
    if (txid === 1) {
      return [
        "CREATE TABLE head(generation INTEGER)",
        "INSERT INTO head VALUES (1)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER, pad BLOB)",
        "CREATE INDEX t_v ON t(v)",
        this.#insertion(40),
      ];
    }
    const change = [`UPDATE head SET generation = ${txid}`];
    const ids = Array.from({ length: 1 + this.#random.next(6) }, () => 1 + this.#random.next(ROWS_MAX));
    change.push(`UPDATE t SET v = ${txid}, pad = randomblob(${this.#noiseSize}) WHERE id IN (${ids})`);
    const turn = this.#random.next(12);
    if (turn === 0) change.push(`DELETE FROM t WHERE id % 3 = ${this.#random.next(3)}`);
    else if (turn < 4) change.push(this.#insertion(1 + this.#random.next(12)));
    const statements = ["BEGIN", ...change, "COMMIT"];
    return this.#random.next(40) === 0 ? [...statements, "VACUUM"] : statements;
  }

  #insertion(count: number): string {
    return `INSERT OR IGNORE INTO t SELECT value, value * 7, randomblob(${this.#noiseSize}) FROM json_each('[${
      Array.from({ length: count }, () => 1 + this.#random.next(ROWS_MAX))
    }]')`;
  }

  /** Compacts and deletes as Litestream does, sooner, by chance. */
  async keepUp(): Promise<void> {
    for (const level of [1, 2]) if (this.#random.next(3 * level) === 0) await this.#compact(level);
    if (this.#random.next(8) === 0) {
      await this.#write(SNAPSHOT, 1, this.folder.txid);
      await this.#retain();
    }
    await this.#dropCovered();
  }

  async #compact(level: number): Promise<void> {
    const after = this.#files.filter((file) => file.level === level)
      .reduce((max, { maxTxid }) => Math.max(max, maxTxid), 0);
    const inputs = this.#files.filter((file) => file.level === level - 1 && file.minTxid > after);
    if (inputs.length < 2) return;
    const first = Math.min(...inputs.map(({ minTxid }) => minTxid));
    await this.#write(level, first, Math.max(...inputs.map(({ maxTxid }) => maxTxid)));
  }

  /** Of level 0 and 1 what the level above has, but for the newest of each. */
  async #dropCovered(): Promise<void> {
    for (const level of [0, 1]) {
      const reached = this.#files.filter((file) => file.level === level + 1)
        .reduce((max, { maxTxid }) => Math.max(max, maxTxid), 0);
      const newest = this.#files.findLast((file) => file.level === level);
      const bound = Math.min(reached, this.folder.txid - KEPT_TXIDS);
      const covered = this.#files.filter((file) =>
        file.level === level && file !== newest && file.maxTxid <= bound
      );
      for (const file of covered) if (this.#random.next(2) === 0) await this.#delete(file);
    }
  }

  /** Of snapshots the last two, and nothing that ends before the older one. */
  async #retain(): Promise<void> {
    const kept = this.#files.filter(({ level }) => level === SNAPSHOT).slice(-2);
    const floor = Math.min(kept[0]!.maxTxid, this.folder.txid - KEPT_TXIDS);
    const newest = [0, 1, 2].map((level) => this.#files.findLast((file) => file.level === level));
    for (const file of [...this.#files]) {
      if (kept.includes(file) || newest.includes(file) || file.maxTxid > floor) continue;
      await this.#delete(file);
    }
  }

  async #write(level: number, minTxid: number, maxTxid: number): Promise<void> {
    const file = { level, minTxid, maxTxid };
    const bytes = this.folder.encode(minTxid, maxTxid);
    for (const shelf of this.#shelves) await shelf.put(keyOf(shelf, file), bytes);
    this.#files.push(file);
  }

  async #delete(file: Kept): Promise<void> {
    this.#files = this.#files.filter((each) => each !== file);
    for (const shelf of this.#shelves) await shelf.remove(keyOf(shelf, file));
  }

  /** Deletes the database; the replica stays. */
  close(): void {
    this.folder.close();
  }
}

function keyOf({ layout }: Shelf, { level, minTxid, maxTxid }: Kept): string {
  const name = formatLtxFileName({ minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) });
  return ltxKey(layout, level, name);
}

/** A replica's folder. */
export function folderShelf(path: string): Shelf {
  return {
    layout: "folder",
    put: async (key, bytes) => {
      const file = join(path, key);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(`${file}.tmp`, bytes);
      await rename(`${file}.tmp`, file);
    },
    remove: (key) => rm(join(path, key), { force: true }),
  };
}
