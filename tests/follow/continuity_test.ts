import assert from "node:assert/strict";
import { test } from "node:test";
import { compareFiles, continuesWal, isSameObject } from "../../src/follow/continuity.ts";
import { decodeHeader, type LtxHeader } from "../../src/ltx/header.ts";
import { sampleFile } from "../support/ltx_files.ts";
import { file } from "./short_files.ts";

function header(fields: Partial<LtxHeader>): LtxHeader {
  return { ...decodeHeader(sampleFile().subarray(0, 100)), ...fields };
}

const WAL = { walSalt1: 7, walSalt2: 8, walOffset: 4152, walSize: 4120 };

test("continuesWal() is sure only of the place right behind, under the same salts", () => {
  const last = header(WAL);
  const next = { ...WAL, walOffset: 4152 + 4120 };
  assert.equal(continuesWal(last, header(next)), true);
  for (
    const other of [{ walSalt1: 6 }, { walSalt2: 6 }, { walOffset: next.walOffset + 1 }, { walOffset: 32 }]
  ) {
    assert.equal(continuesWal(last, header({ ...next, ...other })), false, JSON.stringify(other));
  }
});

test("continuesWal() is never sure of files without salts: two databases may both have none", () => {
  const none = { walSalt1: 0, walSalt2: 0, walOffset: 0, walSize: 0 };
  assert.equal(continuesWal(header(none), header(none)), false);
});

test("compareFiles() tells files that are there as they were, and those that changed", () => {
  const known = [file([9, 1, 5]), file([0, 6, 6]), file([0, 7, 7])];
  assert.deepEqual(compareFiles(known, []), { isSame: false, changed: [] });
  assert.deepEqual(compareFiles([], known), { isSame: false, changed: [] });
  assert.deepEqual(compareFiles(known, [file([0, 7, 7]), file([0, 8, 8])]), { isSame: true, changed: [] });
  assert.deepEqual(compareFiles(known, [file([0, 6, 6, 1])]), {
    isSame: false,
    changed: [{ known: known[1], listed: file([0, 6, 6, 1]) }],
  });
  assert.deepEqual(compareFiles(known, [file([0, 6, 6, 1]), file([9, 1, 5])]).isSame, true);
});

test("compareFiles() compares each of several mentions of a key", () => {
  const [old, now] = [file([0, 6, 6, 1]), file([0, 6, 6, 2])];
  assert.deepEqual(compareFiles([old, now], [now]), { isSame: true, changed: [{ known: old, listed: now }] });
});

test("isSameObject() goes by key, ETag and size", () => {
  const one = file([0, 6, 6]);
  assert.equal(isSameObject(one, { ...one, modifiedMs: 99 }), true);
  for (const other of [{ key: "x" }, { etag: "x" }, { size: 1 }]) {
    assert.equal(isSameObject(one, { ...one, ...other }), false);
  }
});
