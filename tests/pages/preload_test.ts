import assert from "node:assert/strict";
import { test } from "node:test";
import { preload } from "../../src/pages/preload.ts";
import { FRAME_SIZE, FRAMES_START, type LoadingPlace, loadingPlace } from "./fake_pool.ts";

/** Takes over `size` bytes that came with the index. */
function preloaded({ pool, intake, file }: LoadingPlace, size: number, bytesMax: number): number {
  file.fetched = { offset: FRAMES_START, bytes: new Uint8Array(size) };
  return preload(pool.native, intake, file, bytesMax);
}

test("preload() takes over whole frames that are current and not in the pool", () => {
  const place = loadingPlace();
  place.pool.old.add(2);
  assert.equal(preloaded(place, 70 * FRAME_SIZE + 999, 1_000_000), 69 * 4096);
  const { pool } = place;
  assert.ok(pool.has(0) && !pool.has(2) && pool.has(69) && !pool.has(70));
  assert.equal(preloaded(place, 70 * FRAME_SIZE + 999, 1_000_000), 0);
});

test("preload() ends within 16 pages of its bound", () => {
  for (const pages of [1, 10, 16, 50]) {
    const size = preloaded(loadingPlace(), 200 * FRAME_SIZE, pages * 4096);
    assert.ok(size >= pages * 4096 && size < (pages + 16) * 4096, `${size} bytes`);
  }
  assert.equal(preloaded(loadingPlace(), 200 * FRAME_SIZE, 0), 0);
});

test("preload() takes nothing of bytes that do not begin with the first frame", () => {
  const place = loadingPlace();
  place.file.fetched = { offset: FRAMES_START + FRAME_SIZE, bytes: new Uint8Array(50 * FRAME_SIZE) };
  assert.equal(preload(place.pool.native, place.intake, place.file, 1_000_000), 0);
  assert.equal(place.pool.runs.size, 0);
});

test("preload() ends before a damaged page without a fault: nobody has asked for it", () => {
  const place = loadingPlace();
  place.pool.damaged.add(40);
  assert.equal(preloaded(place, 100 * FRAME_SIZE, 1_000_000), 32 * 4096);
  assert.deepEqual(place.pool.ranges, [[0, 16], [16, 16]]);
});

test("preload() takes over a file of fewer frames than come together", () => {
  const place = loadingPlace(5);
  assert.equal(preloaded(place, 5 * FRAME_SIZE + 300, 1_000_000), 5 * 4096);
  assert.deepEqual(place.pool.ranges, [[0, 5]]);
});
