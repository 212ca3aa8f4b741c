import assert from "node:assert/strict";
import { test } from "node:test";
import { CHECKSUM_FLAG } from "../../src/ltx/checksum.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { assertFault, resealFile, sampleFile, samplePage, valueOrFault } from "../support/ltx_files.ts";
import { lz4 } from "../support/lz4.ts";
import { EXAMPLE_A, EXAMPLE_B, EXAMPLE_C, EXAMPLE_D } from "../vectors/ltx_examples.ts";

const INCREMENTAL = { minTxid: 2n, maxTxid: 4n, commit: 9 };

/** Small files, one of each kind; their pages are 512 bytes. */
const SMALL_FILES: [string, Uint8Array][] = [
  ["example A", EXAMPLE_A],
  ["example B", EXAMPLE_B],
  ["example C", EXAMPLE_C],
  ["example D", EXAMPLE_D],
  ["a snapshot in blocks", sampleFile({ commit: 2 }, { pgnos: [1, 2] })],
  ["a snapshot in LZ4 frames", sampleFile({ commit: 2 }, { pgnos: [1, 2], encoding: "frame" })],
  ["a raw page in an LZ4 frame", sampleFile(INCREMENTAL, { pgnos: [3], encoding: "frame" })],
  ["a file without pages", sampleFile(INCREMENTAL, { pgnos: [] })],
];

function pagesOf(bytes: Uint8Array): [number, Uint8Array][] {
  return decodeFile(bytes, lz4).frames.map(({ pgno, page }) => [pgno, page]);
}

function patched(file: Uint8Array, at: number, ...values: number[]): Uint8Array {
  const bytes = file.slice();
  bytes.set(values, at);
  return bytes;
}

test("decodeFile() verifies the worked examples", () => {
  const [a, b, c, d] = [EXAMPLE_A, EXAMPLE_B, EXAMPLE_C, EXAMPLE_D].map((bytes) => decodeFile(bytes, lz4));
  assert.deepEqual(c!.frames[0]!.page, a!.frames[0]!.page);
  assert.deepEqual(d!.frames[0]!.page, a!.frames[0]!.page);
  assert.equal(a!.trailer.fileChecksum, 0xb483c25c5d0638a3n);
  assert.equal(c!.trailer.fileChecksum, 0xdb5c60dbd2478d29n);
  assert.equal(d!.trailer.postApplyChecksum, 0xd5ec6ff23dd7d1dfn);
  assert.equal(a!.frames[0]!.page[63], 7, "user_version");
  assert.deepEqual([b!.header.commit, b!.header.minTxid, b!.frames.length], [2, 2n, 2]);
  const text = new TextDecoder().decode(b!.frames[0]!.page);
  assert.ok(text.endsWith("tablett\x02CREATE TABLE t(a)"));
});

test("decodeFile() reads a file whose pages are stored in both encodings", () => {
  const blocks = sampleFile(INCREMENTAL, { pgnos: [1] });
  const lz4Frame = sampleFile(INCREMENTAL, { pgnos: [2], encoding: "frame" });
  const frameOf = (file: Uint8Array): Uint8Array =>
    file.subarray(100, decodeFile(file, lz4).index.indexOffset - 6);
  const [first, second] = [frameOf(blocks), frameOf(lz4Frame)];
  const varint = (value: number): number[] => value < 128 ? [value] : [value & 127 | 128, value >> 7];
  const entries = [
    1,
    100,
    ...varint(first.length),
    2,
    ...varint(100 + first.length),
    ...varint(second.length),
    0,
  ];
  const mixed = Uint8Array.from([
    ...[...blocks.subarray(0, 100), ...first, ...second],
    ...[0, 0, 0, 0, 0, 0, ...entries, 0, 0, 0, 0, 0, 0, 0, entries.length, ...new Array(16).fill(0)],
  ]);
  const frames = decodeFile(resealFile(mixed), lz4).frames;
  assert.deepEqual(frames.map((frame) => frame.encoding), ["block", "frame"]);
  assert.deepEqual(frames.map((frame) => frame.page), [samplePage(512, 1), samplePage(512, 2)]);
});

test("decodeFile() accepts reserved bytes that are not zero where the checksum covers them", () => {
  const bytes = patched(EXAMPLE_A, 90, 1, 2, 3);
  assertFault(() => decodeFile(bytes, lz4), /file checksum is/);
  assert.deepEqual(pagesOf(resealFile(bytes)), pagesOf(EXAMPLE_A));
});

