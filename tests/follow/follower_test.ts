import assert from "node:assert/strict";
import { test } from "node:test";
import { LtxFormatError, ReplacedError, RestorePlanError, StorageError } from "../../src/errors.ts";
import { FakeStore, follow } from "./fake_replica.ts";

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (holds()) return;
    await pause(5);
  }
  assert.fail(`not within 5 s: ${what}`);
}

/** A snapshot 1–5 and the L0 files up to `last`. */
function replica(last = 5): FakeStore {
  const store = new FakeStore();
  store.put(9, 1, 5);
  for (let txid = 6; txid <= last; txid++) store.put(0, txid, txid);
  return store;
}

const names = (events: { type: string }[]) => events.map(({ type }) => type);

// ---------------------------------------------------------------------------------------------------------- by name

test("R12: Follower: an idle poll is one GET of the next name", async () => {
  const store = replica();
  const { follower, looked } = follow(store);
  for (let i = 0; i < 3; i++) await follower.poll();
  assert.deepEqual(store.asked, ["GET 0 6-6", "GET 0 6-6", "GET 0 6-6"]);
  assert.deepEqual(looked, [undefined, undefined, undefined]);
});

test("R12: Follower: files that follow in the source's WAL cost one GET each, the others two", async () => {
  const store = replica();
  store.put(0, 6, 6, { walOffset: 100 });
  const { follower, followed } = follow(store);
  store.put(0, 7, 7, { walOffset: 110 });
  await follower.poll();
  assert.deepEqual(store.asked, ["GET 0 7-7", "GET 0 8-8"]);
  store.put(0, 8, 8, { walOffset: 50 });
  store.asked.length = 0;
  await follower.poll();
  assert.deepEqual(store.asked, ["GET 0 8-8", "GET 0 7-7", "GET 0 9-9"]);
  assert.deepEqual(followed.done, ["advance 7-7", "advance 8-8"]);
});

test("Follower: a backlog is fetched by name, then by listing from a mark on", async () => {
  const store = replica(6);
  const { follower, followed } = follow(store);
  for (let txid = 7; txid <= 40; txid++) store.put(0, txid, txid);
  await follower.poll();
  assert.equal(followed.position, 40n);
  assert.deepEqual(followed.done.slice(0, 3), ["advance 7-7", "advance 8-8", "advance 9-9"]);
  assert.equal(followed.done.length, 4);
  const lists = store.asked.filter((asked) => asked.startsWith("LIST"));
  assert.equal(lists.length, 4, String(lists));
  assert.ok(lists.includes("LIST 0 +") && lists.includes("LIST 9 +"), String(lists));
});

test("Follower: a long backlog is applied in parts, and who waits for the first is not kept", async () => {
  const store = replica();
  const { follower, followed } = follow(store);
  for (let txid = 6; txid <= 1005; txid++) store.put(0, txid, txid);
  let settled = 0n;
  const waiting = follower.waitFor(20n, new AbortController().signal).then(() => settled = followed.position);
  await follower.poll();
  await waiting;
  assert.equal(followed.position, 1005n);
  assert.ok(settled < 1005n, String(settled));
  // How many come by name before a listing is made depends on the machine.
  for (const done of followed.done) assert.ok(done.split(" ").length - 1 <= 256, done);
});

test("Follower: AccessDenied for a missing name is asked of a listing once, then taken for absent", async () => {
  const store = replica();
  store.forbids = true;
  const { follower, looked } = follow(store);
  await follower.poll();
  assert.ok(store.asked.some((asked) => asked.startsWith("LIST")));
  store.asked.length = 0;
  await follower.poll();
  assert.deepEqual(store.asked, ["GET 0 6-6"]);
  assert.deepEqual(looked, [undefined, undefined]);
});

test("Follower: AccessDenied for listings too is told", async () => {
  const store = replica();
  const { follower, looked, events } = follow(store);
  store.failure = new StorageError("Cannot: refused", {
    key: "",
    status: 403,
    code: "AccessDenied",
    retryable: false,
  });
  await assert.rejects(follower.poll(), store.failure);
  await assert.rejects(follower.poll(), store.failure);
  assert.deepEqual(looked, [store.failure, store.failure]);
  assert.deepEqual(names(events), ["error"]);
});

