import assert from "node:assert/strict";
import { test } from "node:test";
import { maxFrameSize } from "../../src/ltx/frame.ts";
import {
  decodePageIndex,
  encodePageIndex,
  MIN_FILE_SIZE,
  type PageIndex,
  type PageIndexContext,
} from "../../src/ltx/page_index.ts";
import { lockPgno, PAGE_SIZES } from "../../src/ltx/txid.ts";
import { assertFault, contiguousIndex, snapshotPgnos, tailOf } from "../support/ltx_files.ts";
import { EXAMPLE_A, EXAMPLE_B, EXAMPLE_C } from "../vectors/ltx_examples.ts";

/** Example B: pages 1 and 2 of a file that is no snapshot. */
const CONTEXT: PageIndexContext = { fileSize: EXAMPLE_B.length, commit: 2, pageSize: 512, minTxid: 2n };

function decodeWhole(tail: Uint8Array, context: PageIndexContext): PageIndex {
  const index = decodePageIndex(tail, context);
  assert.ok("pgnos" in index);
  return index;
}

/** Decodes made-up index bytes (without their size field) as those of a file whose frames take `frameBytes`. */
function decodeRaw(entries: number[], frameBytes: number, context: Partial<PageIndexContext> = {}): unknown {
  const tail = new Uint8Array(entries.length + 24);
  tail.set(entries);
  new DataView(tail.buffer).setBigUint64(entries.length, BigInt(entries.length));
  return decodePageIndex(tail, {
    fileSize: 100 + frameBytes + 6 + tail.length,
    commit: 100,
    pageSize: 512,
    minTxid: 2n,
    ...context,
  });
}

/** Example B with other numbers in its index's size field. */
function withIndexSize(size: bigint): Uint8Array {
  const bytes = EXAMPLE_B.slice();
  new DataView(bytes.buffer).setBigUint64(bytes.length - 24, size);
  return bytes;
}

test("decodePageIndex() reads the worked examples", () => {
  assert.deepEqual(decodeWhole(EXAMPLE_B, CONTEXT), {
    pgnos: Uint32Array.of(1, 2),
    offsets: Float64Array.of(100, 227),
    sizes: Uint32Array.of(127, 49),
    indexOffset: 282,
  });
  const snapshot = { commit: 1, pageSize: 512, minTxid: 1n };
  const a = decodeWhole(EXAMPLE_A, { ...snapshot, fileSize: EXAMPLE_A.length });
  assert.deepEqual([a.pgnos[0], a.offsets[0], a.sizes[0], a.indexOffset], [1, 100, 77, 183]);
  const c = decodeWhole(EXAMPLE_C, { ...snapshot, fileSize: EXAMPLE_C.length });
  assert.deepEqual([c.pgnos[0], c.offsets[0], c.sizes[0], c.indexOffset], [1, 100, 91, 197]);
});

test("encodePageIndex() writes the worked examples' indexes", () => {
  assert.deepEqual(encodePageIndex(decodeWhole(EXAMPLE_B, CONTEXT)), EXAMPLE_B.slice(282, -16));
});

test("decodePageIndex() answers every tail with the index or the bytes it needs", () => {
  const needBytes = 8 + 24;
  for (let size = 0; size <= EXAMPLE_B.length; size++) {
    const answer = decodePageIndex(EXAMPLE_B.subarray(EXAMPLE_B.length - size), CONTEXT);
    if (size < 24) assert.deepEqual(answer, { needBytes: 24 });
    else if (size < needBytes) assert.deepEqual(answer, { needBytes });
    else assert.deepEqual(answer, decodeWhole(EXAMPLE_B, CONTEXT));
  }
});

test("decodePageIndex() and encodePageIndex() give back an index of a file without pages", () => {
  const empty = contiguousIndex([], 0);
  assert.deepEqual(encodePageIndex(empty), Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 1));
  const context = { fileSize: MIN_FILE_SIZE, commit: 5, pageSize: 4096, minTxid: 2n };
  assert.deepEqual(decodeWhole(tailOf(empty), context), empty);
});

