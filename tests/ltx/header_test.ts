import assert from "node:assert/strict";
import { test } from "node:test";
import {
  decodeHeader,
  encodeHeader,
  isNoChecksum,
  isSnapshot,
  type LtxHeader,
} from "../../src/ltx/header.ts";
import { PAGE_SIZES } from "../../src/ltx/txid.ts";
import { assertFault } from "../support/ltx_files.ts";
import { EXAMPLE_A, EXAMPLE_B, EXAMPLE_D } from "../vectors/ltx_examples.ts";

/** Every field set, none to a default. */
const FULL: LtxHeader = {
  flags: 0,
  pageSize: 65536,
  commit: 0xffff_ffff,
  minTxid: 2n,
  maxTxid: 0xffff_ffff_ffff_ffffn,
  timestampMs: -1,
  preApplyChecksum: 0x8000_0000_0000_0001n,
  walOffset: 32,
  walSize: Number.MAX_SAFE_INTEGER,
  walSalt1: 0xdead_beef,
  walSalt2: 0xffff_ffff,
  nodeId: 0xffff_ffff_ffff_fffen,
};

/** The header of example B, which is no snapshot, with some bytes put over it. */
function patched(patches: Record<number, number[]>, base: Uint8Array = EXAMPLE_B): Uint8Array {
  const bytes = base.slice(0, 100);
  for (const [at, values] of Object.entries(patches)) bytes.set(values, Number(at));
  return bytes;
}

const u64 = (value: bigint): number[] =>
  Array.from({ length: 8 }, (_, i) => Number(value >> BigInt(56 - 8 * i) & 0xffn));

test("decodeHeader() reads the worked example", () => {
  assert.deepEqual(decodeHeader(EXAMPLE_A), {
    flags: 2,
    pageSize: 512,
    commit: 1,
    minTxid: 1n,
    maxTxid: 1n,
    timestampMs: Date.parse("2023-11-14T22:13:20.123Z"),
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  });
});

test("decodeHeader() gives a frozen header and keeps none of the bytes", () => {
  const bytes = EXAMPLE_A.slice();
  const header = decodeHeader(bytes);
  bytes.fill(0);
  assert.ok(Object.isFrozen(header));
  assert.equal(header.pageSize, 512);
});

test("decodeHeader() reads from the middle of a buffer", () => {
  const bytes = new Uint8Array(333);
  bytes.set(EXAMPLE_A, 77);
  assert.deepEqual(decodeHeader(bytes.subarray(77)), decodeHeader(EXAMPLE_A));
});

test("decodeHeader() does not look at the reserved bytes", () => {
  assert.deepEqual(decodeHeader(patched({ 80: new Array(20).fill(0xff) })), decodeHeader(EXAMPLE_B));
});

test("encodeHeader() and decodeHeader() give back every field at its limits", () => {
  assert.deepEqual(decodeHeader(encodeHeader(FULL)), FULL);
  for (const pageSize of PAGE_SIZES) {
    assert.equal(decodeHeader(encodeHeader({ ...FULL, pageSize })).pageSize, pageSize);
  }
});

test("encodeHeader() writes the worked examples' headers from their fields", () => {
  for (const example of [EXAMPLE_A, EXAMPLE_B, EXAMPLE_D]) {
    assert.deepEqual(encodeHeader(decodeHeader(example)), example.slice(0, 100));
  }
  const { pageSize, commit, minTxid, maxTxid, timestampMs } = decodeHeader(EXAMPLE_B);
  assert.deepEqual(
    encodeHeader({ pageSize, commit, minTxid, maxTxid, timestampMs }),
    EXAMPLE_B.slice(0, 100),
  );
});

test("isSnapshot() and isNoChecksum() read TXID and flag", () => {
  assert.ok(isSnapshot(decodeHeader(EXAMPLE_A)));
  assert.ok(!isSnapshot(decodeHeader(EXAMPLE_B)));
  assert.ok(isNoChecksum(decodeHeader(EXAMPLE_A)));
  assert.ok(!isNoChecksum(decodeHeader(EXAMPLE_D)));
});

test("decodeHeader() rejects fewer than 100 bytes", () => {
  for (let size = 0; size < 100; size++) {
    assertFault(
      () => decodeHeader(EXAMPLE_A.subarray(0, size)),
      new RegExp(`: ${size} bytes, expected 100 or more`),
    );
  }
});

test("decodeHeader() names the file and the place", () => {
  const error = assertFault(
    () => decodeHeader(patched({ 8: [0, 0, 2, 1] }), { key: "db/0000/x.ltx" }),
    /^Cannot decode LTX header of "db\/0000\/x\.ltx": pageSize is 513, expected a power of two/,
  );
  assert.equal(error.key, "db/0000/x.ltx");
  assert.equal(error.offset, 8);
});

const BASE = { ...decodeHeader(EXAMPLE_B) };
const NO_ROLLING = 0x80n << 56n;