test("Follower: a file by name of another database is not applied", async () => {
  const store = replica(7);
  const { follower, followed } = follow(store, { onReplaced: "follow" });
  store.objects.clear();
  store.put(9, 1, 5, { lineage: 1 });
  for (let txid = 6; txid <= 8; txid++) store.put(0, txid, txid, { lineage: 1 });
  await follower.poll();
  assert.deepEqual(followed.done, ["other 1-5 6-6 7-7 8-8"]);
});

test("Follower: L0 below the position may be gone when the next name comes", async () => {
  const store = replica(7);
  const { follower, followed, events } = follow(store);
  store.put(1, 6, 7);
  store.remove(0, 6, 6);
  store.remove(0, 7, 7);
  store.put(0, 8, 8);
  await follower.poll();
  assert.equal(followed.position, 8n);
  assert.deepEqual(names(events), []);
});

// -------------------------------------------------------------------------------------------------------- by listing

test("R1: Follower never applies a file that ends at or below the position", async () => {
  const store = replica(14);
  const { follower, followed } = follow(store);
  store.put(1, 11, 13);
  store.put(2, 6, 14);
  store.put(9, 1, 12);
  for (let i = 0; i < 10; i++) await follower.refresh();
  assert.equal(followed.position, 14n);
  assert.deepEqual(followed.done.filter((done) => !done.startsWith("rebase")), []);
});

test("R3: Follower goes on by L1 files that straddle the plan's edge", async () => {
  const store = replica(12);
  const { follower, followed } = follow(store);
  store.put(1, 11, 14);
  store.put(1, 15, 16);
  await follower.refresh();
  assert.equal(followed.done[0], "advance 11-14 15-16");
  assert.equal(followed.position, 16n);
});

test("R19: Follower finds what only a higher level has, within the levels' turn", async () => {
  for (let level = 1; level <= 9; level++) {
    const store = replica(7);
    const { follower, followed } = follow(store);
    store.put(level, level === 9 ? 1 : 6, 9);
    for (let i = 0; i < 8; i++) await follower.refresh();
    assert.equal(followed.position, 9n, `level ${level}`);
  }
});

test("Follower: listings happen by themselves once they are due", async () => {
  const store = replica(7);
  const { follower, followed } = follow(store, { lookMs: 50 });
  store.put(1, 6, 9);
  await follower.poll();
  assert.equal(followed.position, 7n);
  await pause(60);
  await follower.poll();
  assert.equal(followed.position, 9n);
  store.asked.length = 0;
  await follower.poll();
  assert.deepEqual(store.asked, ["GET 0 10-10"]);
});

test("Follower: a gap is told once, bridged later, and told again when there is another", async () => {
  const store = replica(7);
  const { follower, followed, events, looked } = follow(store);
  store.put(0, 10, 10);
  for (let i = 0; i < 4; i++) await follower.refresh();
  assert.deepEqual(events, [{ type: "gap", txid: 7n, nextTxid: 10n }]);
  assert.deepEqual(looked, [undefined, undefined, undefined, undefined]);
  store.put(1, 6, 9);
  await follower.poll(); // without being asked to list
  assert.equal(followed.position, 10n);
  store.put(0, 20, 20);
  await follower.refresh();
  assert.deepEqual(names(events), ["gap", "gap"]);
  store.put(9, 1, 19);
  await follower.poll();
  assert.equal(followed.position, 20n);
  assert.equal(followed.done.at(-1), "rebuild 1-19 20-20");
});

/** How often a whole listing was taken: each lists level 8 once. */
const listings = ({ asked }: { readonly asked: readonly string[] }) =>
  asked.filter((ask) => ask === "LIST 8").length;

test("Follower: a gap is listed less and less often, and the next file asked for all the while", async () => {
  const store = replica(7);
  const { follower, looked } = follow(store, { intervalMs: 10 });
  store.put(0, 10, 10);
  const refreshed = follower.refresh();
  follower.start();
  await refreshed;
  await pause(1500);
  const taken = listings(store);
  assert.ok(taken >= 5 && taken <= 14, `${taken} listings`); // 10, 10, 10, 20, 40 … ms
  assert.ok(looked.length > 2 * taken, `${looked.length} looks`);
  assert.ok(looked.every((error) => error === undefined)); // what is there is seen
  store.put(0, 8, 8);
  store.put(0, 9, 9);
  await follower.waitFor(10n, AbortSignal.timeout(1_000));
  follower.stop(new Error("end"));
});

