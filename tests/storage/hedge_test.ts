import assert from "node:assert/strict";
import { test } from "node:test";
import { DeadlineError, ObjectGoneError, StorageError } from "../../src/errors.ts";
import { HedgeClock } from "../../src/storage/hedge.ts";
import {
  anyObject,
  type BareStore,
  type ObjectIdentity,
  type ObjectStore,
  type ReadResult,
  type RequestOptions,
} from "../../src/storage/object_store.ts";
import { openStore, type OpenStoreOptions } from "../../src/storage/open_store.ts";
import { parseReplicaUrl, type S3Location } from "../../src/storage/replica_url.ts";
import { RetryAfterError } from "../../src/storage/retry_after.ts";
import { RetryingStore, type RetryingStoreOptions } from "../../src/storage/retrying_store.ts";
import { patternBytes } from "../../src/contract/object_store_contract.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { type Fault, FaultSchedule } from "../support/faults.ts";

/** Time that passes only when a test says so. */
class HandClock {
  nowMs = 1_000_000;
  readonly #sleepers = new Set<{ atMs: number; wake: () => void }>();

  readonly options: Required<Pick<RetryingStoreOptions, "now" | "random" | "sleep">> = {
    now: () => this.nowMs,
    random: () => 0,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        const sleeper = { atMs: this.nowMs + ms, wake: resolve };
        this.#sleepers.add(sleeper);
        signal.addEventListener("abort", () => {
          this.#sleepers.delete(sleeper);
          reject(signal.reason);
        });
      }),
  };

  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** Lets `ms` pass, from one sleeper's moment to the next. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    for (;;) {
      await settled();
      const next = [...this.#sleepers].sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined || next.atMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      this.#sleepers.delete(next);
      next.wake();
    }
    this.nowMs = endMs;
  }
}

/** Resolves when all that could run has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** One request that reached the store. */
class Sent {
  readonly of: ObjectIdentity;
  readonly options: RequestOptions;
  readonly result: Promise<ReadResult>;
  isOver = false;
  #settle: { resolve: (result: ReadResult) => void; reject: (error: unknown) => void } | undefined;

  constructor(of: ObjectIdentity, options: RequestOptions) {
    this.of = of;
    this.options = options;
    this.result = new Promise((resolve, reject) => this.#settle = { resolve, reject });
    options.signal?.addEventListener("abort", () => this.fail(options.signal?.reason));
  }

  get isAborted(): boolean {
    return this.options.signal?.aborted ?? false;
  }

  progress(...bytes: number[]): void {
    this.options.onProgress?.(Uint8Array.from(bytes));
  }

  answer(...bytes: number[]): void {
    this.isOver = true;
    this.#settle?.resolve({ bytes: Uint8Array.from(bytes), etag: "e", objectSize: 100 });
  }

  fail(error: unknown): void {
    this.isOver = true;
    this.#settle?.reject(error);
  }
}

/** A store whose requests are answered by hand, within a {@link RetryingStore}. */
class World {
  readonly clock = new HandClock();
  readonly sent: Sent[] = [];
  readonly store: RetryingStore;
  /** Requests that were under way at once, at most. */
  outMax = 0;

