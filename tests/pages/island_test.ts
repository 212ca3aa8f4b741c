import assert from "node:assert/strict";
import { test } from "node:test";
import type { FrameRange, FrameState } from "../../src/pages/frames.ts";
import { islandAround, islandSize } from "../../src/pages/island.ts";
import { Random } from "../support/random.ts";

const KIB = 1024;

/** Frames in short: `u` useful, `.` not. */
function island(shape: string, frame: number, bytesMax: number, size = 1000): number[] {
  const { first, count } = islandAround(frame, bytesMax, {
    states: (range) =>
      statesOf(
        [...shape].map(() => size),
        range,
      ),
    isUseful: ({ pgno }, other) => {
      assert.equal(pgno, other + 1);
      return shape[other] === "u";
    },
  });
  return [first, count];
}

function statesOf(sizes: readonly number[], { first, count }: FrameRange): FrameState[] {
  assert.ok(first >= 0 && count >= 0);
  return sizes.slice(first, first + count).map((size, i) => ({
    pgno: first + i + 1,
    size,
    cached: false,
    current: true,
  }));
}

test("islandSize() is a sixteenth of what may come, of 64 KiB at least and 1 MiB at most", () => {
  const sizes = [0, 512, 1024, 2048, 16_384, 65_536].map((kib) => islandSize(kib * KIB) / KIB);
  assert.deepEqual(sizes, [64, 64, 64, 128, 1024, 1024]);
});

test("islandAround() takes useful frames on both sides, as much on one as on the other", () => {
  assert.deepEqual(island("uuuuuuuuuuuuuuuuuuuu", 10, 8000), [6, 9]);
  assert.deepEqual(island("uuuuuuuuuuuuuuuuuuuu", 0, 8000), [0, 5]);
  assert.deepEqual(island("uuuuuuuuuuuuuuuuuuuu", 19, 8000), [15, 5]);
});

test("islandAround() ends with frames that are useful", () => {
  assert.deepEqual(island("......u.......", 6, 20_000), [6, 1]);
  assert.deepEqual(island("...uu.uu......", 6, 20_000), [3, 5]);
});

test("islandAround() takes frames that nobody wants up to a third of either side", () => {
  assert.deepEqual(island("uuu.u...", 0, 40_000), [0, 5]);
  assert.deepEqual(island("u.uu", 0, 40_000), [0, 4], "one of three");
  assert.deepEqual(island("u..uu", 0, 40_000), [0, 1], "two of four");
  assert.deepEqual(island("u..uuuu", 0, 40_000), [0, 7], "two of six");
});

test("islandAround() gives the wanted frame alone where that is as large as an island", () => {
  assert.deepEqual(island("uuu", 1, 64 * KIB, 65_000), [1, 1]);
});

test("islandAround() keeps its bounds on random files", () => {
  for (let seed = 1; seed <= 500; seed++) {
    const random = new Random(seed);
    const sizes = Array.from({ length: 1 + random.next(300) }, () => 20 + random.next(4000));
    const useful = new Set(sizes.map((_, frame) => frame).filter(() => random.next(4) > 0));
    const wanted = random.next(sizes.length);
    const bytesMax = random.next(256 * KIB);
    const { first, count } = islandAround(wanted, bytesMax, {
      states: (range) => statesOf(sizes, range),
      isUseful: ({ pgno }) => useful.has(pgno - 1),
    });
    const found = Array.from({ length: count }, (_, i) => first + i);
    assert.ok(found.includes(wanted) && first >= 0 && first + count <= sizes.length, `seed ${seed}`);
    for (const end of [first, first + count - 1]) {
      assert.ok(end === wanted || useful.has(end), `seed ${seed}`);
    }
    const bytesOf = (some: number[]) => some.reduce((sum, frame) => sum + sizes[frame]!, 0);
    const around = found.filter((frame) => frame !== wanted);
    assert.ok(bytesOf(around) <= bytesMax, `seed ${seed}`);
    const waste = bytesOf(around.filter((frame) => !useful.has(frame)));
    assert.ok(waste * 3 <= bytesOf(around), `seed ${seed}: ${waste} bytes that nobody wants`);
  }
});
