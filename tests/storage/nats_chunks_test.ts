import assert from "node:assert/strict";
import { test } from "node:test";
import { ChunkLayout } from "../../src/storage/nats/chunk_layout.ts";
import { ChunkReader } from "../../src/storage/nats/chunk_reader.ts";
import { boundariesIn, cutsOf } from "../../src/storage/nats/litestream_chunks.ts";
import type { ObjectStream } from "../../src/storage/nats/object_stream.ts";
import { Random } from "../support/random.ts";

const KiB = 1024;
const CHUNK = 128 * KiB;

/** Chunks as a writer cut them; what they hold is of no matter. */
function cut(sizes: readonly number[]): Uint8Array[] {
  return sizes.map((size) => new Uint8Array(size));
}

/** Varints, as a page index has them. */
function varints(...values: number[]): Uint8Array {
  const bytes: number[] = [];
  for (let value of values) {
    for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
    bytes.push(value);
  }
  return Uint8Array.from(bytes);
}

/**
 * A file as Litestream's compaction cuts it, with pages of these sizes, in an order that is not that of their
 * pgnos.
 */
function compacted(pageSizes: readonly number[]): Uint8Array[] {
  const chunks = cut([100]);
  const entries: Uint8Array[] = [];
  let offset = 100;
  for (const [i, size] of pageSizes.entries()) {
    chunks.push(...cut([6, 4, size]));
    entries.unshift(varints(i + 1, offset, size + 10));
    offset += size + 10;
  }
  return [...chunks, new Uint8Array(6), ...entries, ...cut([1, 8, 16])];
}

/** Reads through a layout, and counts. */
function reading(chunks: readonly Uint8Array[]) {
  const offsets = [0];
  for (const { length } of chunks) offsets.push(offsets.at(-1)! + length);
  const size = offsets.at(-1)!;
  const layout = new ChunkLayout({ size, chunks: chunks.length, chunkSizeMax: CHUNK });
  return {
    size,
    /** Runs and bytes that a range took. */
    read(from: number, to: number): { runs: number; bytes: number } {
      let missing = { from, to };
      let [runs, bytes] = [0, 0];
      for (; missing.from < missing.to; runs++) {
        assert.ok(runs < 100, "it comes to an end");
        const run = layout.plan(missing.from, missing.to, runs);
        const stop = run.first + run.count;
        assert.ok(run.count > 0 && run.first >= 0 && stop <= chunks.length);
        const start = layout.learn(run, chunks.slice(run.first, stop));
        bytes += offsets[stop]! - offsets[run.first]!;
        if (start === undefined) {
          assert.ok(run.isTrusting, "only what was taken for granted is found wrong");
          missing = { from, to };
          continue;
        }
        assert.equal(start, offsets[run.first], "the chunks lie where it says");
        const end = offsets[stop]!;
        if (start <= missing.from) missing = { from: Math.max(missing.from, end), to: missing.to };
        else if (end >= missing.to) missing = { from: missing.from, to: Math.min(missing.to, start) };
      }
      return { runs, bytes };
    },
  };
}

test("plan() reads a range's own chunks only where they are cut evenly, once the end is known", () => {
  const { size, read } = reading(cut([...Array(40).fill(CHUNK), 1_000]));
  assert.deepEqual(read(size - 500, size), { runs: 1, bytes: 1_000 });
  assert.deepEqual(read(10 * CHUNK + 5, 10 * CHUNK + 10), { runs: 1, bytes: CHUNK });
  assert.deepEqual(read(20 * CHUNK - 1, 20 * CHUNK + 1), { runs: 1, bytes: 2 * CHUNK });
});

test("plan() finds out once that Litestream's first chunk is its header", () => {
  const { size, read } = reading(cut([100, ...Array(30).fill(CHUNK), 40_000]));
  assert.equal(read(size - 32 * KiB, size).runs, 1);
  assert.equal(read(1_000_000, 1_000_001).runs, 2);
  assert.deepEqual(read(2_000_000, 2_000_001), { runs: 1, bytes: CHUNK });
});

