/**
 * Replicas made in a folder out of a real database: each step of SQL becomes a transaction, any range of transactions a
 * file on any level.
 *
 * @module
 */
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { loadNative } from "../../ffi/mod.ts";
import type { NativeCalls } from "../../ffi/native.ts";
import { encodeFile, type LtxPage } from "../../src/ltx/encoder.ts";
import type { FrameEncoding } from "../../src/ltx/frame.ts";
import type { Lz4 } from "../../src/ltx/lz4.ts";
import { formatLtxFileName, lockPgno } from "../../src/ltx/txid.ts";
import { findShim } from "../../src/shim_path.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { lz4 as plainLz4 } from "./lz4.ts";
import { openPlain, type PlainDatabase, type Row, type Value } from "./sqlite.ts";

/** The level of snapshots. */
export const SNAPSHOT = 9;

/** How the replica is written. */
export interface ReplicaFolderOptions {
  /** 4096 unless given. */
  pageSize?: number;
  /** How pages are stored; `"block"` unless given. */
  encoding?: FrameEncoding;
  /** Settings before the first table, such as `PRAGMA auto_vacuum = INCREMENTAL`. */
  setup?: string;
  /** When a transaction was written, in ms since the Unix epoch; a second after the other in November 2023 unless given. */
  timeMs?: (txid: number) => number;
}

/** One file of the replica. */
export interface FileRange {
  readonly level: number;
  readonly minTxid: number;
  readonly maxTxid: number;
}

/** The database after one transaction. */
interface State {
  readonly bytes: Uint8Array;
  /** Pages that differ from the state before. */
  readonly changed: ReadonlySet<number>;
}

/** The shim's compressor, which is fast, with the decoders written for tests. */
function shimLz4(calls: NativeCalls): Lz4 {
  return {
    ...plainLz4,
    compressBlock(src) {
      const out = new Uint8Array(src.length + Math.ceil(src.length / 255) + 16);
      const size = calls.ls_lz4_compress(src as Uint8Array<ArrayBuffer>, src.length, out, out.length);
      return out.slice(0, size);
    },
  };
}

/** A database, and the replica of it in a folder. */
export class ReplicaFolder {
  /** Everything of this replica lies below; deleted by {@link close}. */
  readonly home: string;
  /** The database that is replicated. */
  readonly source: PlainDatabase;
  readonly pageSize: number;
  readonly #encoding: FrameEncoding;
  readonly #timeMs: (txid: number) => number;
  readonly #lz4: Lz4;
  readonly #states: State[] = [];

  /** Makes an empty database and an empty replica. */
  static async make(options: ReplicaFolderOptions = {}): Promise<ReplicaFolder> {
    const native = await loadNative(findShim());
    const home = mkdtempSync(join(tmpdir(), "replica-folder-"));
    const source = await openPlain(join(home, "source.db"));
    return new ReplicaFolder(home, source, shimLz4(native.calls), options);
  }

  private constructor(home: string, source: PlainDatabase, lz4: Lz4, options: ReplicaFolderOptions) {
    this.home = home;
    this.source = source;
    this.pageSize = options.pageSize ?? 4096;
    this.#encoding = options.encoding ?? "block";
    this.#timeMs = options.timeMs ?? ((txid) => 1_700_000_000_000 + txid * 1000);
    this.#lz4 = lz4;
    source.exec(`PRAGMA page_size = ${this.pageSize}`);
    source.all("PRAGMA journal_mode = DELETE");
    source.exec("PRAGMA synchronous = OFF");
    if (options.setup) source.exec(options.setup);
    mkdirSync(this.path);
  }

  /** The replica's folder. */
  get path(): string {
    return join(this.home, "replica");
  }

  /** What `openReplica()` is given. */
  get url(): string {
    return `file://${this.path}`;
  }

  /** The last transaction. */
  get txid(): number {
    return this.#states.length;
  }

  /** Runs SQL, or all that `change` does, as a transaction that is not written yet; returns its TXID. */
  record(change: string | ((source: PlainDatabase) => void)): number {
    if (typeof change === "string") this.source.exec(change);
    else change(this.source);
    const bytes = new Uint8Array(readFileSync(this.source.path));
    // Litestream's databases are in WAL mode; readers must hide that.
    bytes[18] = bytes[19] = 2;
    this.#states.push({ bytes, changed: this.#changedSince(this.#states.at(-1)?.bytes, bytes) });
    return this.txid;
  }

  /** The same, and writes its L0 file. */
  step(change: string | ((source: PlainDatabase) => void)): number {
    const txid = this.record(change);
    this.write(0, txid, txid);
    return txid;
  }