test("Follower: a gap that only torn listings show is none", async () => {
  const store = replica(10);
  const { follower, followed, events } = follow(store);
  store.put(0, 14, 14);
  store.put(1, 6, 13);
  store.hide(1, 6, 13);
  let lists = 0;
  const list = store.list.bind(store);
  store.list = (prefix, options) => {
    if (++lists > 4) store.unlisted.clear(); // the second time it is there
    return list(prefix, options);
  };
  await follower.refresh();
  assert.equal(followed.position, 14n);
  assert.deepEqual(events, []);
});

test("Follower: files that vanish between listing and reading are looked for again", async () => {
  const store = replica(7);
  const { follower, followed, events } = follow(store);
  store.put(1, 8, 9);
  const advance = followed.advance.bind(followed);
  followed.advance = (files) => {
    if (store.objects.delete("0001/0000000000000008-0000000000000009.ltx")) store.put(2, 6, 9);
    return advance(files);
  };
  await follower.refresh();
  assert.equal(followed.done[0], "advance 6-9");
  assert.deepEqual(events, []);
});

test("Follower: the base gives way to a newer snapshot, also while transactions never cease", async () => {
  const store = replica(7);
  const { follower, followed } = follow(store);
  for (let txid = 8; txid <= 40; txid++) {
    store.put(0, txid, txid);
    if (txid === 20) store.put(9, 1, 20);
    await follower.refresh();
  }
  assert.ok(followed.done.some((done) => done.startsWith("rebase 1-20")), String(followed.done));
  assert.equal(followed.files[0]!.file.maxTxid, 20n);
  assert.equal(followed.position, 40n);
});

// ------------------------------------------------------------------------------------------------------------ damage

for (const how of [{ damaged: true }, { headless: true }]) {
  test(`Follower: a damaged L0 file is told until L1 leads past it (${Object.keys(how)})`, async () => {
    const store = replica(7);
    const { follower, followed, looked, events } = follow(store);
    store.put(0, 8, 8, how);
    store.put(0, 9, 9);
    for (let i = 0; i < 3; i++) await assert.rejects(follower.poll(), LtxFormatError);
    assert.equal(followed.position, 7n);
    assert.ok(looked.every((error) => error instanceof LtxFormatError), String(looked));
    assert.equal(events.filter(({ type }) => type === "error").length, 1);
    store.put(1, 6, 8);
    await follower.poll();
    assert.equal(followed.position, 9n);
    assert.equal(looked.at(-1), undefined);
  });
}

test("Follower: a damaged file that is written again is applied", async () => {
  const store = replica(7);
  const { follower, followed } = follow(store);
  store.put(0, 8, 8, { damaged: true });
  await assert.rejects(follower.poll(), LtxFormatError);
  store.put(0, 8, 8);
  await follower.poll();
  assert.equal(followed.position, 8n);
  store.put(0, 9, 9);
  await follower.poll();
  assert.equal(followed.position, 9n);
});

test("Follower: a file that was damaged on its way is asked for again", async () => {
  const store = replica(7);
  const { follower, followed } = follow(store);
  const etag = "same";
  store.put(0, 8, 8, { damaged: true, etag });
  store.put(0, 9, 9, { damaged: true, etag });
  for (let i = 0; i < 2; i++) await assert.rejects(follower.poll(), LtxFormatError);
  store.put(0, 8, 8, { etag });
  await assert.rejects(follower.poll(), LtxFormatError);
  assert.equal(followed.position, 8n);
  store.put(0, 9, 9, { etag });
  await follower.poll();
  assert.equal(followed.position, 9n);
});

test("Follower: a damaged file amid a backlog keeps nothing before it away", async () => {
  const store = replica(7);
  const { follower, followed } = follow(store);
  for (let txid = 8; txid <= 30; txid++) store.put(0, txid, txid, { damaged: txid === 20 });
  await assert.rejects(follower.refresh(), LtxFormatError);
  assert.equal(followed.position, 19n);
  store.put(1, 18, 25);
  await follower.refresh();
  assert.equal(followed.position, 30n);
});