test("plan() finds each page of a compacted file by its page index", () => {
  const random = new Random(7);
  const { size, read } = reading(
    compacted(Array.from({ length: 3_000 }, () => 60 + random.next(4_000))),
  );
  assert.equal(read(size - 32 * KiB, size).runs, 1);
  for (let i = 0; i < 50; i++) {
    const from = random.next(size - 5_000);
    const { runs, bytes } = read(from, from + 4_000);
    assert.ok(runs === 1 && bytes < 20_000, `${runs} runs, ${bytes} bytes`);
  }
});

test("plan() asks for a compacted file's index first where a page in its middle is wanted first", () => {
  const { size, read } = reading(compacted(Array(3_000).fill(2_000)));
  assert.equal(read(size >> 1, (size >> 1) + 100).runs, 2);
});

test("plan() and learn() give the bytes of every range, however an object is cut", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed);
    const sizeMax = [10, 300, 5_000, CHUNK][seed % 4]!;
    const sizes = Array.from(
      { length: 1 + random.next(40) },
      () => 1 + random.next(sizeMax),
    );
    const { size, read } = reading(cut(sizes));
    for (let i = 0; i < 20; i++) {
      const from = random.next(size);
      read(from, from + 1 + random.next(size - from));
    }
  }
});

test("learn() forgets an index that does not tell how the pages are cut", () => {
  const sizes = Array(2_000).fill(2_000);
  const chunks = compacted(sizes);
  // The same bytes, the boundary between two pages' chunks elsewhere.
  const [a, b] = [chunks[3_000]!, chunks[3_001]!];
  const joined = Uint8Array.from([...a, ...b]);
  chunks.splice(3_000, 2, joined.slice(0, a.length - 7), joined.slice(a.length - 7));
  const { size, read } = reading(chunks);
  for (const from of [size - 40_000, 0, 2_000_000, size >> 1, 1_900_000, 2_100_000]) {
    read(from, from + 40_000);
  }
});

test("boundariesIn() takes nothing for an index that is none", () => {
  const chunks = compacted([500, 600, 700]);
  const size = chunks.reduce((sum, { length }) => sum + length, 0);
  const object = { size, chunks: chunks.length };
  assert.deepEqual(cutsOf(object), [{ chunksPerFrame: 3, pages: 3 }, { chunksPerFrame: 2, pages: 4 }]);
  assert.deepEqual(boundariesIn(chunks, object)?.map(({ offset }) => offset), [100, 610, 1_220, 1_930]);
  assert.equal(boundariesIn(chunks, { ...object, size: size + 1 }), undefined);
  assert.equal(boundariesIn(chunks.slice(-3), object), undefined);
  for (let i = chunks.length - 7; i < chunks.length - 3; i++) {
    const other = [...chunks];
    other[i] = Uint8Array.from([0x80]);
    assert.equal(boundariesIn(other, object), undefined, `chunk ${i}`);
  }
});

test("an object's description says how many chunks there are, and takes no memory", async () => {
  for (const chunks of [600_000_005, 2 ** 52 + 3]) {
    const object = {
      key: "ltx/9/0000000000000001-0000000000000001.ltx",
      size: chunks,
      etag: "N",
      modifiedMs: 0,
      sequence: 1,
      chunks,
      chunkSizeMax: CHUNK,
      isRemoved: false,
    };
    const stream = { chunkSubject: (nuid: string) => nuid, messages: () => Promise.resolve([]) };
    const asked = { what: "read", key: object.key, kind: "get" } as const;
    const request = { signal: new AbortController().signal, onProgress: () => {} };
    const reader = new ChunkReader(stream as unknown as ObjectStream);
    const span = { from: object.size - 3_000_000, to: object.size };
    assert.equal(await reader.read(object, span, asked, request), undefined);
  }
});
