import assert from "node:assert/strict";
import { test } from "node:test";
import { planRanges, type WantedFrame } from "../../src/pages/range_plan.ts";
import { Random } from "../support/random.ts";

const HOLE_MAX = 8 * 1024;
const idle = () => false;

/** Frames of a file of equal frames, wanted in the order given. */
function wantedOf(frames: readonly number[], size = 1000): WantedFrame[] {
  return frames.map((frame, order) => ({ frame, offset: 100 + frame * size, size, order }));
}

/** First and count of each range. */
function planOf(
  wanted: readonly WantedFrame[],
  isBusy: (frame: number) => boolean = idle,
): number[][] {
  return planRanges(wanted, isBusy).map(({ first, count }) => [first, count]);
}

/** Frames from one to another, that one included. */
function frames(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

test("planRanges() makes one range of neighbouring frames, in whatever order they are wanted", () => {
  assert.deepEqual(planOf(wantedOf(frames(10, 40))), [[10, 31]]);
  assert.deepEqual(planOf(wantedOf(frames(10, 40).reverse())), [[10, 31]]);
  assert.deepEqual(planOf([]), []);
  assert.deepEqual(planOf(wantedOf([7])), [[7, 1]]);
});

test("planRanges() takes holes of 8 KiB along, and none that are larger", () => {
  assert.deepEqual(planOf(wantedOf([10, 19], 1024)), [[10, 10]]);
  assert.deepEqual(planOf(wantedOf([10, 20], 1024)), [[10, 1], [20, 1]]);
});

test("planRanges() does not go over frames that are on their way", () => {
  assert.deepEqual(planOf(wantedOf([10, 14, 16]), (frame) => frame === 12), [[10, 1], [14, 3]]);
});

test("planRanges() gives those first that are wanted first", () => {
  assert.deepEqual(planOf(wantedOf([500, 501, 100, 900])), [[500, 2], [100, 1], [900, 1]]);
  assert.deepEqual(planOf(wantedOf([101, 500, 100])), [[100, 2], [500, 1]]);
});

test("planRanges() makes about 16 ranges of much: of 64 KiB at least, of 1 MiB at most", () => {
  const sizes = (count: number) => planOf(wantedOf(frames(0, count - 1), 1024)).map(([, n]) => n);
  assert.deepEqual(sizes(256), [64, 64, 64, 64]);
  assert.deepEqual(sizes(4096), Array(16).fill(256));
  assert.deepEqual(sizes(32_768), Array(32).fill(1024));
});

test("planRanges() keeps its bounds on random wants", () => {
  for (let seed = 1; seed <= 400; seed++) {
    const random = new Random(seed);
    const sizes = Array.from({ length: 50 + random.next(400) }, () => 20 + random.next(9000));
    const offsets = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 100));
    const share = 1 + random.next(8);
    const picked = sizes.map((_, frame) => frame).filter(() => random.next(share) === 0);
    const busy = new Set(
      sizes.map((_, frame) => frame).filter((frame) => !picked.includes(frame) && random.next(12) === 0),
    );
    for (let i = picked.length - 1; i > 0; i--) {
      const j = random.next(i + 1);
      [picked[i], picked[j]] = [picked[j]!, picked[i]!];
    }
    const wanted = picked.map((frame, order) => ({
      frame,
      offset: offsets[frame]!,
      size: sizes[frame]!,
      order,
    }));
    const ranges = planRanges(wanted, (frame) => busy.has(frame));
    const total = wanted.reduce((sum, { size }) => sum + size, 0);
    const sizeMax = Math.min(Math.max(total / 16, 64 * 1024), 1024 * 1024);
    const covered = ranges.flatMap(({ first, count }) => frames(first, first + count - 1));
    assert.equal(new Set(covered).size, covered.length, `seed ${seed}: a frame lies in two ranges`);
    assert.ok(picked.every((frame) => covered.includes(frame)), `seed ${seed}: a frame is missing`);
    assert.ok(!covered.some((frame) => busy.has(frame)), `seed ${seed}: a frame is fetched twice`);
    const orders = ranges.map(({ first, count }) =>
      Math.min(...picked.flatMap((frame, order) => frame >= first && frame < first + count ? [order] : []))
    );
    assert.deepEqual(orders, [...orders].sort((a, b) => a - b), `seed ${seed}`);
    for (const { first, count } of ranges) {
      const inside = picked.filter((frame) => frame >= first && frame < first + count).sort((a, b) => a - b);
      assert.deepEqual([inside[0], inside.at(-1)], [first, first + count - 1], `seed ${seed}`);
      const bytes = frames(first, first + count - 1).reduce((sum, frame) => sum + sizes[frame]!, 0);
      assert.ok(count === 1 || bytes <= sizeMax, `seed ${seed}: ${bytes} bytes`);
      for (const [i, frame] of inside.slice(1).entries()) {
        const hole = offsets[frame]! - offsets[inside[i]! + 1]!;
        assert.ok(hole <= HOLE_MAX, `seed ${seed}: a hole of ${hole} bytes`);
      }
    }
  }
});
