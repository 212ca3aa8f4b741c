/**
 * A made-up database whose transactions become L0 files in a memory store, and what that store gives back.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { RestorePlanError } from "../../src/errors.ts";
import { encodeFile, type LtxPage } from "../../src/ltx/encoder.ts";
import { decodeFile, type LtxFile } from "../../src/ltx/file.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { LEVELS } from "../../src/view/listing.ts";
import { makeRestorePlan, type ReplicaFile, replicaFiles } from "../../src/view/restore_plan.ts";
import { lz4 } from "../support/lz4.ts";
import { Random } from "../support/random.ts";
import { MemoryStore } from "./memory_store.ts";

export const PAGE_SIZE = 512;

/** A database: its pages in order. */
export type Pages = readonly Uint8Array[];

/** All LTX files in a store. */
export function filesIn(store: MemoryStore): ReplicaFile[] {
  const objects = store.listed();
  return LEVELS.flatMap((level) => replicaFiles(objects, "s3", level));
}

/** Decodes files, each once. */
export class Decoder {
  readonly #decoded = new Map<string, LtxFile>();

  file(store: MemoryStore, { key, etag }: { key: string; etag: string }): LtxFile {
    const id = `${key} ${etag}`;
    const known = this.#decoded.get(id);
    if (known !== undefined) return known;
    const file = decodeFile(store.objects.get(key)!.bytes, lz4, { key });
    this.#decoded.set(id, file);
    return file;
  }

  /** The database that a restore plan makes, as a reader folds it; null when there is no plan. */
  database(store: MemoryStore, upTo?: bigint): Pages | null {
    let plan: ReplicaFile[];
    try {
      plan = makeRestorePlan(filesIn(store), upTo === undefined ? {} : { upTo });
    } catch (error) {
      if (error instanceof RestorePlanError) return null;
      throw error;
    }
    let pages: Uint8Array[] = [];
    for (const listed of plan) {
      const { header, frames } = this.file(store, listed);
      for (const { pgno, page } of frames) pages[pgno - 1] = page;
      pages = pages.slice(0, header.commit);
      for (let i = 0; i < header.commit; i++) {
        assert.ok(pages[i], `page ${i + 1} of ${header.commit} after "${listed.key}"`);
      }
    }
    return pages;
  }
}

/** A database that changes. */
export class History {
  readonly store: MemoryStore;
  readonly decoder = new Decoder();
  readonly #random: Random;
  readonly #states: Pages[] = [];

  constructor(seed: number, { nowMs }: { nowMs: number }) {
    this.#random = new Random(seed);
    this.store = new MemoryStore(nowMs);
  }

  get txid(): number {
    return this.#states.length;
  }

  at(txid: number): Pages {
    return this.#states[txid - 1]!;
  }

  /** Changes some pages, grows or shrinks, and stores the L0 file. */
  commit(): void {
    const random = this.#random;
    const before = this.#states.at(-1) ?? [];
    const pages = [...before];
    const kind = random.next(10);
    if (kind === 0 && pages.length > 1) pages.length = Math.max(1, pages.length - random.next(8));
    const grown = kind < 4 || pages.length === 0 ? 1 + random.next(6) : 0;
    const changed = new Set<number>();
    for (let i = 0; i < grown; i++) changed.add(pages.push(new Uint8Array(PAGE_SIZE)));
    for (let i = random.next(4); i >= 0; i--) changed.add(1 + random.next(pages.length));
    // Litestream makes a whole copy anew after it lost the WAL.
    if (kind === 9 && random.next(3) === 0) pages.forEach((_, i) => changed.add(i + 1));
    for (const pgno of changed) pages[pgno - 1] = this.#page();
    this.#states.push(pages);
    this.#store(changed);
  }

  #page(): Uint8Array {
    const page = new Uint8Array(PAGE_SIZE);
    for (let i = 0; i < 12; i++) page[this.#random.next(PAGE_SIZE)] = this.#random.next(256);
    return page;
  }

  #store(changed: ReadonlySet<number>): void {
    const txid = BigInt(this.txid);
    const pages = this.at(this.txid);
    const stored: LtxPage[] = [...changed].sort((a, b) => a - b).map((pgno) => ({
      pgno,
      page: pages[pgno - 1]!,
    }));
    const range = { minTxid: txid, maxTxid: txid };
    const fields = { ...range, pageSize: PAGE_SIZE, commit: pages.length, timestampMs: this.store.nowMs };
    const wal = { walOffset: 32, walSize: 1000, walSalt1: 7, walSalt2: 9 };
    // Replicas have files of old and new releases side by side.
    const encoding = this.#random.next(4) === 0 ? "frame" : "block";
    const bytes = encodeFile({ ...fields, ...wal }, stored, { lz4, encoding });
    this.store.set(ltxKey("s3", 0, formatLtxFileName(range)), bytes);
  }

  /** The TXIDs that have a restore plan; each must give its database. */
  reachable(store: MemoryStore = this.store): Set<number> {
    const reachable = new Set<number>();
    for (const txid of new Set(filesIn(store).map(({ maxTxid }) => Number(maxTxid)))) {
      const pages = this.decoder.database(store, BigInt(txid));
      if (pages === null) continue;
      assertSame(pages, this.at(txid), `TXID ${txid}`);
      reachable.add(txid);
    }
    return reachable;
  }

  /** Asserts that the newest state is there and right. */
  assertNewest(store: MemoryStore = this.store): void {
    const pages = this.decoder.database(store);
    assert.ok(pages, `no plan for ${store.keys().join(", ")}`);
    assertSame(pages, this.at(this.txid), `TXID ${this.txid}`);
  }
}

function assertSame(found: Pages, wanted: Pages, what: string): void {
  assert.equal(found.length, wanted.length, `${what}: size in pages`);
  found.forEach((page, i) => {
    if (Buffer.compare(page, wanted[i]!) !== 0) assert.fail(`${what}: page ${i + 1} is another`);
  });
}