/** Rules that hold for decoding and encoding; what is wrong, the bytes, the fields, the message. */
const RULES: [string, Record<number, number[]>, Partial<LtxHeader>, RegExp][] = [
  ["flag bit 0", { 7: [3] }, { flags: 3 }, /flags is 0x00000003/],
  ["flag bit 31", { 4: [0x80] }, { flags: 0x80000002 }, /flags is 0x80000002/],
  ["a page size of 0", { 8: [0, 0, 0, 0] }, { pageSize: 0 }, /pageSize is 0/],
  ["a page size of 256", { 8: [0, 0, 1, 0] }, { pageSize: 256 }, /pageSize is 256/],
  ["a page size of 1000", { 8: [0, 0, 3, 0xe8] }, { pageSize: 1000 }, /pageSize is 1000/],
  ["a page size of 131072", { 8: [0, 2, 0, 0] }, { pageSize: 131072 }, /pageSize is 131072/],
  ["a zero minTxid", { 16: u64(0n) }, { minTxid: 0n }, /minTxid is 0000000000000000/],
  ["a zero maxTxid", { 24: u64(0n) }, { maxTxid: 0n }, /maxTxid is 0000000000000000/],
  ["TXIDs in the wrong order", { 16: u64(3n) }, { minTxid: 3n }, /maxTxid is 0000000000000002/],
  ["a negative WAL offset", { 48: u64(2n ** 64n - 1n) }, { walOffset: -1 }, /walOffset is -1/],
  ["a WAL offset past 2^53", { 48: u64(2n ** 53n) }, { walOffset: 2 ** 53 }, /walOffset is 9007199254740992/],
  [
    "a negative WAL size",
    { 48: u64(32n), 56: u64(2n ** 63n) },
    { walOffset: 32, walSize: -(2 ** 63) },
    /walSize is -/,
  ],
  ["a first salt without WAL offset", { 64: [0, 0, 0, 1] }, { walSalt1: 1 }, /walOffset is 0.*salt/],
  ["a second salt without WAL offset", { 68: [0, 0, 0, 1] }, { walSalt2: 1 }, /walOffset is 0.*salt/],
  ["a WAL size without WAL offset", { 63: [1] }, { walSize: 1 }, /walSize is 1/],
  [
    "a time that no Date holds",
    { 32: u64(9_000_000_000_000_000n) },
    { timestampMs: 9e15 },
    /timestampMs is .*8.64e15/,
  ],
  ["a time past 2^53", { 32: u64(2n ** 53n) }, { timestampMs: 2 ** 53 }, /timestampMs is/],
  [
    "a pre-apply checksum in a snapshot",
    { 7: [0], 16: u64(1n), 40: u64(NO_ROLLING) },
    { flags: 0, minTxid: 1n, preApplyChecksum: NO_ROLLING },
    /preApplyChecksum is 8000000000000000, expected 0 in a snapshot/,
  ],
  [
    "a pre-apply checksum in a snapshot under NoChecksum",
    { 16: u64(1n), 47: [1] },
    { minTxid: 1n, preApplyChecksum: 1n },
    /preApplyChecksum is 0000000000000001, expected 0 in a snapshot/,
  ],
  [
    "a pre-apply checksum under NoChecksum",
    { 40: u64(NO_ROLLING) },
    { preApplyChecksum: NO_ROLLING },
    /expected 0 under the NoChecksum flag/,
  ],
  [
    "no pre-apply checksum where it is tracked",
    { 7: [0] },
    { flags: 0 },
    /preApplyChecksum is 0{16}, expected a checksum$/,
  ],
  [
    "a pre-apply checksum of 1",
    { 7: [0], 40: u64(1n) },
    { flags: 0, preApplyChecksum: 1n },
    /preApplyChecksum is 0{15}1, expected bit 63 set$/,
  ],
  [
    "a pre-apply checksum without bit 63",
    { 7: [0], 40: u64(NO_ROLLING - 1n) },
    { flags: 0, preApplyChecksum: NO_ROLLING - 1n },
    /preApplyChecksum is 7f{15}, expected bit 63 set/,
  ],
];

/** Where the fields stand that a rule is about, by the format's description. */
const PLACES: Record<string, number> = {
  flags: 4,
  pageSize: 8,
  minTxid: 16,
  maxTxid: 24,
  timestampMs: 32,
  preApplyChecksum: 40,
  walOffset: 48,
  walSize: 56,
};

test("decodeHeader() rejects a wrong magic", () => {
  for (let at = 0; at < 4; at++) {
    assertFault(() => decodeHeader(patched({ [at]: [0x58 + at] })), /magic is 0x/);
  }
  const fault = assertFault(
    () => decodeHeader(patched({ 0: [0, 0x0a, 0xbc, 0xde] })),
    /^Cannot decode LTX header: magic is 0x000abcde, expected 0x4c545831$/,
  );
  assert.equal(fault.offset, 0);
});

for (const [what, patches, fields, message] of RULES) {
  test(`decodeHeader() rejects ${what}`, () => {
    const fault = assertFault(() => decodeHeader(patched(patches)), message);
    const [, field] = /: (\w+) is /.exec(fault.message)!;
    assert.equal(fault.offset, PLACES[field!]);
  });
  test(`encodeHeader() rejects ${what}`, () => {
    assertFault(() => encodeHeader({ ...BASE, ...fields }), message);
  });
}

test("encodeHeader() rejects values that do not fit their fields", () => {
  const wrong: Partial<LtxHeader>[] = [
    { commit: -1 },
    { commit: 1.5 },
    { commit: NaN },
    { commit: 2 ** 32 },
    { walSalt1: 2 ** 32 },
    { walSalt2: -1 },
    { minTxid: -1n },
    { maxTxid: 2n ** 64n },
    { nodeId: 2n ** 64n },
    { preApplyChecksum: -1n },
    { timestampMs: 0.5 },
    { timestampMs: Infinity },
    { walOffset: 0.5 },
  ];
  for (const fields of wrong) {
    assertFault(() => encodeHeader({ ...BASE, ...fields }), /^Cannot encode LTX header: /);
  }
});
