import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { LtxSource } from "../../src/compact/ltx_source.ts";
import { lz4FrameSize } from "../../src/compact/lz4_frame_size.ts";
import { mergeFiles, type MergeOptions } from "../../src/compact/ltx_merge.ts";
import type { WrittenFile } from "../../src/ltx/ltx_writer.ts";
import { LtxFormatError } from "../../src/errors.ts";
import { encodeFile, type LtxPage } from "../../src/ltx/encoder.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import type { FrameEncoding } from "../../src/ltx/frame.ts";
import type { LtxHeaderFields } from "../../src/ltx/header.ts";
import { formatLtxFileName, lockPgno } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { samplePage } from "../support/ltx_files.ts";
import { encodeLz4Frame, lz4 } from "../support/lz4.ts";
import { EXAMPLE_A, EXAMPLE_B, EXAMPLE_C } from "../vectors/ltx_examples.ts";
import { filesIn } from "./history.ts";
import { MemoryStore } from "./memory_store.ts";

interface Sample {
  min: number;
  max?: number;
  commit: number;
  pgnos: number[];
  pageSize?: number;
  encoding?: FrameEncoding;
}

/** Page `pgno` as transaction `txid` left it. */
function pageAt(txid: number, pgno: number, pageSize = 512): Uint8Array {
  return samplePage(pageSize, pgno + txid * 1000);
}

function put(
  store: MemoryStore,
  bytes: Uint8Array,
  { min, max = min }: { min: number; max?: number },
): ReplicaFile {
  const range = { minTxid: BigInt(min), maxTxid: BigInt(max) };
  return { ...store.set(ltxKey("s3", 0, formatLtxFileName(range)), bytes), level: 0, ...range };
}

function putSample(store: MemoryStore, sample: Sample): ReplicaFile {
  const { min, max = min, commit, pgnos, pageSize = 512, encoding = "block" } = sample;
  const pages: LtxPage[] = pgnos.map((pgno) => ({ pgno, page: pageAt(max, pgno, pageSize) }));
  const fields: LtxHeaderFields = {
    pageSize,
    commit,
    minTxid: BigInt(min),
    maxTxid: BigInt(max),
    timestampMs: 1000 * max,
    walOffset: 32,
    walSalt1: 5,
  };
  return put(store, encodeFile(fields, pages, { lz4, encoding }), sample);
}

async function mergeAll(
  files: ReplicaFile[],
  options: MergeOptions,
): Promise<{ bytes: Uint8Array; merged: WrittenFile; chunks: number[] }> {
  const merge = mergeFiles(files, options);
  const chunks: Uint8Array[] = [];
  for (;;) {
    const { done, value } = await merge.next();
    if (done) {
      return {
        bytes: Buffer.concat(chunks),
        merged: value,
        chunks: chunks.map((chunk) => chunk.length),
      };
    }
    chunks.push(value);
  }
}

test("mergeFiles() keeps each page's newest version and drops those past the last commit", async () => {
  const store = new MemoryStore(0);
  const files = [
    putSample(store, { min: 4, commit: 9, pgnos: [1, 2, 8, 9] }),
    putSample(store, { min: 5, max: 7, commit: 12, pgnos: [2, 5, 12], encoding: "frame" }),
    putSample(store, { min: 7, max: 8, commit: 8, pgnos: [5] }),
  ];
  const { bytes, merged } = await mergeAll(files, { store, lz4 });
  const { header, frames, trailer } = decodeFile(bytes, lz4);
  assert.deepEqual(header, {
    flags: 2,
    pageSize: 512,
    commit: 8,
    minTxid: 4n,
    maxTxid: 8n,
    timestampMs: 8000,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  });
  const expected = [[1, 4], [2, 7], [5, 8], [8, 4]] as const;
  assert.deepEqual(
    frames.map(({ pgno, page, encoding }) => ({ pgno, page, encoding })),
    expected.map(([pgno, txid]) => ({ pgno, page: pageAt(txid, pgno), encoding: "block" })),
  );
  const { fileChecksum } = trailer;
  assert.deepEqual(merged, { header, size: bytes.length, pageCount: 4, fileChecksum });
});