// ---------------------------------------------------------------------------------------------------------- replaced

for (const onReplaced of ["error", "follow"] as const) {
  const cases: [string, (store: FakeStore) => void, string][] = [
    ["the same names with other content", (store) => {
      store.put(9, 1, 5, { lineage: 1 });
      for (const txid of [6, 7]) store.put(0, txid, txid, { lineage: 1 });
    }, "other 1-5 6-6 7-7"],
    ["it ends earlier", (store) => store.put(9, 1, 2, { lineage: 1 }), "other 1-2"],
    ["it begins anew and has passed the position", (store) => {
      store.put(9, 1, 5, { lineage: 1 });
      for (let txid = 6; txid <= 12; txid++) store.put(0, txid, txid, { lineage: 1 });
    }, "other 1-5 6-6 7-7 8-8 9-9 10-10 11-11 12-12"],
    ["other files that end at the position", (store) => store.put(9, 1, 7, { lineage: 1 }), "other 1-7"],
  ];
  for (const [name, replace, wanted] of cases) {
    for (const after of ["at once", "after a look found nothing"]) {
      test(`Follower, onReplaced "${onReplaced}": ${name}, ${after}`, async () => {
        const store = replica(7);
        const { follower, followed, events, looked } = follow(store, { onReplaced });
        store.objects.clear();
        if (after !== "at once") {
          await assert.rejects(
            follower.refresh(),
            (error) => error instanceof RestorePlanError && error.fault === "empty",
          );
          assert.deepEqual(names(events), ["error"]);
          events.length = 0;
        }
        replace(store);
        const nowTxid = store.files().reduce((max, { maxTxid }) => maxTxid > max ? maxTxid : max, 0n);
        if (onReplaced === "error") {
          await assert.rejects(follower.refresh(), ReplacedError);
          await assert.rejects(follower.poll(), ReplacedError);
          await assert.rejects(follower.waitFor(99n, new AbortController().signal), ReplacedError);
          assert.ok(looked.at(-1) instanceof ReplacedError);
          assert.deepEqual(followed.done, []);
        } else {
          await follower.refresh();
          assert.deepEqual(followed.done, [wanted]);
          store.put(0, Number(nowTxid) + 1, Number(nowTxid) + 1, { lineage: 1 });
          await follower.poll();
          assert.equal(followed.position, nowTxid + 1n);
        }
        assert.deepEqual(events.filter(({ type }) => type === "replaced"), [{
          type: "replaced",
          txid: 7n,
          nowTxid,
        }]);
      });
    }
  }

  test(`Follower, onReplaced "${onReplaced}": wiped is no end; our own files may come back`, async () => {
    const store = replica(7);
    const { follower, followed, events } = follow(store, { onReplaced });
    const kept = new Map(store.objects);
    store.objects.clear();
    for (let i = 0; i < 3; i++) await assert.rejects(follower.refresh(), RestorePlanError);
    for (const [key, object] of kept) store.objects.set(key, object);
    store.put(0, 8, 8);
    await follower.refresh();
    assert.deepEqual(followed.done, ["advance 8-8"]);
    assert.deepEqual(names(events), ["error"]);
  });
}

test("Follower: files written again with the same content are the same replica", async () => {
  const store = replica(7);
  const { follower, followed, events } = follow(store);
  for (const { level, minTxid, maxTxid } of store.files()) {
    store.put(level, Number(minTxid), Number(maxTxid), { etag: `again ${maxTxid}` });
  }
  await follower.refresh();
  store.put(0, 8, 8);
  await follower.refresh();
  assert.equal(followed.position, 8n);
  assert.deepEqual(events, []);
  assert.ok(!followed.done.some((done) => done.startsWith("other")), String(followed.done));
});

test("Follower: a listing older than what was seen is not taken for another replica while our files are there", async () => {
  for (const emptied of [false, true]) {
    const store = replica(7);
    const old = emptied ? new Map() : new Map(store.objects);
    const { follower, followed, events, looked } = follow(store);
    for (const txid of [8, 9]) store.put(0, txid, txid);
    await follower.poll();
    assert.equal(followed.position, 9n);
    store.frozen = old;
    for (let i = 0; i < 3; i++) await follower.refresh();
    assert.equal(followed.position, 9n);
    store.frozen = undefined;
    store.put(0, 10, 10);
    await follower.refresh();
    assert.equal(followed.position, 10n);
    assert.deepEqual(events, []);
    assert.ok(looked.every((error) => error === undefined), String(looked));
  }
});

