import assert from "node:assert/strict";
import { test } from "node:test";
import { BudgetError, LtxFormatError, ReplicaError, StorageError } from "../../src/errors.ts";
import type { PageReader, SpreadPages } from "../../src/pages/page_loader.ts";
import { FRAME_SIZE, FRAMES_START, type LoadingPlace, loadingPlace, turn, VIEW_ID } from "./fake_pool.ts";

/** Frames of a file that is read ahead widely. */
const MANY = 10_000;

/** A reader of its own each: what others missed changes nothing for it. */
let connection = 0;
const reader = (depth = 0): PageReader => ({ viewId: 0, connection: ++connection, depth });

/** Pages of frames `first` … `first + count - 1`. */
function pagesOf(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i + 1);
}

/** Begins to fetch pages ahead. */
function ahead({ loader, fileOf }: LoadingPlace, pgnos: readonly number[], depth = 0): void {
  loader.loadAhead({ viewId: VIEW_ID, connection: 1, depth, pgnos }, fileOf);
}

/** So many single pages, each too far from the others to come with them. */
function scattered(count: number): number[] {
  return Array.from({ length: count }, (_, i) => 1 + i * 100);
}

/**
 * Asks for a spread while the clock stands still: how far a slice comes on a busy machine is no matter here.
 */
function loadSpread({ loader, fileOf }: LoadingPlace, spread: SpreadPages): number {
  const now = performance.now;
  performance.now = () => 0;
  try {
    return loader.loadSpread(spread, fileOf);
  } finally {
    performance.now = now;
  }
}