  constructor(options: RetryingStoreOptions = {}) {
    const inner: BareStore = {
      traits: { conditionalPut: true, conditionalReplace: true, cheapList: true, listsInOrder: true },
      name: "test",
      counts: { list: 0, get: 0, bytes: 0, retries: 0 },
      list: () => ({
        [Symbol.asyncIterator]: () => ({ next: () => this.#take(LISTED, {}).then(() => NO_MORE) }),
      }),
      read: (of, _range, options = {}) => this.#take(of, options),
      get parts(): never {
        return assert.fail("nothing is written here");
      },
      put: () => assert.fail("nothing is written here"),
      putChunks: () => assert.fail("nothing is written here"),
      remove: () => assert.fail("nothing is removed here"),
      close: () => Promise.resolve(),
    };
    this.store = new RetryingStore(inner, { ...this.clock.options, ...options });
  }

  /** Requests under way. */
  get out(): Sent[] {
    return this.sent.filter(({ isOver }) => !isOver);
  }

  /** The n-th request of those sent since the last {@link learn}. */
  at(index: number): Sent {
    const sent = this.sent[index];
    assert.ok(sent, `request ${index} was sent`);
    return sent;
  }

  read(options: RequestOptions = {}, of: ObjectIdentity = OF): Promise<ReadResult> {
    return this.store.read(of, { offset: 0, size: 4 }, options);
  }

  /** Lets `count` reads pass of which each was answered after `afterMs`, and forgets what was sent. */
  async learn(count: number, afterMs = 20): Promise<void> {
    for (let i = 0; i < count; i++) {
      const read = this.read();
      await this.clock.pass(afterMs);
      this.out[0]?.answer(1);
      await read;
    }
    this.sent.length = 0;
  }

  #take(of: ObjectIdentity, options: RequestOptions): Promise<ReadResult> {
    const sent = new Sent(of, options);
    this.sent.push(sent);
    this.outMax = Math.max(this.outMax, this.out.length);
    return sent.result;
  }
}

const OF: ObjectIdentity = { key: "k", etag: "e", size: 100 };
const LISTED = anyObject("");
const NO_MORE = { done: true, value: undefined } as const;

function failure(message: string): StorageError {
  return new StorageError(message, { key: "k", status: 503, code: "SlowDown", retryable: true });
}

test("HedgeClock knows nothing until eight reads were answered", () => {
  const clock = new HedgeClock();
  for (let i = 0; i < 7; i++) clock.answered(100);
  assert.equal(clock.delayMs, Infinity);
  clock.answered(100);
  assert.equal(clock.delayMs, 150);
});

test("HedgeClock waits half as long again as the 95th of 100 answers, 50 ms at least", () => {
  const quick = new HedgeClock();
  for (let i = 0; i < 64; i++) quick.answered(5);
  assert.equal(quick.delayMs, 50);
  const clock = new HedgeClock();
  for (let i = 1; i <= 64; i++) clock.answered(i * 10);
  assert.equal(clock.delayMs, 610 * 1.5);
});

test("HedgeClock forgets all but the last 64 answers", () => {
  const clock = new HedgeClock();
  for (let i = 0; i < 64; i++) clock.answered(1000);
  for (let i = 0; i < 56; i++) clock.answered(40);
  assert.equal(clock.delayMs, 1500);
  for (let i = 0; i < 8; i++) clock.answered(40);
  assert.equal(clock.delayMs, 60);
});

test("HedgeClock affords one hedge for each twenty reads, and saves up eight", () => {
  const clock = new HedgeClock();
  for (let i = 0; i < 19; i++) clock.readBegan();
  assert.equal(clock.isAffordable, false);
  clock.readBegan();
  assert.equal(clock.isAffordable, true);
  clock.spend();
  assert.equal(clock.isAffordable, false);
  for (let i = 0; i < 1000; i++) clock.readBegan();
  for (let i = 0; i < 8; i++) {
    assert.equal(clock.isAffordable, true);
    clock.spend();
  }
  assert.equal(clock.isAffordable, false);
});

test("a read that brings nothing is sent again, and the second answer ends the first", async () => {
  const world = new World();
  await world.learn(20);
  const read = world.read();
  await world.clock.pass(49);
  assert.equal(world.sent.length, 1);
  await world.clock.pass(1);
  assert.equal(world.sent.length, 2);
  assert.equal(world.at(0).isAborted, false);
  world.at(1).answer(7);
  assert.deepEqual((await read).bytes, Uint8Array.of(7));
  assert.equal(world.at(0).isAborted, true);
  assert.deepEqual([world.store.counts.hedges, world.store.counts.retries], [1, 0]);
  assert.equal(world.clock.sleepers, 0, "nothing waits any more");
});

test("a read that is sent again may still be answered by its first request", async () => {
  const world = new World();
  await world.learn(20);
  const read = world.read();
  await world.clock.pass(60);
  world.at(0).answer(7);
  assert.deepEqual((await read).bytes, Uint8Array.of(7));
  assert.equal(world.at(1).isAborted, true);
});

test("the delay is learnt from the time to the first byte, not from whole bodies", async () => {
  const world = new World();
  for (let i = 0; i < 24; i++) {
    const read = world.read();
    await world.clock.pass(20);
    world.out[0]?.progress();
    await world.clock.pass(900);
    world.out[0]?.answer(1);
    await read;
  }
  void world.read().catch(() => {});
  await world.clock.pass(50);
  assert.equal(world.out.length, 2);
  await world.store.close();
});

test("a read whose answer has begun is not sent again, however long its body takes", async () => {
  const world = new World();
  await world.learn(20);
  const read = world.read();
  await world.clock.pass(40);
  world.at(0).progress();
  await world.clock.pass(3_000);
  assert.equal(world.sent.length, 1);
  world.at(0).answer(7);
  await read;
});

const unhedged: [name: string, options: RequestOptions, of: ObjectIdentity, store: RetryingStoreOptions][] = [
  ["attemptsMax 1", { attemptsMax: 1 }, OF, {}],
  ["an attemptTimeoutMs of its own", { attemptTimeoutMs: 3_000 }, OF, {}],
  ["whatever has the key", {}, anyObject("k"), {}],
  ["hedge: false", {}, OF, { hedge: false }],
];
for (const [name, options, of, storeOptions] of unhedged) {
  test(`no read is sent again with ${name}`, async () => {
    const world = new World(storeOptions);
    await world.learn(40);
    const read = world.read(options, of);
    await world.clock.pass(2_900);
    assert.equal(world.sent.length, 1);
    world.at(0).answer(7);
    await read;
  });
}

test("no listing is sent again", async () => {
  const world = new World();
  await world.learn(40);
  const page = world.store.list("")[Symbol.asyncIterator]().next();
  await world.clock.pass(3_000);
  assert.equal(world.sent.length, 1);
  world.at(0).answer();
  assert.equal((await page).done, true);
});

test("a request that fails is no failure of the read while the other goes on", async () => {
  for (const failing of [0, 1]) {
    const world = new World();
    await world.learn(20);
    const read = world.read();
    await world.clock.pass(50);
    world.at(failing).fail(failure("503"));
    await world.clock.pass(1_000);
    assert.equal(world.sent.length, 2);
    world.at(1 - failing).answer(7);
    assert.deepEqual((await read).bytes, Uint8Array.of(7));
    assert.equal(world.store.counts.retries, 0);
  }
});

test("an answer for good ends the read, whichever request it comes to", async () => {
  for (const failing of [0, 1]) {
    const world = new World();
    await world.learn(20);
    const read = world.read();
    await world.clock.pass(50);
    const gone = new ObjectGoneError("412", { key: "k", status: 412, retryable: false });
    world.at(failing).fail(gone);
    await assert.rejects(read, gone);
    assert.equal(world.at(1 - failing).isAborted, true);
  }
});

test("where both requests fail the read is tried again, and not sent twice any more", async () => {
  const world = new World();
  await world.learn(40);
  const read = world.read();
  await world.clock.pass(50);
  world.at(1).fail(failure("second"));
  world.at(0).fail(failure("first"));
  await world.clock.pass(2_000);
  assert.equal(world.sent.length, 3);
  assert.deepEqual([world.store.counts.hedges, world.store.counts.retries], [1, 1]);
  world.at(2).answer(7);
  assert.deepEqual((await read).bytes, Uint8Array.of(7));
});

test("where both requests fail the server's wish to wait is heard, whichever it told", async () => {
  for (const asking of [0, 1]) {
    const world = new World();
    await world.learn(20);
    const read = world.read();
    await world.clock.pass(50);
    const details = { key: "k", status: 503, retryable: true, retryAfterMs: 700 };
    world.at(asking).fail(new RetryAfterError("later", details));
    world.at(1 - asking).fail(failure("now"));
    await world.clock.pass(699);
    assert.equal(world.sent.length, 2);
    await world.clock.pass(1);
    assert.equal(world.sent.length, 3);
    world.at(2).answer(7);
    await read;
  }
});

test("where neither request brings anything the attempt ends when it would without a hedge", async () => {
  const world = new World({ attemptTimeoutMs: 1_000, totalTimeoutMs: 2_500 });
  await world.learn(20);
  const startMs = world.clock.nowMs;
  const failed = assert.rejects(world.read(), (error) => {
    assert.ok(error instanceof DeadlineError);
    assert.match(error.message, /no success in 3 attempts and 2\.5 s.*nothing arrived for 1 s/);
    return true;
  });
  await world.clock.pass(999);
  assert.equal(world.out.length, 2);
  await world.clock.pass(1);
  assert.deepEqual(world.sent.map(({ isAborted }) => isAborted), [true, true, false]);
  await world.clock.pass(1_501);
  await failed;
  assert.ok(world.clock.nowMs - startMs < 2_510);
  assert.equal(world.clock.sleepers, 0);
});

test("a time that is over tells what one request failed with rather than the other's silence", async () => {
  const world = new World({ attemptTimeoutMs: 1_000, totalTimeoutMs: 1_000 });
  await world.learn(20);
  const last = failure("status 503 of the first");
  const failed = assert.rejects(
    world.read(),
    (error) => error instanceof DeadlineError && error.cause === last,
  );
  await world.clock.pass(50);
  world.at(0).fail(last);
  await world.clock.pass(951);
  await failed;
});

test("hedges are one in twenty reads, however many reads could do with one", async () => {
  const world = new World();
  await world.learn(20);
  for (let wave = 0; wave < 20; wave++) {
    const controller = new AbortController();
    const reads = Array.from({ length: 20 }, () => world.read({ signal: controller.signal }));
    const aborted = Promise.allSettled(reads);
    await world.clock.pass(60);
    controller.abort();
    await aborted;
  }
  assert.equal(world.sent.length, 400 + 21);
  assert.equal(world.store.counts.hedges, 21);
});

test("hedges take only places that are free: never more than requestsMax at once", async () => {
  const world = new World({ requestsMax: 3 });
  await world.learn(100);
  world.outMax = 0;
  const reads = [world.read(), world.read(), world.read()];
  await world.clock.pass(520);
  assert.deepEqual([world.out.length, world.store.counts.hedges], [3, undefined]);
  world.at(0).answer(1);
  await world.clock.pass(30);
  assert.deepEqual(
    [world.out.length, world.store.counts.hedges],
    [3, 1],
    "one place was free, one read hedged",
  );
  reads.push(world.read());
  await world.clock.pass(500);
  assert.deepEqual([world.out.length, world.store.counts.hedges], [3, 1]);
  while (world.out.length > 0) {
    world.out[0]?.answer(1);
    await world.clock.pass(60);
  }
  await Promise.all(reads);
  assert.equal(world.outMax, 3);
});

test("a hedge's place is free again when its read has ended", async () => {
  const world = new World({ requestsMax: 2 });
  await world.learn(20);
  const first = world.read();
  await world.clock.pass(50);
  const [second, third] = [world.read(), world.read()];
  await settled();
  assert.equal(world.out.length, 2);
  world.at(0).answer(1);
  await first;
  await settled();
  assert.equal(world.out.length, 2);
  for (const sent of world.out) sent.answer(1);
  await Promise.all([second, third]);
});

test("an abort cancels both requests", async () => {
  const world = new World();
  await world.learn(20);
  const controller = new AbortController();
  const reason = new Error("enough");
  const read = assert.rejects(world.read({ signal: controller.signal }), reason);
  await world.clock.pass(50);
  controller.abort(reason);
  await read;
  assert.deepEqual(world.sent.map(({ options }) => options.signal?.reason), [reason, reason]);
  assert.equal(world.clock.sleepers, 0);
});

test("close() cancels both requests", async () => {
  const world = new World();
  await world.learn(20);
  const read = assert.rejects(world.read(), { name: "ReplicaClosedError" });
  await world.clock.pass(50);
  await world.store.close();
  await read;
  assert.deepEqual(world.sent.map(({ isAborted }) => isAborted), [true, true]);
});

test("onProgress follows the request that is ahead, and goes back only for another attempt", async () => {
  const world = new World();
  await world.learn(20);
  const seen: number[] = [];
  const read = world.read({ onProgress: ({ length }) => seen.push(length) });
  await world.clock.pass(50);
  const [first, second] = [world.at(0), world.at(1)];
  first.progress(1);
  second.progress();
  second.progress(1, 2, 3);
  first.progress(1, 2);
  first.fail(failure("cut"));
  second.fail(failure("cut"));
  await world.clock.pass(2_000);
  first.progress(1, 2, 3, 4);
  world.at(2).progress(1);
  world.at(2).answer(1, 2, 3, 4);
  await read;
  assert.deepEqual(seen, [1, 3, 1]);
});

test("an alarm that rings late looks once more before a read is sent again", async () => {
  const world = new World();
  await world.learn(20);
  const read = world.read();
  await settled();
  world.clock.nowMs += 300; // The loop was held; the answer has come, unread.
  await world.clock.pass(0);
  assert.equal(world.sent.length, 1);
  world.at(0).answer(7);
  await read;
  const stalled = world.read();
  await settled();
  world.clock.nowMs += 300;
  await world.clock.pass(10);
  assert.equal(world.out.length, 2);
  world.at(2).answer(7);
  await stalled;
});

async function storeAt(fake: FakeS3, options: OpenStoreOptions = {}): Promise<ObjectStore> {
  const { accessKeyId, secretAccessKey } = fake.options;
  const location = parseReplicaUrl(fake.url("/db")) as S3Location;
  return await openStore(location, { credentials: { accessKeyId, secretAccessKey }, ...options });
}

for (const fault of [{ kind: "silence" }, { kind: "slow", delayMs: 60_000 }] as const satisfies Fault[]) {
  test(`S3Store reads on where one request of twenty meets ${fault.kind}`, async () => {
    const faults = new FaultSchedule([{ fault, nth: [20, 41, 62] }]);
    await using fake = await FakeS3.start({ faults });
    const etag = fake.put("db/k", patternBytes(4_000));
    const store = await storeAt(fake, { attemptTimeoutMs: 50_000, totalTimeoutMs: 55_000 });
    for (let i = 0; i < 60; i++) {
      const { bytes } = await store.read({ key: "k", etag, size: 4_000 }, { offset: i * 10, size: 500 });
      assert.deepEqual(bytes, patternBytes(4_000).slice(i * 10, i * 10 + 500));
    }
    assert.deepEqual({ ...store.counts }, { list: 0, get: 63, bytes: 30_000, retries: 0, hedges: 3 });
    assert.equal(
      fake.log.filter(({ status }) => status === 0).length,
      3,
      "those that stalled were not needed",
    );
    await store.close();
  });
}