test("decodePageIndex() and encodePageIndex() give back large numbers", () => {
  const pgnos = [1, 127, 128, 16383, 16384, 2 ** 21, 2 ** 28, 2 ** 32 - 1];
  const sizes = pgnos.map((_, i) => i % 2 === 0 ? 11 : maxFrameSize(65536));
  let end = 100;
  const offsets = sizes.map((size) => (end += size) - size);
  const index = { pgnos, offsets, sizes };
  const tail = tailOf(index);
  const context = { fileSize: end + 6 + tail.length, commit: 2 ** 32 - 1, pageSize: 65536, minTxid: 2n };
  const decoded = decodeWhole(tail, context);
  assert.deepEqual([[...decoded.pgnos], [...decoded.offsets], [...decoded.sizes]], [pgnos, offsets, sizes]);
});

test("decodePageIndex() accepts a complete snapshot on either side of the lock page, for all page sizes", () => {
  for (const pageSize of PAGE_SIZES) {
    for (const commit of [lockPgno(pageSize) - 1, lockPgno(pageSize), lockPgno(pageSize) + 1]) {
      if (pageSize < 4096 && commit !== lockPgno(pageSize) + 1) continue; // millions of entries: once is enough
      const index = contiguousIndex(snapshotPgnos(commit, pageSize), 50);
      const tail = tailOf(index);
      const decoded = decodeWhole(tail, {
        fileSize: index.indexOffset + tail.length,
        commit,
        pageSize,
        minTxid: 1n,
      });
      assert.equal(decoded.pgnos.length, commit < lockPgno(pageSize) ? commit : commit - 1);
      assert.equal(decoded.pgnos.at(-1), commit === lockPgno(pageSize) ? commit - 1 : commit);
      assert.equal(decoded.offsets.at(-1), 100 + (decoded.pgnos.length - 1) * 50);
    }
  }
});

test("decodePageIndex() rejects the lock page and accepts its neighbours, for all page sizes", () => {
  for (const pageSize of PAGE_SIZES) {
    const lock = lockPgno(pageSize);
    const decode = (pgnos: number[]): unknown => {
      const index = contiguousIndex(pgnos, 50);
      const tail = tailOf(index);
      const fileSize = index.indexOffset + tail.length;
      return decodePageIndex(tail, { fileSize, commit: lock + 1, pageSize, minTxid: 2n });
    };
    assert.deepEqual(decode([lock - 1, lock + 1]), contiguousIndex([lock - 1, lock + 1], 50));
    assertFault(
      () => decode([lock - 1, lock]),
      new RegExp(`page is ${lock}, expected any but the lock page`),
    );
  }
});

test("decodePageIndex() rejects a file size below that of a file without pages", () => {
  for (const fileSize of [0, 24, 130, -1, 1.5, NaN, Infinity]) {
    assertFault(
      () => decodePageIndex(new Uint8Array(0), { ...CONTEXT, fileSize }),
      /: file has .*, expected 131 or more/,
    );
  }
});

test("decodePageIndex() rejects a tail longer than the file", () => {
  assertFault(
    () => decodePageIndex(new Uint8Array(315), CONTEXT),
    /tail has 315 bytes, expected at most 314/,
  );
});

test("decodePageIndex() rejects a size field past the file's start", () => {
  for (const size of [185n, 314n, 2n ** 32n, 2n ** 53n, 2n ** 64n - 1n]) {
    const fault = assertFault(
      () => decodePageIndex(withIndexSize(size), { ...CONTEXT, commit: 1000, key: "x.ltx" }),
      new RegExp(`page index of "x\\.ltx": index size is ${size}, expected 1 to 184`),
    );
    assert.equal(fault.offset, 290);
  }
});

test("decodePageIndex() rejects a size field of zero", () => {
  assertFault(() => decodePageIndex(withIndexSize(0n), CONTEXT), /index size is 0, expected 1 to 33/);
});

