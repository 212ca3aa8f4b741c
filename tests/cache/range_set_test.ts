import assert from "node:assert/strict";
import { test } from "node:test";
import { RangeSet } from "../../src/cache/range_set.ts";
import { Random } from "../support/random.ts";

function setOf(...ranges: [number, number][]): RangeSet {
  const set = new RangeSet();
  for (const [offset, size] of ranges) set.add({ offset, size });
  return set;
}

function cover(set: RangeSet, offset: number, size: number): number[][] | undefined {
  return set.cover({ offset, size })?.map((range) => [range.offset, range.size]);
}

test("RangeSet.cover() takes few ranges that adjoin or overlap", () => {
  const set = setOf([0, 10], [10, 10], [5, 30], [12, 3], [50, 10]);
  assert.deepEqual(cover(set, 0, 40), undefined);
  assert.deepEqual(cover(set, 0, 35), [[0, 10], [5, 30]]);
  assert.deepEqual(cover(set, 6, 20), [[5, 30]]);
  assert.deepEqual(cover(set, 50, 10), [[50, 10]]);
  assert.deepEqual(cover(set, 49, 2), undefined);
  assert.deepEqual(cover(set, 59, 2), undefined);
});

test("RangeSet.remove() removes one range, and no other one", () => {
  const set = setOf([0, 10], [0, 20], [20, 10], [0, 20]);
  assert.equal(set.count, 3);
  set.remove({ offset: 0, size: 20 });
  set.remove({ offset: 0, size: 15 });
  assert.deepEqual(cover(set, 0, 10), [[0, 10]]);
  assert.equal(cover(set, 0, 11), undefined);
  assert.equal(set.count, 2);
});

test("RangeSet.cover() agrees with a map of bytes", () => {
  const random = new Random(7);
  const [set, ranges] = [new RangeSet(), [] as { offset: number; size: number }[]];
  for (let round = 0; round < 600; round++) {
    const range = { offset: random.next(200), size: 1 + random.next(random.next(3) === 0 ? 60 : 8) };
    const known = ranges.findIndex(({ offset, size }) => offset === range.offset && size === range.size);
    if (random.next(2) === 0 && ranges.length > 0) {
      set.remove(ranges.splice(random.next(ranges.length), 1)[0]!);
    } else {
      set.add(range);
      if (known < 0) ranges.push(range);
    }
    const asked = { offset: random.next(220), size: 1 + random.next(40) };
    const pieces = set.cover(asked);
    const isThere = (byte: number) =>
      ranges.some(({ offset, size }) => byte >= offset && byte < offset + size);
    const isAll = Array.from({ length: asked.size }, (_, i) => isThere(asked.offset + i)).every(Boolean);
    assert.equal(pieces !== undefined, isAll, `round ${round}`);
    let end = asked.offset;
    for (const { offset, size } of pieces ?? []) {
      assert.ok(offset <= end && offset + size > end, "a piece begins behind the end of the one before");
      end = offset + size;
    }
    if (pieces) assert.ok(end >= asked.offset + asked.size);
  }
});