test("mergeFiles() gives the encoder's bytes, whatever its chunks and pieces", async () => {
  for (const pageSize of [512, 4096, 65536]) {
    const store = new MemoryStore(0);
    const pgnos = Array.from({ length: 40 }, (_, i) => i + 1);
    const files = [
      putSample(store, { min: 1, commit: 40, pgnos, pageSize }),
      putSample(store, {
        min: 2,
        commit: 40,
        pgnos: pgnos.filter((pgno) => pgno % 3 === 0),
        pageSize,
        encoding: "frame",
      }),
    ];
    const pages = pgnos.map((pgno) => ({ pgno, page: pageAt(pgno % 3 === 0 ? 2 : 1, pgno, pageSize) }));
    const fields = { pageSize, commit: 40, minTxid: 1n, maxTxid: 2n, timestampMs: 77 };
    const whole = encodeFile(fields, pages, { lz4 });
    for (const [piecesSize, chunkSize] of [[1, 1], [100_000, 3000], [undefined, undefined]]) {
      const options = { store, lz4, timestampMs: 77, ...(piecesSize && { piecesSize, chunkSize }) };
      const { bytes } = await mergeAll(files, options);
      assert.ok(Buffer.compare(bytes, whole) === 0, `${pageSize} ${piecesSize}`);
    }
  }
});

test("mergeFiles() holds pieces of its sources and of its output only", async () => {
  const store = new MemoryStore(0);
  const pgnos = Array.from({ length: 4000 }, (_, i) => i + 1);
  const files = [1, 2, 3, 4].map((min) => putSample(store, { min, commit: 4000, pgnos }));
  store.reads.bytes = 0;
  const { chunks } = await mergeAll(files, { store, lz4, piecesSize: 200_000, chunkSize: 20_000 });
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  assert.equal(store.reads.sizeMax, 25_000);
  assert.equal(store.reads.bytes, bytes, "each byte once");
  assert.ok(Math.max(...chunks) < 20_000 + 45_000, `${Math.max(...chunks)}`);
  assert.ok(chunks.length > 20);
});

test("mergeFiles() merges upstream's own files", async () => {
  const store = new MemoryStore(0);
  for (const first of [EXAMPLE_A, EXAMPLE_C]) {
    const files = [put(store, first, { min: 1 }), put(store, EXAMPLE_B, { min: 2 })];
    const { header, frames } = decodeFile((await mergeAll(files, { store, lz4 })).bytes, lz4);
    assert.deepEqual([header.minTxid, header.maxTxid, header.commit], [1n, 2n, 2]);
    assert.deepEqual(
      frames.map(({ page }) => page),
      decodeFile(EXAMPLE_B, lz4).frames.map(({ page }) => page),
    );
  }
});

test("mergeFiles() rejects files that do not follow one another", async () => {
  const store = new MemoryStore(0);
  const two = putSample(store, { min: 2, commit: 1, pgnos: [1] });
  const four = putSample(store, { min: 4, commit: 1, pgnos: [1] });
  for (const files of [[], [two, four], [four, two], [two, two]]) {
    await assert.rejects(mergeAll(files, { store, lz4 }), RangeError);
  }
});

test("mergeFiles() rejects what no file may hold together", async () => {
  const store = new MemoryStore(0);
  const rejects = async (files: ReplicaFile[], message: RegExp) => {
    await assert.rejects(mergeAll(files, { store, lz4 }), (error) => {
      assert.ok(error instanceof LtxFormatError, `${error}`);
      assert.match(error.message, /^Cannot [a-z][^:]*: .+, expected .*[^.]$/);
      assert.match(error.message, message);
      return true;
    });
  };
  const base = putSample(store, { min: 1, commit: 3, pgnos: [1, 2, 3] });
  const other = putSample(store, { min: 2, commit: 1, pgnos: [1], pageSize: 1024 });
  await rejects([base, other], /page size is 1024, expected 512/);
  await rejects([base, putSample(store, { min: 2, commit: 6, pgnos: [6] })], /page 4 is in no file/);
  await rejects([base, putSample(store, { min: 2, commit: 5, pgnos: [4] })], /page 5 is in no file/);
});

/** A file 3-3 of pages 2 and 4, its bytes changed. */
function damaged(change: (bytes: Uint8Array) => Uint8Array | void): Uint8Array {
  const pages = [2, 4].map((pgno) => ({ pgno, page: pageAt(3, pgno) }));
  const fields = { pageSize: 512, commit: 9, minTxid: 3n, maxTxid: 3n, timestampMs: 0 };
  const bytes = encodeFile(fields, pages, { lz4 });
  return change(bytes) ?? bytes;
}

