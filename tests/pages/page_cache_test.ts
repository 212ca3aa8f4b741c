import assert from "node:assert/strict";
import { test } from "node:test";
import type { Native } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import { type CachedRun, PageCache } from "../../src/pages/page_cache.ts";
import { Random } from "../support/random.ts";

/** The part of the shim that the cache uses. */
class FakePool {
  readonly touched = new Set<number>();
  readonly pinned = new Set<number>();
  /** Pages loaded ahead that nobody read, by run. */
  readonly unread = new Map<number, number>();
  readonly freed: number[] = [];
  readonly moved: [run: number, objectId: number, frame: number][] = [];

  get native(): Native {
    return {
      calls: {
        ls_run_touched: (run: number) => Number(this.touched.delete(run)),
        ls_run_count: (run: number) => this.unread.get(run) ?? 0,
        ls_run_free: (run: number) => {
          if (this.pinned.has(run)) return LS.BUSY;
          assert.ok(!this.freed.includes(run), `run ${run} freed twice`);
          this.freed.push(run);
          return 0;
        },
        ls_run_move: (run: number, objectId: number, frame: number) => {
          if (this.pinned.has(run)) return LS.BUSY;
          this.moved.push([run, objectId, frame]);
          return 0;
        },
      },
    } as unknown as Native;
  }
}

function cacheOf(
  bytesMax: number,
): { pool: FakePool; cache: PageCache; add: (run: number, objectId?: number) => number } {
  const pool = new FakePool();
  const cache = new PageCache(pool.native, bytesMax);
  return {
    pool,
    cache,
    add: (run, objectId = 1) => cache.add(run, { objectId, frame: 0, pageCount: 2, size: 100 }),
  };
}

test("PageCache frees the oldest run when it is full, and counts its pages", () => {
  const { pool, cache, add } = cacheOf(300);
  assert.deepEqual([1, 2, 3].map((run) => add(run)), [0, 0, 0]);
  assert.equal(cache.bytes, 300);
  assert.equal(add(4), 2);
  assert.deepEqual(pool.freed, [1]);
  assert.equal(cache.bytes, 300);
});

test("PageCache passes over a run that readers touched since it was asked last", () => {
  const { pool, add } = cacheOf(300);
  [1, 2, 3].forEach((run) => add(run));
  pool.touched.add(1);
  add(4);
  assert.deepEqual(pool.freed, [2]);
  add(5);
  assert.deepEqual(pool.freed, [2, 3]);
  add(6);
  assert.deepEqual(pool.freed, [2, 3, 1]);
});

test("PageCache spares a run with pages loaded ahead that nobody has read, once", () => {
  const { pool, cache, add } = cacheOf(300);
  [1, 2, 3].forEach((run) => add(run));
  pool.unread.set(1, 2).set(2, 1);
  add(4);
  assert.deepEqual(pool.freed, [3]);
  assert.equal(cache.wasted, 0);
  add(5);
  assert.deepEqual([pool.freed, cache.wasted], [[3, 1], 2]);
  add(6);
  assert.deepEqual([pool.freed, cache.wasted], [[3, 1, 2], 3]);
});

test("PageCache does not spare a run once its pages were read, nor count them as wasted", () => {
  const { pool, cache, add } = cacheOf(300);
  [1, 2, 3].forEach((run) => add(run));
  pool.unread.set(1, 2);
  add(4);
  pool.unread.clear();
  [5, 6, 7].forEach((run) => add(run));
  assert.deepEqual(pool.freed, [2, 3, 1, 4]);
  assert.equal(cache.wasted, 0);
});

test("PageCache frees one of several runs even if nobody has read any of them", () => {
  const { pool, cache, add } = cacheOf(300);
  [1, 2, 3].forEach((run) => add(run));
  [1, 2, 3].forEach((run) => pool.unread.set(run, 2));
  assert.equal(add(4), 2);
  assert.deepEqual(pool.freed, [1]);
  assert.deepEqual([cache.bytes, cache.wasted], [300, 2]);
});

test("PageCache frees one of several runs even if all were touched", () => {
  const { pool, cache, add } = cacheOf(300);
  [1, 2, 3].forEach((run) => add(run));
  [1, 2, 3].forEach((run) => pool.touched.add(run));
  assert.equal(add(4), 2);
  assert.deepEqual(pool.freed, [1]);
  assert.equal(cache.bytes, 300);
});

