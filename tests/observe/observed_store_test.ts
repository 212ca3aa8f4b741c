/** Spans of a store: hedged reads, queueing, parts; what waits to be told stays bounded. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { RequestSpan } from "../../mod.ts";
import { SpanInbox } from "../../src/observe/observer.ts";
import { type SpanBatch, SpanOutbox, SPANS_MAX } from "../../src/observe/span_outbox.ts";
import { WallClock } from "../../src/observe/wall_clock.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import { ObservedStore } from "../../src/storage/observed_store.ts";
import { RetryingStore, type RetryingStoreOptions } from "../../src/storage/retrying_store.ts";
import type { Storage, StoredBytes } from "../../src/storage/storage.ts";
import { Kept } from "./observed.ts";

const BYTES = new Uint8Array(100);
const OBJECT = { key: "ltx/0/a", etag: "1", size: BYTES.length };
const RANGE = { offset: 0, size: 10 };

/** A place in memory whose reads give what `read` does. */
function placeOf(read: () => Promise<void>, more: Partial<Storage> = {}): Storage {
  return {
    traits: { conditionalPut: true },
    async *list() {},
    async read(_key, { offset, size }): Promise<StoredBytes> {
      await read();
      return { bytes: BYTES.slice(offset, offset + size), etag: OBJECT.etag, objectSize: BYTES.length };
    },
    put: () => Promise.resolve({ etag: "2", modifiedMs: 1 }),
    ...more,
  };
}

function observed(storage: Storage, options: RetryingStoreOptions = {}) {
  const spans: RequestSpan[] = [];
  const inner = new ObservedStore(new AdaptedStore("place", storage), (span) => spans.push(span));
  return { spans, store: new RetryingStore(inner, { ...options, isObserved: true }) };
}

test("ObservedStore: a read that is asked a second time is two spans, the loser cancelled", async () => {
  let count = 0;
  const slow = 30;
  const never = Promise.withResolvers<void>();
  const { spans, store } = observed(placeOf(() => ++count === slow ? never.promise : Promise.resolve()));
  for (let i = 1; i < slow; i++) await store.read(OBJECT, RANGE);
  assert.ok(spans.every(({ isHedge, outcome }) => !isHedge && outcome === "ok"));
  await store.read(OBJECT, RANGE, { purpose: "page" });
  never.resolve();
  await new Promise((resolve) => setTimeout(resolve, 0));
  const [hedge, loser] = spans.slice(-2);
  assert.deepEqual([hedge!.isHedge, hedge!.outcome, hedge!.purpose], [true, "ok", "page"]);
  assert.deepEqual([loser!.isHedge, loser!.outcome], [false, "cancelled"]);
  assert.ok(loser!.startMs < hedge!.startMs && loser!.endMs >= hedge!.endMs);
  await store.close();
});

test("ObservedStore: how long a request waited for its turn is told apart from how long it took", async () => {
  const gate = Promise.withResolvers<void>();
  let isFirst = true;
  const { spans, store } = observed(
    placeOf(() => {
      const waits = isFirst;
      isFirst = false;
      return waits ? gate.promise : Promise.resolve();
    }),
    { requestsMax: 1 },
  );
  const reads = [store.read(OBJECT, RANGE), store.read(OBJECT, RANGE)];
  await new Promise((resolve) => setTimeout(resolve, 20));
  gate.resolve();
  await Promise.all(reads);
  const [first, second] = spans as [RequestSpan, RequestSpan];
  assert.ok(first.queuedMs < second.queuedMs && second.queuedMs >= first.endMs - first.startMs - 5);
  assert.ok(second.startMs >= first.endMs - 1);
});

