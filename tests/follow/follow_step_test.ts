import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { ADVANCE_FILES_MAX, followStep, REPLAN_SHARE } from "../../src/follow/follow_step.ts";
import { makeRestorePlan, type ReplicaFile } from "../../src/view/restore_plan.ts";
import { Random } from "../support/random.ts";
import { file, type Short, short } from "./short_files.ts";

/** The step in the short form. */
function stepOf(position: number, files: readonly Short[]): unknown[] {
  const step = followStep(BigInt(position), files.map(file));
  switch (step.kind) {
    case "current":
      return [step.kind];
    case "advance":
      return [step.kind, ...short(step.files)];
    case "replan":
      return [step.kind, ...short(step.plan)];
    case "gap":
      return [step.kind, ...short([step.next])];
    case "behind":
      return [step.kind, Number(step.newest)];
  }
}

function raw(from: number, to: number): Short[] {
  return Array.from({ length: to - from + 1 }, (_, i) => [0, from + i, from + i]);
}

const R3: Short[] = [[9, 1, 5], [2, 6, 10], ...raw(11, 12)];

test("R1: followStep() takes no file that ends at or below the position, whatever its level", () => {
  const files: Short[] = [[9, 1, 10], ...raw(11, 14), [1, 11, 13]];
  assert.deepEqual(stepOf(14, files), ["current"]);
  assert.deepEqual(stepOf(14, [...files, [1, 11, 14], [2, 11, 14]]), ["current"]);
  assert.deepEqual(stepOf(14, [...files, [0, 15, 15]]), ["advance", [0, 15, 15]]);
});

test("R1: followStep() prefers a late L1 file only for what it reaches", () => {
  assert.deepEqual(stepOf(10, [[9, 1, 10], ...raw(11, 14), [1, 11, 13]]), ["advance", [1, 11, 13], [
    0,
    14,
    14,
  ]]);
});

test("R3: followStep() goes on over the plan's edge by L1 files that straddle it", () => {
  assert.deepEqual(stepOf(12, R3), ["current"]);
  assert.deepEqual(stepOf(12, [...R3, [1, 11, 14], [1, 15, 16]]), ["advance", [1, 11, 14], [1, 15, 16]]);
  assert.deepEqual(stepOf(12, [...R3, ...raw(13, 15), [1, 11, 14], [1, 15, 16]]), [
    "advance",
    [1, 11, 14],
    [1, 15, 16],
  ]);
});

test("R3: followStep() bridges where L0 was compacted away by any of levels 1–8", () => {
  for (let level = 1; level <= 8; level++) {
    assert.deepEqual(stepOf(12, [...R3, [level, 6, 20], [0, 21, 21]]), ["advance", [level, 6, 20], [
      0,
      21,
      21,
    ]]);
  }
});

test("followStep() takes wide L0 files, also from below the position", () => {
  assert.deepEqual(stepOf(12, [[0, 10, 14], [0, 15, 19]]), ["advance", [0, 10, 14], [0, 15, 19]]);
});

test("followStep() re-plans where only a newer snapshot leads on", () => {
  assert.deepEqual(stepOf(12, [...R3, [9, 1, 40], [0, 41, 41], [1, 39, 40]]), ["replan", [9, 1, 40], [
    0,
    41,
    41,
  ]]);
  assert.deepEqual(stepOf(12, [...R3, [9, 1, 40], [9, 1, 50], [0, 61, 61]]), ["replan", [9, 1, 50]]);
});

test("followStep() re-plans where a snapshot reaches further, and advances where it reaches as far", () => {
  assert.deepEqual(stepOf(12, [...raw(13, 15), [9, 1, 20]]), ["replan", [9, 1, 20]]);
  assert.deepEqual(stepOf(12, [...raw(13, 15), [9, 1, 15]]), ["advance", ...short(raw(13, 15).map(file))]);
  assert.deepEqual(stepOf(12, [...raw(13, 15), [9, 1, 14]]), ["advance", ...short(raw(13, 15).map(file))]);
});

test("followStep() re-plans in place of a long advance that a plan needs far fewer files for", () => {
  const last = 1 + REPLAN_SHARE * ADVANCE_FILES_MAX; // From position 1 that many files but one lead on.
  const long = raw(1, last);
  const kindOf = (position: number, snapshot: number) => stepOf(position, [...long, [9, 1, snapshot]])[0];
  const planFiles = (count: number) => last + 1 - count; // The snapshot such that the plan has so many files.
  assert.equal(kindOf(1, last), "replan");
  assert.equal(kindOf(1, planFiles(ADVANCE_FILES_MAX - 1)), "replan");
  assert.equal(kindOf(1, planFiles(ADVANCE_FILES_MAX)), "advance", "a fourth is too many");
  assert.equal(kindOf(last - ADVANCE_FILES_MAX - 1, last), "replan");
  assert.equal(kindOf(last - ADVANCE_FILES_MAX, last), "advance", "256 files are not too many");
});

