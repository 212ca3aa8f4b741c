import assert from "node:assert/strict";
import { test } from "node:test";
import { COVERED_MS, PLAN_FILES_MAX, rebasePlan } from "../../src/follow/rebase.ts";
import { file, type Short, short } from "./short_files.ts";

const NOW = 1_700_000_000_000;
const OLD = NOW - COVERED_MS;

/** The plan to move to in the short form. */
function rebaseOf(
  position: number,
  plan: readonly Short[],
  others: readonly Short[],
): number[][] | undefined {
  const files = [...others, ...plan].map(file);
  const found = rebasePlan(BigInt(position), plan.map(file), files, NOW);
  return found && short(found);
}

function raw(from: number, to: number): Short[] {
  return Array.from({ length: to - from + 1 }, (_, i) => [0, from + i, from + i]);
}

const PLAN: Short[] = [[9, 1, 10], [1, 11, 13], [0, 14, 14]];

test("rebasePlan() leaves a plan alone that nothing has overtaken", () => {
  assert.equal(rebaseOf(14, PLAN, []), undefined);
  assert.equal(
    rebaseOf(14, PLAN, [[0, 11, 11], [0, 13, 13], [0, 15, 15], [1, 14, 16], [9, 1, 9]]),
    undefined,
  );
});

test("rebasePlan() moves to a newer snapshot at once", () => {
  assert.deepEqual(rebaseOf(14, PLAN, [[9, 1, 13, NOW]]), [[9, 1, 13], [0, 14, 14]]);
  assert.deepEqual(rebaseOf(14, PLAN, [[9, 1, 14, NOW], [9, 1, 12, NOW]]), [[9, 1, 14]]);
});

test("rebasePlan() moves to a first snapshot when it ends beyond the plan's first file", () => {
  assert.deepEqual(rebaseOf(6, [[1, 1, 4], [0, 5, 5], [0, 6, 6]], [[9, 1, 5]]), [[9, 1, 5], [0, 6, 6]]);
  assert.equal(rebaseOf(6, [[1, 1, 4], [0, 5, 5], [0, 6, 6]], [[9, 1, 3]]), undefined);
});

test("rebasePlan() passes over a snapshot beyond the position", () => {
  assert.equal(rebaseOf(14, PLAN, [[9, 1, 15, OLD]]), undefined);
});

test("rebasePlan() leaves files that a higher level has covered for a minute", () => {
  assert.deepEqual(rebaseOf(14, PLAN, [[1, 14, 14, OLD]]), [[9, 1, 10], [1, 11, 13], [1, 14, 14]]);
  assert.equal(rebaseOf(14, PLAN, [[1, 14, 14, OLD + 1]]), undefined);
  assert.deepEqual(rebaseOf(14, PLAN, [[2, 11, 13, OLD]]), [[9, 1, 10], [2, 11, 13], [0, 14, 14]]);
  assert.deepEqual(rebaseOf(14, PLAN, [[3, 9, 14, OLD]]), [[9, 1, 10], [3, 9, 14]]);
});

test("rebasePlan() finds the covering file wherever it stands in the listing", () => {
  const moved = [[9, 1, 10], [2, 11, 13], [0, 14, 14]];
  assert.deepEqual(rebaseOf(14, PLAN, [[0, 20, 20, OLD], [2, 11, 13, OLD]]), moved);
  assert.deepEqual(rebaseOf(14, PLAN, [[2, 11, 13, OLD], [0, 20, 20, OLD]]), moved);
});

test("rebasePlan() moves whole, to files younger than the one that made it move", () => {
  assert.deepEqual(rebaseOf(14, PLAN, [[2, 11, 13, OLD], [1, 14, 14, NOW]]), [[9, 1, 10], [2, 11, 13], [
    1,
    14,
    14,
  ]]);
});

test("rebasePlan() leaves no file for one on its own level or below", () => {
  assert.equal(rebaseOf(14, PLAN, [[0, 13, 14, OLD], [1, 10, 13, OLD]]), undefined);
});

test("rebasePlan() stays where the covering file ends beyond the position", () => {
  assert.equal(rebaseOf(14, PLAN, [[1, 14, 15, OLD]]), undefined);
  assert.equal(rebaseOf(14, PLAN, [[1, 14, 15, OLD], [2, 11, 13, NOW]]), undefined, "still needed");
});

test("rebasePlan() stays where nothing else reaches the position", () => {
  const plan = PLAN.map(file);
  assert.equal(
    rebasePlan(14n, plan, [[9, 1, 13], [1, 14, 15]].map((one) => file(one as unknown as Short)), NOW),
    undefined,
  );
  assert.equal(rebasePlan(14n, plan, [], NOW), undefined);
});

test("rebasePlan() shortens a long plan when it more than halves", () => {
  const long: Short[] = raw(1, PLAN_FILES_MAX + 2);
  const last = long.length;
  const half = last / 2;
  const younger = (min: number, max: number): Short => [1, min, max, NOW];
  assert.equal(rebaseOf(last, long, [younger(1, half + 2)])?.length, half - 1);
  assert.equal(rebaseOf(last, long, [younger(1, half + 1)]), undefined, "exactly half");
  assert.equal(
    rebaseOf(PLAN_FILES_MAX, long.slice(0, -2), [younger(1, PLAN_FILES_MAX)]),
    undefined,
    "not long",
  );
});

test("rebasePlan() gives the files as they are now, and does not move for their ETags alone", () => {
  const plan = [file([9, 1, 10]), file([0, 11, 11])];
  const again = [file([9, 1, 10, 5]), file([0, 11, 11, 5])];
  assert.equal(rebasePlan(11n, plan, again, NOW), undefined);
  assert.deepEqual(rebasePlan(11n, plan, [...again, file([9, 1, 11, 5])], NOW), [file([9, 1, 11, 5])]);
});

test("rebasePlan() is content with the plan it gave", () => {
  const files = [...PLAN, [1, 14, 14, OLD] as const, [3, 9, 14, OLD] as const, [9, 1, 12, NOW] as const].map(
    file,
  );
  const moved = rebasePlan(14n, PLAN.map(file), files, NOW);
  assert.deepEqual(short(moved!), [[9, 1, 12], [3, 9, 14]]);
  assert.equal(rebasePlan(14n, moved!, files, NOW), undefined);
  assert.equal(rebasePlan(14n, moved!, files, NOW + 10 * COVERED_MS), undefined);
});
