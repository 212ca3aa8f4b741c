import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { Compactor, type CompactorOptions } from "../../src/compact/compactor.ts";
import { COMPACTION_SCHEDULE } from "../../src/compact/compaction_schedule.ts";
import { mergeFiles } from "../../src/compact/ltx_merge.ts";
import { StorageError } from "../../src/errors.ts";
import { encodeFile } from "../../src/ltx/encoder.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import type { ListedObject } from "../../src/storage/object_store.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { FaultSchedule } from "../support/faults.ts";
import { lz4 } from "../support/lz4.ts";
import { Random } from "../support/random.ts";
import { filesIn, History, PAGE_SIZE } from "./history.ts";
import type { MemoryStore, Operation } from "./memory_store.ts";

const HOUR = 3_600_000;
const START = Date.UTC(2026, 0, 5, 23, 40);

function compactorOf(store: MemoryStore, options: Partial<CompactorOptions> = {}): Compactor {
  return new Compactor({ store, layout: "s3", lz4, now: () => store.nowMs, ...options });
}

/** Levels and TXIDs of a store's files, such as `1:3-5`. */
function shortOf(store: MemoryStore): string[] {
  return filesIn(store).map((file) => `${file.level}:${file.minTxid}-${file.maxTxid}`);
}

function keyOf(level: number, min: number, max: number): string {
  return ltxKey("s3", level, formatLtxFileName({ minTxid: BigInt(min), maxTxid: BigInt(max) }));
}

/** Commits every `everyMs` for that long. */
function commitFor(history: History, durationMs: number, everyMs: number): void {
  for (const end = history.store.nowMs + durationMs; history.store.nowMs < end;) {
    history.store.nowMs += everyMs;
    history.commit();
  }
}

/** Asserts what retention promises: what ends behind the oldest snapshot and is left can be reached. */
function assertReachable(history: History, store: MemoryStore = history.store): void {
  const files = filesIn(store);
  const reachable = history.reachable(store);
  const snapshots = files.filter(({ level }) => level === 9).map(({ maxTxid }) => maxTxid);
  const oldest = snapshots.reduce((least, txid) => txid < least ? txid : least, snapshots[0] ?? 0n);
  for (const { maxTxid, key } of files) {
    if (maxTxid >= oldest) assert.ok(reachable.has(Number(maxTxid)), `"${key}" leads nowhere`);
  }
}

test("run() keeps every state of random histories, by long and short-lived processes", async () => {
  for (let seed = 1; seed <= 8; seed++) {
    const random = new Random(seed);
    const history = new History(seed, { nowMs: START });
    const { store } = history;
    history.commit();
    let compactor = compactorOf(store);
    let removed = 0;
    let made = 0;
    store.onOperation = ({ name, phase }) => {
      if (phase === "after" && (name === "put" || name === "remove")) history.assertNewest();
    };
    for (let round = 0; round < 20; round++) {
      for (let i = random.next(12); i > 0; i--) {
        store.nowMs += 200 + random.next(8000);
        history.commit();
      }
      store.nowMs += [1000, 31_000, 6 * 60_000, HOUR, 25 * HOUR][random.next(round % 5 + 1)]!;
      if (random.next(3) === 0) compactor = compactorOf(store);
      const before = history.reachable();
      const report = await compactor.run();
      assert.deepEqual(report.foreign, []);
      assert.deepEqual(report.failures, []);
      if (report.removed.length === 0) {
        const after = history.reachable();
        assert.deepEqual([...before].filter((txid) => !after.has(txid)), [], "a merge lost a TXID");
      }
      assertReachable(history);
      removed += report.removed.length;
      made += report.made.length;
      assert.deepEqual((await compactor.run()).made, [], `seed ${seed}: due twice`);
    }
    assert.ok(made > 10 && removed > 10, `seed ${seed}: ${made} made, ${removed} removed`);
  }
});