test("decodePageIndex() rejects a size field larger than the database's pages need, before it asks for more", () => {
  const tail = withIndexSize(34n).subarray(-24);
  assertFault(() => decodePageIndex(tail, CONTEXT), /index size is 34, expected 1 to 33/);
  assert.deepEqual(decodePageIndex(withIndexSize(33n).subarray(-24), CONTEXT), { needBytes: 57 });
});

test("decodePageIndex() rejects a size field that is one off", () => {
  assertFault(() => decodePageIndex(withIndexSize(7n), CONTEXT), /Cannot decode page index/);
  assertFault(() => decodePageIndex(withIndexSize(9n), CONTEXT), /Cannot decode page index/);
});

test("decodePageIndex() rejects varints that are cut off", () => {
  for (const entries of [[0x80], [1], [1, 100], [1, 0xe4], [1, 100, 0x80], [1, 100, 20]]) {
    assertFault(() => decodeRaw(entries, 20), /(pgno|offset|size) is cut off, expected a whole varint/);
  }
});

test("decodePageIndex() rejects varints past 2^53 - 1", () => {
  const ones = new Array(7).fill(0xff);
  assertFault(() => decodeRaw([1, ...ones, 0x0f, 20, 0], 20), /is at 9007199254740991, expected 100/);
  assertFault(
    () => decodeRaw([1, ...ones, 0x10, 20, 0], 20),
    /offset is 9\d{15}, expected at most 2\^53 - 1/,
  );
  assertFault(() => decodeRaw([...ones, 0xff, 0x01, 0], 20), /pgno is \d+, expected at most 2\^53 - 1/);
  assertFault(() => decodeRaw(new Array(40).fill(0x80), 20), /pgno goes on, expected at most 8 bytes/);
});

test("decodePageIndex() rejects varints longer than they need be", () => {
  assertFault(
    () => decodeRaw([0x81, 0x00, 100, 20, 0], 20),
    /pgno ends in a zero byte, expected its shortest form/,
  );
  assertFault(() => decodeRaw([1, 100, 20, 0x80, 0x00], 20), /pgno ends in a zero byte/);
});

test("decodePageIndex() rejects an index without end marker", () => {
  assertFault(() => decodeRaw([1, 100, 20], 20), /pgno is cut off/);
});

test("decodePageIndex() rejects bytes after the end marker", () => {
  const fault = assertFault(() => decodeRaw([1, 100, 20, 0, 0], 20), /bytes follow the end marker/);
  assert.equal(fault.offset, 100 + 20 + 6 + 4);
  assertFault(() => decodeRaw([0, 1, 100, 20], 0), /bytes follow the end marker/);
});

test("decodePageIndex() rejects a page twice and pages that descend", () => {
  assertFault(() => decodeRaw([2, 100, 20, 2, 120, 20, 0], 40), /page 2 follows page 2, expected ascending/);
  assertFault(() => decodeRaw([2, 100, 20, 1, 120, 20, 0], 40), /page 1 follows page 2, expected ascending/);
});

test("decodePageIndex() rejects a page past commit", () => {
  assertFault(() => decodeRaw([3, 100, 20, 0], 20, { commit: 2 }), /page is 3, expected at most commit 2/);
  const pgno = [0x80, 0x80, 0x80, 0x80, 0x10]; // 2^32
  assertFault(() => decodeRaw([...pgno, 100, 20, 0], 20, { commit: 2 ** 32 - 1 }), /page is 4294967296/);
});

test("decodePageIndex() rejects an offset inside the header", () => {
  assertFault(() => decodeRaw([1, 99, 21, 0], 20), /frame of page 1 is at 99, expected 100/);
  assertFault(() => decodeRaw([1, 0, 120, 0], 20), /frame of page 1 is at 0, expected 100/);
});

test("decodePageIndex() rejects a hole before the first frame, a hole and an overlap between frames", () => {
  assertFault(() => decodeRaw([1, 101, 19, 0], 20), /frame of page 1 is at 101, expected 100/);
  assertFault(() => decodeRaw([1, 100, 20, 2, 121, 20, 0], 41), /frame of page 2 is at 121, expected 120/);
  assertFault(() => decodeRaw([1, 100, 20, 2, 119, 20, 0], 39), /frame of page 2 is at 119, expected 120/);
});