test("followStep() prefers of files that reach as far the longer, then the higher level, then the older", () => {
  assert.deepEqual(stepOf(5, [[2, 6, 9], [1, 4, 9]]), ["advance", [1, 4, 9]]);
  assert.deepEqual(stepOf(5, [[1, 6, 9], [3, 6, 9], [2, 6, 9]]), ["advance", [3, 6, 9]]);
  const [older, newer] = [file([0, 6, 9, 1]), file([0, 6, 9, 2])];
  assert.deepEqual(followStep(5n, [newer, older]), { kind: "advance", files: [older] });
  assert.deepEqual(followStep(5n, [older, newer]), { kind: "advance", files: [older] });
});

test("followStep() tells a gap with the file that begins lowest beyond it", () => {
  assert.deepEqual(stepOf(12, [...R3, [0, 15, 15], [1, 14, 20], [2, 30, 40]]), ["gap", [1, 14, 20]]);
  assert.deepEqual(stepOf(0, [[0, 2, 2], [0, 3, 3]]), ["gap", [0, 2, 2]]);
});

test("followStep() advances up to a gap", () => {
  assert.deepEqual(stepOf(12, [[0, 13, 13], [0, 15, 15]]), ["advance", [0, 13, 13]]);
  assert.deepEqual(stepOf(13, [[0, 13, 13], [0, 15, 15]]), ["gap", [0, 15, 15]]);
});

test("followStep() goes by the listing: levels listed downwards may show a gap that listing upwards does not", () => {
  const l1Before: Short[] = [[1, 6, 10]];
  const l0Before = raw(11, 13);
  // L1 11–13 is written, L0 11–13 is deleted, L0 14 is written.
  const l1After: Short[] = [...l1Before, [1, 11, 13]];
  const l0After = raw(14, 14);
  assert.deepEqual(stepOf(10, [...l1Before, ...l0After]), ["gap", [0, 14, 14]]);
  assert.deepEqual(stepOf(10, [...l0Before, ...l1After]), ["advance", [1, 11, 13]]);
  assert.deepEqual(stepOf(14, l1After), ["behind", 13], "listed before the view read L0 14");
});

test("followStep() tells that all files end below the position", () => {
  assert.deepEqual(stepOf(13, R3), ["behind", 12]);
  assert.deepEqual(stepOf(13, []), ["behind", 0]);
  assert.deepEqual(stepOf(0, []), ["current"]);
});

test("followStep() opens: from position 0 it gives the restore plan", () => {
  assert.deepEqual(stepOf(0, R3), ["replan", ...short(makeRestorePlan(R3.map(file)))]);
  assert.deepEqual(stepOf(0, [[1, 1, 3], [0, 4, 4]]), ["advance", [1, 1, 3], [0, 4, 4]]);
});

test("followStep() does not change its input and handles TXIDs of 64 bits", () => {
  const last = 0xffff_ffff_ffff_ffffn;
  const next = { ...file([0, 1, 1]), minTxid: last, maxTxid: last };
  const files = Object.freeze([next, file([0, 1, 1])]);
  assert.deepEqual(followStep(last - 1n, files), { kind: "advance", files: [next] });
  assert.deepEqual(followStep(last, files), { kind: "current" });
});

test("followStep() decides about 100,000 files within a second", () => {
  const files = raw(1, 100_000).map(file).reverse();
  const started = performance.now();
  const step = followStep(50_000n, files);
  assert.ok(step.kind === "advance" && step.files.length === 50_000);
  assert.ok(performance.now() - started < 1000);
});

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);

function randomListing(random: Random): ReplicaFile[] {
  const span = 2 + random.next(20);
  const all = Array.from({ length: random.next(14) }, () => {
    const level = [0, 0, 0, 1, 1, 2, 3, 8, 9][random.next(9)]!;
    const min = level === 9 ? 1 : 1 + random.next(span);
    return file([level, min, min + random.next(6), random.next(3)]);
  });
  return [...new Map(all.map((f) => [f.key, f])).values()];
}

test(`followStep() from a snapshot's TXID is the rest of makeRestorePlan() (FUZZ_SEED=${SEED})`, () => {
  const random = new Random(SEED);
  let count = 0;
  for (let round = 0; round < 5000; round++) {
    const files = randomListing(random);
    const from = BigInt(random.next(12));
    const step = followStep(from, files);
    const found = step.kind === "advance" ? step.files : step.kind === "replan" ? step.plan : undefined;
    if (found === undefined) continue;
    // A view is to its later files what a snapshot is.
    const base = { ...file([9, 1, 1]), minTxid: 0n, maxTxid: from, key: "view" };
    const known = step.kind === "replan" ? files : [base, ...files.filter(({ level }) => level < 9)];
    const plan = makeRestorePlan(known, { upTo: found.at(-1)!.maxTxid });
    const wanted = step.kind === "replan" ? plan : plan.slice(1);
    assert.deepEqual(
      short(found),
      short(wanted),
      `round ${round}, from ${from}: ${JSON.stringify(short(files))}`,
    );
    count++;
  }
  assert.ok(count > 1000);
});
