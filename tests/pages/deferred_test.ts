import assert from "node:assert/strict";
import { test } from "node:test";
import { Deferred } from "../../src/pages/deferred.ts";
import type { PlanFile } from "../../src/view/plan_file.ts";

const file = {} as PlanFile;
const guess = (first: number, count = 4) => ({ file, range: { first, count } });

test("Deferred takes guesses of a connection from when it was served from disk until it is not", () => {
  const deferred = new Deferred();
  assert.equal(deferred.take(1, guess(10)), false);
  assert.deepEqual(deferred.wanted(1, true), []);
  assert.equal(deferred.take(1, guess(10)), true);
  assert.equal(deferred.take(2, guess(20)), false);
  assert.equal(deferred.take(1, guess(30)), true);
  assert.deepEqual(deferred.wanted(1, true), []);
  assert.deepEqual(deferred.wanted(2, false), []);
  assert.deepEqual(deferred.wanted(1, false), [guess(10), guess(30)]);
  assert.deepEqual(deferred.wanted(1, false), []);
  assert.equal(deferred.take(1, guess(40)), false);
});

test("Deferred gives what was guessed for nobody to the first that needs storage", () => {
  const deferred = new Deferred();
  deferred.serveLocally(0);
  assert.equal(deferred.take(0, guess(10)), true);
  assert.deepEqual(deferred.wanted(5, true), []);
  deferred.take(5, guess(20));
  assert.deepEqual(deferred.wanted(5, false), [guess(10), guess(20)]);
  assert.equal(deferred.take(0, guess(10)), false);
});

test("Deferred keeps a guess once, as it was guessed last, and the newest of many", () => {
  const deferred = new Deferred();
  deferred.serveLocally(1);
  for (const count of [1, 2]) deferred.take(1, guess(10, count));
  assert.deepEqual(deferred.wanted(1, false), [guess(10, 2)]);
  deferred.serveLocally(1);
  for (let first = 0; first < 100; first++) deferred.take(1, guess(first));
  const kept = deferred.wanted(1, false);
  assert.deepEqual([kept.length, kept.at(-1)], [64, guess(99)]);
  for (let connection = 1; connection <= 300; connection++) deferred.serveLocally(connection);
  assert.deepEqual([deferred.take(1, guess(1)), deferred.take(300, guess(1))], [false, true]);
});
