import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { RestorePlanError } from "../../src/errors.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { makeRestorePlan, type ReplicaFile, replicaFiles } from "../../src/view/restore_plan.ts";
import { Random } from "../support/random.ts";

/** `[level, minTxid, maxTxid, modifiedMs?]` */
type Short = readonly [number, number, number, number?];

function file([level, min, max, modifiedMs = 0]: Short): ReplicaFile {
  const range = { minTxid: BigInt(min), maxTxid: BigInt(max) };
  return {
    ...range,
    level,
    modifiedMs,
    key: ltxKey("s3", level, formatLtxFileName(range)),
    etag: `"${modifiedMs}"`,
    size: 200,
  };
}

/** The plan in the short form. */
function planOf(files: readonly Short[], upTo?: number): number[][] {
  const plan = makeRestorePlan(files.map(file), upTo === undefined ? {} : { upTo: BigInt(upTo) });
  return plan.map(({ level, minTxid, maxTxid }) => [level, Number(minTxid), Number(maxTxid)]);
}

function assertFault(fault: string, message: RegExp, files: readonly Short[], upTo?: number): void {
  assert.throws(() => planOf(files, upTo), (error) => {
    assert.ok(error instanceof RestorePlanError, `threw ${error}`);
    assert.equal(error.fault, fault);
    assert.match(error.message, message);
    assert.match(error.message, /^Cannot [a-z][^:]*: .+, expected .*[^.]$/);
    return true;
  });
}

test("makeRestorePlan() takes a snapshot alone", () => {
  assert.deepEqual(planOf([[9, 1, 10]]), [[9, 1, 10]]);
});

test("makeRestorePlan() takes the newest snapshot, wherever it stands in the listing", () => {
  assert.deepEqual(planOf([[9, 1, 15], [9, 1, 5], [9, 1, 10]]), [[9, 1, 15]]);
});

test("makeRestorePlan() goes on from a snapshot by levels 1 and 0; upTo keeps to files below it", () => {
  const files: Short[] = [[9, 1, 5], [9, 1, 15], [1, 6, 7], [1, 8, 9], [0, 7, 7], [0, 8, 8], [0, 9, 9], [
    0,
    10,
    10,
  ]];
  assert.deepEqual(planOf(files, 10), [[9, 1, 5], [1, 6, 7], [1, 8, 9], [0, 10, 10]]);
});

test("makeRestorePlan() selects the longest reach across levels", () => {
  assert.deepEqual(planOf([[9, 1, 5], [2, 6, 12], [0, 6, 20]]), [[9, 1, 5], [0, 6, 20]]);
});

test("makeRestorePlan() prefers of files that reach as far the longer, then the higher level, then the older", () => {
  assert.deepEqual(planOf([[9, 1, 5], [2, 6, 9], [1, 4, 9]]), [[9, 1, 5], [1, 4, 9]]);
  assert.deepEqual(planOf([[9, 1, 5], [1, 6, 9], [3, 6, 9], [2, 6, 9]]), [[9, 1, 5], [3, 6, 9]]);
  const [older, newer] = [file([0, 1, 9, 1]), file([0, 1, 9, 2])];
  assert.deepEqual(makeRestorePlan([newer, older]), [older]);
  assert.deepEqual(makeRestorePlan([older, newer]), [older]);
});

test("makeRestorePlan() bridges a gap at one level by a lower level", () => {
  assert.deepEqual(
    planOf([[9, 1, 5], [2, 6, 7], [2, 10, 12], [1, 8, 8], [0, 9, 9]]),
    [[9, 1, 5], [2, 6, 7], [1, 8, 8], [0, 9, 9], [2, 10, 12]],
  );
});

test("makeRestorePlan() bridges a gap at L0 by a higher level", () => {
  assert.deepEqual(
    planOf([[9, 1, 5], [0, 6, 6], [0, 9, 9], [1, 6, 8]]),
    [[9, 1, 5], [1, 6, 8], [0, 9, 9]],
  );
});