test("decodePageIndex() rejects frames that end before or after the terminator", () => {
  assertFault(() => decodeRaw([1, 100, 20, 0], 21), /frames end at 120, expected 121/);
  assertFault(() => decodeRaw([1, 100, 20, 0], 19), /frames end at 120, expected 119/);
  assertFault(() => decodeRaw([0], 1), /frames end at 100, expected 101/);
});

test("decodePageIndex() rejects frames that are too small or too large for a page", () => {
  const largest = maxFrameSize(512);
  const varint = [largest & 0x7f | 0x80, largest >> 7];
  assert.ok(decodeRaw([1, 100, ...varint, 0], largest));
  assert.ok(decodeRaw([1, 100, 11, 0], 11));
  const larger = [(largest + 1) & 0x7f | 0x80, (largest + 1) >> 7];
  assertFault(
    () => decodeRaw([1, 100, ...larger, 0], largest + 1),
    /frame of page 1 has 541 bytes, expected 11 to 540/,
  );
  assertFault(() => decodeRaw([1, 100, 10, 0], 10), /frame of page 1 has 10 bytes, expected 11 to 540/);
  assertFault(() => decodeRaw([1, 100, 0, 0], 0), /frame of page 1 has 0 bytes/);
});

test("decodePageIndex() names the place of a fault: the entry, the byte, or the index", () => {
  const cases: [
    entries: number[],
    framesSize: number,
    at: number,
    fields?: { commit?: number; minTxid?: bigint },
  ][] = [
    [[2, 100, 20, 2, 120, 20, 0], 40, 3],
    [[1, 100, 20, 3, 120, 20, 0], 40, 3, { commit: 2 }],
    [[1, 100, 20, 2, 121, 20, 0], 41, 3],
    [[1, 100, 20, 2, 120, 10, 0], 30, 3],
    [[1, 100, 20, 0], 21, 0],
    [[1, 100, 20, 0], 20, 0, { commit: 3, minTxid: 1n }],
    [[0x80], 20, 0],
    [[1, 100, 20, 0x81, 0x00, 0], 20, 4],
    [[1, 100, 0xe4], 20, 2],
    [[1, ...new Array<number>(7).fill(0xff), 0x10, 20, 0], 20, 8],
    [[1, ...new Array<number>(12).fill(0x80)], 20, 8],
  ];
  for (const [entries, framesSize, at, fields] of cases) {
    const fault = assertFault(
      () => decodeRaw(entries, framesSize, fields ?? {}),
      /^Cannot decode page index: /,
    );
    assert.equal(fault.offset, 100 + framesSize + 6 + at, fault.message);
  }
});

test("decodePageIndex() rejects a snapshot that lacks its first, a middle or its last page", () => {
  const decode = (pgnos: number[], minTxid: bigint): unknown => {
    const entries = pgnos.flatMap((pgno, i) => [pgno, 100 + 11 * i, 11]);
    return decodeRaw([...entries, 0], 11 * pgnos.length, { commit: 3, minTxid });
  };
  for (const pgnos of [[2, 3], [1, 3], [1, 2], []]) {
    assertFault(
      () => decode(pgnos, 1n),
      new RegExp(`snapshot of 3 pages \\(TXIDs from 0{15}1\\) holds ${pgnos.length}, expected 3$`),
    );
    assert.ok(decode(pgnos, 2n));
  }
});

test("decodePageIndex() rejects a snapshot that lacks the page behind the lock page", () => {
  const pageSize = 65536;
  const lock = lockPgno(pageSize);
  const index = contiguousIndex(snapshotPgnos(lock - 1, pageSize), 50);
  const tail = tailOf(index);
  const context = { fileSize: index.indexOffset + tail.length, commit: lock + 1, pageSize, minTxid: 1n };
  assertFault(() => decodePageIndex(tail, context), /holds 16384, expected 16385/);
});