test("run() can be killed at every operation of the store", async () => {
  const history = new History(77, { nowMs: START });
  history.commit();
  const { store } = history;
  await compactorOf(store).run();
  commitFor(history, 10 * 60_000, 8000);
  await compactorOf(store).run();
  store.nowMs += 26 * HOUR;
  commitFor(history, 60_000, 9000);
  await compactorOf(store).run();
  commitFor(history, 60_000, 9000);
  await compactorOf(store).run();
  store.nowMs += 26 * HOUR;
  commitFor(history, 60_000, 9000);

  const whole = store.copy();
  const operations: Operation[] = [];
  whole.onOperation = (operation) => void operations.push(operation);
  const report = await compactorOf(whole).run();
  assert.deepEqual(report.made.map((key) => key.slice(0, 4)), ["0001", "0002", "0003", "0009"]);
  assert.deepEqual([...new Set(report.removed.map((key) => key.slice(0, 4)))], ["0000", "0001", "0009"]);

  for (let kill = 0; kill < operations.length; kill++) {
    const killed = store.copy();
    let count = 0;
    let hasRemoved = false;
    killed.onOperation = ({ name, phase }) => {
      hasRemoved ||= name === "remove" && phase === "after";
      if (count++ >= kill) throw new Error("killed");
    };
    await assert.rejects(compactorOf(killed).run(), /killed/);
    killed.onOperation = () => {};
    history.assertNewest(killed);
    const reachable = history.reachable(killed);
    if (!hasRemoved) {
      for (const txid of history.reachable(store)) {
        assert.ok(reachable.has(txid), `kill ${kill}: TXID ${txid}`);
      }
    }
    const again = await compactorOf(killed).run();
    assert.deepEqual(again.failures, []);
    history.assertNewest(killed);
    assertReachable(history, killed);
    assert.deepEqual(shortOf(killed), shortOf(whole), `kill ${kill} of ${operations.length}`);
  }
});

test("run() follows Litestream's defaults over two days", async () => {
  const history = new History(5, { nowMs: Date.UTC(2026, 0, 5) });
  const { store } = history;
  const compactor = compactorOf(store);
  history.commit();
  assert.deepEqual((await compactor.run()).made, [keyOf(9, 1, 1)]);
  commitFor(history, 29_000, 10_000);
  assert.deepEqual((await compactor.run()).made, [keyOf(1, 1, 4)]);
  store.nowMs += 1000;
  history.commit();
  assert.deepEqual((await compactor.run()).made, []);
  store.nowMs = Date.UTC(2026, 0, 5, 0, 1);
  assert.deepEqual((await compactor.run()).made, [keyOf(1, 5, 5)]);
  store.nowMs = Date.UTC(2026, 0, 5, 0, 5);
  const five = await compactor.run();
  assert.deepEqual(five.made, [keyOf(2, 1, 5)]);
  assert.deepEqual(five.removed, []);
  store.nowMs += 31_000;
  // 1–4 are five minutes old, 5 too but the newest
  assert.deepEqual((await compactor.run()).removed, [1, 2, 3, 4].map((txid) => keyOf(0, txid, txid)));
  store.nowMs = Date.UTC(2026, 0, 5, 1);
  assert.deepEqual((await compactor.run()).made, [keyOf(3, 1, 5)]);
  store.nowMs = Date.UTC(2026, 0, 6);
  assert.deepEqual((await compactor.run()).made, [keyOf(9, 1, 5)]);
  history.commit();
  store.nowMs = Date.UTC(2026, 0, 7, 0, 0, 1);
  const last = await compactor.run();
  assert.deepEqual(last.made, [keyOf(1, 6, 6), keyOf(9, 1, 6)]);
  // the snapshot 1–5 is older than 24 h: what ends before it goes, it is the base of the last 24 h
  assert.deepEqual(last.removed, [keyOf(0, 5, 5), keyOf(1, 1, 4), keyOf(9, 1, 1)]);
  assertReachable(history);
});