test("ObservedStore: parts, puts and removals tell what they sent", async () => {
  const { spans, store } = observed(placeOf(() => Promise.resolve(), { remove: () => Promise.resolve() }));
  await store.put("a", BYTES, { purpose: "write" });
  const chunks = async function* () {
    for (let i = 0; i < 12; i++) yield new Uint8Array(1024 * 1024);
  };
  await store.putChunks("b", chunks, { purpose: "compact" });
  await store.remove(["a", "b"]);
  const of = (name: string) => spans.filter(({ key, kind }) => key === name && kind === "put");
  assert.deepEqual(of("a").map(({ bytesSent, purpose }) => [bytesSent, purpose]), [[100, "write"]]);
  assert.equal(of("b").reduce((sum, { bytesSent }) => sum + bytesSent, 0), 12 * 1024 * 1024);
  assert.ok(of("b").length > 2 && of("b").every(({ purpose }) => purpose === "compact"));
  assert.deepEqual([spans.at(-1)!.kind, spans.at(-1)!.key], ["remove", "a"]);
  await store.close();
});

test("ObservedStore: what a place tells of an exchange is shown without query and password", async () => {
  const { spans, store } = observed({
    ...placeOf(() => Promise.resolve()),
    read(_key, _range, { exchange }) {
      exchange?.sent("GET", "https://user:secret@example.com:8443/a%20b?sig=secret#secret");
      exchange?.answered(206);
      exchange?.received(10);
      return Promise.resolve({ bytes: BYTES.slice(0, 10), etag: "1", objectSize: 100 });
    },
  });
  await store.read(OBJECT, RANGE);
  assert.deepEqual(spans[0]!.http, { method: "GET", url: "https://example.com:8443/a%20b", status: 206 });
  assert.equal(spans[0]!.bytesReceived, 10);
  await store.close();
});

test("SpanOutbox sends a turn's spans at once, and counts what the other side does not take", async () => {
  const kept = new Kept();
  const inbox = new SpanInbox(kept);
  const batches: SpanBatch[] = [];
  const outbox = new SpanOutbox(inbox.kinds, (batch) => batches.push(batch));
  const span = {} as RequestSpan;
  for (let i = 0; i < SPANS_MAX + 10; i++) outbox.request(span);
  assert.equal(batches.length, 0);
  outbox.flush();
  assert.deepEqual([batches.length, batches[0]!.requests.length, batches[0]!.lost], [1, SPANS_MAX, 10]);
  outbox.request(span);
  outbox.flush();
  assert.deepEqual([batches[1]!.requests.length, batches[1]!.lost], [0, 1]);
  for (const batch of batches) inbox.take(batch);
  assert.deepEqual([kept.requests.length, kept.lostCount], [SPANS_MAX, 11]);
  outbox.request(span);
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(batches.at(-1)!.requests.length, 1, "there is room again");
});

test("SpanInbox: a listener that throws keeps no other span from being told", () => {
  const seen: number[] = [];
  const thrown: (() => void)[] = [];
  const { queueMicrotask } = globalThis;
  globalThis.queueMicrotask = (task) => void thrown.push(task);
  try {
    const inbox = new SpanInbox({
      request(span) {
        seen.push(span.attempt);
        throw new Error("of the listener");
      },
    });
    const spans = [{ attempt: 1 }, { attempt: 2 }] as RequestSpan[];
    inbox.take({ requests: spans, transactions: [], lost: 3 });
  } finally {
    globalThis.queueMicrotask = queueMicrotask;
  }
  assert.deepEqual(seen, [1, 2]);
  assert.equal(thrown.length, 2);
  assert.throws(thrown[0]!, /of the listener/);
});

test("WallClock keeps to the time of day, and to its fractions", () => {
  const clock = new WallClock();
  const [before, now, after] = [Date.now(), clock.now(), Date.now()];
  assert.ok(now >= before - 3 && now <= after + 3, `${now} is not in ${before}-${after}`);
  const real = Date.now;
  try {
    Date.now = () => real() + 3_600_000;
    const moved = clock.now();
    assert.ok(Math.abs(moved - real() - 3_600_000) < 100, "it follows a clock that is set");
  } finally {
    Date.now = real;
  }
});
