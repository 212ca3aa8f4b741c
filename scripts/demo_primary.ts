/**
 * The demo's primary: a database of sandwich ratings, and its replica as Litestream would write it.
 *
 * @module
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { loadNative } from "../ffi/mod.ts";
import { encodeFile, type LtxPage } from "../src/ltx/encoder.ts";
import type { Lz4 } from "../src/ltx/lz4.ts";
import { formatLtxFileName } from "../src/ltx/txid.ts";
import { findShim } from "../src/shim_path.ts";
import { ltxKey } from "../src/storage/layout.ts";

const PAGE_SIZE = 4096;

/** The level of snapshots. */
export const SNAPSHOT_LEVEL = 9;

/** The database after a transaction, and the pages it changed. */
interface State {
  readonly bytes: Uint8Array;
  readonly changed: number[];
  readonly timeMs: number;
}

const pageOf = (bytes: Uint8Array, pgno: number) => bytes.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE);

/** The shim's compressor; nothing is decompressed here. */
async function compressor(): Promise<Lz4> {
  const { calls } = await loadNative(findShim());
  return {
    compressBlock(src) {
      const out = new Uint8Array(src.length + Math.ceil(src.length / 255) + 16);
      return out.slice(0, calls.ls_lz4_compress(new Uint8Array(src), src.length, out, out.length));
    },
    decompressBlock: () => null,
    decompressFrame: () => null,
  };
}

/** A database in a folder, `source.db`, with its replica beside it. */
export class Primary {
  readonly #folder: string;
  readonly #db: DatabaseSync;
  readonly #lz4: Lz4;
  readonly #states: State[] = [];
  readonly #before: number;

  /** Opens the database; `txid` is the last transaction that the replica has. */
  static async open(folder: string, txid: number): Promise<Primary> {
    return new Primary(folder, txid, await compressor());
  }

  private constructor(folder: string, txid: number, lz4: Lz4) {
    this.#folder = folder;
    this.#lz4 = lz4;
    this.#before = txid;
    mkdirSync(folder, { recursive: true });
    this.#db = new DatabaseSync(join(folder, "source.db"));
    this.#db.exec(`PRAGMA page_size = ${PAGE_SIZE}; PRAGMA synchronous = OFF`);
    if (txid > 0) this.#states.push({ bytes: this.#read(), changed: [], timeMs: 0 });
  }

  #read(): Uint8Array {
    const bytes = new Uint8Array(readFileSync(join(this.#folder, "source.db")));
    return bytes.fill(2, 18, 20); // Litestream's databases are in WAL mode
  }

  /** Runs SQL as one transaction; returns its TXID. */
  perform(sql: string, timeMs: number): number {
    this.#db.exec(`BEGIN; ${sql}; COMMIT`);
    const bytes = this.#read();
    const old = this.#states.at(-1);
    const pgnos = Array.from({ length: bytes.length / PAGE_SIZE }, (_, i) => i + 1);
    const isChanged = (pgno: number) =>
      old === undefined || Buffer.compare(pageOf(bytes, pgno), pageOf(old.bytes, pgno)) !== 0;
    this.#states.push({ bytes, changed: pgnos.filter(isChanged), timeMs });
    return this.txid;
  }

  /** The last transaction. */
  get txid(): number {
    return this.#before + this.#states.length - (this.#before > 0 ? 1 : 0);
  }

  #state(txid: number): State {
    return this.#states[txid - this.#before - (this.#before > 0 ? 0 : 1)]!;
  }

  /** Writes the file that holds these transactions to a level, beside and then into place; returns its key and size. */
  write(level: number, minTxid: number, maxTxid: number): { key: string; size: number } {
    const { bytes, timeMs } = this.#state(maxTxid);
    const pgnos = new Set<number>();
    for (let txid = minTxid; txid <= maxTxid; txid++) {
      for (const pgno of this.#state(txid).changed) pgnos.add(pgno);
    }
    const pages: LtxPage[] = [...pgnos].sort((a, b) => a - b)
      .map((pgno) => ({ pgno, page: pageOf(bytes, pgno) }));
    const range = { minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) };
    const fields = { pageSize: PAGE_SIZE, commit: bytes.length / PAGE_SIZE, timestampMs: timeMs, ...range };
    const encoded = encodeFile(fields, pages, { lz4: this.#lz4 });
    const key = ltxKey("folder", level, formatLtxFileName(range));
    const path = join(this.#folder, "replica", key);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.tmp`, encoded);
    renameSync(`${path}.tmp`, path);
    return { key, size: encoded.length };
  }

  /** Size of the database in bytes. */
  get size(): number {
    return this.#states.at(-1)!.bytes.length;
  }

  /** Closes the database. */
  close(): void {
    this.#db.close();
  }
}