/** Whether a promise is settled once all that waits has gone on. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(() => settled = true, () => settled = true);
  await turn();
  return settled;
}

test("PageLoader fetches a neighbourhood, and those who need pages of it share the flight", async () => {
  const { pool, held, loader, file } = loadingPlace();
  const loads = [50, 51, 60, 50].map((frame) => loader.load(file, frame, reader(2)));
  assert.deepEqual(held.frames, [[50, 16]]);
  held.reads[0]!.answer();
  assert.deepEqual(await Promise.all(loads), [3, 3, 3, 3]);
  assert.ok(pool.has(65) && !pool.has(66));
});

test("PageLoader fetches more for a reader that missed pages nearby before", async () => {
  const { held, loader, file } = loadingPlace(MANY);
  const same = reader();
  for (const [i, [first, count]] of [[1000, 16], [1018, 65]].entries()) {
    const load = loader.load(file, 1000 + i * 50, same);
    assert.deepEqual(held.frames[i], [first, count]);
    held.reads[i]!.answer();
    await load;
  }
  const other = loader.load(file, 1200, reader());
  assert.deepEqual(held.frames[2], [1200, 16]);
  held.reads[2]!.answer();
  await other;
});

test("PageLoader plans around flights and cached pages, and loads nothing twice", async () => {
  const { pool, held, loader, file } = loadingPlace();
  const loads = [50, 45, 70].map((frame) => loader.load(file, frame, reader()));
  assert.deepEqual(held.frames, [[50, 16], [34, 16], [70, 16]]);
  held.reads.forEach(({ answer }) => answer());
  await Promise.all(loads);
  assert.equal(await loader.load(file, 55, reader(7)), 7);
  const between = loader.load(file, 67, reader());
  assert.deepEqual(held.frames[3], [66, 4]);
  held.reads[3]!.answer();
  await between;
  assert.equal([...pool.runs.values()].reduce((sum, { count }) => sum + count, 0), 52);
});

test("PageLoader leaves out frames that hold older versions, but the one that is wanted", async () => {
  const { pool, held, loader, file } = loadingPlace();
  pool.old.add(53).add(100);
  const loads = [51, 100].map((frame) => loader.load(file, frame, reader()));
  assert.deepEqual(held.frames, [[51 - 14, 16], [100, 16]]);
  held.reads.forEach(({ answer }) => answer());
  await Promise.all(loads);
  assert.ok(pool.has(100) && !pool.has(53));
});

test("PageLoader counts a chain by the flight a reader joined", async () => {
  const { held, loader, file } = loadingPlace();
  const first = loader.load(file, 10, reader());
  const behind = loader.load(file, 12, reader(5));
  held.reads[0]!.answer();
  assert.deepEqual([await first, await behind], [1, 5]);
});

test("PageLoader answers a reader when its group has landed, not at the flight's end", async () => {
  const place = loadingPlace(MANY);
  const { pool, held, loader, file } = place;
  ahead(place, pagesOf(100, 60), 4);
  assert.deepEqual(held.frames, [[100, 60]]);
  const [early, late] = [loader.load(file, 120, reader()), loader.load(file, 150, reader())];
  held.reads[0]!.bring(31);
  assert.ok(pool.has(115) && !pool.has(116));
  assert.equal(await isSettled(early), false);
  held.reads[0]!.bring(32);
  assert.equal(await early, 5);
  assert.equal(await isSettled(late), false);
  assert.equal(await loader.load(file, 131, reader(2)), 2, "it is in the pool");
  held.reads[0]!.answer();
  assert.equal(await late, 5);
  assert.deepEqual(pool.ranges, [[100, 16], [116, 16], [132, 16], [148, 12]]);
  assert.equal(held.reads.length, 1);
});

test("PageLoader gives what has landed to those who wait though the flight fails later", async () => {
  const place = loadingPlace(MANY);
  const { pool, held, loader, file } = place;
  ahead(place, pagesOf(100, 60));
  const [early, late] = [loader.load(file, 101, reader()), loader.load(file, 150, reader())];
  held.reads[0]!.bring(20);
  held.reads[0]!.bring(3);
  const fault = new StorageError("Cannot read: down", { key: "k", status: 503, retryable: true });
  held.reads[0]!.answer(fault);
  await early;
  await assert.rejects(late, fault);
  assert.deepEqual(pool.ranges, [[100, 16]]);
  const again = loader.load(file, 150, reader());
  assert.deepEqual(held.frames[1], [150, 16]);
  held.reads[1]!.answer();
  await again;
});

test("PageLoader.loadAhead() fetches neither what is in the pool nor what is on its way", async () => {
  const place = loadingPlace(MANY);
  const { held, loader, file } = place;
  const load = loader.load(file, 100, reader());
  held.reads[0]!.answer();
  await load;
  void loader.load(file, 200, reader());
  ahead(place, pagesOf(90, 200));
  assert.deepEqual(held.frames.slice(2), [[90, 10], [116, 65], [181, 19], [216, 65], [281, 9]]);
  ahead(place, pagesOf(90, 200));
  ahead(place, [0, MANY + 1]);
  assert.equal(held.reads.length, 7);
});

test("PageLoader.loadAhead() notes which pages nobody waited for", async () => {
  const place = loadingPlace(MANY);
  const { pool, held, loader, file } = place;
  const load = loader.load(file, 100, reader());
  ahead(place, pagesOf(120, 3));
  held.reads.forEach(({ answer }) => answer());
  await load;
  await turn();
  assert.deepEqual([...pool.ahead], [120, 121, 122]);
});

test("PageLoader fetches 48 ranges ahead at once, the others as those end", async () => {
  const place = loadingPlace(MANY);
  const { held } = place;
  ahead(place, scattered(60));
  assert.equal(held.reads.length, 48);
  held.reads[7]!.answer();
  held.reads[30]!.answer(new Error("down"));
  await turn();
  assert.deepEqual(held.frames.slice(48), [[4800, 1], [4900, 1]]);
  held.reads.forEach(({ answer }) => answer());
  await turn();
  assert.equal(held.reads.length, 60);
});

test("PageLoader starts a queued range at once when somebody waits for it, and once", async () => {
  const place = loadingPlace(MANY);
  const { held, loader, file } = place;
  ahead(place, scattered(60), 1);
  const load = loader.load(file, 5500, reader());
  assert.deepEqual(held.frames[48], [5500, 1]);
  held.reads[48]!.answer();
  assert.equal(await load, 2);
  for (let i = 0; i < held.reads.length; i++) {
    held.reads[i]!.answer();
    await turn();
  }
  assert.deepEqual(held.frames.map(([first]) => first! / 100).sort((a, b) => a - b), [...Array(60).keys()]);
});

test("PageLoader fetches what somebody waits for beside 48 ranges ahead", () => {
  const place = loadingPlace(MANY);
  const { held, loader, file } = place;
  ahead(place, scattered(60));
  for (const frame of [50, 150, 250]) void loader.load(file, frame, reader());
  assert.deepEqual(held.frames.slice(48), [[50, 16], [150, 16], [250, 16]]);
});

test("PageLoader.loadSpread() fetches islands of what is useful until the bytes are used up", () => {
  const place = loadingPlace(MANY);
  const { held } = place;
  const isUseful = (pgno: number) => pgno % 1000 < 500;
  const spread = { viewId: VIEW_ID, connection: 1, depth: 0, isUseful };
  const pgnos = [2101, 2111, 5101, 8101, 9101];
  assert.equal(loadSpread(place, { ...spread, pgnos, bytesMax: 130_000 }), 3);
  assert.deepEqual(held.frames, [[2068, 65], [5068, 65]]);
  assert.equal(loadSpread(place, { ...spread, pgnos, bytesMax: 1_000_000 }), 5);
  assert.deepEqual(held.frames.slice(2), [[8068, 65], [9068, 65]]);
});

test("PageLoader.loadSpread() counts a small island for 16 KiB", () => {
  const place = loadingPlace(MANY);
  const { held } = place;
  const spread = { viewId: VIEW_ID, connection: 1, depth: 0, isUseful: () => false };
  assert.equal(loadSpread(place, { ...spread, pgnos: scattered(60), bytesMax: 10 * 16 * 1024 }), 10);
  assert.deepEqual(held.frames, scattered(10).map((pgno) => [pgno - 1, 1]));
});

test("PageLoader takes pages that came with the file's index without a request, whole ones only", async () => {
  const place = loadingPlace(MANY);
  const { pool, held, loader, file } = place;
  file.fetched = { offset: FRAMES_START + 100 * FRAME_SIZE, bytes: new Uint8Array(10.5 * FRAME_SIZE) };
  assert.equal(await loader.load(file, 105, reader(4)), 4);
  ahead(place, pagesOf(99, 3));
  assert.deepEqual(held.frames, [[99, 1]]);
  assert.deepEqual(pool.ranges, [[105, 1], [100, 1], [101, 1]]);
  const load = loader.load(file, 110, reader());
  assert.deepEqual(held.frames[1], [110, 16]);
  held.reads[1]!.answer();
  await load;
});

test("PageLoader: of pages that came with the index, a damaged one is fetched, and again from the store itself", async () => {
  const place = loadingPlace();
  const { pool, held, loader, file } = place;
  file.fetched = { offset: FRAMES_START, bytes: new Uint8Array(20 * FRAME_SIZE) };
  pool.damaged.add(7);
  ahead(place, pagesOf(6, 3));
  assert.deepEqual(pool.ranges, [[6, 1], [8, 1]]);
  assert.deepEqual(held.frames, [[7, 1]]);
  const load = loader.load(file, 7, reader());
  for (const isFresh of [false, true]) {
    await turn();
    assert.equal(held.reads.at(-1)!.isFresh, isFresh);
    held.reads.at(-1)!.answer();
  }
  await assert.rejects(load, LtxFormatError);
  assert.equal(held.reads.length, 2);
});

test("PageLoader: a page that was damaged on its way is there when it is fetched again", async () => {
  const { pool, held, loader, file } = loadingPlace();
  pool.damaged.add(50);
  const loads = [50, 50].map((frame) => loader.load(file, frame, reader()));
  held.reads[0]!.answer();
  await turn();
  assert.deepEqual([held.frames[1], held.reads[1]!.isFresh], [[50, 1], true]);
  pool.damaged.clear();
  held.reads[1]!.answer();
  assert.deepEqual(await Promise.all(loads), [2, 2]);
  assert.equal(held.reads.length, 2);
});

test("PageLoader fetches no damaged page again for a reader that has spent its requests", async () => {
  const { pool, held, loader, file } = loadingPlace();
  pool.requestsMax = 1;
  pool.damaged.add(50);
  const refused = assert.rejects(loader.load(file, 50, reader()), BudgetError);
  held.reads[0]!.answer();
  await turn();
  assert.equal(held.reads.length, 1);
  await refused;
  pool.requestsMax = 2;
  const other = loader.load(file, 50, reader());
  held.reads[1]!.answer();
  await turn();
  held.reads[2]!.answer();
  await assert.rejects(other, LtxFormatError);
});

test("PageLoader.mark() marks a page of a view, unless its file is given up", async () => {
  const { pool, held, loader, file, fileOf } = loadingPlace();
  loader.mark(VIEW_ID, 53, fileOf);
  loader.mark(VIEW_ID, 201, fileOf);
  const load = loader.load(file, 50, reader());
  held.reads[0]!.answer();
  await load;
  assert.deepEqual([...pool.marked], [52]);
  file.closed = true;
  loader.mark(VIEW_ID, 55, fileOf);
  assert.deepEqual([...pool.marked], [52]);
});

test("PageLoader loads a page alone when a neighbour is damaged, once for all who wait", async () => {
  const { pool, held, loader, file } = loadingPlace();
  pool.damaged.add(52);
  const loads = [50, 50, 51, 50].map((frame) => loader.load(file, frame, reader()));
  held.reads[0]!.answer();
  await turn();
  assert.deepEqual(held.frames.slice(1), [[50, 1], [51, 1]]);
  held.reads.slice(1).forEach(({ answer }) => answer());
  assert.deepEqual(await Promise.all(loads), [2, 2, 2, 2]);
});

test("PageLoader: a damaged page does no harm to readers of other groups", async () => {
  const place = loadingPlace(MANY);
  const { pool, held, loader, file } = place;
  pool.damaged.add(105);
  ahead(place, pagesOf(100, 48));
  const loads = [120, 147].map((frame) => loader.load(file, frame, reader()));
  held.reads[0]!.answer();
  assert.deepEqual(await Promise.all(loads), [1, 1]);
  assert.deepEqual(pool.ranges, [[116, 16], [132, 16]]);
  assert.equal(held.reads.length, 1);
});

test("PageLoader tells a damaged page by its number", async () => {
  const { pool, held, loader, file } = loadingPlace();
  pool.damaged.add(52);
  const load = loader.load(file, 52, reader());
  held.reads[0]!.answer();
  await turn();
  held.reads[1]!.answer();
  await assert.rejects(load, (error) => {
    assert.ok(error instanceof LtxFormatError);
    assert.equal(error.message, 'Cannot decode page 53 of "ltx/9/x.ltx": odd bytes');
    assert.equal(error.key, "ltx/9/x.ltx");
    return true;
  });
});

test("PageLoader does not keep a failure: the next load asks again", async () => {
  const { pool, held, loader, file } = loadingPlace();
  const fault = new StorageError("Cannot read: down", { key: "k", status: 503, retryable: true });
  const loads = [50, 51].map((frame) => loader.load(file, frame, reader()));
  held.reads[0]!.answer(fault);
  for (const load of loads) await assert.rejects(load, fault);
  const again = loader.load(file, 50, reader());
  held.reads[1]!.answer();
  await again;
  assert.ok(pool.has(50));
});

test("PageLoader drops bytes of a file that was given up meanwhile, and lets readers look again", async () => {
  const place = loadingPlace(MANY);
  const { pool, held, loader, file } = place;
  const load = loader.load(file, 50, reader());
  ahead(place, scattered(60));
  file.closed = true;
  held.reads[0]!.bring(16);
  held.reads.forEach(({ answer }) => answer());
  await load;
  await turn();
  assert.equal(pool.runs.size, 0);
  assert.equal(held.reads.length, 49, "queued ranges of the file were asked for");
  ahead(place, [9001]);
  assert.equal(held.reads.length, 49);
});

test("PageLoader.close() ends what is under way and what is queued with its reason", async () => {
  const place = loadingPlace(MANY);
  const { pool, held, loader, file } = place;
  ahead(place, scattered(60));
  const loads = [50, 100].map((frame) => loader.load(file, frame, reader()));
  const reason = new ReplicaError("Cannot read: closed");
  loader.close(reason);
  for (const load of loads) await assert.rejects(load, reason);
  await turn();
  assert.equal(held.reads.length, 49, "queued ranges were asked for");
  held.reads[0]!.bring(1);
  assert.equal(pool.runs.size, 0);
  await assert.rejects(loader.load(file, 5500, reader()), reason);
  ahead(place, [9001]);
  await turn();
  assert.equal(held.reads.length, 49);
});

/** A file of which some frames are on disk, and a store that says so. */
function placeWithDisk(
  isLocal: (frame: number) => boolean,
  frameCount = 200,
): LoadingPlace & { gets: number } {
  const place = { ...loadingPlace(frameCount), gets: 1 };
  const holds = (_of: unknown, { offset, size }: { offset: number; size: number }) => {
    const first = (offset - FRAMES_START) / FRAME_SIZE;
    return Array.from({ length: size / FRAME_SIZE }, (_, i) => isLocal(first + i)).every(Boolean);
  };
  const counts = {
    get get() {
      return place.gets;
    },
  };
  Object.assign(place.held.store, { holds, counts });
  return place;
}

