import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatLtxFileName,
  formatTxid,
  lockPgno,
  nextStoredPgno,
  PAGE_SIZES,
  parseLtxFileName,
  parseTxid,
  storedPageCount,
} from "../../src/ltx/txid.ts";
import { assertFault } from "../support/ltx_files.ts";

const MAX_TXID = 0xffff_ffff_ffff_ffffn;

test("formatTxid() writes 16 lower-case hex digits", () => {
  assert.equal(formatTxid(0n), "0000000000000000");
  assert.equal(formatTxid(66n), "0000000000000042");
  assert.equal(formatTxid(0xabcdef0123456789n), "abcdef0123456789");
  assert.equal(formatTxid(MAX_TXID), "ffffffffffffffff");
});

test("formatTxid() rejects what does not fit in 64 bits", () => {
  assert.throws(() => formatTxid(-1n), RangeError);
  assert.throws(() => formatTxid(MAX_TXID + 1n), RangeError);
});

test("parseTxid() reads 16 hex digits of either case", () => {
  assert.equal(parseTxid("0000000000000042"), 66n);
  assert.equal(parseTxid("ABCDEF0123456789"), 0xabcdef0123456789n);
  assert.equal(parseTxid("ffffffffffffffff"), MAX_TXID);
});

test("parseTxid() rejects other lengths and characters", () => {
  const wrong = ["", "42", "000000000000042", "00000000000000042", "000000000000004g", "0x00000000000042"];
  for (
    const text of [...wrong, " 000000000000042", "0000000000000042\n", "-000000000000042", "0".repeat(1e6)]
  ) {
    assertFault(() => parseTxid(text), /^Cannot parse TXID: /);
  }
  const message = `Cannot parse TXID: "${"x".repeat(39)}y", expected 16 hex digits`;
  assertFault(() => parseTxid(`${"x".repeat(39)}yz`), new RegExp(`^${message}$`));
});

test("formatLtxFileName() and parseLtxFileName() give back each other's answer", () => {
  const range = { minTxid: 2n, maxTxid: 0x1fn };
  assert.equal(formatLtxFileName(range), "0000000000000002-000000000000001f.ltx");
  assert.deepEqual(parseLtxFileName("0000000000000002-000000000000001f.ltx"), range);
  assert.deepEqual(parseLtxFileName(formatLtxFileName({ minTxid: 7n, maxTxid: 7n })), {
    minTxid: 7n,
    maxTxid: 7n,
  });
  const widest = { minTxid: 1n, maxTxid: MAX_TXID };
  assert.deepEqual(parseLtxFileName(formatLtxFileName(widest)), widest);
});

test("formatLtxFileName() rejects zero and descending TXIDs", () => {
  assert.throws(() => formatLtxFileName({ minTxid: 0n, maxTxid: 1n }), RangeError);
  assert.throws(() => formatLtxFileName({ minTxid: 2n, maxTxid: 1n }), RangeError);
});

test("parseLtxFileName() gives null for names that are not of LTX files", () => {
  const good = "0000000000000001-0000000000000002.ltx";
  const names = [
    "",
    good.toUpperCase(),
    "000000000000000A-000000000000000b.ltx",
    "0000000000000001-0000000000000002.LTX",
    `${good}.tmp`,
    `x${good}`,
    `ltx/0/${good}`,
    `${good}\n`,
    "0000000000000001.ltx",
    "0000000000000001_0000000000000002.ltx",
    "000000000000001-0000000000000002.ltx",
    "00000000000000001-0000000000000002.ltx",
    "0000000000000000-0000000000000002.ltx",
    "0000000000000003-0000000000000002.ltx",
    "lock.json",
  ];
  for (const name of names) assert.equal(parseLtxFileName(name), null, name);
});

test("lockPgno() gives the page at 1 GiB for all page sizes", () => {
  assert.deepEqual(PAGE_SIZES.map(lockPgno), [2097153, 1048577, 524289, 262145, 131073, 65537, 32769, 16385]);
});

test("nextStoredPgno() skips the lock page and nothing else, for all page sizes", () => {
  for (const pageSize of PAGE_SIZES) {
    const lock = lockPgno(pageSize);
    assert.equal(nextStoredPgno(0, pageSize), 1);
    assert.equal(nextStoredPgno(lock - 2, pageSize), lock - 1);
    assert.equal(nextStoredPgno(lock - 1, pageSize), lock + 1);
    assert.equal(nextStoredPgno(lock + 1, pageSize), lock + 2);
  }
});

test("storedPageCount() leaves the lock page out where the database reaches it, for all page sizes", () => {
  for (const pageSize of PAGE_SIZES) {
    const lock = lockPgno(pageSize);
    assert.equal(storedPageCount(0, pageSize), 0);
    assert.equal(storedPageCount(lock - 1, pageSize), lock - 1);
    assert.equal(storedPageCount(lock, pageSize), lock - 1);
    assert.equal(storedPageCount(lock + 1, pageSize), lock);
  }
});
