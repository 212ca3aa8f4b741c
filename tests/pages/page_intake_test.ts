import assert from "node:assert/strict";
import { test } from "node:test";
import { LtxFormatError } from "../../src/errors.ts";
import type { IntakeOptions } from "../../src/pages/page_intake.ts";
import { FRAME_SIZE, type LoadingPlace, loadingPlace } from "./fake_pool.ts";

/** Takes frames `first` … as a reader of the file's view would. */
function enter(
  { intake, file }: LoadingPlace,
  first: number,
  count: number,
  options: Partial<IntakeOptions> = {},
): void {
  const bytes = new Uint8Array(count * FRAME_SIZE);
  intake.enter(file, { first, count }, bytes, { viewId: 0, ...options });
}

test("PageIntake.enter() takes neighbouring frames as one run, and tells of it", () => {
  const told: unknown[] = [];
  const place = loadingPlace(200, (file, runId, range) => void told.push([file, runId, range]));
  enter(place, 10, 16);
  assert.deepEqual(place.pool.ranges, [[10, 16]]);
  assert.deepEqual(told, [[place.file, 1, { first: 10, count: 16 }]]);
});

test("PageIntake.enter() leaves pages that are in the pool as they are", () => {
  const place = loadingPlace();
  enter(place, 14, 2);
  enter(place, 20, 1);
  enter(place, 10, 16);
  assert.deepEqual(place.pool.ranges, [[14, 2], [20, 1], [10, 4], [16, 4], [21, 5]]);
  enter(place, 10, 16);
  assert.equal(place.pool.runs.size, 5);
});

test("PageIntake.enter() passes over frames that hold older versions, but the one that is wanted", () => {
  const place = loadingPlace();
  place.pool.old.add(12).add(14);
  enter(place, 10, 6, { wanted: 14 });
  assert.deepEqual(place.pool.ranges, [[10, 2], [13, 3]]);
});

test("PageIntake.enter() notes which pages nobody has asked for yet", () => {
  const place = loadingPlace();
  enter(place, 10, 2);
  enter(place, 9, 5, { isAhead: true });
  assert.deepEqual([...place.pool.ahead], [9, 12, 13]);
});

test("PageIntake.mark() marks a page that is there, and one that comes later, once", () => {
  const place = loadingPlace();
  const { pool, intake, file } = place;
  enter(place, 10, 4);
  for (const frame of [11, 30, 47]) intake.mark(file, frame);
  assert.deepEqual([...pool.marked], [11]);
  enter(place, 28, 4);
  assert.deepEqual([...pool.marked], [11, 30]);
  pool.marked.clear();
  pool.runs.clear();
  enter(place, 28, 4);
  assert.deepEqual([...pool.marked], [], "a mark outlived its page");
  enter(place, 40, 16);
  assert.deepEqual([...pool.marked], [47]);
});

test("PageIntake.mark() keeps a mark for a page that does not come because it is damaged or old", () => {
  const place = loadingPlace();
  const { pool, intake, file } = place;
  intake.mark(file, 12);
  pool.old.add(12);
  enter(place, 10, 4);
  pool.old.clear();
  pool.damaged.add(12);
  assert.throws(() => enter(place, 12, 1), LtxFormatError);
  assert.deepEqual([...pool.marked], []);
  pool.damaged.clear();
  enter(place, 12, 1);
  assert.deepEqual([...pool.marked], [12]);
});

test("PageIntake.enter() keeps what came before a damaged run, and tells the run's pages", () => {
  const told: number[] = [];
  const place = loadingPlace(200, (_file, _runId, { first }) => void told.push(first));
  const { pool } = place;
  enter(place, 14, 1);
  pool.damaged.add(17);
  assert.throws(() => enter(place, 10, 10), (error) => {
    assert.ok(error instanceof LtxFormatError);
    assert.equal(error.message, 'Cannot decode pages 16 to 20 of "ltx/9/x.ltx": odd bytes');
    return true;
  });
  assert.deepEqual(pool.ranges, [[14, 1], [10, 4]]);
  assert.deepEqual(told, [14, 10]);
  enter(place, 15, 2);
  assert.throws(() => enter(place, 17, 1), { message: 'Cannot decode page 18 of "ltx/9/x.ltx": odd bytes' });
});