test("run() notices a foreign compactor's file, and deletes nothing from then on", async () => {
  const history = new History(9, { nowMs: START });
  const { store } = history;
  const compactor = compactorOf(store);
  commitFor(history, 60_000, 5000);
  await compactor.run();
  commitFor(history, 60_000, 5000);
  const taken = store.copy();
  await compactorOf(taken).run();
  const [foreign] = taken.keys().filter((key) => key.startsWith("0001/") && !store.objects.has(key));
  store.set(foreign!, taken.objects.get(foreign!)!.bytes);
  store.nowMs += 30 * HOUR;
  const before = store.keys();
  for (let i = 0; i < 2; i++) {
    const report = await compactor.run();
    assert.deepEqual(report.foreign, [{ key: foreign, change: "added" }]);
    assert.deepEqual([...report.made, ...report.removed], []);
    assert.deepEqual(store.keys(), before);
  }
});

/** Has one listing, counted from 1, name each object as `change` does, or not at all. */
function changeListing(
  store: MemoryStore,
  number: number,
  change: (object: ListedObject) => ListedObject | undefined,
): void {
  const list = store.list.bind(store);
  let count = 0;
  store.list = async function* (...args) {
    const isChanged = ++count === number;
    for await (const page of list(...args)) {
      yield isChanged ? page.map(change).filter((object) => object !== undefined) : page;
    }
  };
}

test("run() deletes nothing that one damaged listing alone has covered", async () => {
  const history = new History(11, { nowMs: START });
  const { store } = history;
  for (let i = 0; i < 10; i++) history.commit();
  store.nowMs += 60_000;
  await compactorOf(store).run();
  store.nowMs += 1000;
  for (let i = 0; i < 5; i++) history.commit();
  store.nowMs += 10 * 60_000;
  const cover = keyOf(1, 1, 10);
  const flipped = cover.replace("-0", "-8"); // as if it went far beyond TXID 15
  changeListing(store, 1, (object) => object.key === cover ? { ...object, key: flipped } : object);
  const { removed } = await compactorOf(store).run();
  assert.deepEqual(removed.filter((key) => key >= keyOf(0, 11, 11) && key <= keyOf(0, 15, 15)), []);
  for (let txid = 11; txid <= 15; txid++) assert.ok(store.objects.has(keyOf(0, txid, txid)), `${txid}`);
  history.assertNewest();
  assertReachable(history);
});

test("run() gives merges the time of their last transaction, snapshots that of their making", async () => {
  const history = new History(3, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 5000);
  const wroteMs = store.nowMs;
  store.nowMs += HOUR;
  const { made } = await compactorOf(store).run();
  const timesOf = (now: () => number) => ({ "0001": wroteMs, "0009": now() });
  const found = made.map((
    key,
  ) => [key.slice(0, 4), history.decoder.file(store, keyed(store, key)).header.timestampMs]);
  assert.deepEqual(Object.fromEntries(found), timesOf(() => store.nowMs));
  const told = made.map((key) => [key.slice(0, 4), store.timestamps.get(key)]);
  assert.deepEqual(Object.fromEntries(told), timesOf(() => store.nowMs));
  // a clock that was set back: time never falls along TXIDs
  store.nowMs -= 2 * HOUR;
  store.objects.delete(keyOf(9, 1, history.txid));
  await compactorOf(store).run();
  assert.equal(store.timestamps.get(keyOf(9, 1, history.txid)), wroteMs);
});

function keyed(store: MemoryStore, key: string): { key: string; etag: string } {
  return { key, etag: store.objects.get(key)!.etag };
}

test("run() asks nothing about the files that it made and finds again", async () => {
  const history = new History(3, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 5000);
  const compactor = compactorOf(store);
  const read = new Set<string>();
  store.onOperation = ({ name, key }) => {
    if (name === "read") read.add(key);
  };
  assert.equal((await compactor.run()).made[1], keyOf(9, 1, history.txid));
  assert.deepEqual((await compactor.run()).foreign, []);
  assert.ok(read.has(keyOf(1, 1, history.txid)), "the snapshot's source");
  assert.ok(!read.has(keyOf(9, 1, history.txid)));
});