test("Follower: a listing that lags behind files read by name takes nothing back", async () => {
  const store = replica(7);
  const { follower, followed, events } = follow(store);
  for (let txid = 8; txid <= 12; txid++) {
    store.put(0, txid, txid);
    store.hide(0, txid, txid);
    await follower.poll();
    await follower.refresh();
    assert.equal(followed.position, BigInt(txid));
  }
  assert.deepEqual(events, []);
});

test("Follower: whoever slept until nothing known is left goes on with what is there", async () => {
  const store = replica(7);
  const { follower, followed, events } = follow(store);
  store.objects.clear();
  store.put(9, 1, 400);
  store.put(1, 390, 420);
  await follower.refresh();
  assert.deepEqual(followed.done, ["other 1-400 390-420"]); // nothing says that it is the same
  assert.deepEqual(events, []);
});

// ----------------------------------------------------------------------------------------------------------- waiting

test("Follower.waitFor() settles, rejects by signal, and with the end", async () => {
  const store = replica(7);
  const { follower } = follow(store);
  const { signal } = new AbortController();
  await follower.waitFor(7n, signal);
  const abort = new AbortController();
  const aborted = assert.rejects(follower.waitFor(9n, abort.signal), /enough/);
  abort.abort(new Error("enough"));
  await aborted;
  await assert.rejects(follower.waitFor(9n, AbortSignal.abort(new Error("before"))), /before/);
  const waiting = follower.waitFor(8n, signal);
  setTimeout(() => store.put(0, 8, 8), 50);
  await waiting;
  const ended = assert.rejects(follower.waitFor(9n, signal), /the end/);
  follower.stop(new Error("the end"));
  await ended;
  await assert.rejects(follower.waitFor(9n, signal), /the end/);
  await follower.waitFor(8n, signal);
});

test("Follower with intervalMs 0 looks only while somebody waits", async () => {
  const store = replica(7);
  const { follower, looked } = follow(store);
  follower.start();
  await pause(100);
  assert.equal(looked.length, 0);
  const abort = new AbortController();
  const waiting = assert.rejects(follower.waitFor(9n, abort.signal));
  await pause(350);
  abort.abort(new Error("enough"));
  await waiting;
  assert.ok(looked.length >= 2 && looked.length <= 8, `${looked.length} looks`);
  const { length } = looked;
  await pause(300);
  assert.ok(looked.length <= length + 1, `${looked.length} looks`);
});

test("Follower with intervalMs 0 does not spin at a gap", async () => {
  const store = replica(7);
  const { follower, looked } = follow(store);
  store.put(0, 10, 10);
  for (let i = 0; i < 5; i++) await follower.refresh();
  looked.length = store.asked.length = 0;
  const abort = new AbortController();
  const waiting = assert.rejects(follower.waitFor(10n, abort.signal));
  await pause(500);
  abort.abort(new Error("enough"));
  await waiting;
  assert.ok(looked.length <= 7, `${looked.length} looks`); // one each 100 ms
  assert.ok(listings(store) <= 5, `${listings(store)} listings`);
  follower.stop(new Error("end"));
});

test("Follower: a longer interval than the longest pause at a gap stays", async () => {
  const store = replica(7);
  const { follower, looked } = follow(store, { intervalMs: 3_600_000 });
  store.put(0, 10, 10);
  for (let i = 0; i < 6; i++) await follower.refresh();
  follower.start();
  await pause(100);
  assert.equal(looked.length, 6);
  follower.stop(new Error("end"));
});

test("Follower.stop() ends the pause, the look under way and everybody's waiting", async () => {
  const store = replica(7);
  const { follower, looked, events } = follow(store, { intervalMs: 10 });
  follower.start();
  await until("a look", () => looked.length > 0);
  let release = () => {};
  store.hold = new Promise((resolve) => release = resolve);
  const waiting = assert.rejects(follower.waitFor(9n, new AbortController().signal), /the end/);
  await until("a request under way", () => store.asked.length > looked.length);
  const { length } = looked;
  follower.stop(new Error("the end"));
  await waiting;
  release();
  await assert.rejects(follower.refresh(), /the end/);
  await pause(50);
  assert.equal(looked.length, length);
  assert.deepEqual(events, []);
});

