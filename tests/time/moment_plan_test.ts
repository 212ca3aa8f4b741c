import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { LtxFormatError, ObjectGoneError, RestorePlanError } from "../../src/errors.ts";
import { encodeHeader } from "../../src/ltx/header.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import type { ObjectIdentity, ObjectStore, RequestOptions } from "../../src/storage/object_store.ts";
import { CreationTimes } from "../../src/time/created_at.ts";
import { type MomentPlanOptions, planForMoment, readsMax } from "../../src/time/moment_plan.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { Random } from "../support/random.ts";

const SEED = Number(process.env.FUZZ_SEED ?? 20_260);

/** A file, and the timestamp in its header. */
interface MadeFile extends ReplicaFile {
  readonly createdMs: number;
}

/** `[level, minTxid, maxTxid, createdMs, modifiedMs?]` */
type Short = readonly [number, number, number, number, number?];

function made([level, min, max, createdMs, modifiedMs = createdMs]: Short): MadeFile {
  const range = { minTxid: BigInt(min), maxTxid: BigInt(max) };
  const key = ltxKey("s3", level, formatLtxFileName(range));
  return { ...range, level, key, etag: `"${createdMs}"`, size: 200, createdMs, modifiedMs };
}

/** The timestamps of made files; counts what is asked, by level, and the rounds of requests that waited for others. */
class Timestamps {
  readonly reads = new Map<number, number>();
  depth = 0;
  readonly #asked = new Set<string>();
  readonly #waiting: (() => void)[] = [];