  #changedSince(before: Uint8Array | undefined, after: Uint8Array): Set<number> {
    const changed = new Set<number>();
    for (let offset = 0; offset < after.length; offset += this.pageSize) {
      const page = after.subarray(offset, offset + this.pageSize);
      const old = before?.subarray(offset, offset + this.pageSize);
      if (old === undefined || Buffer.compare(page, old) !== 0) changed.add(offset / this.pageSize + 1);
    }
    return changed;
  }

  /** The whole database after a transaction. */
  bytesAt(txid: number): Uint8Array {
    return this.#states[txid - 1]!.bytes;
  }

  /** Size of the database after a transaction, in pages. */
  commitAt(txid: number): number {
    return this.bytesAt(txid).length / this.pageSize;
  }

  /** The bytes of the LTX file that holds these transactions; `stand` gives what is compressed in a page's place. */
  encode(
    minTxid: number,
    maxTxid: number,
    stand: (page: Uint8Array, pgno: number) => Uint8Array = (page) => page,
  ): Uint8Array<ArrayBuffer> {
    const { bytes } = this.#states[maxTxid - 1]!;
    const commit = this.commitAt(maxTxid);
    const pgnos = new Set<number>();
    if (minTxid === 1) { for (let pgno = 1; pgno <= commit; pgno++) pgnos.add(pgno); }
    for (let txid = minTxid; txid <= maxTxid; txid++) {
      for (const pgno of this.#states[txid - 1]!.changed) if (pgno <= commit) pgnos.add(pgno);
    }
    pgnos.delete(lockPgno(this.pageSize));
    const pages: LtxPage[] = [...pgnos].sort((a, b) => a - b).map((pgno) => ({
      pgno,
      page: bytes.subarray((pgno - 1) * this.pageSize, pgno * this.pageSize),
    }));
    const fields = {
      pageSize: this.pageSize,
      commit,
      minTxid: BigInt(minTxid),
      maxTxid: BigInt(maxTxid),
      timestampMs: this.#timeMs(maxTxid),
    };
    let count = 0;
    const compressBlock = (page: Uint8Array) => this.#lz4.compressBlock(stand(page, pages[count++]!.pgno));
    return encodeFile(fields, pages, { lz4: { ...this.#lz4, compressBlock }, encoding: this.#encoding });
  }

  /** Path of a file of the replica. */
  pathOf(level: number, minTxid: number, maxTxid: number): string {
    const name = formatLtxFileName({ minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) });
    return join(this.path, ltxKey("folder", level, name));
  }

  /** Puts a file into the replica as Litestream does: written beside, then renamed into place. */
  put(path: string, bytes: Uint8Array): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.tmp`, bytes);
    renameSync(`${path}.tmp`, path);
  }

  /** Writes the file that holds these transactions to a level. */
  write(level: number, minTxid: number, maxTxid: number): void {
    this.put(this.pathOf(level, minTxid, maxTxid), this.encode(minTxid, maxTxid));
  }

  /** Writes a snapshot of a transaction; of the last one unless given. */
  snapshot(txid: number = this.txid): void {
    this.write(SNAPSHOT, 1, txid);
  }

  /** Deletes a file. */
  delete(level: number, minTxid: number, maxTxid: number): void {
    rmSync(this.pathOf(level, minTxid, maxTxid));
  }

  /** Deletes all files. */
  clear(): void {
    rmSync(this.path, { recursive: true });
    mkdirSync(this.path);
  }

  /** Changes bytes of a file in place of the old file; `damage` gets a copy and may return another array. */
  damage(range: FileRange, damage: (bytes: Uint8Array) => Uint8Array | void): void {
    const path = this.pathOf(range.level, range.minTxid, range.maxTxid);
    const bytes = new Uint8Array(readFileSync(path));
    this.put(path, damage(bytes) ?? bytes);
  }

  /** Bytes of a file of the replica. */
  sizeOf(level: number, minTxid: number, maxTxid: number): number {
    return statSync(this.pathOf(level, minTxid, maxTxid)).size;
  }

  /** Puts another replica into this one's place, as when a database is made anew under the same path. */
  replaceBy(other: ReplicaFolder): void {
    const old = `${this.path}.old`;
    renameSync(this.path, old);
    renameSync(other.path, this.path);
    rmSync(old, { recursive: true });
    mkdirSync(other.path);
  }

  /** Rows of the source. */
  rows(sql: string, ...parameters: Value[]): Row[] {
    return this.source.all(sql, ...parameters);
  }

  /** Deletes database and replica. */
  close(): void {
    this.source.close();
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Makes a replica, gives it to `use`, and deletes it in any case. */
export async function withReplicaFolder(
  options: ReplicaFolderOptions,
  use: (folder: ReplicaFolder) => Promise<void> | void,
): Promise<void> {
  const folder = await ReplicaFolder.make(options);
  try {
    await use(folder);
  } finally {
    folder.close();
  }
}