test("run() deletes nothing when a foreign file appeared while it merged", async () => {
  const history = new History(9, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 5000);
  await compactorOf(store).run();
  store.nowMs += HOUR;
  const foreign = keyOf(2, 1, 2);
  let has = false;
  store.onOperation = ({ name, phase }) => {
    if (name === "put" && phase === "after" && !has) {
      store.set(foreign, store.objects.get(keyOf(0, 1, 1))!.bytes);
    }
    has ||= name === "put" && phase === "after";
  };
  const report = await compactorOf(store).run();
  assert.deepEqual(report.foreign, [{ key: foreign, change: "added" }]);
  assert.ok(report.made.length > 0);
  assert.deepEqual(report.removed, []);
});

test("run() takes a file for foreign that comes back after it was deleted", async () => {
  const history = new History(9, { nowMs: START });
  const { store } = history;
  const compactor = compactorOf(store);
  for (let day = 0; day < 4; day++) {
    commitFor(history, 60_000, 20_000);
    await compactor.run();
    if (day < 3) store.nowMs += 26 * HOUR;
  }
  const old = keyOf(9, 1, 3);
  assert.ok(!store.objects.has(old));
  store.set(old, store.objects.get(keyOf(9, 1, 9))!.bytes);
  assert.deepEqual((await compactor.run()).foreign, [{ key: old, change: "added" }]);
});

test("run() notices other content under the key of a file that it made", async () => {
  const history = new History(9, { nowMs: START });
  const { store } = history;
  const compactor = compactorOf(store);
  commitFor(history, 60_000, 5000);
  const { made: [key] } = await compactor.run();
  const bytes = store.objects.get(key!)!.bytes;
  store.set(key!, bytes);
  assert.deepEqual((await compactor.run()).foreign, [], "the same content was written again");
  bytes[bytes.length - 1]! ^= 1;
  store.set(key!, bytes);
  assert.deepEqual((await compactor.run()).foreign, [{ key, change: "changed" }]);
});