test("PageLoader: a flight is all from disk or all from storage, and from disk it is no round trip", async () => {
  const { held, loader, file } = placeWithDisk((frame) => frame >= 55 && frame < 65);
  const loads = [50, 57].map((frame) => loader.load(file, frame, reader(3)));
  assert.deepEqual(held.frames, [[50, 5], [57, 8]]);
  held.reads.forEach(({ answer }) => answer());
  assert.deepEqual(await Promise.all(loads), [4, 3]);
});

test("PageLoader.loadAhead() splits what is partly on disk", () => {
  const place = placeWithDisk((frame) => frame >= 20 && frame < 40);
  ahead(place, pagesOf(0, 64));
  assert.deepEqual(place.held.frames, [[0, 20], [20, 20], [40, 24]]);
});

test("PageLoader: a reader served from disk has no guesses fetched until it needs storage itself", async () => {
  const place = placeWithDisk((frame) => frame < 100);
  const { held, loader, file, fileOf } = place;
  const local = reader();
  const load = loader.load(file, 10, local);
  held.reads[0]!.answer();
  assert.equal(await load, 0);
  const pgnos = pagesOf(95, 30);
  loader.loadAhead({ ...local, viewId: VIEW_ID, pgnos }, fileOf);
  assert.deepEqual(held.frames.slice(1), [[95, 5]]);
  const far = loader.load(file, 180, local);
  assert.deepEqual(held.frames.slice(2), [[180, 16], [100, 25]]);
  held.reads.forEach(({ answer }) => answer());
  assert.equal(await far, 1);
});

