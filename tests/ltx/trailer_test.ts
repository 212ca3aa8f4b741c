import assert from "node:assert/strict";
import { test } from "node:test";
import { CHECKSUM_FLAG } from "../../src/ltx/checksum.ts";
import { decodeTrailer, encodeTrailer } from "../../src/ltx/trailer.ts";
import { assertFault } from "../support/ltx_files.ts";
import { EXAMPLE_A, EXAMPLE_B, EXAMPLE_D } from "../vectors/ltx_examples.ts";

/** Sixteen bytes with these checksums, whatever they are. */
function trailerBytes(postApplyChecksum: bigint, fileChecksum: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigUint64(0, postApplyChecksum);
  view.setBigUint64(8, fileChecksum);
  return new Uint8Array(view.buffer);
}

test("decodeTrailer() reads the worked examples", () => {
  assert.deepEqual(decodeTrailer(EXAMPLE_B.subarray(-16), { noChecksum: true }), {
    postApplyChecksum: 0n,
    fileChecksum: 0x84c6bb6972cf9069n,
  });
  const trailer = decodeTrailer(EXAMPLE_D.subarray(-16), { noChecksum: false });
  assert.deepEqual(trailer, { postApplyChecksum: 0xd5ec6ff23dd7d1dfn, fileChecksum: 0xcca391dd205521d7n });
  assert.ok(Object.isFrozen(trailer));
});

test("encodeTrailer() writes the worked examples' trailers", () => {
  for (const [example, noChecksum] of [[EXAMPLE_A, true], [EXAMPLE_B, true], [EXAMPLE_D, false]] as const) {
    const bytes = example.slice(-16);
    assert.deepEqual(encodeTrailer(decodeTrailer(bytes, { noChecksum }), { noChecksum }), bytes);
  }
});

test("decodeTrailer() rejects any count of bytes but 16", () => {
  for (const size of [0, 1, 8, 15, 17, 24]) {
    assertFault(
      () => decodeTrailer(new Uint8Array(size), { noChecksum: true }),
      new RegExp(`: ${size} bytes, expected 16`),
    );
  }
});

test("decodeTrailer() names the file and the place", () => {
  const context = { noChecksum: true, fileSize: 211, key: "x.ltx" };
  const file = assertFault(
    () => decodeTrailer(trailerBytes(0n, 1n), context),
    /of "x\.ltx": fileChecksum is 0{15}1/,
  );
  assert.equal(file.offset, 203);
  assert.equal(file.key, "x.ltx");
  const post = assertFault(
    () => decodeTrailer(trailerBytes(1n, CHECKSUM_FLAG), context),
    /postApplyChecksum is/,
  );
  assert.equal(post.offset, 195);
  const unplaced = assertFault(
    () => decodeTrailer(trailerBytes(1n, CHECKSUM_FLAG), { noChecksum: true }),
    /postApplyChecksum is/,
  );
  assert.equal(unplaced.offset, -1);
});

const RULES: [string, bigint, bigint, boolean, RegExp][] = [
  [
    "a post-apply checksum under NoChecksum",
    CHECKSUM_FLAG,
    CHECKSUM_FLAG,
    true,
    /expected 0 under the NoChecksum flag/,
  ],
  ["no post-apply checksum where it is tracked", 0n, CHECKSUM_FLAG, false, /postApplyChecksum is 0{16}/],
  [
    "a post-apply checksum without bit 63",
    CHECKSUM_FLAG - 1n,
    CHECKSUM_FLAG,
    false,
    /postApplyChecksum is 7f{15}/,
  ],
  ["no file checksum", 0n, 0n, true, /fileChecksum is 0{16}/],
  ["a file checksum without bit 63", 0n, CHECKSUM_FLAG - 1n, true, /fileChecksum is 7f{15}/],
];

for (const [what, postApplyChecksum, fileChecksum, noChecksum, message] of RULES) {
  test(`decodeTrailer() rejects ${what}`, () => {
    assertFault(() => decodeTrailer(trailerBytes(postApplyChecksum, fileChecksum), { noChecksum }), message);
  });
  test(`encodeTrailer() rejects ${what}`, () => {
    assertFault(() => encodeTrailer({ postApplyChecksum, fileChecksum }, { noChecksum }), message);
  });
}

test("encodeTrailer() rejects checksums wider than 64 bits", () => {
  const wide = CHECKSUM_FLAG << 1n;
  assertFault(
    () => encodeTrailer({ postApplyChecksum: 0n, fileChecksum: wide }, { noChecksum: true }),
    /fileChecksum/,
  );
  assertFault(
    () => encodeTrailer({ postApplyChecksum: wide, fileChecksum: wide }, { noChecksum: false }),
    /postApply/,
  );
});
