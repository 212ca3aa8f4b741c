import assert from "node:assert/strict";
import { test } from "node:test";
import { DeadlineError, ObjectGoneError, StorageError } from "../../src/errors.ts";
import {
  anyObject,
  type BareStore,
  type ObjectStore,
  type RequestOptions,
} from "../../src/storage/object_store.ts";
import type { Attempt } from "../../src/storage/attempt.ts";
import { RequestQueue } from "../../src/storage/request_queue.ts";
import { type RetryOptions, withRetries } from "../../src/storage/retry.ts";
import { parseRetryAfter, RetryAfterError } from "../../src/storage/retry_after.ts";
import { RETRY_DEFAULTS } from "../../src/storage/retry_policy.ts";
import { RetryingStore, type RetryingStoreOptions } from "../../src/storage/retrying_store.ts";

/** A clock that jumps to the next sleeper as soon as nothing else is left to do. */
class FakeClock {
  nowMs = 1_000_000;
  readonly slept: number[] = [];
  randomValue = 1;
  readonly #sleepers = new Set<{ atMs: number; wake: () => void }>();
  #ticking = false;

  options(more: RetryOptions = {}): RetryOptions {
    return {
      now: () => this.nowMs,
      random: () => this.randomValue,
      sleep: (ms, signal) => this.sleep(ms, signal),
      ...more,
    };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    this.slept.push(ms);
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const sleeper = { atMs: this.nowMs + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", () => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason);
      });
      this.#tick();
    });
  }

  #tick(): void {
    if (this.#ticking) return;
    this.#ticking = true;
    setTimeout(() => {
      this.#ticking = false;
      const next = [...this.#sleepers].sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) return;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      this.#sleepers.delete(next);
      next.wake();
      if (this.#sleepers.size > 0) this.#tick();
    }, 0);
  }
}

const POLICY = { attemptTimeoutMs: 10_000, totalTimeoutMs: 30_000, baseDelayMs: 100, maxDelayMs: 1000 };

function failure(message = "status 503"): StorageError {
  return new StorageError(message, { key: "k", status: 503, code: "SlowDown", retryable: true });
}

function later(retryAfterMs: number): RetryAfterError {
  return new RetryAfterError("status 503", { key: "k", status: 503, retryable: true, retryAfterMs });
}

function never(attempt: Attempt): Promise<never> {
  return new Promise((_, reject) =>
    attempt.signal.addEventListener("abort", () => reject(attempt.signal.reason))
  );
}

test("withRetries() gives the first success and tells each retry", async () => {
  const clock = new FakeClock();
  const retried: string[] = [];
  let tries = 0;
  const result = await withRetries("read", ({ number }) => {
    assert.equal(number, ++tries);
    return number < 4 ? Promise.reject(failure(`try ${number}`)) : Promise.resolve("done");
  }, clock.options({ ...POLICY, onRetry: ({ message }) => retried.push(message) }));
  assert.equal(result, "done");
  assert.deepEqual(retried, ["try 1", "try 2", "try 3"]);
});

test("withRetries() doubles the bound of its pauses up to the limit, and draws from it", async () => {
  for (
    const [random, pauses] of [[1, [100, 200, 400, 800, 1000, 1000]], [0.5, [
      50,
      100,
      200,
      400,
      500,
      500,
    ]]] as const
  ) {
    const clock = new FakeClock();
    clock.randomValue = random;
    const startMs = clock.nowMs;
    const at: number[] = [];
    await withRetries("read", ({ number }) => {
      at.push(clock.nowMs - startMs);
      return number <= pauses.length ? Promise.reject(failure()) : Promise.resolve();
    }, clock.options(POLICY));
    assert.deepEqual(at.slice(1).map((ms, i) => ms - (at[i] ?? 0)), pauses);
  }
});

test("withRetries() does not repeat what failed for good", async () => {
  const details = { key: "k", status: 404, retryable: false };
  const errors = [
    new StorageError("403", details),
    new ObjectGoneError("404", details),
    new RangeError("x"),
    "text",
  ];
  for (const error of errors) {
    let tries = 0;
    const work = withRetries("read", () => {
      tries++;
      return Promise.reject(error);
    }, new FakeClock().options(POLICY));
    await assert.rejects(work, (thrown) => thrown === error);
    assert.equal(tries, 1);
  }
});

test("withRetries() ends at the total deadline, saying how long, how often and what last", async () => {
  const clock = new FakeClock();
  const startMs = clock.nowMs;
  const last = failure("Cannot read: status 503 SlowDown");
  const work = withRetries("read page 7", () => Promise.reject(last), clock.options(POLICY));
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof DeadlineError);
    assert.equal(error.cause, last);
    assert.match(
      error.message,
      /^Cannot read page 7: no success in 33 attempts and 29\.5 s, expected one within 30 s; the last failure: Cannot read: status 503 SlowDown$/,
    );
    return true;
  });
  assert.ok(clock.nowMs - startMs <= 30_000);
});