test("PageLoader: while nothing was fetched at all, what is guessed for nobody waits for the first who needs storage", () => {
  const place = placeWithDisk((frame) => frame < 100);
  place.gets = 0;
  const { held, loader, file, fileOf } = place;
  loader.loadAhead({ viewId: VIEW_ID, connection: 0, depth: 0, pgnos: [1, 151] }, fileOf);
  assert.deepEqual(held.frames, [[0, 1]]);
  void loader.load(file, 120, reader()).catch(() => {});
  assert.deepEqual(held.frames.slice(1), [[120, 16], [150, 1]]);
  loader.close(new Error("the test has ended"));
});

test("PageLoader: a range that has left the disk is asked for again, as a request of its own", async () => {
  let isThere = true;
  const { held, loader, file } = placeWithDisk((frame) => isThere && frame < 100);
  const fromDisk: number[] = [];
  const readHeld = (_of: unknown, { offset }: { offset: number }) => {
    fromDisk.push((offset - FRAMES_START) / FRAME_SIZE);
    isThere = false; // another process has made room, which is noticed now
    return Promise.resolve(undefined);
  };
  Object.assign(held.store, { readHeld });
  const load = loader.load(file, 10, reader(3));
  await turn();
  assert.equal(fromDisk.length, 1);
  assert.equal(held.reads.length, 1);
  held.reads[0]!.answer();
  assert.equal(await load, 4);
});

test("PageLoader.loadAhead() lets go of what has left the disk, for its reader to ask for", async () => {
  let isThere = true;
  const place = placeWithDisk(() => isThere);
  Object.assign(place.held.store, {
    readHeld: () => {
      isThere = false;
      return Promise.resolve(undefined);
    },
  });
  ahead(place, pagesOf(20, 10));
  await turn();
  assert.equal(place.held.reads.length, 0);
  const load = place.loader.load(place.file, 20, reader());
  assert.equal(place.held.reads.length, 1);
  place.held.reads[0]!.answer();
  assert.equal(await load, 1);
});