test("Follower.nudge() during a look is followed by another look", async () => {
  const store = replica(7);
  const { follower, followed, looked } = follow(store, { intervalMs: 600_000 });
  follower.start();
  let release = () => {};
  store.hold = new Promise((resolve) => release = resolve);
  follower.nudge();
  await until("a request under way", () => store.asked.length === 1);
  store.hold = undefined;
  follower.nudge();
  release();
  await until("two looks", () => looked.length === 2);
  store.put(0, 8, 8);
  follower.nudge();
  await until("the transaction", () => followed.position === 8n);
  follower.stop(new Error("end"));
});

test("Follower.nudge() looks at once, whatever the interval", async () => {
  for (const intervalMs of [0, 600_000]) {
    const store = replica(7);
    const { follower, followed } = follow(store, { intervalMs });
    follower.start();
    store.put(0, 8, 8);
    follower.nudge();
    await until("the transaction", () => followed.position === 8n);
    follower.stop(new Error("end"));
  }
});

test("Follower.nudgeFromAfar() lists when that is a while ago", async () => {
  const store = replica(7);
  const { follower, followed } = follow(store);
  store.put(1, 6, 9);
  follower.nudgeFromAfar();
  await pause(20);
  assert.equal(followed.position, 7n);
  await pause(1_050);
  follower.nudgeFromAfar();
  await until("the transaction", () => followed.position === 9n);
});

test("Follower.refresh() during a look begins one of its own", async () => {
  const store = replica(7);
  const { follower, followed } = follow(store);
  let release = () => {};
  store.hold = new Promise((resolve) => release = resolve);
  const polled = follower.poll();
  await until("a request under way", () => store.asked.length === 1);
  const refreshed = follower.refresh();
  store.put(1, 6, 9); // a look by name would not find it
  store.hold = undefined;
  release();
  await polled;
  await refreshed;
  assert.equal(followed.position, 9n);
});

test("Follower: failures do not end it, and are told once for each reason", async () => {
  const store = replica(7);
  const { follower, followed, looked, events } = follow(store, { intervalMs: 10 });
  const failure = (text: string) => new StorageError(text, { key: "", status: 503, retryable: true });
  follower.start();
  store.failure = failure("first");
  await until("failures", () => looked.filter(Boolean).length >= 3);
  store.failure = failure("second");
  await until("others", () => looked.at(-1)?.message === "second");
  store.failure = undefined;
  store.put(0, 8, 8);
  await until("the transaction", () => followed.position === 8n);
  store.failure = failure("second");
  await until("again", () => looked.at(-1)?.message === "second");
  follower.stop(new Error("end"));
  const told = events.map((event) => event.type === "error" ? event.error.message : event.type);
  assert.deepEqual(told, ["first", "second", "second"]);
});

test("Follower: a process that was paused lists everything", { timeout: 30_000 }, async () => {
  const store = replica(7);
  const { follower, followed } = follow(store, { intervalMs: 50 });
  follower.start();
  await until("a look", () => store.asked.length > 0);
  await pause(1);
  store.put(5, 6, 9);
  store.asked.length = 0;
  const untilMs = performance.now() + 2_200;
  while (performance.now() < untilMs); // as if the machine slept
  await until("the transaction", () => followed.position === 9n);
  assert.ok(store.asked.filter((asked) => /^LIST \d$/.test(asked)).length >= 10, String(store.asked));
  follower.stop(new Error("end"));
});

test("Follower: a transaction that was overwritten is noticed, though the next one goes on where it ended", async () => {
  const store = replica(7);
  store.put(0, 7, 7, { walOffset: 32 });
  const { follower, followed } = follow(store);
  store.put(0, 7, 7, { walOffset: 32, etag: "another", lineage: 1 });
  store.put(0, 8, 8, { walOffset: 42 });
  await follower.poll();
  assert.equal(followed.position, 8n, "by its name");
  await assert.rejects(follower.refresh(), ReplacedError);
});