test("mergeFiles() rejects a source with any byte flipped or any length cut", async () => {
  const good = damaged(() => {});
  let rejected = 0;
  const judge = async (bytes: Uint8Array, what: string) => {
    const store = new MemoryStore(0);
    const file = put(store, bytes, { min: 3 });
    try {
      const { bytes: merged } = await mergeAll([file], { store, lz4 });
      // an LZ4 block may be changed without a change of its page
      assert.deepEqual(decodeFile(merged, lz4).frames, decodeFile(good, lz4).frames, what);
    } catch (error) {
      assert.ok(error instanceof LtxFormatError, `${what}: ${error}`);
      rejected++;
    }
  };
  for (let at = 0; at < good.length; at++) {
    await judge(damaged((bytes) => void (bytes[at]! ^= 1 << (at % 8))), `byte ${at}`);
    await judge(good.slice(0, at), `length ${at}`);
  }
  assert.ok(rejected > good.length * 1.9, `${rejected} of ${good.length * 2}`);
});

test("mergeFiles() rejects a source whose pages are out of order or past commit", async () => {
  const swapped = damaged((bytes) => void (bytes[103] = 5));
  const beyond = damaged((bytes) => void (bytes[103] = 10));
  const named = damaged((bytes) => void (bytes[23] = 2));
  const store = new MemoryStore(0);
  const merge = (bytes: Uint8Array) => mergeAll([put(store, bytes, { min: 3 })], { store, lz4 });
  await assert.rejects(merge(swapped), /page 4 follows page 5, expected ascending/);
  await assert.rejects(merge(beyond), /page is 10, expected at most commit 9/);
  await assert.rejects(merge(named), /TXIDs are 2 to 3, expected 3 to 3/);
});

test("lz4FrameSize() tells the size of frames of any shape", () => {
  const content = pageAt(1, 1);
  for (let shape = 0; shape < 16; shape++) {
    const frame = encodeLz4Frame(content, {
      blockSize: shape & 1 ? 100 : 512,
      hasBlockChecksum: (shape & 2) !== 0,
      hasContentSize: (shape & 4) !== 0,
      hasContentChecksum: (shape & 8) !== 0,
    });
    let have = 7;
    for (let needed = lz4FrameSize(frame.subarray(0, have)); needed > have; have = needed) {
      needed = lz4FrameSize(frame.subarray(0, needed));
      if (needed <= have) break;
    }
    assert.equal(lz4FrameSize(frame), frame.length, `shape ${shape}`);
    assert.ok(have <= frame.length);
  }
});

/** Bytes of a page of 64 KiB are zeros, and LZ4 is a word: so that 1 GiB of database is at hand. */
const zeros = new Uint8Array(65536);
const sparse = {
  compressBlock: () => new Uint8Array([0x1f]),
  decompressBlock: () => zeros,
  decompressFrame: () => null,
};

test("mergeFiles() makes a snapshot across the lock page, which no file has", async () => {
  const pageSize = 65536;
  const lock = lockPgno(pageSize);
  const store = new MemoryStore(0);
  const commit = lock + 1;
  function* pages(): Generator<LtxPage> {
    for (let pgno = 1; pgno <= commit; pgno++) if (pgno !== lock) yield { pgno, page: zeros };
  }
  const fields = { pageSize, commit, minTxid: 1n, maxTxid: 1n, timestampMs: 5 };
  const first = put(store, encodeFile(fields, pages(), { lz4: sparse }), { min: 1 });
  const { bytes, merged } = await mergeAll([first], { store, lz4: sparse });
  assert.equal(merged.pageCount, commit - 1);
  assert.ok(Buffer.compare(bytes, store.objects.get(first.key)!.bytes) === 0);
});

test("LtxSource rejects the lock page", async () => {
  const pageSize = 512;
  const lock = lockPgno(pageSize);
  const store = new MemoryStore(0);
  const fields = { pageSize, commit: lock + 5, minTxid: 2n, maxTxid: 2n, timestampMs: 5 };
  const pages = [lock - 1, lock + 1, lock + 2].map((pgno) => ({ pgno, page: zeros.subarray(0, 512) }));
  const bytes = encodeFile(fields, pages, { lz4 });
  const good = put(store, bytes, { min: 2 });
  assert.equal((await mergeAll([good], { store, lz4 })).merged.pageCount, 3);
  const view = new DataView(bytes.buffer);
  const second = 100 + 10 + view.getUint32(106);
  view.setUint32(second, lock);
  const bad = put(store, bytes, { min: 2 });
  const source = await LtxSource.open(bad, { store, lz4, pieceSize: 100 });
  await assert.rejects(source.take(), /page is 2097153, expected any but the lock page/);
  assert.equal(filesIn(store).length, 1);
});