test("withRetries() fails an attempt in which nothing arrives", async () => {
  const clock = new FakeClock();
  const startMs = clock.nowMs;
  const work = withRetries("read", never, clock.options(POLICY));
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof DeadlineError && error.cause instanceof StorageError);
    assert.match(error.message, /no success in 3 attempts and 30 s/);
    assert.equal(error.cause.code, "Timeout");
    return true;
  });
  assert.equal(clock.nowMs - startMs, 30_000);
});

test("withRetries() ends an attempt that does not look at its signal", async () => {
  const work = withRetries("read", () => new Promise(() => {}), new FakeClock().options(POLICY));
  await assert.rejects(work, DeadlineError);
});

test("withRetries() lets an attempt go on while something arrives, until the total deadline", async () => {
  const clock = new FakeClock();
  const startMs = clock.nowMs;
  const trickle = async ({ progress, signal }: Attempt, times: number) => {
    for (let i = 0; i < times; i++) {
      await clock.sleep(6000, signal);
      progress();
    }
  };
  let tries = 0;
  await withRetries("read", (attempt) => trickle(attempt, ++tries * 4), clock.options(POLICY));
  assert.equal(clock.nowMs - startMs, 24_000);
  assert.equal(tries, 1);
  const work = withRetries("read", (attempt) => trickle(attempt, 100), clock.options(POLICY));
  await assert.rejects(work, /no success in 1 attempt and 30 s.*the time was over/);
});

test("withRetries() waits as long as the server asks", async () => {
  const clock = new FakeClock();
  const startMs = clock.nowMs;
  await withRetries(
    "read",
    ({ number }) => number === 1 ? Promise.reject(later(7000)) : Promise.resolve(),
    clock.options(POLICY),
  );
  assert.equal(clock.nowMs - startMs, 7000);
});

test("withRetries() does not wait for what the server asks past the deadline", async () => {
  const clock = new FakeClock();
  const startMs = clock.nowMs;
  const work = withRetries("read", () => Promise.reject(later(60_000)), clock.options(POLICY));
  await assert.rejects(
    work,
    /no success in 1 attempt and 0 ms, the server asks to wait 60 s, expected one within 30 s/,
  );
  assert.equal(clock.nowMs, startMs);
});

test("withRetries() throws what the last attempt of attemptsMax fails with, as it is", async () => {
  for (const attemptsMax of [1, 3]) {
    const retried: string[] = [];
    let tries = 0;
    const errors = [failure("1"), failure("2"), failure("3")];
    const work = withRetries(
      "read",
      () => Promise.reject(errors[tries++]),
      new FakeClock().options({ ...POLICY, attemptsMax, onRetry: ({ message }) => retried.push(message) }),
    );
    await assert.rejects(work, (error) => error === errors[attemptsMax - 1]);
    assert.equal(tries, attemptsMax);
    assert.equal(retried.length, attemptsMax - 1);
  }
});

test("withRetries() with attemptsMax does not wait for what the server asks after the last attempt", async () => {
  const clock = new FakeClock();
  const last = later(60_000);
  const work = withRetries(
    "read",
    () => Promise.reject(last),
    clock.options({ ...POLICY, attemptsMax: 1 }),
  );
  await assert.rejects(work, (error) => error === last);
});

