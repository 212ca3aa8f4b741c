import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionMemory } from "../../src/pages/connection_memory.ts";

test("ConnectionMemory keeps one value for each connection, of the 256 that were used last", () => {
  const memory = new ConnectionMemory<string>(() => 0);
  for (let i = 1; i <= 256; i++) memory.use(i, () => `first of ${i}`);
  assert.equal(memory.use(1, () => "second"), "first of 1");
  memory.use(257, () => "newest");
  assert.equal(memory.size, 256);
  assert.equal(memory.get(2), undefined, "the longest unused is forgotten");
  assert.equal(memory.get(1), "first of 1");
  assert.deepEqual([...memory.values()].slice(-2), ["first of 1", "newest"]);
});

test("ConnectionMemory forgets what was not used for a minute, once another connection is", () => {
  let nowMs = 0;
  const memory = new ConnectionMemory<number>(() => nowMs);
  for (let i = 1; i <= 3; i++) {
    nowMs += 1_000;
    memory.use(i, () => i);
  }
  nowMs = 61_000;
  assert.equal(memory.get(1), 1, "nothing happened since");
  memory.use(3, () => -3);
  assert.deepEqual([...memory.values()], [2, 3]);
  nowMs = 130_000;
  assert.equal(memory.use(2, () => -2), 2, "what is used is not forgotten by that");
  assert.deepEqual([...memory.values()], [2]);
});

test("ConnectionMemory gives what it forgets when asked to", () => {
  const memory = new ConnectionMemory<number>(() => 0);
  memory.use(7, () => 1);
  assert.deepEqual([memory.take(7), memory.take(7), memory.size], [1, undefined, 0]);
  assert.equal(memory.use(7, () => 2), 2);
});
