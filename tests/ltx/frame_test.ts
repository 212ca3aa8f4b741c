import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeFrame, encodeFrame, type FrameEncoding, maxFrameSize } from "../../src/ltx/frame.ts";
import type { Lz4 } from "../../src/ltx/lz4.ts";
import { PAGE_SIZES } from "../../src/ltx/txid.ts";
import { assertFault, samplePage } from "../support/ltx_files.ts";
import { encodeLz4Frame, lz4 } from "../support/lz4.ts";
import { Random } from "../support/random.ts";
import { EXAMPLE_A, EXAMPLE_B, EXAMPLE_C } from "../vectors/ltx_examples.ts";

const ENCODINGS: FrameEncoding[] = ["block", "frame"];
const CONTEXT = { pgno: 1, pageSize: 512, lz4 };
const BLOCK_FRAME = EXAMPLE_A.subarray(100, 177);
const LZ4_FRAME = EXAMPLE_C.subarray(100, 191);

function patched(frame: Uint8Array, at: number, ...values: number[]): Uint8Array {
  const bytes = frame.slice();
  bytes.set(values, at);
  return bytes;
}

function join(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

test("decodeFrame() reads the worked examples in both encodings", () => {
  const block = decodeFrame(BLOCK_FRAME, CONTEXT);
  assert.deepEqual([block.pgno, block.encoding, block.headerSize], [1, "block", 10]);
  assert.equal(new TextDecoder().decode(block.page.subarray(0, 15)), "SQLite format 3");
  const frame = decodeFrame(LZ4_FRAME, CONTEXT);
  assert.deepEqual([frame.pgno, frame.encoding, frame.headerSize], [1, "frame", 6]);
  assert.deepEqual(frame.page, block.page);
  const second = decodeFrame(EXAMPLE_B.subarray(227, 276), { ...CONTEXT, pgno: 2 });
  assert.equal(new TextDecoder().decode(second.page.subarray(-16)), "hello litestream");
});

test("encodeFrame() and decodeFrame() give back every page in both encodings, for all page sizes", () => {
  for (const pageSize of PAGE_SIZES) {
    for (const pgno of [1, 2, 3, 4, 0xffff_ffff]) {
      const page = samplePage(pageSize, pgno);
      for (const encoding of ENCODINGS) {
        const bytes = encodeFrame(page, { pgno, encoding, lz4 });
        assert.ok(bytes.length <= maxFrameSize(pageSize));
        const frame = decodeFrame(bytes, { pgno, pageSize, lz4 });
        assert.equal(frame.encoding, encoding);
        assert.deepEqual(frame.page, page);
      }
    }
  }
});

test("encodeFrame() writes the LZ4 frame that Litestream 0.5.0 to 0.5.15 wrote", () => {
  const { page } = decodeFrame(LZ4_FRAME, CONTEXT);
  const replay: Lz4 = { ...lz4, compressBlock: () => LZ4_FRAME.slice(17, 83) };
  assert.deepEqual(encodeFrame(page, { pgno: 1, encoding: "frame", lz4: replay }), LZ4_FRAME.slice());
});

test("encodeFrame() writes the block frame of the worked example", () => {
  const { page } = decodeFrame(BLOCK_FRAME, CONTEXT);
  const replay: Lz4 = { ...lz4, compressBlock: () => BLOCK_FRAME.slice(10) };
  assert.deepEqual(encodeFrame(page, { pgno: 1, encoding: "block", lz4: replay }), BLOCK_FRAME.slice());
});

test("encodeFrame() stores incompressible pages raw in an LZ4 frame and as literals in a block", () => {
  for (const pageSize of PAGE_SIZES) {
    const page = new Random(pageSize).bytes(pageSize);
    const frame = encodeFrame(page, { pgno: 1, encoding: "frame", lz4 });
    assert.equal(frame.length, pageSize + 25);
    assert.equal(new DataView(frame.buffer).getUint32(13, true), 0x8000_0000 + pageSize);
    const block = encodeFrame(page, { pgno: 1, encoding: "block", lz4 });
    assert.ok(block.length > pageSize + 10 && block.length <= maxFrameSize(pageSize));
  }
});

test("maxFrameSize() gives the worst cases of the format description", () => {
  assert.equal(maxFrameSize(4096), 4128 + 10);
  assert.equal(maxFrameSize(65536), 65809 + 10);
});

test("decodeFrame() reads LZ4 frames of any shape", () => {
  const page = samplePage(512, 1);
  const head = Uint8Array.of(0, 0, 0, 1, 0, 0);
  const shapes = [
    {},
    { hasContentChecksum: false },
    { hasContentSize: true },
    { hasBlockChecksum: true },
    { blockSize: 200 },
    { blockSize: 128, hasBlockChecksum: true, hasContentSize: true },
  ];
  for (const shape of shapes) {
    const frame = decodeFrame(join(head, encodeLz4Frame(page, shape)), CONTEXT);
    assert.deepEqual(frame.page, page, JSON.stringify(shape));
  }
});

test("decodeFrame() rejects another page's frame and names both", () => {
  const fault = assertFault(
    () => decodeFrame(BLOCK_FRAME, { ...CONTEXT, pgno: 2, offset: 227, key: "x.ltx" }),
    /^Cannot decode page 2 of "x\.ltx": its frame is of page 1, expected 2$/,
  );
  assert.deepEqual([fault.key, fault.offset], ["x.ltx", 227]);
});

test("decodeFrame() rejects a terminator, and page 0 with flags", () => {
  assertFault(() => decodeFrame(new Uint8Array(20), CONTEXT), /its frame is of page 0, expected 1/);
  assertFault(() => decodeFrame(patched(BLOCK_FRAME, 3, 0), CONTEXT), /its frame is of page 0, expected 1/);
});

test("decodeFrame() rejects unknown page flags", () => {
  assertFault(
    () => decodeFrame(patched(BLOCK_FRAME, 5, 2), CONTEXT),
    /page flags are 0x2, expected 0x0 or 0x1/,
  );
  const fault = assertFault(
    () => decodeFrame(patched(BLOCK_FRAME, 4, 0x80), { ...CONTEXT, offset: 100 }),
    /0x8001/,
  );
  assert.equal(fault.offset, 104);
});

test("decodeFrame() rejects a compressed size that does not fill the frame", () => {
  for (const size of [0, 66, 68, 255]) {
    const bytes = patched(BLOCK_FRAME, 9, size);
    assertFault(() => decodeFrame(bytes, CONTEXT), new RegExp(`compressed size is ${size}, expected 67`));
  }
  assertFault(
    () => decodeFrame(patched(BLOCK_FRAME, 6, 0xff), CONTEXT),
    /compressed size is 4278190147, expected 67/,
  );
});

test("decodeFrame() rejects frames too small or too large for a page", () => {
  for (let size = 0; size < 11; size++) {
    assertFault(
      () => decodeFrame(BLOCK_FRAME.subarray(0, size), CONTEXT),
      new RegExp(`has ${size} bytes, expected 11 to`),
    );
  }
  assertFault(() => decodeFrame(new Uint8Array(541), CONTEXT), /has 541 bytes, expected 11 to 540/);
});

test("decodeFrame() takes frames of the least and of the greatest size", () => {
  const page = new Uint8Array(512);
  for (const size of [11, 540]) {
    const frame = new Uint8Array(size);
    new DataView(frame.buffer).setUint32(0, 1);
    frame[5] = 1;
    new DataView(frame.buffer).setUint32(6, size - 10);
    const given: Lz4 = { ...lz4, decompressBlock: ({ length }) => length === size - 10 ? page : null };
    assert.equal(decodeFrame(frame, { ...CONTEXT, lz4: given }).page, page);
  }
});

test("decodeFrame() names the place of a fault in the file, where that is known", () => {
  const flagged = BLOCK_FRAME.slice();
  flagged[5] = 3;
  const resized = BLOCK_FRAME.slice();
  resized[9]!++;
  const wrong: Lz4 = { ...lz4, decompressBlock: () => null };
  const cases: [number, Uint8Array, Lz4][] = [
    [0, BLOCK_FRAME.subarray(0, 5), lz4],
    [4, flagged, lz4],
    [6, resized, lz4],
    [10, BLOCK_FRAME, wrong],
  ];
  for (const [at, frame, given] of cases) {
    const act = (place: { offset?: number }) => () =>
      decodeFrame(frame, { ...CONTEXT, lz4: given, ...place });
    assert.equal(assertFault(act({ offset: 700 }), /^Cannot decode page 1: /).offset, 700 + at);
    assert.equal(assertFault(act({}), /^Cannot decode page 1: /).offset, -1);
  }
});

test("decodeFrame() rejects a page of another size in both encodings", () => {
  for (const frame of [BLOCK_FRAME, LZ4_FRAME]) {
    assertFault(
      () => decodeFrame(frame, { ...CONTEXT, pageSize: 1024 }),
      /is malformed, expected one of 1024 bytes/,
    );
  }
});

test("decodeFrame() rejects what an Lz4 gives in the wrong size", () => {
  const wrong: Lz4 = { ...lz4, decompressBlock: () => new Uint8Array(511) };
  assertFault(() => decodeFrame(BLOCK_FRAME, { ...CONTEXT, lz4: wrong }), /expected one of 512 bytes/);
});

test("decodeFrame() rejects every cut and every lengthening in both encodings", () => {
  for (const frame of [BLOCK_FRAME, LZ4_FRAME]) {
    for (let size = 0; size < frame.length; size++) {
      assertFault(() => decodeFrame(frame.subarray(0, size), CONTEXT), /^Cannot decode page 1: /);
    }
    for (const extra of [1, 4, 8]) {
      assertFault(() => decodeFrame(join(frame, new Uint8Array(extra)), CONTEXT), /^Cannot decode page 1: /);
    }
  }
});

test("decodeFrame() rejects every flipped bit of an LZ4 frame, but where its page stays the same", () => {
  const { page } = decodeFrame(LZ4_FRAME, CONTEXT);
  for (let bit = 0; bit < LZ4_FRAME.length * 8; bit++) {
    const bytes = LZ4_FRAME.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    try {
      assert.deepEqual(decodeFrame(bytes, CONTEXT).page, page);
    } catch (error) {
      assertFault(() => {
        throw error;
      }, /^Cannot decode page 1: /);
    }
  }
});

test("decodeFrame() gives an LtxFormatError or a page of the right size for every changed byte of a block frame", () => {
  for (let at = 0; at < BLOCK_FRAME.length; at++) {
    for (let value = 0; value < 256; value++) {
      const bytes = patched(BLOCK_FRAME, at, value);
      let size: number;
      try {
        size = decodeFrame(bytes, CONTEXT).page.length;
      } catch (error) {
        assertFault(() => {
          throw error;
        }, /^Cannot decode page 1: /);
        continue;
      }
      assert.equal(size, 512);
    }
  }
});