test("withRetries() with attemptsMax still tells a time that was over", async () => {
  const clock = new FakeClock();
  const stalled = withRetries("poll", never, clock.options({ ...POLICY, attemptsMax: 1 }));
  await assert.rejects(stalled, (error) => {
    assert.ok(error instanceof StorageError && error.code === "Timeout");
    assert.match(error.message, /nothing arrived for 10 s/);
    return true;
  });
  const over = withRetries(
    "poll",
    never,
    clock.options({ ...POLICY, attemptsMax: 1, totalTimeoutMs: 5_000 }),
  );
  await assert.rejects(over, DeadlineError);
});

/** A store of which each read ends as `read` says, under a clock that jumps. */
function retryingStore(
  read: (options: RequestOptions) => Promise<never>,
  options: RetryingStoreOptions = {},
): { store: RetryingStore; clock: FakeClock } {
  const clock = new FakeClock();
  const inner: BareStore = {
    traits: { conditionalPut: true, conditionalReplace: true, cheapList: true, listsInOrder: true },
    name: "test",
    counts: { list: 0, get: 0, bytes: 0, retries: 0 },
    list: () => ({ [Symbol.asyncIterator]: () => ({ next: () => read({}) }) }),
    read: (_of, _range, options = {}) => read(options),
    get parts(): never {
      return assert.fail("nothing is written here");
    },
    put: () => assert.fail("nothing is written here"),
    putChunks: () => assert.fail("nothing is written here"),
    remove: () => assert.fail("nothing is removed here"),
    close: () => Promise.resolve(),
  };
  const { now, random, sleep } = clock.options() as Required<RetryingStoreOptions>;
  return { store: new RetryingStore(inner, { now, random, sleep, ...options }), clock };
}

const KiB = 1024;

function readOf(store: ObjectStore, size: number, options: RequestOptions = {}): Promise<unknown> {
  return store.read(anyObject("k"), { offset: 0, size }, options);
}

function silence({ signal }: RequestOptions): Promise<never> {
  return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
}

test("RetryingStore takes attemptsMax and attemptTimeoutMs of a request in place of its own", async () => {
  let tries = 0;
  const { store, clock } = retryingStore((options) => {
    tries++;
    return silence(options);
  }, { attemptsMax: 2 });
  const startMs = clock.nowMs;
  await assert.rejects(readOf(store, 1), { name: "StorageError", code: "Timeout" });
  assert.equal(tries, 2);
  assert.ok(clock.nowMs - startMs >= 2 * RETRY_DEFAULTS.attemptTimeoutMs);
  tries = 0;
  const soonMs = clock.nowMs;
  await assert.rejects(readOf(store, 1, { attemptsMax: 1, attemptTimeoutMs: 300 }), { code: "Timeout" });
  assert.equal(tries, 1);
  assert.equal(clock.nowMs - soonMs, 300);
});

test("RetryingStore takes attemptsMax for each page of a listing", async () => {
  let tries = 0;
  const { store } = retryingStore(() => {
    tries++;
    return Promise.reject(failure());
  });
  const pages = store.list("", { attemptsMax: 1 })[Symbol.asyncIterator]();
  await assert.rejects(pages.next(), { name: "StorageError", status: 503 });
  assert.equal(tries, 1);
});

for (
  const [name, read] of [["nothing comes", silence], ["503 comes", () => Promise.reject(failure())]] as const
) {
  test(`RetryingStore fails within 10 s where nothing else is said and ${name}`, async () => {
    const { store, clock } = retryingStore(read);
    const startMs = clock.nowMs;
    await assert.rejects(readOf(store, 256 * KiB), DeadlineError);
    const tookMs = clock.nowMs - startMs;
    assert.ok(tookMs > 8_000 && tookMs <= 10_000, `${tookMs}`);
  });
}

test("RetryingStore gives a read a second more for each 256 KiB of it, unless its time is said", async () => {
  const { store, clock } = retryingStore(silence, { totalTimeoutMs: 2_000, attemptTimeoutMs: 1_000_000 });
  const took = async (size: number, options: RequestOptions = {}) => {
    const startMs = clock.nowMs;
    await assert.rejects(readOf(store, size, options), DeadlineError);
    return clock.nowMs - startMs;
  };
  assert.equal(Math.floor(await took(1)), 2_000);
  assert.equal(await took(256 * KiB), 3_000);
  assert.equal(await took(64 * 1024 * KiB), 258_000);
  assert.equal(await took(64 * 1024 * KiB, { timeoutMs: 500 }), 500);
});

