import assert from "node:assert/strict";
import { env } from "node:process";
import { test } from "node:test";
import { decodeFile, type LtxFile } from "../../src/ltx/file.ts";
import { decodeFrame } from "../../src/ltx/frame.ts";
import { decodeHeader, encodeHeader } from "../../src/ltx/header.ts";
import { decodePageIndex, encodePageIndex } from "../../src/ltx/page_index.ts";
import { assertFault, resealFile, sampleFile, valueOrFault } from "../support/ltx_files.ts";
import { lz4 } from "../support/lz4.ts";
import { Random } from "../support/random.ts";
import { EXAMPLE_A, EXAMPLE_B, EXAMPLE_C, EXAMPLE_D } from "../vectors/ltx_examples.ts";

const ROUNDS = Number(env.FUZZ_ROUNDS ?? 20_000);
const SEED = Number(env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const INCREMENTAL = { minTxid: 2n, maxTxid: 4n, commit: 300 };

const CORPUS = [
  EXAMPLE_A,
  EXAMPLE_B,
  EXAMPLE_C,
  EXAMPLE_D,
  sampleFile(),
  sampleFile({}, { encoding: "frame" }),
  sampleFile({ flags: 0 }),
  sampleFile(INCREMENTAL, { pgnos: [2, 4, 6, 128, 300] }),
  sampleFile(INCREMENTAL, { pgnos: [2, 4, 6, 128, 300], encoding: "frame" }),
  sampleFile({ ...INCREMENTAL, pageSize: 1024 }, { pgnos: [] }),
];

/** Numbers that sit at the edges of fields. */
const EDGES = [0, 1, 0x7f, 0x80, 0xff];

/** Changes a few bytes, copies, cuts, lengthens: one to four such changes. */
function mutate(file: Uint8Array, random: Random): Uint8Array {
  let bytes = file.slice();
  for (let changes = 1 + random.next(4); changes > 0 && bytes.length > 0; changes--) {
    const at = random.next(bytes.length);
    const kind = random.next(8);
    if (kind <= 2) bytes[at]! ^= 1 << random.next(8);
    else if (kind === 3) bytes[at] = EDGES[random.next(EDGES.length)]!;
    else if (kind === 4) bytes.fill(EDGES[random.next(EDGES.length)]!, at, at + random.next(9));
    else if (kind === 5) bytes.copyWithin(random.next(bytes.length), at, at + random.next(20));
    else if (kind === 6) bytes = bytes.slice(0, at);
    else {bytes = Uint8Array.from([
        ...bytes.subarray(0, at),
        ...random.bytes(random.next(9)),
        ...bytes.subarray(at),
      ]);}
  }
  return bytes;
}

/** Runs `round` on mutated files; a failure names the seed and the round. */
function fuzz(name: string, round: (bytes: Uint8Array, original: Uint8Array, random: Random) => void): void {
  test(`${name} (${ROUNDS} rounds, FUZZ_SEED=${SEED})`, () => {
    const random = new Random(SEED);
    for (let i = 0; i < ROUNDS; i++) {
      const original = CORPUS[random.next(CORPUS.length)]!;
      const bytes = mutate(original, random);
      try {
        round(bytes, original, random);
      } catch (cause) {
        throw new Error(`FUZZ_SEED=${SEED}, round ${i}, bytes ${[...bytes].join(" ")}`, { cause });
      }
    }
  });
}

console.log(`FUZZ_SEED=${SEED} FUZZ_ROUNDS=${ROUNDS}`);

function assertConsistent(file: LtxFile, bytes: Uint8Array): void {
  assert.deepEqual(file.frames.map((frame) => frame.pgno), [...file.index.pgnos]);
  assert.ok(file.frames.every((frame) => frame.page.length === file.header.pageSize));
  const { indexOffset } = file.index;
  assert.deepEqual(encodePageIndex(file.index), bytes.slice(indexOffset, -16));
}

fuzz("decodeFile() gives an LtxFormatError or the same pages", (bytes, original) => {
  const file = valueOrFault(() => decodeFile(bytes, lz4));
  if (file === null) return;
  assertConsistent(file, bytes);
  assert.deepEqual(
    file.frames.map((frame) => frame.page),
    decodeFile(original, lz4).frames.map((frame) => frame.page),
  );
});

fuzz(
  "decodeFile() gives an LtxFormatError or a consistent file where the file checksum has been made right",
  (bytes) => {
    const sealed = valueOrFault(() => resealFile(bytes));
    if (sealed === null) return;
    const file = valueOrFault(() => decodeFile(sealed, lz4));
    if (file !== null) assertConsistent(file, sealed);
  },
);

fuzz("decodeHeader() gives an LtxFormatError or a header that encodes to the same bytes", (bytes) => {
  const header = valueOrFault(() => decodeHeader(bytes));
  if (header !== null) assert.deepEqual(encodeHeader(header).subarray(0, 80), bytes.slice(0, 80));
});

fuzz(
  "decodePageIndex() gives an LtxFormatError, an index of contiguous frames or a bounded count of bytes",
  (bytes, original, random) => {
    const { commit, pageSize, minTxid } = decodeHeader(original);
    const fileSize = random.next(4) === 0 ? bytes.length + random.next(1000) : bytes.length;
    const index = valueOrFault(() => decodePageIndex(bytes, { fileSize, commit, pageSize, minTxid }));
    if (index === null) return;
    if ("needBytes" in index) {
      assert.ok(
        index.needBytes > bytes.length && (index.needBytes <= fileSize - 106 || index.needBytes === 24),
      );
      return;
    }
    let end = 100;
    index.pgnos.forEach((pgno, i) => {
      assert.ok(pgno > (index.pgnos[i - 1] ?? 0) && pgno <= commit);
      assert.equal(index.offsets[i], end);
      end += index.sizes[i]!;
    });
    assert.equal(end + 6, index.indexOffset);
  },
);

fuzz("decodeFrame() gives an LtxFormatError or a page of the right size", (bytes, original) => {
  const header = decodeHeader(original);
  const frame = bytes.subarray(100, 100 + decodeFile(original, lz4).index.sizes[0]!);
  const pgno = decodeFile(original, lz4).index.pgnos[0] ?? 1;
  const page = valueOrFault(() => decodeFrame(frame, { pgno, pageSize: header.pageSize, lz4 }));
  assert.equal(page?.page.length ?? header.pageSize, header.pageSize);
});

test("decoders reject bytes that were never an LTX file", () => {
  const random = new Random(SEED);
  for (let i = 0; i < Math.min(ROUNDS, 2000); i++) {
    const bytes = random.bytes(random.next(400));
    assertFault(() => decodeFile(bytes, lz4), /^Cannot decode LTX header/);
  }
});
