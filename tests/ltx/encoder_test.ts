import assert from "node:assert/strict";
import { test } from "node:test";
import { CHECKSUM_FLAG, pageChecksum, rollChecksum } from "../../src/ltx/checksum.ts";
import { encodeFile, type LtxPage } from "../../src/ltx/encoder.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import type { FrameEncoding } from "../../src/ltx/frame.ts";
import { completeHeader, type LtxHeaderFields } from "../../src/ltx/header.ts";
import type { Lz4 } from "../../src/ltx/lz4.ts";
import { lockPgno, PAGE_SIZES } from "../../src/ltx/txid.ts";
import { assertFault, samplePages, snapshotFields } from "../support/ltx_files.ts";
import { lz4 } from "../support/lz4.ts";
import { EXAMPLE_A, EXAMPLE_B, EXAMPLE_C, EXAMPLE_D } from "../vectors/ltx_examples.ts";

const ENCODINGS: FrameEncoding[] = ["block", "frame"];
const SNAPSHOT = snapshotFields(512, 3);
const INCREMENTAL: LtxHeaderFields = { ...SNAPSHOT, minTxid: 2n, maxTxid: 5n, commit: 10 };
const ROLLING = CHECKSUM_FLAG | 0x1234n;

/** Compresses each page to the very payload the example has for it, so that all else can be compared. */
function replaying(example: Uint8Array, encoding: FrameEncoding): Lz4 {
  const { index } = decodeFile(example, lz4);
  const payloads = [...index.offsets].map((offset, i) => {
    const [head, foot] = encoding === "block" ? [10, 0] : [17, 8];
    return example.slice(offset + head, offset + index.sizes[i]! - foot);
  });
  return { ...lz4, compressBlock: () => payloads.shift()! };
}

for (
  const [name, example, encoding] of [
    ["A", EXAMPLE_A, "block"],
    ["B", EXAMPLE_B, "block"],
    ["C", EXAMPLE_C, "frame"],
    ["D", EXAMPLE_D, "block"],
  ] as const
) {
  test(`encodeFile() writes example ${name} byte for byte from its fields, pages and LZ4 payloads`, () => {
    const { header, frames } = decodeFile(example, lz4);
    assert.deepEqual(
      encodeFile(header, frames, { lz4: replaying(example, encoding), encoding }),
      example.slice(),
    );
  });
}

test("encodeFile() gives back header, index and pages through decodeFile(), for all page sizes and both encodings", () => {
  for (const pageSize of PAGE_SIZES) {
    for (const encoding of ENCODINGS) {
      for (const [fields, pgnos] of [[SNAPSHOT, [1, 2, 3]], [INCREMENTAL, [2, 3, 8, 9]]] as const) {
        const pages = samplePages(pageSize, pgnos);
        const file = decodeFile(encodeFile({ ...fields, pageSize }, pages, { lz4, encoding }), lz4);
        assert.deepEqual(file.header, completeHeader({ ...fields, pageSize }));
        assert.deepEqual([...file.index.pgnos], pgnos);
        assert.deepEqual(file.frames.map(({ pgno, page }) => ({ pgno, page })), pages);
        assert.ok(file.frames.every((frame) => frame.encoding === encoding));
        assert.equal(file.trailer.postApplyChecksum, 0n);
      }
    }
  }
});

test("encodeFile() writes block frames and NoChecksum unless told otherwise", () => {
  const { header, frames } = decodeFile(encodeFile(SNAPSHOT, samplePages(512, [1, 2, 3]), { lz4 }), lz4);
  assert.equal(header.flags, 2);
  assert.equal(frames[0]!.encoding, "block");
});

test("encodeFile() keeps all header fields", () => {
  const fields = {
    ...INCREMENTAL,
    walOffset: 32,
    walSize: 4152,
    walSalt1: 1,
    walSalt2: 2,
    nodeId: 3n,
    timestampMs: -5,
  };
  assert.deepEqual(decodeFile(encodeFile(fields, [], { lz4 }), lz4).header, completeHeader(fields));
});

test("encodeFile() writes a file without pages in 131 bytes", () => {
  const bytes = encodeFile(INCREMENTAL, [], { lz4 });
  assert.equal(bytes.length, 131);
  assert.equal(decodeFile(bytes, lz4).frames.length, 0);
});

test("encodeFile() takes pages from a generator and keeps none of them", () => {
  const page = new Uint8Array(512);
  function* pages(): Generator<LtxPage> {
    for (const pgno of [1, 2, 3]) yield { pgno, page: page.fill(pgno) };
  }
  const { frames } = decodeFile(encodeFile(SNAPSHOT, pages(), { lz4 }), lz4);
  assert.deepEqual(frames.map((frame) => frame.page[511]), [1, 2, 3]);
});

test("encodeFile() computes the database checksum of a snapshot that tracks it", () => {
  const pages = samplePages(512, [1, 2, 3]);
  const expected = pages.map(({ pgno, page }) => pageChecksum(pgno, page)).reduce(
    rollChecksum,
    CHECKSUM_FLAG,
  );
  for (const postApplyChecksum of [undefined, expected]) {
    const bytes = encodeFile({ ...SNAPSHOT, flags: 0 }, pages, { lz4, postApplyChecksum });
    assert.equal(decodeFile(bytes, lz4).trailer.postApplyChecksum, expected);
  }
});

