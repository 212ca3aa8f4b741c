import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { ObjectGoneError, RestorePlanError } from "../../src/errors.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { planForMoment } from "../../src/time/moment_plan.ts";
import { type Point, points, type PointsOptions } from "../../src/time/points.ts";
import { makeRestorePlan, type ReplicaFile } from "../../src/view/restore_plan.ts";
import { Random } from "../support/random.ts";

const SEED = Number(process.env.FUZZ_SEED ?? 20_261);

/** `[level, minTxid, maxTxid, createdMs, modifiedMs?]` */
type Short = readonly [number, number, number, number, number?];

function made([level, min, max, createdMs, modifiedMs = createdMs]: Short): ReplicaFile {
  const range = { minTxid: BigInt(min), maxTxid: BigInt(max) };
  const key = ltxKey("s3", level, formatLtxFileName(range));
  return { ...range, level, key, etag: `${createdMs}`, size: 200, modifiedMs };
}

/** A made file's etag is its timestamp. */
const createdAt = (file: ReplicaFile) => Promise.resolve(Number(file.etag));

/** `[txid, ms, level, granularityMs]` of each point. */
async function pointsOf(
  files: readonly Short[],
  options: PointsOptions = { exact: true },
): Promise<number[][]> {
  return (await points(files.map(made), createdAt, options)).map(short);
}

function short({ txid, time, level, granularityMs }: Point): number[] {
  return [Number(txid), time.getTime(), level, granularityMs];
}

/** No store has a name twice. */
function unique(files: readonly Short[]): ReplicaFile[] {
  return [...new Map(files.map(made).map((file) => [file.key, file])).values()];
}

/** Arbitrary files with arbitrary times. */
function randomFiles(random: Random): ReplicaFile[] {
  const span = 2 + random.next(20);
  return unique(Array.from({ length: random.next(16) }, () => {
    const level = [0, 0, 0, 1, 1, 2, 3, 8, 9][random.next(9)]!;
    const min = level === 9 ? 1 : 1 + random.next(span);
    const max = level === 0 ? min : min + random.next(6);
    return [level, min, max, random.next(30), random.next(30)] as const;
  }));
}

/** Files whose timestamps rise on every level. */
function risingFiles(random: Random): ReplicaFile[] {
  const count = 1 + random.next(80);
  const times = [0];
  for (let txid = 1; txid <= count; txid++) times.push(times.at(-1)! + random.next(4));
  const files: Short[] = [];
  for (let level = 0; level < 4; level++) {
    for (let min = 1; min <= count;) {
      const max = Math.min(count, min + (level === 0 ? 0 : random.next(3 ** level + 1)));
      if (random.next(10) > 0) files.push([level, min, max, times[max]!, times[max]! + random.next(9)]);
      min = max + 1;
    }
  }
  for (let max = 1; max <= count; max += 1 + random.next(30)) files.push([9, 1, max, times[max]! + 2]);
  return unique(files);
}

function isReachable(files: readonly ReplicaFile[], upTo: bigint): boolean {
  try {
    return makeRestorePlan(files, { upTo }).at(-1)!.maxTxid === upTo;
  } catch (error) {
    assert.ok(error instanceof RestorePlanError);
    return false;
  }
}

/** The last TXID of the newest state whose files were all created before the moment; 0 where there is none. */
async function endAt(files: readonly ReplicaFile[], momentMs: number): Promise<bigint> {
  try {
    return (await planForMoment(files, momentMs, createdAt)).at(-1)!.maxTxid;
  } catch (error) {
    assert.ok(error instanceof RestorePlanError);
    return 0n;
  }
}

test("points() lists the ends of plans with their time, oldest first", async () => {
  assert.deepEqual(await pointsOf([[0, 3, 3, 30], [9, 1, 1, 10], [0, 2, 2, 25], [1, 2, 3, 30]]), [
    [1, 10, 9, 0],
    [2, 25, 0, 15],
    [3, 30, 0, 5],
  ]);
});

test("points() of no files is empty", async () => {
  assert.deepEqual(await pointsOf([]), []);
});

test("points() leaves out what no plan ends at: inside a compacted file, behind a gap", async () => {
  assert.deepEqual(await pointsOf([[9, 1, 1, 10], [1, 2, 5, 50], [0, 4, 4, 40], [0, 7, 7, 70]]), [
    [1, 10, 9, 0],
    [5, 50, 1, 40],
  ]);
});

test("points() goes on behind a gap from a snapshot", async () => {
  assert.deepEqual(await pointsOf([[9, 1, 1, 10], [0, 3, 3, 30], [9, 1, 3, 35], [0, 4, 4, 40]]), [
    [1, 10, 9, 0],
    [3, 35, 9, 25],
    [4, 40, 0, 5],
  ]);
});

test("points() prefers the transaction's own time to that of a snapshot", async () => {
  assert.deepEqual(await pointsOf([[9, 1, 1, 10], [0, 2, 2, 20], [9, 1, 2, 29]]), [[1, 10, 9, 0], [
    2,
    20,
    0,
    10,
  ]]);
});

test("points() gives the snapshot's time where only that leads to what comes after it", async () => {
  const files: Short[] = [[0, 2, 2, 20], [9, 1, 2, 29], [0, 3, 3, 25], [0, 4, 4, 40]];
  assert.deepEqual(await pointsOf(files), [[2, 29, 9, 0], [3, 29, 0, 0], [4, 40, 0, 11]]);
});

