/**
 * The files of a replica with a long history: a table of one row that says which transaction wrote it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { encodeFile, type LtxPage } from "../../src/ltx/encoder.ts";
import type { Lz4 } from "../../src/ltx/lz4.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import type { LayoutName } from "../../src/storage/object_store.ts";
import type { FakeS3 } from "./fake_s3.ts";
import { nativeLz4 } from "./native_lz4.ts";
import { SNAPSHOT } from "./replica_folder.ts";
import { openPlain } from "./sqlite.ts";

const PAGE_SIZE = 512;
/** Stands in the row of the database that the others are made of: no other four bytes of it are these. */
const PLACE = 0x01020304;
const START_MS = 1_700_000_000_000;

/** Which files there are. */
export interface HistoryShape {
  /** Level 0 has a file of each of them. */
  readonly transactions: number;
  /** TXIDs of snapshots. */
  readonly snapshots: readonly number[];
  /** How many transactions a file of each further level has. */
  readonly levels?: readonly (readonly [level: number, transactions: number])[];
}

/** One file, and when it was written. */
export interface HistoryFile {
  readonly level: number;
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly createdMs: number;
}

/** What the files of all histories are made of: the database, and where its row's value stands on page 2. */
interface Source {
  readonly pages: readonly [Uint8Array, Uint8Array];
  readonly place: number;
  readonly lz4: Lz4;
}

async function makeSource(): Promise<Source> {
  const folder = mkdtempSync(join(tmpdir(), "long-history-"));
  try {
    const path = join(folder, "source.db");
    const db = await openPlain(path);
    db.exec(
      `PRAGMA page_size = ${PAGE_SIZE}; CREATE TABLE state(n INTEGER); INSERT INTO state VALUES(${PLACE})`,
    );
    db.close();
    const bytes = new Uint8Array(readFileSync(path));
    const pages = [bytes.slice(0, PAGE_SIZE), bytes.slice(PAGE_SIZE)] as const;
    const place = Buffer.from(pages[1]).indexOf(Uint8Array.of(1, 2, 3, 4));
    if (pages[1].length !== PAGE_SIZE || place < 0) throw new Error("the source has another form");
    return { pages, place, lz4: await nativeLz4() };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Makes files of a database `state(n)`, whose only row says the sum of `base` and the TXID. */
export class LongHistory {
  readonly #source: Source;
  readonly #base: number;

  /** `base` tells one replica from others. */
  static async make(base = 0): Promise<LongHistory> {
    return new LongHistory(await makeSource(), base);
  }

  private constructor(source: Source, base: number) {
    this.#source = source;
    this.#base = base;
  }

  /** The same history of another replica. */
  withBase(base: number): LongHistory {
    return new LongHistory(this.#source, base);
  }

  /** What the row says after a transaction. */
  valueAt(txid: number): number {
    return this.#base + txid;
  }

  /** When a transaction was written, in ms since the Unix epoch. */
  timeOf(txid: number): number {
    return START_MS + txid * 1000;
  }

  /** The file of some transactions. */
  file(level: number, minTxid: number, maxTxid: number): HistoryFile {
    const { pages: [page1, page2], place, lz4 } = this.#source;
    new DataView(page2.buffer).setUint32(place, this.valueAt(maxTxid));
    const pages: LtxPage[] = [{ pgno: 2, page: page2 }];
    if (minTxid === 1) pages.unshift({ pgno: 1, page: page1 });
    const txids = { minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) };
    const createdMs = this.timeOf(maxTxid);
    const fields = { pageSize: PAGE_SIZE, commit: 2, ...txids, timestampMs: createdMs };
    return { level, name: formatLtxFileName(txids), bytes: encodeFile(fields, pages, { lz4 }), createdMs };
  }

  /** All files of a shape. */
  *files({ transactions, snapshots, levels = [] }: HistoryShape): Generator<HistoryFile> {
    for (let txid = 1; txid <= transactions; txid++) {
      yield this.file(0, txid, txid);
      for (const [level, size] of levels) {
        if (txid % size === 0) yield this.file(level, txid - size + 1, txid);
      }
    }
    for (const txid of snapshots) yield this.file(SNAPSHOT, 1, txid);
  }
}

/** Key of a file below its replica's path. */
export function historyKey(layout: LayoutName, { level, name }: HistoryFile): string {
  return ltxKey(layout, level, name);
}

/** Puts files into a bucket, below `path`, with the times they were written at. */
export function putHistory(s3: FakeS3, path: string, files: Iterable<HistoryFile>): void {
  for (const file of files) {
    s3.put(`${path}/${historyKey("s3", file)}`, file.bytes, { modifiedMs: file.createdMs });
  }
}

/** The same into a folder. */
export function writeHistory(folder: string, files: Iterable<HistoryFile>): void {
  for (const file of files) {
    const path = join(folder, historyKey("folder", file));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.tmp`, file.bytes);
    utimesSync(`${path}.tmp`, file.createdMs / 1000, file.createdMs / 1000);
    renameSync(`${path}.tmp`, path);
  }
}
