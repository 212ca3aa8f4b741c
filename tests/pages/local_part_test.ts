import assert from "node:assert/strict";
import { test } from "node:test";
import type { FrameState } from "../../src/pages/frames.ts";
import { localPart } from "../../src/pages/local_part.ts";

const [FIRST, OFFSET, SIZE] = [100, 5_000, 1_000];

/** Frames from 100 on, `#` where they are on disk. */
function partAround(map: string, wanted: number): string {
  const frames: FrameState[] = [...map].map((_, i) => ({
    pgno: i + 1,
    size: SIZE,
    cached: false,
    current: true,
  }));
  const holds = ({ offset, size }: { offset: number; size: number }) => {
    assert.equal(size, SIZE);
    return map[(offset - OFFSET) / SIZE] === "#";
  };
  const { first, count, isLocal } = localPart(
    { first: FIRST, frames, offset: OFFSET, holds },
    FIRST + wanted,
  );
  return `${isLocal ? "disk" : "storage"} ${first - FIRST}+${count}`;
}

test("localPart() takes of what is on disk all that adjoins the wanted frame", () => {
  assert.equal(partAround("########", 3), "disk 0+8");
  assert.equal(partAround("..####..", 3), "disk 2+4");
  assert.equal(partAround("..#.##..", 2), "disk 2+1");
  assert.equal(partAround("#", 0), "disk 0+1");
});

test("localPart() takes what is not on disk with holes of 8 KiB at most, and ends with none", () => {
  assert.equal(partAround("........", 3), "storage 0+8");
  assert.equal(partAround("##....##", 3), "storage 2+4");
  assert.equal(partAround("##.#..##", 4), "storage 2+4");
  assert.equal(partAround(`.${"#".repeat(8)}.`, 0), "storage 0+10");
  assert.equal(partAround(`.${"#".repeat(9)}.`, 0), "storage 0+1");
  assert.equal(partAround(`.${"#".repeat(8)}..${"#".repeat(9)}.`, 9), "storage 0+11");
});