test("makeRestorePlan() skips duplicate ranges across levels", () => {
  assert.deepEqual(planOf([[9, 1, 5], [2, 1, 5], [1, 1, 3], [0, 4, 4], [0, 5, 5], [0, 6, 6]]), [[9, 1, 5], [
    0,
    6,
    6,
  ]]);
});

test("makeRestorePlan() passes over files inside an overlapping one of the same level", () => {
  assert.deepEqual(planOf([[1, 1, 100], [1, 50, 60], [1, 101, 110]]), [[1, 1, 100], [1, 101, 110]]);
});

test("makeRestorePlan() allows a file that begins below what is reached", () => {
  assert.deepEqual(planOf([[9, 1, 5], [1, 2, 8], [0, 9, 9]]), [[9, 1, 5], [1, 2, 8], [0, 9, 9]]);
});

test("makeRestorePlan() without a snapshot begins at TXID 1", () => {
  assert.deepEqual(planOf([[1, 1, 3], [0, 4, 4]]), [[1, 1, 3], [0, 4, 4]]);
});

test("R1: makeRestorePlan() never takes a file that ends at or below what is reached", () => {
  assert.deepEqual(
    planOf([[9, 1, 10], [0, 11, 11], [0, 12, 14], [1, 11, 13], [2, 10, 13]]),
    [[9, 1, 10], [2, 10, 13], [0, 12, 14]],
  );
});

test("makeRestorePlan() reports a gap with both TXIDs and the file behind it", () => {
  assertFault(
    "gap",
    /reach TXID 0000000000000006 and go on at 0000000000000009 \("0000\/0000000000000009-0000000000000009\.ltx"\)/,
    [[9, 1, 5], [0, 6, 6], [0, 9, 9]],
  );
});

test("makeRestorePlan() reports a gap before the first file", () => {
  assertFault("gap", /reach TXID 0000000000000000 and go on at 0000000000000002/, [[0, 2, 2], [0, 3, 3]]);
});

test("makeRestorePlan() with upTo passes over what begins beyond a gap behind it", () => {
  assert.deepEqual(planOf([[9, 1, 5], [0, 6, 6], [0, 9, 9]], 6), [[9, 1, 5], [0, 6, 6]]);
});

test("makeRestorePlan() with upTo never takes a file that ends beyond it", () => {
  assert.deepEqual(planOf([[9, 1, 5], [9, 1, 9], [2, 6, 9], [1, 6, 8], [0, 6, 6], [0, 7, 7]], 7), [
    [9, 1, 5],
    [0, 6, 6],
    [0, 7, 7],
  ]);
});

test("makeRestorePlan() with upTo names what can be reached instead", () => {
  const files: Short[] = [[9, 1, 5], [1, 6, 8]];
  assertFault("unreachable", /reach TXID 0000000000000005, expected 0000000000000007/, files, 7);
  assertFault("unreachable", /reach TXID 0000000000000008, expected 0000000000000063/, files, 99);
  assertFault("unreachable", /reach TXID 0000000000000000, expected 0000000000000003/, files, 3);
});

test("makeRestorePlan() of no files is empty", () => {
  assertFault("empty", /no LTX files/, []);
});

test("makeRestorePlan() does not change its input", () => {
  const files = Object.freeze(
    [[0, 2, 2], [9, 1, 1], [0, 3, 3]].map((short) => file(short as unknown as Short)),
  );
  assert.equal(makeRestorePlan(files).length, 3);
});

test("makeRestorePlan() handles TXIDs of 64 bits", () => {
  const last = 0xffff_ffff_ffff_ffffn;
  const range = { minTxid: 1n, maxTxid: last - 1n };
  const base = { ...file([9, 1, 1]), ...range };
  const next = { ...file([0, 1, 1]), minTxid: last, maxTxid: last };
  assert.deepEqual(makeRestorePlan([next, base]), [base, next]);
});