test("encodeFile() writes the database checksum it is given for other files", () => {
  const fields = { ...INCREMENTAL, flags: 0, preApplyChecksum: ROLLING };
  const bytes = encodeFile(fields, samplePages(512, [4]), { lz4, postApplyChecksum: ROLLING + 1n });
  const { header, trailer } = decodeFile(bytes, lz4);
  assert.deepEqual([header.preApplyChecksum, trailer.postApplyChecksum], [ROLLING, ROLLING + 1n]);
});

test("encodeFile() writes an empty database only where its checksum is tracked", () => {
  const empty = { ...SNAPSHOT, commit: 0 };
  const bytes = encodeFile({ ...empty, flags: 0 }, [], { lz4 });
  assert.equal(decodeFile(bytes, lz4).trailer.postApplyChecksum, CHECKSUM_FLAG);
  assertFault(
    () => encodeFile(empty, [], { lz4 }),
    /commit is 0 and postApplyChecksum 0{16}, expected 80{15}/,
  );
  const tracked = { ...INCREMENTAL, commit: 0, flags: 0, preApplyChecksum: ROLLING };
  assertFault(() => encodeFile(tracked, [], { lz4, postApplyChecksum: ROLLING }), /commit is 0 and/);
});

test("encodeFile() rejects a header that breaks a rule", () => {
  assertFault(
    () => encodeFile({ ...SNAPSHOT, pageSize: 1000 }, [], { lz4 }),
    /^Cannot encode LTX header: pageSize is 1000/,
  );
});

test("encodeFile() rejects a page of another size", () => {
  for (const size of [0, 511, 513, 1024]) {
    const page = { pgno: 1, page: new Uint8Array(size) };
    assertFault(
      () => encodeFile(SNAPSHOT, [page], { lz4 }),
      new RegExp(`page 1: it has ${size} bytes, expected 512`),
    );
  }
});

test("encodeFile() rejects page numbers that are none, or past commit", () => {
  for (const pgno of [0, -1, 1.5, NaN, Infinity, 11, 2 ** 32]) {
    const page = { pgno, page: new Uint8Array(512) };
    assertFault(() => encodeFile(INCREMENTAL, [page], { lz4 }), /: pgno is .*, expected 1 to commit 10/);
  }
});

test("encodeFile() rejects a page twice and pages that descend", () => {
  assertFault(() => encodeFile(INCREMENTAL, samplePages(512, [3, 3]), { lz4 }), /page 3: it follows page 3/);
  assertFault(() => encodeFile(INCREMENTAL, samplePages(512, [3, 2]), { lz4 }), /page 2: it follows page 3/);
});

test("encodeFile() rejects a snapshot that lacks its first, a middle or its last page", () => {
  const encode = (pgnos: number[]): unknown => encodeFile(SNAPSHOT, samplePages(512, pgnos), { lz4 });
  assertFault(() => encode([2, 3]), /page 2: it follows page 0 of a snapshot, expected page 1/);
  assertFault(() => encode([1, 3]), /page 3: it follows page 1 of a snapshot, expected page 2/);
  assertFault(() => encode([1, 1]), /page 1: it follows page 1 of a snapshot, expected page 2/);
  assertFault(() => encode([1, 2]), /snapshot of 3 pages was given 2, expected 3/);
  assertFault(() => encode([]), /snapshot of 3 pages was given 0, expected 3/);
});

test("encodeFile() rejects the lock page and accepts its neighbours, for all page sizes", () => {
  for (const pageSize of PAGE_SIZES) {
    const lock = lockPgno(pageSize);
    const fields = { ...INCREMENTAL, pageSize, commit: lock + 1 };
    const pageOf = (pgno: number): LtxPage => ({ pgno, page: new Uint8Array(pageSize) });
    const file = decodeFile(encodeFile(fields, [lock - 1, lock + 1].map(pageOf), { lz4 }), lz4);
    assert.deepEqual([...file.index.pgnos], [lock - 1, lock + 1]);
    assertFault(
      () => encodeFile(fields, [pageOf(lock)], { lz4 }),
      new RegExp(`page ${lock}: it is the lock page`),
    );
  }
});

test("encodeFile() rejects a database checksum that does not fit the flags", () => {
  const tracked = { ...INCREMENTAL, flags: 0, preApplyChecksum: ROLLING };
  const pages = samplePages(512, [1, 2, 3]);
  assertFault(
    () => encodeFile(SNAPSHOT, pages, { lz4, postApplyChecksum: ROLLING }),
    /under the NoChecksum flag/,
  );
  assertFault(() => encodeFile(tracked, pages, { lz4 }), /postApplyChecksum is 0{16}/);
  assertFault(
    () => encodeFile(tracked, pages, { lz4, postApplyChecksum: 1n }),
    /postApplyChecksum is 0{15}1/,
  );
  assertFault(
    () => encodeFile({ ...SNAPSHOT, flags: 0 }, pages, { lz4, postApplyChecksum: ROLLING }),
    /postApplyChecksum is 8000000000001234, expected [89a-f][0-9a-f]{15} of its pages/,
  );
});