test("PageCache keeps a run that is being copied from, and goes over its bound only for that long", () => {
  const { pool, cache, add } = cacheOf(300);
  [1, 2, 3].forEach((run) => add(run));
  [1, 2, 3].forEach((run) => pool.pinned.add(run));
  assert.equal(add(4), 0);
  assert.equal(cache.bytes, 400);
  pool.pinned.clear();
  assert.equal(add(5), 4);
  assert.equal(cache.bytes, 300);
});

test("PageCache takes a run that is larger than its bound", () => {
  const { pool, cache } = cacheOf(300);
  cache.add(1, { objectId: 1, frame: 0, pageCount: 1, size: 100 });
  assert.equal(cache.add(2, { objectId: 1, frame: 0, pageCount: 16, size: 1000 }), 1);
  assert.deepEqual(pool.freed, [1]);
  assert.equal(cache.bytes, 1000);
});

test("PageCache.dropObject() frees an object's runs and no others", () => {
  const { pool, cache, add } = cacheOf(1000);
  [1, 2, 3, 4].forEach((run) => add(run, run % 2));
  cache.dropObject(1);
  assert.deepEqual(pool.freed.sort(), [1, 3]);
  assert.equal(cache.bytes, 200);
});

test("PageCache.dropObject() forgets a run that is being copied from: it goes with the object's last view", () => {
  const { pool, cache, add } = cacheOf(1000);
  add(1);
  pool.pinned.add(1);
  cache.dropObject(1);
  assert.deepEqual(pool.freed, []);
  assert.equal(cache.bytes, 0);
});

test("PageCache.runsOf() tells an object's runs as they are now", () => {
  const { cache, add } = cacheOf(300);
  [1, 2, 3].forEach((run) => add(run, run % 2));
  const run = (objectId: number) => ({ objectId, frame: 0, pageCount: 2, size: 100, isSpared: false });
  const told = cache.runsOf(1);
  assert.deepEqual(told, [[1, run(1)], [3, run(1)]]);
  assert.deepEqual(cache.runsOf(7), []);
  add(5, 1);
  assert.equal(told.length, 2, "a list that was told changes");
  assert.deepEqual(cache.runsOf(1), [[3, run(1)], [5, run(1)]]);
});

test("PageCache.has() tells a run from another that was given its handle", () => {
  const { cache, add } = cacheOf(300);
  add(1);
  const [[, run]] = cache.runsOf(1) as [[number, CachedRun]];
  assert.ok(cache.has(1, run));
  cache.dropObject(1);
  assert.ok(!cache.has(1, run));
  add(1);
  assert.ok(!cache.has(1, run), "it has the same handle and says the same, but may be other pages");
});

test("PageCache.move() has a run stand for another object, and go with that one", () => {
  const { pool, cache, add } = cacheOf(300);
  [1, 2, 3].forEach((run) => add(run));
  assert.ok(cache.move(2, { objectId: 9, frame: 40 }));
  assert.deepEqual(pool.moved, [[2, 9, 40]]);
  const moved = { objectId: 9, frame: 40, pageCount: 2, size: 100, isSpared: false };
  assert.deepEqual(cache.runsOf(9), [[2, moved]]);
  assert.deepEqual(cache.runsOf(1).map(([run]) => run), [1, 3]);
  assert.equal(cache.bytes, 300);
  cache.dropObject(1);
  assert.deepEqual(pool.freed, [1, 3]);
  cache.dropObject(9);
  assert.deepEqual(pool.freed, [1, 3, 2]);
  assert.equal(cache.bytes, 0);
});

test("PageCache.move() leaves a run that is being copied from where it is", () => {
  const { pool, cache, add } = cacheOf(300);
  add(1);
  pool.pinned.add(1);
  const before = cache.runsOf(1);
  assert.equal(cache.move(1, { objectId: 9, frame: 40 }), false);
  assert.deepEqual(cache.runsOf(1), before);
  assert.deepEqual(cache.runsOf(9), []);
  assert.equal(cache.bytes, 100);
});

test("PageCache keeps its bound and frees nothing twice through 5000 random steps, some of which move runs", () => {
  const random = new Random(11);
  const { pool, cache } = cacheOf(5000);
  let run = 0;
  for (let i = 0; i < 5000; i++) {
    const kind = random.next(10);
    if (kind < 6) {
      const pageCount = 1 + random.next(8);
      cache.add(++run, { objectId: random.next(5), frame: 0, pageCount, size: pageCount * 100 });
      assert.ok(cache.bytes <= 5000);
    } else if (kind < 9) pool.touched.add(1 + random.next(run + 1));
    else if (random.next(2)) cache.dropObject(random.next(5));
    else {cache.runsOf(random.next(5)).forEach(([run]) =>
        cache.move(run, { objectId: random.next(5), frame: 0 })
      );}
  }
});