test("replicaFiles() keeps LTX files of the level's prefix in order, and nothing else", () => {
  const named = (key: string) => ({ key, etag: "e", size: 1, modifiedMs: 5 });
  const files = replicaFiles(
    [
      named("ltx/1/0000000000000001-000000000000000a.ltx"),
      named("ltx/1/0000000000000001-000000000000000a.ltx.tmp"),
      named("ltx/1/000000000000000b-0000000000000001.ltx"),
      named("ltx/1/0000000000000000-0000000000000001.ltx"),
      named("ltx/1/000000000000000B-000000000000000B.ltx"),
      named("ltx/1/sub/000000000000000b-000000000000000b.ltx"),
      named("ltx/2/000000000000000b-000000000000000b.ltx"),
      named("ltx/1/readme.md"),
      named("ltx/1/000000000000000b-000000000000000b.ltx"),
    ],
    "folder",
    1,
  );
  assert.deepEqual(files.map(({ minTxid, maxTxid, level }) => [minTxid, maxTxid, level]), [[1n, 10n, 1], [
    11n,
    11n,
    1,
  ]]);
});

/**
 * The reference's description word by word, without a thought for speed: cursors over sorted listings, one candidate
 * each.
 */
function modelPlan(files: readonly ReplicaFile[], upTo?: bigint): ReplicaFile[] | string {
  const eligible = files.filter((f) => upTo === undefined || f.maxTxid <= upTo);
  const order = (a: ReplicaFile, b: ReplicaFile) =>
    Number(a.minTxid - b.minTxid) || Number(a.maxTxid - b.maxTxid);
  const snapshot = eligible.filter(({ level }) => level === 9).sort(order).at(-1);
  const plan = snapshot ? [snapshot] : [];
  let current = snapshot?.maxTxid ?? 0n;
  const better = (a: ReplicaFile, b: ReplicaFile) =>
    Number(b.maxTxid - a.maxTxid) || Number(a.minTxid - b.minTxid) || b.level - a.level ||
    a.modifiedMs - b.modifiedMs;
  for (;;) {
    const candidates: ReplicaFile[] = [];
    for (let level = 8; level >= 0; level--) {
      const listed = eligible.filter((f) => f.level === level).sort(order);
      candidates.push(...listed.filter((f) => f.minTxid <= current + 1n && f.maxTxid > current));
    }
    const best = candidates.sort(better)[0];
    if (best === undefined) break;
    plan.push(best);
    current = best.maxTxid;
  }
  if (upTo !== undefined) return current === upTo ? plan : "unreachable";
  if (files.some((f) => f.level < 9 && f.minTxid > current + 1n)) return "gap";
  return plan.length === 0 ? "empty" : plan;
}

const SEED = Number(process.env.FUZZ_SEED ?? 20_240);

test(`makeRestorePlan() agrees with a model on 5000 random replicas (FUZZ_SEED=${SEED})`, () => {
  const random = new Random(SEED);
  const outcomes = new Map<string, number>();
  for (let round = 0; round < 5000; round++) {
    const span = 2 + random.next(20);
    const all = Array.from({ length: random.next(14) }, () => {
      const level = [0, 0, 0, 1, 1, 2, 3, 8, 9][random.next(9)]!;
      const min = level === 9 ? 1 : 1 + random.next(span);
      const max = level === 0 ? min : min + random.next(6);
      return file([level, min, max, random.next(3)]);
    });
    const files = [...new Map(all.map((f) => [f.key, f])).values()]; // no store has a name twice
    const upTo = random.next(3) === 0 ? BigInt(1 + random.next(span)) : undefined;
    const wanted = modelPlan(files, upTo);
    let found: ReplicaFile[] | string;
    try {
      found = makeRestorePlan(files, { upTo });
    } catch (error) {
      assert.ok(error instanceof RestorePlanError);
      found = error.fault;
    }
    const show = (value: ReplicaFile[] | string) =>
      typeof value === "string"
        ? value
        : value.map((f) => [f.level, f.minTxid, f.maxTxid, f.modifiedMs].join());
    assert.deepEqual(show(found), show(wanted), `round ${round}: ${show(files)} upTo ${upTo}`);
    const kind = typeof wanted === "string" ? wanted : "plan";
    outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
  }
  for (const kind of ["plan", "gap", "unreachable", "empty"]) assert.ok((outcomes.get(kind) ?? 0) > 50, kind);
});