test("points() takes the listing's times unless it is told exact", async () => {
  const files: Short[] = [[9, 1, 1, 10, 15], [0, 2, 2, 20, 22], [1, 2, 2, 20, 60]];
  const never = () => Promise.reject(new Error("nothing is to be read"));
  assert.deepEqual((await points(files.map(made), never)).map(short), [[1, 15, 9, 0], [2, 22, 0, 7]]);
  assert.deepEqual(await pointsOf(files, { exact: true }), [[1, 10, 9, 0], [2, 20, 0, 10]]);
});

test("points() keeps to a range, its end left out, and reads little outside", async () => {
  const files = [
    [9, 1, 1, 1000] as const,
    ...Array.from({ length: 1000 }, (_, i): Short => {
      return [0, i + 2, i + 2, 1001 + i];
    }),
  ];
  let reads = 0;
  const counting = (file: ReplicaFile) => {
    reads++;
    return createdAt(file);
  };
  const range = { from: 1500, to: 1510 };
  const found = await points(files.map(made), counting, { exact: true, range });
  assert.deepEqual(found.map(({ time }) => time.getTime()), Array.from({ length: 10 }, (_, i) => 1500 + i));
  assert.deepEqual(found.map(({ granularityMs }) => granularityMs), [0, ...Array(9).fill(1)]);
  assert.ok(reads <= 20, `${reads}`);
  assert.equal((await points(files.map(made), counting, { range: { to: 1002 } })).length, 2);
  await assert.rejects(pointsOf(files, { range: { from: NaN } }), RangeError);
});

test("points() reads a level whole that falls in the range, and says so", async () => {
  const files = Array.from({ length: 64 }, (_, i) => made([0, i + 1, i + 1, (i < 40 ? 1000 : 980) + i]));
  const notices: string[] = [];
  const read = new Set<ReplicaFile>();
  const found = await points(files, (file) => createdAt(read.add(file) && file), {
    exact: true,
    range: { from: 1030, to: 1045 },
    onNotice: (text) => notices.push(text),
  });
  assert.equal(read.size, 64);
  assert.equal(notices.length, 1);
  assert.deepEqual(found.map(short)[9], [40, 1039, 0, 1]);
  assert.deepEqual(found.map(short)[10], [41, 1039, 0, 0]); // there is no way to it but by the file before
});

test("points() lets a deleted file pass as ObjectGoneError, and ends with its signal's reason", async () => {
  const gone = new ObjectGoneError("Cannot read: it is gone, expected it", {
    key: "k",
    status: 404,
    retryable: false,
  });
  const files = [made([9, 1, 1, 1])];
  await assert.rejects(points(files, () => Promise.reject(gone), { exact: true }), gone);
  const reason = new Error("enough");
  await assert.rejects(points(files, createdAt, { exact: true, signal: AbortSignal.abort(reason) }), reason);
});

test("points() reads 10,000 files within a second where headers take no time", async () => {
  const files = Array.from({ length: 10_000 }, (_, i) => made([i % 3, 1 + (i / 3 | 0), 1 + (i / 3 | 0), i]));
  const startMs = performance.now();
  assert.equal((await points(files, createdAt, { exact: true })).length, 3334);
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs < 1000, `${tookMs} ms`);
});

test(`points() agrees with all restore plans and all moments, on 3000 random replicas (FUZZ_SEED=${SEED})`, async () => {
  const random = new Random(SEED);
  let listed = 0;
  for (let round = 0; round < 3000; round++) {
    const files = random.next(2) === 0 ? randomFiles(random) : risingFiles(random);
    const all = await points(files, createdAt, { exact: true });
    const about = `round ${round}: ${
      files.map((f) => `${f.level}:${f.minTxid}-${f.maxTxid}@${f.etag}`).join(" ")
    }`;
    const ends = [...new Set(files.map(({ maxTxid }) => maxTxid))].sort((a, b) => Number(a - b));
    const reachable = ends.filter((end) => isReachable(files, end));
    assert.deepEqual(all.map(({ txid }) => txid), reachable, about);
    const cheap = await points(files, createdAt);
    assert.deepEqual(cheap.map(({ txid }) => txid), reachable, about);
    for (let i = 0; i < 5 && files.length > 0; i++) {
      const momentMs = Number(files[random.next(files.length)]!.etag) + random.next(3) / 2;
      const shown = all.findLast(({ time }) => time.getTime() < momentMs)?.txid ?? 0n;
      const snapshots = files.filter(({ level }) => level === 9);
      if (snapshots.length <= 10) {
        assert.equal(shown, await endAt(files, momentMs), `${about} at ${momentMs}`);
      }
    }
    listed += all.length;
  }
  assert.ok(listed > 20_000, `${listed}`);
});

test(`points() in a range are those of the whole list, where timestamps rise (FUZZ_SEED=${SEED})`, async () => {
  const random = new Random(SEED);
  for (let round = 0; round < 1000; round++) {
    const files = risingFiles(random);
    const from = random.next(100) - 5;
    const to = from + random.next(60);
    const all = await points(files, createdAt, { exact: true });
    const wanted = all.filter(({ time }) => time.getTime() >= from && time.getTime() < to).map(short);
    for (const [i, point] of wanted.entries()) {
      point[3] = Math.max(0, point[1]! - (wanted[i - 1]?.[1] ?? point[1]!));
    }
    const found = await points(files, createdAt, { exact: true, range: { from, to } });
    assert.deepEqual(found.map(short), wanted, `round ${round}: ${from} to ${to}`);
  }
});