  readonly createdAt = (file: ReplicaFile): Promise<number> => {
    assert.ok(!this.#asked.has(file.key), `asked twice: ${file.key}`);
    this.#asked.add(file.key);
    this.reads.set(file.level, (this.reads.get(file.level) ?? 0) + 1);
    if (this.#waiting.length === 0) setTimeout(() => this.#answer(), 0);
    return new Promise((resolve) => this.#waiting.push(() => resolve((file as MadeFile).createdMs)));
  };

  get total(): number {
    return [...this.reads.values()].reduce((sum, count) => sum + count, 0);
  }

  #answer(): void {
    this.depth++;
    for (const answer of this.#waiting.splice(0)) answer();
  }
}

/** What a plan is compared by. */
function show(plan: readonly ReplicaFile[]): string {
  return plan.map(({ level, minTxid, maxTxid }) => `${level}:${minTxid}-${maxTxid}`).join(" ");
}

async function planOf(files: readonly Short[], momentMs: number, options: MomentPlanOptions = {}) {
  const plan = await planForMoment(files.map(made), momentMs, new Timestamps().createdAt, options);
  return show(plan);
}

/** The reference's description word by word: every timestamp read, one candidate after another. */
function modelPlan(files: readonly MadeFile[], momentMs: number): MadeFile[] {
  const eligible = files.filter(({ createdMs }) => createdMs < momentMs);
  const snapshot =
    eligible.filter(({ level }) => level === 9).sort((a, b) => Number(b.maxTxid - a.maxTxid))[0];
  const plan = snapshot ? [snapshot] : [];
  for (;;) {
    const reached = plan.at(-1)?.maxTxid ?? 0n;
    const [best] = eligible
      .filter((f) => f.level < 9 && f.minTxid <= reached + 1n && f.maxTxid > reached)
      .sort((a, b) =>
        Number(b.maxTxid - a.maxTxid) || Number(a.minTxid - b.minTxid) || b.level - a.level ||
        a.modifiedMs - b.modifiedMs
      );
    if (best === undefined) return plan;
    plan.push(best);
  }
}

test("planForMoment() takes what was created before the moment, not at it; the moment may have a fraction", async () => {
  const files: Short[] = [[9, 1, 1, 100], [0, 2, 2, 200], [0, 3, 3, 300]];
  assert.equal(await planOf(files, 301), "9:1-1 0:2-2 0:3-3");
  assert.equal(await planOf(files, 300.5), "9:1-1 0:2-2 0:3-3");
  assert.equal(await planOf(files, 300), "9:1-1 0:2-2");
  assert.equal(await planOf(files, 100.001), "9:1-1");
  assert.equal(await planOf(files, Infinity), "9:1-1 0:2-2 0:3-3");
});

test("planForMoment() leaves out a file whose last transaction is too late, and takes smaller ones", async () => {
  const files: Short[] = [[9, 1, 1, 100], [1, 2, 3, 300], [0, 2, 2, 200], [0, 3, 3, 300]];
  assert.equal(await planOf(files, 300), "9:1-1 0:2-2");
  assert.equal(await planOf(files, 301), "9:1-1 1:2-3");
});

test("planForMoment() ends before a gap", async () => {
  const files: Short[] = [[9, 1, 1, 100], [0, 2, 2, 200], [0, 4, 4, 400], [0, 5, 5, 500]];
  assert.equal(await planOf(files, 1000), "9:1-1 0:2-2");
});

test("planForMoment() fails at a gap that is not believed, where files from before the moment lie beyond it", async () => {
  const files: Short[] = [[9, 1, 1, 100], [0, 2, 2, 200], [0, 4, 4, 400], [0, 5, 5, 500]];
  for (const checkPlan of [true, false]) {
    const options = { checkPlan, believesGap: false };
    await assert.rejects(planOf(files, 401, options), { name: "RestorePlanError", fault: "gap" });
    assert.equal(await planOf(files, 400, options), "9:1-1 0:2-2");
    await assert.rejects(planOf(files, 100, options), { name: "RestorePlanError", fault: "unreachable" });
  }
});

test("planForMoment() names the oldest state where none is old enough", async () => {
  const files: Short[] = [[9, 1, 10, 5000], [0, 9, 9, 1000], [0, 10, 10, 2000]];
  const rejects = (momentMs: number, shorts: Short[], message: RegExp) =>
    assert.rejects(planOf(shorts, momentMs), (error) => {
      assert.ok(error instanceof RestorePlanError);
      assert.equal(error.fault, "unreachable");
      assert.match(error.message, message);
      return true;
    });
  const oldest =
    /^Cannot find a state before 1970-01-01T00:00:05\.000Z: the replica's oldest state is of 1970-01-01T00:00:05\.000Z, expected a later time$/;
  await rejects(5000, files, oldest);
  await rejects(3000, files, /oldest state is of 1970-01-01T00:00:05\.000Z, expected a later time$/);
  await rejects(
    -Infinity,
    files,
    /^Cannot find a state before -Infinity ms: .* are younger, expected a later time$/,
  );
  await rejects(3000, files.slice(1), /no file begins at TXID 1, expected a snapshot$/);
});

test("planForMoment() of no files is empty; of no number it is misuse", async () => {
  await assert.rejects(planOf([], 5), { name: "RestorePlanError", fault: "empty" });
  await assert.rejects(planOf([[9, 1, 1, 1]], NaN), RangeError);
});

test("planForMoment() reads a level whole that it sees falling, says so once, and judges each file alone", async () => {
  const shorts = Array.from({ length: 64 }, (_, i): Short => [0, i + 1, i + 1, i < 40 ? 1000 + i : 900 + i]);
  const files = [...shorts, [9, 1, 41, 941] as const].map(made);
  const timestamps = new Timestamps();
  const notices: string[] = [];
  const onNotice = (text: string) => notices.push(text);
  const plan = await planForMoment(files, 944, timestamps.createdAt, { onNotice });
  assert.equal(show(plan), "9:1-41 0:42-42 0:43-43 0:44-44");
  assert.equal(timestamps.reads.get(0), 64);
  assert.equal(notices.length, 1);
  assert.match(
    notices[0]!,
    /^Timestamps of level 0 do not rise, .* each of its 64 files is judged by its own$/,
  );
});

test("planForMoment() reads all snapshots where another level falls", async () => {
  const snapshots = Array.from({ length: 20 }, (_, i): Short => [9, 1, 10 + i, i === 19 ? 500 : 1000 + i]);
  assert.equal(
    await planOf([...snapshots, [0, 28, 28, 2000], [0, 29, 29, 400], [0, 30, 30, 600]], 950),
    "9:1-29 0:30-30",
  );
});

test("planForMoment() finds a fall inside its own plan", async () => {
  const shorts = Array.from({ length: 64 }, (_, i): Short => [0, i + 1, i + 1, i === 5 ? 9000 : 1000 + i]);
  assert.equal((await planOf(shorts, 1060)).split(" ").length, 5);
});

test("planForMoment() lets a deleted file pass as ObjectGoneError, and asks no further", async () => {
  const files = Array.from({ length: 400 }, (_, i) => made([i % 2, (i >> 1) + 1, (i >> 1) + 1, 1000 + i, 0]));
  let asked = 0;
  const gone = new ObjectGoneError("Cannot read: it is gone, expected it", {
    key: "k",
    status: 404,
    retryable: false,
  });
  const createdAt = (file: ReplicaFile) => {
    asked++;
    return file.level === 0 ? Promise.reject(gone) : Promise.resolve((file as MadeFile).createdMs);
  };
  await assert.rejects(planForMoment(files, 1200, createdAt), gone);
  const askedThen = asked;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(asked <= askedThen + 5, `${asked} after ${askedThen}`);
});

test("planForMoment() ends with its signal's reason", async () => {
  const reason = new Error("enough");
  const controller = new AbortController();
  const shorts = Array.from({ length: 400 }, (_, i): Short => [0, i + 1, i + 1, 1000 + i, 0]);
  let asked = 0;
  const createdAt = (file: ReplicaFile) => {
    if (++asked > 3) controller.abort(reason);
    return Promise.resolve((file as MadeFile).createdMs);
  };
  await assert.rejects(
    planForMoment(shorts.map(made), 1200, createdAt, { signal: controller.signal }),
    reason,
  );
  assert.ok(asked < 10);
});

test("readsMax() is 2·log₂ n + 4, and never more than n", () => {
  assert.deepEqual([0, 1, 2, 10, 11, 64, 5000].map(readsMax), [0, 1, 2, 10, 10, 16, 28]);
});

/** A store of headers that answers when told. */
class HeaderStore {
  readonly asked: { key: string; signal: AbortSignal | undefined; answer: () => void }[] = [];
  fails: Error | undefined;

  read(of: ObjectIdentity, range: { offset: number; size: number }, { signal }: RequestOptions = {}) {
    assert.deepEqual(range, { offset: 0, size: 100 });
    return new Promise((resolve, reject) => {
      const { minTxid, maxTxid, createdMs } = of as MadeFile;
      signal?.addEventListener("abort", () => reject(signal.reason));
      const answer = () => {
        if (this.fails) return reject(this.fails);
        const bytes = encodeHeader({ pageSize: 512, commit: 1, minTxid, maxTxid, timestampMs: createdMs });
        resolve({ bytes, etag: of.etag, objectSize: of.size });
      };
      this.asked.push({ key: of.key, signal, answer });
    });
  }
}

function headerStore() {
  const store = new HeaderStore();
  return { store, times: new CreationTimes(store as unknown as ObjectStore, { entriesMax: 2 }) };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

test("CreationTimes reads a header once, however many ask for it", async () => {
  const { store, times } = headerStore();
  const file = made([0, 2, 2, 1234]);
  const both = [times.createdAt(file), times.createdAt(file)];
  await turn();
  assert.equal(store.asked.length, 1);
  store.asked[0]!.answer();
  assert.deepEqual(await Promise.all(both), [1234, 1234]);
  assert.equal(await times.createdAt({ ...file }), 1234);
  assert.equal(times.reads, 1);
});

test("CreationTimes asks anew for another object of the same name, and for what it has forgotten", async () => {
  const { store, times } = headerStore();
  const ask = async (file: ReplicaFile) => {
    const time = times.createdAt(file);
    await turn();
    store.asked.splice(0).forEach(({ answer }) => answer());
    return await time;
  };
  const file = made([0, 2, 2, 1]);
  assert.equal(await ask(file), 1);
  assert.equal(await ask({ ...file, etag: "other", createdMs: 2 } as MadeFile), 2);
  assert.equal(times.reads, 2);
  times.remember(made([0, 3, 3, 3]), 33);
  assert.equal(await ask(made([0, 3, 3, 3])), 33);
  assert.equal(times.reads, 2);
  assert.equal(await ask(file), 1);
  assert.equal(times.reads, 3);
});

test("CreationTimes ends a request when all who wait for it have left", async () => {
  const { store, times } = headerStore();
  const file = made([0, 2, 2, 1234]);
  const [one, two] = [new AbortController(), new AbortController()];
  const first = times.createdAt(file, { signal: one.signal });
  const second = times.createdAt(file, { signal: two.signal });
  await turn();
  one.abort(new Error("one"));
  await assert.rejects(first, /^Error: one$/);
  assert.equal(store.asked[0]!.signal!.aborted, false);
  two.abort(new Error("two"));
  await assert.rejects(second, /^Error: two$/);
  assert.equal(store.asked[0]!.signal!.aborted, true);
  await assert.rejects(times.createdAt(file, { signal: two.signal }), /^Error: two$/);
  const third = times.createdAt(file);
  await turn();
  store.asked[1]!.answer();
  assert.equal(await third, 1234);
});

test("CreationTimes does not remember a failure", async () => {
  const { store, times } = headerStore();
  const file = made([0, 2, 2, 1234]);
  store.fails = new Error("no");
  const failed = times.createdAt(file);
  await turn();
  store.asked[0]!.answer();
  await assert.rejects(failed, /^Error: no$/);
  store.fails = undefined;
  const time = times.createdAt(file);
  await turn();
  store.asked[1]!.answer();
  assert.equal(await time, 1234);
});

test("CreationTimes sends at most 64 requests at once", async () => {
  const { store, times } = headerStore();
  const all = Array.from({ length: 100 }, (_, i) => times.createdAt(made([0, i + 1, i + 1, i])));
  await turn();
  assert.equal(store.asked.length, 64);
  while (store.asked.length > 0) {
    store.asked.splice(0).forEach(({ answer }) => answer());
    await turn();
  }
  assert.deepEqual(await Promise.all(all), all.map((_, i) => i));
});

test("CreationTimes rejects a file too short for a header, and a header of other TXIDs", async () => {
  const { store, times } = headerStore();
  const file = made([0, 2, 2, 1234]);
  await assert.rejects(times.createdAt({ ...file, size: 99 }), (error) => {
    assert.ok(error instanceof LtxFormatError);
    assert.match(error.message, /^Cannot read time of "0000\/.*": it has 99 bytes, expected at least 100$/);
    return true;
  });
  store.read = () =>
    Promise.resolve({
      bytes: encodeHeader({ pageSize: 512, commit: 1, minTxid: 3n, maxTxid: 3n, timestampMs: 5 }),
      etag: "",
      objectSize: 200,
    });
  await assert.rejects(
    times.createdAt(file),
    /its header names TXIDs 0{15}3 to 0{15}3, expected those of its name$/,
  );
});

/** How a replica came about. */
interface History {
  readonly transactions: number;
  /** Milliseconds between transactions, at most; regular where `regular`. */
  readonly stepMs: number;
  readonly regular: boolean;
  /** Level 1 is made every so many ms; each level above of four of those below. */
  readonly compactMs: number;
  readonly levels: number;
  readonly snapshotMs: number;
  /** Level 0 is kept so long once compacted, snapshots with what leads on from them so long; 0 for ever. */
  readonly keepMs: number;
  readonly keepSnapshotsMs: number;
  /** The clock is set back by at most this now and then. */
  readonly setBackMs: number;
  /** The clock moves in steps of this. */
  readonly tickMs: number;
  /** What the listing's time is: the creation, the upload in whole seconds, or that of a copy. */
  readonly times: "folder" | "s3" | "copied" | "copied at once";
  /** Files deleted at random. */
  readonly losses: number;
}

/** What Litestream leaves in a replica, in a few lines. */
function simulate(history: History, random: Random): MadeFile[] {
  const startMs = 1_700_000_000_000;
  const byLevel: MadeFile[][] = Array.from({ length: 10 }, () => []);
  let nowMs = startMs;
  let skewMs = 0;
  const clock = () => Math.floor((nowMs + skewMs) / history.tickMs) * history.tickMs;
  const uploadedAt = (createdMs: number) => {
    if (history.times === "folder") return createdMs;
    if (history.times === "copied") return startMs + 1e9 + random.next(60_000);
    if (history.times === "copied at once") return startMs + 1e9;
    return Math.floor((nowMs + 50 + random.next(1500)) / 1000) * 1000;
  };
  const add = (level: number, min: number, max: number, createdMs: number) =>
    byLevel[level]!.push(made([level, min, max, createdMs, uploadedAt(createdMs)]));
  const compact = (level: number) => {
    const done = byLevel[level]!.at(-1)?.maxTxid ?? 0n;
    const inputs = byLevel[level - 1]!.filter(({ minTxid }) => minTxid > done);
    const last = inputs.at(-1);
    if (last) add(level, Number(inputs[0]!.minTxid), Number(last.maxTxid), last.createdMs);
  };
  const retain = () => {
    if (history.keepMs > 0) {
      const covered = byLevel[1]!.at(-1)?.maxTxid ?? 0n;
      byLevel[0] = byLevel[0]!.filter((f) => f.maxTxid > covered || f.createdMs > clock() - history.keepMs);
    }
    const old = history.keepSnapshotsMs === 0
      ? []
      : byLevel[9]!.slice(0, -1).filter((f) => f.createdMs <= clock() - history.keepSnapshotsMs);
    const floor = old.at(-1)?.maxTxid ?? 0n;
    byLevel[9] = byLevel[9]!.filter((f) => !old.includes(f));
    for (let level = 1; level < 9; level++) {
      byLevel[level] = byLevel[level]!.filter((f, i, all) => f.maxTxid >= floor || i === all.length - 1);
    }
  };
  const due = (everyMs: number, beforeMs: number) =>
    Math.floor(nowMs / everyMs) > Math.floor(beforeMs / everyMs);
  for (let txid = 1; txid <= history.transactions; txid++) {
    const beforeMs = nowMs;
    nowMs += history.regular ? history.stepMs : random.next(history.stepMs * 2);
    if (history.setBackMs > 0 && random.next(60) === 0) skewMs -= random.next(history.setBackMs);
    add(0, txid, txid, clock());
    if (txid === 1 || due(history.snapshotMs, beforeMs)) {
      nowMs += random.next(20);
      add(9, 1, txid, clock());
    }
    for (let level = 1; level <= history.levels; level++) {
      if (due(history.compactMs * 4 ** (level - 1), beforeMs)) compact(level);
    }
    retain();
  }
  const files = byLevel.flat();
  for (let i = 0; i < history.losses; i++) files.splice(random.next(files.length), 1);
  return files;
}

function randomHistory(random: Random): History {
  const chance = (of: number) => random.next(of) === 0;
  const stepMs = 50 + random.next(2000);
  return {
    transactions: 1 + random.next(chance(4) ? 400 : 80),
    stepMs,
    regular: chance(2),
    compactMs: stepMs * (2 + random.next(8)),
    levels: random.next(4),
    snapshotMs: stepMs * (3 + random.next(60)),
    keepMs: chance(2) ? 0 : stepMs * (5 + random.next(40)),
    keepSnapshotsMs: chance(2) ? 0 : stepMs * (20 + random.next(80)),
    setBackMs: chance(3) ? stepMs * (1 + random.next(50)) : 0,
    tickMs: chance(4) ? stepMs * (1 + random.next(4)) : 1,
    times: (["folder", "s3", "copied", "copied at once"] as const)[random.next(4)]!,
    losses: chance(3) ? random.next(4) : 0,
  };
}

/** A moment at, just before, just after or somewhere about a file's creation. */
function randomMoment(files: readonly MadeFile[], random: Random): number {
  const at = files[random.next(files.length)]!.createdMs;
  return at + [0, 0, 1, -1, 0.5, random.next(5000) - 2500, 1e12, -1e12][random.next(8)]!;
}

function rises(files: readonly MadeFile[], level: number): boolean {
  const sorted = files.filter((f) => f.level === level)
    .sort((a, b) => Number(a.minTxid - b.minTxid) || Number(a.maxTxid - b.maxTxid));
  return sorted.every((f, i) => i === 0 || sorted[i - 1]!.createdMs <= f.createdMs);
}

/** Timestamps without the delay of {@link Timestamps}. */
function quick(reads?: Map<number, number>) {
  return (file: ReplicaFile): Promise<number> => {
    reads?.set(file.level, (reads.get(file.level) ?? 0) + 1);
    return Promise.resolve((file as MadeFile).createdMs);
  };
}

async function planOrNothing(files: readonly MadeFile[], momentMs: number, options?: MomentPlanOptions) {
  const reads = new Map<number, number>();
  try {
    return { plan: await planForMoment(files, momentMs, quick(reads), options) as MadeFile[], reads };
  } catch (error) {
    assert.ok(error instanceof RestorePlanError, `${error}`);
    assert.equal(error.fault, files.length === 0 ? "empty" : "unreachable");
    assert.match(error.message, /^Cannot [a-z][^:]*: ?.+, expected .*[^.]$/);
    return { plan: [], reads };
  }
}

test(`planForMoment() agrees with reading all timestamps, on 3000 random replicas (FUZZ_SEED=${SEED})`, async () => {
  const random = new Random(SEED);
  const seen = { plans: 0, none: 0, falling: 0, hidden: 0, searched: 0 };
  for (let round = 0; round < 3000; round++) {
    const history = randomHistory(random);
    const files = simulate(history, random);
    if (files.length === 0) continue;
    const counts = new Map<number, number>();
    for (const { level } of files) counts.set(level, (counts.get(level) ?? 0) + 1);
    const levelsRise = [...counts.keys()].map((level) => rises(files, level));
    for (let i = 0; i < 4; i++) {
      const momentMs = randomMoment(files, random);
      const about = `round ${round} ${JSON.stringify(history)} at ${momentMs}`;
      const wanted = modelPlan(files, momentMs);
      const { plan } = await planOrNothing(files, momentMs);
      assert.ok(plan.every(({ createdMs }) => createdMs < momentMs), `${about}: ${show(plan)}`);
      const mayHide = (counts.get(9) ?? 0) > 10 && !rises(files, 9);
      const [end, wantedEnd] = [plan.at(-1)?.maxTxid ?? 0n, wanted.at(-1)?.maxTxid ?? 0n];
      if (mayHide && end !== wantedEnd) {
        assert.ok(end < wantedEnd, about);
        seen.hidden++;
        continue;
      }
      assert.equal(end, wantedEnd, about);
      const allRise = levelsRise.every((value) => value);
      if (allRise) assert.equal(show(plan), show(wanted), about);
      if (allRise && history.setBackMs === 0) {
        const { plan, reads } = await planOrNothing(files, momentMs, { checkPlan: false });
        assert.equal(show(plan), show(wanted), about);
        for (const [level, count] of reads) {
          assert.ok(count <= readsMax(counts.get(level)!), `${about}: ${count}`);
        }
        if ([...counts.values()].some((count) => count > readsMax(count))) seen.searched++;
      }
      seen[allRise ? "plans" : "falling"]++;
      if (wanted.length === 0) seen.none++;
    }
  }
  assert.ok(Math.min(seen.plans, seen.none, seen.falling, seen.searched) > 300, JSON.stringify(seen));
});

/** Levels, their files, and the ms that a file of each spans: 10,000 files, the newest state at the end. */
const LARGE: readonly (readonly [level: number, count: number, spanMs: number])[] = [
  [0, 300, 1_000],
  [1, 5_000, 30_000],
  [2, 3_000, 300_000],
  [3, 1_600, 3_600_000],
  [9, 100, 86_400_000],
];

/** 10,000 files of a database written to once a second, or in bursts. */
function largeReplica(
  random: Random,
  { times, bursts }: { times: History["times"] | "s3, an hour off"; bursts: boolean },
): MadeFile[] {
  const endMs = 1_700_006_400_000;
  const firstMs = endMs - 100 * 86_400_000;
  const txidAt = (ms: number) => Math.floor((ms - firstMs) / 1000) + 1;
  const jitter = Array.from({ length: 997 }, () => random.next(bursts ? 900 : 300));
  const createdAt = (txid: number) => firstMs + (txid - 1) * 1000 + jitter[txid % 997]!;
  return LARGE.flatMap(([level, count, spanMs]) => {
    const uploadMs = level === 0 ? 1_800 : level === 9 ? 20_000 : 3_000;
    let queuedMs = 0;
    return Array.from({ length: count }, (_, i) => {
      const fileEndMs = endMs - (count - 1 - i) * spanMs;
      const max = txidAt(fileEndMs) - (level === 0 ? 0 : 1);
      const min = level === 9 ? 1 : level === 0 ? max : Math.max(1, max - spanMs / 1000 + 1);
      const createdMs = level === 9 ? fileEndMs : createdAt(max);
      // Bursts: uploads stand still for up to 20 s now and then.
      queuedMs = bursts && random.next(30) === 0 ? random.next(20_000) : Math.max(0, queuedMs - spanMs);
      const uploadedMs = Math.max(createdMs, fileEndMs) + queuedMs + random.next(uploadMs);
      const modifiedMs = times === "folder"
        ? createdMs
        : times.startsWith("s3")
        ? Math.floor(uploadedMs / 1000) * 1000 - (times === "s3" ? 0 : 3_600_000)
        : endMs + 86_400_000 + (times === "copied" ? random.next(60_000) : 0);
      return made([level, min, max, createdMs, modifiedMs]);
    });
  });
}

test(`planForMoment() reads few of 10,000 timestamps, in few rounds (FUZZ_SEED=${SEED})`, async () => {
  const random = new Random(SEED);
  for (const times of ["folder", "s3", "s3, an hour off", "copied", "copied at once"] as const) {
    for (const bursts of [false, true]) {
      const files = largeReplica(random, { times, bursts });
      const [first, last] = [files[0]!, files[299]!].map(({ createdMs }) => createdMs) as [number, number];
      for (const span of [last - first, 86_400_000, 90 * 86_400_000]) {
        const found = { reads: [] as number[], depth: [] as number[], checked: [] as number[] };
        for (let i = 0; i < 6; i++) {
          const momentMs = last - random.next(span) + random.next(2) / 2;
          const timestamps = new Timestamps();
          const plan = await planForMoment(files, momentMs, timestamps.createdAt, { checkPlan: false });
          assert.equal(show(plan), show(modelPlan(files, momentMs)));
          for (const [level, count] of LARGE) {
            assert.ok((timestamps.reads.get(level) ?? 0) <= readsMax(count), `${times}: level ${level}`);
          }
          found.reads.push(timestamps.total);
          found.depth.push(timestamps.depth);
          const checking = new Timestamps();
          assert.equal(show(await planForMoment(files, momentMs, checking.createdAt)), show(plan));
          assert.ok(checking.depth <= timestamps.depth + 1);
          found.checked.push(checking.total - timestamps.total);
        }
        const middle = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;
        const about = `${times}${bursts ? ", bursts" : ""}, within ${span} ms: ${JSON.stringify(found)}`;
        const isCopied = times.startsWith("copied");
        const readsMiddle = isCopied ? 80 : bursts ? 40 : times === "s3, an hour off" ? 26 : 16;
        assert.ok(middle(found.reads) <= readsMiddle, about);
        assert.ok(Math.max(...found.depth) <= (isCopied ? 11 : 8), about);
        assert.ok(Math.max(...found.checked) <= 90, about);
      }
    }
  }
});
