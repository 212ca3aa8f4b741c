import assert from "node:assert/strict";
import { test } from "node:test";
import type { FrameState } from "../../src/pages/frames.ts";
import { neighbourhood } from "../../src/pages/neighbourhood.ts";
import { Random } from "../support/random.ts";

/** Frames in short: `.` wanted by nobody yet, `c` cached, `o` an older version; 1000 bytes each. */
function frames(shape: string, size = 1000): FrameState[] {
  return [...shape].map((kind, i) => ({ pgno: i + 1, size, cached: kind === "c", current: kind !== "o" }));
}

const idle = () => false;

/** First and count of the range around the frame at `wanted` of the window. */
function range(
  shape: string,
  wanted: number,
  bytesMax: number,
  busy: (frame: number) => boolean = idle,
): number[] {
  const { first, count } = neighbourhood(frames(shape), 0, wanted, bytesMax, busy);
  return [first, count];
}

test("neighbourhood() takes the frames behind a wanted one first, as many as fit", () => {
  assert.deepEqual(range("..........", 3, 4000), [3, 4]);
  assert.deepEqual(range("..........", 3, 4999), [3, 4]);
});

test("neighbourhood() takes frames ahead with what is left", () => {
  assert.deepEqual(range("..........", 8, 5000), [5, 5]);
  assert.deepEqual(range("....", 1, 16_000), [0, 4]);
});

test("neighbourhood() ends at cached frames, at older versions and at frames under way", () => {
  assert.deepEqual(range("..c..c..", 3, 16_000), [3, 2]);
  assert.deepEqual(range("..o..o..", 4, 16_000), [3, 2]);
  assert.deepEqual(range("........", 4, 16_000, (frame) => frame === 2 || frame === 6), [3, 3]);
});

test("neighbourhood() gives the wanted frame alone when it is larger than allowed", () => {
  assert.deepEqual(neighbourhood(frames("...", 70_000), 0, 1, 16_384, idle), { first: 1, count: 1 });
});

test("neighbourhood() gives the wanted frame even when it is old or cached", () => {
  assert.deepEqual(range("o", 0, 100), [0, 1]);
  assert.deepEqual(range("c", 0, 100), [0, 1]);
});

test("neighbourhood() counts frames from the window's first", () => {
  assert.deepEqual(neighbourhood(frames("....."), 100, 102, 2000, (frame) => frame < 102), {
    first: 102,
    count: 2,
  });
});

test("neighbourhood() keeps its bounds on random windows", () => {
  const random = new Random(7);
  for (let round = 0; round < 2000; round++) {
    const states = Array.from({ length: 1 + random.next(40) }, (_, i) => ({
      pgno: i + 1,
      size: 20 + random.next(5000),
      cached: random.next(5) === 0,
      current: random.next(5) > 0,
    }));
    const first = random.next(1000);
    const wanted = first + random.next(states.length);
    const under = new Set(
      states.map((_, i) => first + i).filter((frame) => frame !== wanted && random.next(6) === 0),
    );
    const bytesMax = random.next(20_000);
    const found = neighbourhood(states, first, wanted, bytesMax, (frame) => under.has(frame));
    assert.ok(found.first <= wanted && wanted < found.first + found.count);
    let bytes = 0;
    for (let frame = found.first; frame < found.first + found.count; frame++) {
      const state = states[frame - first]!;
      bytes += state.size;
      if (frame !== wanted) assert.ok(state.current && !state.cached && !under.has(frame));
    }
    assert.ok(bytes <= Math.max(bytesMax, states[wanted - first]!.size));
  }
});