test("RetryingStore pauses for a second at most", async () => {
  const at: number[] = [];
  const { store, clock } = retryingStore(() => {
    at.push(clock.nowMs);
    return Promise.reject(failure());
  });
  await assert.rejects(readOf(store, 1), DeadlineError);
  const pauses = at.slice(1).map((ms, i) => ms - (at[i] ?? 0));
  assert.equal(Math.max(...pauses), 1_000);
});

test("parseRetryAfter() takes seconds and dates", () => {
  const nowMs = Date.parse("2026-11-21T00:00:00Z");
  assert.equal(parseRetryAfter("3", nowMs), 3000);
  assert.equal(parseRetryAfter(" 0 ", nowMs), 0);
  assert.equal(parseRetryAfter("Sat, 21 Nov 2026 00:00:05 GMT", nowMs), 5000);
  assert.equal(parseRetryAfter("Sat, 21 Nov 2026 00:00:05 GMT", nowMs + 9000), 0);
  for (const none of [null, "", "soon"]) assert.equal(parseRetryAfter(none, nowMs), undefined);
});

test("withRetries() ends at once when its signal aborts in an attempt", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  const work = withRetries("read", () => new Promise(() => {}), { ...POLICY, signal: controller.signal });
  setTimeout(() => controller.abort(reason), 10);
  await assert.rejects(work, reason);
});

test("withRetries() ends at once when its signal aborts in a pause", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  let tries = 0;
  const work = withRetries("read", () => {
    tries++;
    return Promise.reject(later(20_000));
  }, { ...POLICY, signal: controller.signal });
  const startMs = performance.now();
  setTimeout(() => controller.abort(reason), 10);
  await assert.rejects(work, reason);
  assert.ok(performance.now() - startMs < 5000);
  assert.equal(tries, 1);
});

test("withRetries() whose caller's time is over tells what failed meanwhile, in a pause and in an attempt", async () => {
  const over = () => new DeadlineError("Cannot open replica r: not done after 3000 ms");
  for (const isInPause of [true, false]) {
    const controller = new AbortController();
    const work = withRetries("list", ({ number }) => {
      if (number === 1) return Promise.reject(isInPause ? later(20_000) : failure("connection refused"));
      controller.abort(over());
      return new Promise(() => {});
    }, { ...POLICY, baseDelayMs: 1, signal: controller.signal });
    if (isInPause) setTimeout(() => controller.abort(over()), 10);
    const found = isInPause ? "status 503" : "connection refused";
    await assert.rejects(work, (error: Error) => {
      assert.ok(error instanceof DeadlineError);
      assert.equal(
        error.message,
        `Cannot open replica r: not done after 3000 ms; the last failure: ${found}`,
      );
      assert.equal((error.cause as Error).message, found);
      return true;
    });
  }
});

test("withRetries() does not begin when its signal has aborted", async () => {
  const reason = new Error("enough");
  const work = withRetries("read", () => assert.fail("begun"), { signal: AbortSignal.abort(reason) });
  await assert.rejects(work, reason);
});

test("RequestQueue lets a waiting task leave, and keeps the order of the others", async () => {
  const queue = new RequestQueue(1);
  const order: number[] = [];
  let release = () => {};
  const first = queue.run(() => new Promise<void>((resolve) => release = resolve));
  const controller = new AbortController();
  const task = (i: number) => () => Promise.resolve(void order.push(i));
  const second = queue.run(task(2), controller.signal);
  const third = queue.run(task(3));
  const fourth = queue.run(task(4));
  controller.abort(new Error("left"));
  await assert.rejects(second, /left/);
  release();
  await Promise.all([first, third, fourth]);
  assert.deepEqual(order, [3, 4]);
  assert.equal(queue.running, 0);
});

test("RequestQueue goes on after a task that fails", async () => {
  const queue = new RequestQueue(1);
  await assert.rejects(queue.run(() => Promise.reject(new Error("bad"))), /bad/);
  assert.equal(await queue.run(() => Promise.resolve(1)), 1);
  for (const limit of [0, -1, 1.5, NaN]) assert.throws(() => new RequestQueue(limit), RangeError);
});
