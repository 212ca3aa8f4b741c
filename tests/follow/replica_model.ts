/**
 * A replica without bytes: a page's content is the TXID that last wrote it.
 *
 * @module
 */
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { type ReplicaFile, SNAPSHOT_LEVEL } from "../../src/view/restore_plan.ts";

/** The largest database, in pages. */
export const PAGES_MAX = 12;

/** A database or what a file holds of one: its size and, by pgno, the TXID that wrote each page. */
export interface Image {
  readonly commit: number;
  readonly pages: ReadonlyMap<number, bigint>;
}

/** What a listing could see at one moment. */
export interface Moment {
  /** Files by level, in the order of their keys. */
  readonly levels: readonly (readonly ReplicaFile[])[];
  readonly lineage: number;
  readonly last: bigint;
}

/** One or more transactions that become one L0 file. */
export interface Write {
  /** Bit n: page n + 1 is written. */
  readonly pages: number;
  /** Size after it; 0 leaves it as it is. */
  readonly commit: number;
  readonly txids: number;
  /** 1: the file holds all pages, as after a lost WAL. */
  readonly whole: number;
}

const EMPTY: Image = { commit: 0, pages: new Map() };
const TICK_MS = 20_000;

/** A replica with its writer, compactor and retention; every change is a new moment. */
export class ReplicaModel {
  /** All moments so far. */
  readonly moments: Moment[] = [];
  /** Counts the databases that have lain in this place. */
  lineage = 0;
  /** Whether files were deleted that Litestream would have kept. */
  damaged = false;
  nowMs = 0;
  readonly #contents = new Map<string, Image>();
  readonly #states: Image[][] = [[EMPTY]];
  #levels: ReplicaFile[][] = Array.from({ length: 10 }, () => []);
  #compactedTo: bigint[] = new Array(10).fill(0n);

  constructor() {
    this.#publish();
  }

  /** The last transaction, written to the replica or not. */
  get last(): bigint {
    return BigInt(this.#states[this.lineage]!.length - 1);
  }

  get now(): Moment {
    return this.moments.at(-1)!;
  }

  /** The database after a transaction. */
  stateAt(lineage: number, txid: bigint): Image {
    return this.#states[lineage]![Number(txid)]!;
  }

  lineageOf(file: ReplicaFile): number {
    return Number(file.etag.split(".")[0]);
  }

  /** What the file holds, or undefined when it is gone or another one has its name. */
  read(file: ReplicaFile): Image | undefined {
    const found = this.#levels[file.level]!.find(({ key }) => key === file.key);
    return found?.etag === file.etag ? this.#contents.get(file.etag) : undefined;
  }

  write({ pages, commit, txids, whole }: Write): void {
    const first = this.last + 1n;
    for (let i = 0; i < txids; i++) {
      this.#commit(pages << i | pages >> (PAGES_MAX - i), (commit + i * 5) % 13);
    }
    this.put(0, first, this.last, whole === 1);
  }

  #commit(mask: number, size: number): void {
    const before = this.stateAt(this.lineage, this.last);
    const txid = this.last + 1n;
    const commit = size || before.commit || 1;
    const pages = new Map<number, bigint>();
    for (let pgno = 1; pgno <= commit; pgno++) {
      const isWritten = pgno > before.commit || (mask >> (pgno - 1) & 1) === 1;
      pages.set(pgno, isWritten ? txid : before.pages.get(pgno)!);
    }
    this.#states[this.lineage]!.push({ commit, pages });
  }

  /** Puts the file that holds these transactions on a level, unless one has its name. */
  put(level: number, minTxid: bigint, maxTxid: bigint, whole = false): void {
    const key = ltxKey("s3", level, formatLtxFileName({ minTxid, maxTxid }));
    if (this.#levels[level]!.some((file) => file.key === key)) return;
    const etag = `${this.lineage}.${this.#contents.size}`;
    const { commit, pages } = this.stateAt(this.lineage, maxTxid);
    const held = [...pages].filter(([, txid]) => whole || txid >= minTxid);
    this.#contents.set(etag, { commit, pages: new Map(held) });
    const file = { key, etag, level, minTxid, maxTxid, size: 1, modifiedMs: this.nowMs };
    this.#levels[level] = [...this.#levels[level]!, file].sort((a, b) => a.key < b.key ? -1 : 1);
    this.#publish();
  }

  /** Compacts up to `count` files of the level below that lie behind what was compacted before. */
  compact(level: number, count: number): void {
    const inputs: ReplicaFile[] = [];
    for (const file of this.#levels[level - 1]!) {
      const before = inputs.at(-1);
      if (file.minTxid <= this.#compactedTo[level]! || inputs.length === count) continue;
      if (before && (file.minTxid > before.maxTxid + 1n || file.maxTxid <= before.maxTxid)) continue;
      inputs.push(file);
    }
    if (inputs.length === 0) return;
    this.#compactedTo[level] = inputs.at(-1)!.maxTxid;
    this.put(level, inputs[0]!.minTxid, inputs.at(-1)!.maxTxid);
  }

  /** Takes a snapshot of the transaction `back` before the last, unless there is a newer one. */
  snapshot(back: number): void {
    const txid = this.last - BigInt(back);
    const newest = this.#levels[SNAPSHOT_LEVEL]!.at(-1)?.maxTxid ?? 0n;
    if (txid > newest) this.put(SNAPSHOT_LEVEL, 1n, txid);
  }

  /** Deletes up to `count` L0 files that an L1 file covers, oldest first. */
  pruneRaw(count: number): void {
    const covered = this.#levels[0]!.filter((file) =>
      this.#levels[1]!.some((l1) => l1.minTxid <= file.minTxid && l1.maxTxid >= file.maxTxid)
    );
    for (const file of covered.slice(0, count)) this.#delete(file);
  }

  /** Deletes up to `count` snapshots, never the newest, then what ends below the newest of those deleted. */
  pruneSnapshots(count: number): void {
    const old = this.#levels[SNAPSHOT_LEVEL]!.slice(0, -1).slice(0, count);
    for (const file of old) this.#delete(file);
    const floor = old.at(-1)?.maxTxid ?? 0n;
    for (const level of [1, 2, 3]) {
      for (const file of this.#levels[level]!.slice(0, -1)) if (file.maxTxid < floor) this.#delete(file);
    }
  }

  /** Deletes any file. */
  lose(level: number, pick: number): void {
    const files = this.#levels[level]!;
    if (files.length === 0) return;
    this.damaged = true;
    this.#delete(files[pick % files.length]!);
  }

  /** Puts the empty replica of another database into this one's place. */
  startOver(): void {
    this.lineage++;
    this.#states.push([EMPTY]);
    this.#levels = Array.from({ length: 10 }, () => []);
    this.#compactedTo = new Array(10).fill(0n);
    this.damaged = false;
    this.#publish();
  }

  #delete(file: ReplicaFile): void {
    this.#levels[file.level] = this.#levels[file.level]!.filter((other) => other !== file);
    this.#publish();
  }

  #publish(): void {
    this.nowMs += TICK_MS;
    this.moments.push({ levels: [...this.#levels], lineage: this.lineage, last: this.last });
  }
}