test("run() notices that the key it was about to put has another object", async () => {
  const history = new History(9, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 5000);
  await compactorOf(store).run();
  commitFor(history, 60_000, 5000);
  const compactor = compactorOf(store);
  store.onOperation = ({ name, key, phase }) => {
    if (name !== "put" || phase !== "before") return;
    store.set(
      key,
      encodeFile({ ...rangeOf(key), pageSize: PAGE_SIZE, commit: 1, timestampMs: 1 }, [], { lz4 }),
    );
  };
  const report = await compactor.run();
  assert.equal(report.foreign.length, 1);
  assert.deepEqual([...report.made, ...report.removed], []);
  assert.match(report.foreign[0]!.key, /^0001\//);
});

function rangeOf(key: string): { minTxid: bigint; maxTxid: bigint } {
  const [min, max] = key.slice(5, -4).split("-");
  return { minTxid: BigInt(`0x${min}`), maxTxid: BigInt(`0x${max}`) };
}

/** What a listing may say of one file: nothing, another name, another tag. */
const DAMAGES: Record<string, (listed: ListedObject) => ListedObject | undefined> = {
  "lacks it": () => undefined,
  "misnames it": (listed) => ({ ...listed, key: listed.key.replace(/.\.ltx$/, "9.ltx") }),
  "gives another tag for it": (listed) => ({ ...listed, etag: '"another"' }),
};

for (const [damage, change] of Object.entries(DAMAGES)) {
  for (const level of [1, 9]) {
    const at = `a file of level ${level}`;
    test(`run() takes ${at} for no other process's where one listing ${damage}`, async () => {
      for (const after of [0, 1, 2, 3]) {
        const history = new History(9, { nowMs: START });
        const { store } = history;
        commitFor(history, 60_000, 5000);
        await compactorOf(store).run();
        const key = store.keys().find((found) => found.startsWith(ltxKey("s3", level, "")))!;
        const compactor = compactorOf(store);
        const odd = (listed: ListedObject) => listed.key === key ? change(listed) : listed;
        changeListing(store, after + 1, odd);
        for (let hour = 0; hour < 3; hour++) {
          commitFor(history, 60_000, 5000);
          store.nowMs += HOUR;
          assert.deepEqual((await compactor.run()).foreign, [], `listing ${after}, hour ${hour}`);
          history.assertNewest();
        }
        assert.ok(store.keys().filter((found) => found.startsWith("0001/")).length > 1);
      }
    });
  }
}

test("run() takes a file of its own for nobody else's where its checksum came damaged once", async () => {
  const history = new History(9, { nowMs: START });
  const { store } = history;
  const compactor = compactorOf(store);
  await compactor.run();
  commitFor(history, 60_000, 5000);
  store.onOperation = ({ name, phase }) => {
    if (name === "put" && phase === "after") throw new Error("no answer");
  };
  await assert.rejects(compactor.run(), /no answer/);
  store.onOperation = () => {};
  const read = store.read.bind(store);
  let damaged = 0;
  store.read = async (of, range) => {
    const result = await read(of, range);
    if (range.size !== 16 || damaged++ > 0) return result;
    const bytes = result.bytes.slice();
    bytes[15]! ^= 1;
    return { ...result, bytes };
  };
  assert.deepEqual((await compactor.run()).foreign, []);
  assert.ok(damaged > 1);
});

test("run() makes no merge behind a gap that one listing has", async () => {
  const history = new History(9, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 5000);
  store.nowMs += HOUR;
  changeListing(store, 1, (listed) => listed.key === keyOf(0, 1, 1) ? undefined : listed);
  const compactor = compactorOf(store);
  await compactor.run();
  await compactor.run();
  const merges = filesIn(store).filter(({ level }) => level > 0 && level < 9);
  assert.ok(merges.length > 0);
  for (const { key, minTxid } of merges) assert.equal(minTxid, 1n, key);
});

test("run() merges behind a gap that there is", async () => {
  const history = new History(9, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 5000);
  await compactorOf(store).run();
  for (const key of store.keys()) {
    if (/^000[1-8]/.test(key) || /^0000\/0{15}[1-4]-/.test(key)) store.objects.delete(key);
  }
  store.nowMs += HOUR;
  assert.ok((await compactorOf(store).run()).made.includes(keyOf(1, 5, 12)));
});

test("run() takes for its own what a put left whose outcome stayed unknown", async () => {
  const history = new History(9, { nowMs: START });
  const { store } = history;
  const compactor = compactorOf(store);
  await compactor.run();
  commitFor(history, 60_000, 5000);
  store.onOperation = ({ name, phase }) => {
    if (name === "put" && phase === "after") throw new Error("no answer");
  };
  await assert.rejects(compactor.run(), /no answer/);
  store.onOperation = () => {};
  const report = await compactor.run();
  assert.deepEqual(report.foreign, []);
  history.assertNewest();
});

test("run() tells of a damaged source, and makes and deletes nothing of it", async () => {
  const history = new History(21, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 5000);
  const key = keyOf(0, 3, 3);
  const good = store.objects.get(key)!.bytes;
  const bad = good.slice();
  bad[bad.length - 20]! ^= 1;
  store.set(key, bad);
  store.nowMs += HOUR;
  const report = await compactorOf(store).run();
  assert.deepEqual(report.made, []);
  assert.deepEqual(report.removed, []);
  assert.deepEqual(report.failures.map(({ name }) => name), ["LtxFormatError", "LtxFormatError"]);
  assert.match(report.failures[0]!.message, new RegExp(`${key}.*checksum`));
  store.set(key, good);
  assert.deepEqual((await compactorOf(store).run()).failures, []);
  history.assertNewest();
});

test("run() puts in chunks what large sources make, and the same bytes", async () => {
  const history = new History(4, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 5000);
  const [collected, streamed] = [store.copy(), store.copy()];
  await compactorOf(collected).run();
  assert.deepEqual(collected.chunkedKeys, []);
  const compactor = compactorOf(streamed, { collectedSizeMax: 600 });
  const { made, failures } = await compactor.run();
  assert.deepEqual(failures, []);
  assert.deepEqual(streamed.chunkedKeys, made);
  assert.equal(made.length, 2);
  assert.deepEqual((await compactor.run()).foreign, []);
  history.assertNewest(streamed);
  assert.deepEqual(streamed.keys(), collected.keys());
  for (const key of collected.keys()) {
    const [ours, theirs] = [streamed, collected].map(({ objects }) => objects.get(key)!.bytes);
    assert.ok(Buffer.compare(ours!, theirs!) === 0, key);
    assert.equal(streamed.timestamps.get(key), collected.timestamps.get(key), key);
  }
});

test("run() puts to S3 in parts what it puts collected elsewhere, through lost answers too", async () => {
  const history = new History(4, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 5000);
  const reset = { kind: "reset" } as const;
  const faults = new FaultSchedule([
    { fault: reset, target: "partNumber=2", nth: 1 },
    { fault: { kind: "doneBut", then: reset }, method: "POST", target: "uploadId=", nth: 1 },
  ]);
  await using fake = await FakeS3.start({ faults, verify: false, now: () => store.nowMs });
  for (const [key, { bytes, modifiedMs }] of store.objects) fake.put(`db/${key}`, bytes, { modifiedMs });
  const { accessKeyId, secretAccessKey } = fake.options;
  const credentials = { accessKeyId, secretAccessKey };
  const s3 = await openStore(parseReplicaUrl(fake.url("/db", "&partSize=500")), { credentials });
  const [now, options] = [() => store.nowMs, { layout: "s3", lz4, collectedSizeMax: 0 } as const];
  const compactor = new Compactor({ ...options, store: s3, now });
  const { made, failures } = await compactor.run();
  assert.deepEqual([failures, fake.openUploads], [[], 0]);
  assert.ok(fake.count("PUT") > made.length + 1, `${fake.count("PUT")} PUTs`);
  assert.deepEqual((await compactor.run()).foreign, []);
  await compactorOf(store).run();
  assert.deepEqual(fake.keys(), store.keys().map((key) => `db/${key}`));
  for (const key of made) {
    assert.ok(Buffer.compare(store.objects.get(key)!.bytes, fake.get(`db/${key}`)!) === 0, key);
  }
});

test("run() goes on where the store takes no object as large as one of them", async () => {
  const history = new History(4, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 5000);
  store.nowMs += HOUR;
  store.onOperation = ({ name, key }) => {
    if (name !== "put" || !key.startsWith("0009/")) return;
    throw new StorageError("too large", { key, status: 0, code: "EntityTooLarge", retryable: false });
  };
  const { made, failures } = await compactorOf(store, { collectedSizeMax: 0 }).run();
  assert.deepEqual(failures.map(({ message }) => message), ["too large"]);
  assert.ok(made.length > 0 && made.every((key) => !key.startsWith("0009/")), `${made}`);
  history.assertNewest();
});

test("run() ends when its signal aborts, and two calls at once are one", async () => {
  const history = new History(4, { nowMs: START });
  commitFor(history, 60_000, 5000);
  const abort = new AbortController();
  history.store.onOperation = ({ name }) => {
    if (name === "read") abort.abort(new Error("enough"));
  };
  await assert.rejects(compactorOf(history.store).run({ signal: abort.signal }), /enough/);
  history.store.onOperation = () => {};
  const compactor = compactorOf(history.store);
  const [first, second] = await Promise.all([compactor.run(), compactor.run()]);
  assert.equal(first, second);
});

test("Compactor refuses a schedule that cannot be", () => {
  const { store } = new History(1, { nowMs: 0 });
  for (const wrong of [{ levelsMs: [0] }, { l0RetentionMs: -1 }, { levelsMs: Array(9).fill(1000) }]) {
    assert.throws(() => compactorOf(store, { schedule: { ...COMPACTION_SCHEDULE, ...wrong } }), RangeError);
  }
});

test("mergeFiles() rejects when a source vanishes in the middle, and reads on of none", async () => {
  const history = new History(30, { nowMs: START });
  const { store } = history;
  commitFor(history, 60_000, 1000);
  const files = filesIn(store).slice(1);
  const chunks = mergeFiles(files, { store, lz4, chunkSize: 100 });
  await chunks.next();
  await chunks.return(undefined as never);
  store.objects.delete(files.at(-1)!.key);
  await assert.rejects(mergeFiles(files, { store, lz4 }).next(), { name: "ObjectGoneError" });
});