test("decodeFile() rejects a terminator that is not zero", () => {
  for (let at = 177; at < 183; at++) {
    const fault = assertFault(
      () => decodeFile(patched(EXAMPLE_A, at, 1), lz4, { key: "x.ltx" }),
      /of "x\.ltx".*terminator/,
    );
    assert.deepEqual([fault.key, fault.offset], ["x.ltx", 177]);
  }
});

test("decodeFile() rejects a frame that is another page's than its index entry", () => {
  assertFault(
    () => decodeFile(patched(EXAMPLE_B, 230, 1), lz4),
    /page 2: its frame is of page 1, expected 2/,
  );
});

test("decodeFile() rejects a wrong file checksum", () => {
  const bytes = patched(EXAMPLE_A, EXAMPLE_A.length - 1, 0xa2);
  const fault = assertFault(
    () => decodeFile(bytes, lz4),
    /^Cannot decode LTX file: file checksum is b483c25c5d0638a3, expected b483c25c5d0638a2 as its trailer says$/,
  );
  assert.equal(fault.offset, 203);
});

test("decodeFile() rejects a wrong database checksum in a snapshot that tracks it", () => {
  const bytes = resealFile(patched(EXAMPLE_D, 202, 0xde));
  const fault = assertFault(
    () => decodeFile(bytes, lz4),
    /database checksum is d5ec6ff23dd7d1df, expected d5ec6ff23dd7d1de as its trailer says/,
  );
  assert.equal(fault.offset, bytes.length - 16);
});

test("decodeFile() takes the database checksum of other files on trust", () => {
  const fields = { ...INCREMENTAL, flags: 0, preApplyChecksum: CHECKSUM_FLAG | 1n };
  const bytes = sampleFile({ ...INCREMENTAL }, { pgnos: [2] });
  bytes[7] = 0;
  const view = new DataView(bytes.buffer);
  view.setBigUint64(40, fields.preApplyChecksum);
  view.setBigUint64(bytes.length - 16, CHECKSUM_FLAG | 2n);
  assert.equal(decodeFile(resealFile(bytes), lz4).trailer.postApplyChecksum, CHECKSUM_FLAG | 2n);
});

test("decodeFile() rejects a snapshot that lacks a page", () => {
  assertFault(() => decodeFile(patched(EXAMPLE_A, 15, 2), lz4), /snapshot of 2 pages .* holds 1, expected 2/);
});

test("decodeFile() rejects a page past commit", () => {
  assertFault(() => decodeFile(patched(EXAMPLE_B, 15, 1), lz4), /page is 2, expected at most commit 1/);
});

test("decodeFile() rejects bytes after the trailer", () => {
  for (const [, file] of SMALL_FILES) {
    for (const extra of [1, 8, 16, 24, 100]) {
      const longer = new Uint8Array(file.length + extra);
      longer.set(file);
      assertFault(() => decodeFile(longer, lz4), /^Cannot decode /);
    }
  }
});

for (const [name, file] of SMALL_FILES) {
  test(`decodeFile() rejects every cut of ${name}`, () => {
    for (let size = 0; size < file.length; size++) {
      assertFault(() => decodeFile(file.subarray(0, size), lz4), /^Cannot decode /);
    }
  });

  test(`decodeFile() rejects every bit and every byte flipped in ${name}, but where its pages stay the same`, () => {
    const pages = pagesOf(file);
    for (let at = 0; at < file.length; at++) {
      for (const mask of [1, 2, 4, 8, 16, 32, 64, 128, 255]) {
        const changed = valueOrFault(() => pagesOf(patched(file, at, file[at]! ^ mask)));
        if (changed !== null) assert.deepEqual(changed, pages, `byte ${at} xor ${mask}`);
      }
    }
  });

  test(`decodeFile() rejects every byte left out of or added to ${name}, but where its pages stay the same`, () => {
    const pages = pagesOf(file);
    for (let at = 0; at < file.length; at++) {
      const without = Uint8Array.from([...file.subarray(0, at), ...file.subarray(at + 1)]);
      const doubled = Uint8Array.from([...file.subarray(0, at + 1), ...file.subarray(at)]);
      for (const bytes of [without, doubled]) {
        const changed = valueOrFault(() => pagesOf(bytes));
        if (changed !== null) assert.deepEqual(changed, pages, `byte ${at}`);
      }
    }
  });
}
