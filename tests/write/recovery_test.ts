/** What a killed writer's successor makes of its log, wherever that recovery is interrupted in its turn. */
import assert from "node:assert/strict";
import { copyFile, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { StorageError } from "../../src/errors.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { listLogs } from "../../src/write/write_log.ts";
import { rowsOf, valueOf, withConnection } from "../replica/drivers.ts";
import { type Fault, FaultSchedule, type FaultSubject } from "../support/faults.ts";
import { lz4 } from "../support/lz4.ts";
import { type Bucket, levelZero, LTX, withBucket } from "./rival.ts";

function insert(replica: Replica, ...rows: string[]): void {
  withConnection(replica, undefined, (db) => {
    for (const row of rows) db.exec(`INSERT INTO t(who) VALUES ('${row}')`);
  });
}

/** A log as it lies on the disk, under another name: as a kill right now would leave it. */
async function kill(folder: string, log: string, kept: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const [, ending] = new RegExp(`^${log}(\\.(?:base|\\d+))$`).exec(name) ?? [];
    if (ending) await copyFile(join(folder, name), join(folder, kept + ending));
  }
}

/** Refuses requests, from the n-th that changes something on; not those of the probe. */
class Refusing extends FaultSchedule {
  /** So many are let through yet; Infinity: all. */
  left = Infinity;
  /** Whether reads are refused from then on, too. */
  refusesReads = false;
  #isEffective = true;

  constructor() {
    super([]);
  }

  /** Whether those that are refused have their effect all the same, and are only answered wrongly. */
  set isEffective(is: boolean) {
    this.#isEffective = is;
  }

  override pick({ method, key }: FaultSubject): Fault | undefined {
    const refusal: Fault = { kind: "status", status: 403, code: "AccessDenied" };
    const isRead = method === "GET" || method === "HEAD";
    if (isRead && this.refusesReads && this.left <= 0) return refusal;
    if (isRead || key.includes("condition-probe") || this.left-- > 0) return undefined;
    return this.#isEffective && this.left === -1 ? { kind: "doneBut", then: refusal } : refusal;
  }
}

/** Leaves `kept`, a log of two TXIDs that were not stored: a sync() that failed has ended the first. */
async function leaveLog(bucket: Bucket, faults: Refusing): Promise<void> {
  const replica = await bucket.open("log", { requestTimeoutMs: 1_000 });
  faults.isEffective = false;
  faults.left = 0;
  insert(replica, "one");
  await assert.rejects(replica.sync(), { name: "StorageError" });
  insert(replica, "two", "three");
  await kill(bucket.folder, "log", "kept");
  await assert.rejects(replica.close());
  for (const path of await listLogs(join(bucket.folder, "log"))) await rm(path);
  assert.equal((await listLogs(join(bucket.folder, "kept"))).length, 2);
}

/** Each TXID has its own counter, by what is stored. */
function counters(bucket: Bucket): number[] {
  return levelZero(bucket).map((bytes) => {
    const { pgno, page } = decodeFile(bytes, lz4).frames[0]!;
    assert.equal(pgno, 1);
    const view = new DataView(page.buffer, page.byteOffset);
    assert.equal(view.getUint32(92), view.getUint32(24));
    return view.getUint32(24);
  });
}

for (const isEffective of [false, true]) {
  const how = isEffective ? "was done and said to have failed" : "failed";
  test(
    `a recovery whose n-th request ${how} is begun again until it is done`,
    { timeout: 120_000 },
    async () => {
      let isDone = false;
      for (let nth = 0; !isDone; nth++) {
        const faults = new Refusing();
        await withBucket(async (bucket) => {
          await leaveLog(bucket, faults);
          const open = () => bucket.open("kept", { requestTimeoutMs: 1_000, log: () => {} });
          faults.isEffective = isEffective;
          faults.left = nth;
          const next = await open().catch(() => {});
          isDone = faults.left > 0;
          faults.left = Infinity;
          const again = next ?? await open();
          insert(again, "four");
          await again.close();
          assert.deepEqual(await bucket.rows(), ["one", "two", "three", "four"], `request ${nth}`);
          assert.deepEqual(counters(bucket), [1, 2, 4, 5], `request ${nth}`);
          const twice = [...bucket.stores].filter(([key, count]) => LTX.test(key) && count !== 1);
          assert.deepEqual(twice, [], `request ${nth}`);
        }, { faults });
        assert.ok(nth < 20);
      }
    },
  );
}

test("a recovery that is killed after each TXID it stored is begun again", () => {
  const faults = new Refusing();
  return withBucket(async (bucket) => {
    await leaveLog(bucket, faults);
    await kill(bucket.folder, "kept", "again");
    faults.left = Infinity;
    await (await bucket.open("kept")).close();
    // As if that one had been killed before it wrote down anything.
    const third = await bucket.open("again");
    assert.equal(third.txid, 3n);
    await third.close();
    assert.deepEqual(await bucket.rows(), ["one", "two", "three"]);
    assert.deepEqual(await listLogs(join(bucket.folder, "again")), []);
  }, { faults });
});

test("a recovery that was interrupted is begun again although what it stored is compacted by then", () => {
  const faults = new Refusing();
  return withBucket(async (bucket) => {
    await leaveLog(bucket, faults);
    faults.left = 2; // so many TXIDs
    faults.refusesReads = true;
    await assert.rejects(bucket.open("kept", { requestTimeoutMs: 1_000, log: () => {} }), {
      name: "StorageError",
    });
    faults.left = Infinity;
    await bucket.compact(3_600_000);
    const left = bucket.server.keys().filter((key) => LTX.test(key));
    assert.deepEqual(left.map((key) => key.slice(-20)), ["0000000000000003.ltx"]);
    await (await bucket.open("kept")).close();
    assert.deepEqual(await bucket.rows(), ["one", "two", "three"]);
  }, { faults });
});

/** Listings lack TXID 2 for a while once it is stored. */
class Late extends FaultSchedule {
  /** So many yet. */
  left: number;
  #isStored = false;

  constructor(left: number) {
    super([]);
    this.left = left;
  }

  override pick({ method, key, prefix }: FaultSubject): Fault | undefined {
    const hide = /\/0000\/0{15}2-/;
    this.#isStored ||= method === "PUT" && hide.test(key);
    const isListing = key === "" && /\/000(?:0\/)?$/.test(prefix); // of all levels, or of that one
    if (!isListing || !this.#isStored || this.left === 0) return undefined;
    this.left--;
    return { kind: "staleListing", hide };
  }
}

/** Leaves `kept` with one TXID, or with two. */
async function leaveTxids(bucket: Bucket, count: number): Promise<void> {
  const faults = new Refusing();
  bucket.server.options.faults = faults;
  if (count === 2) return await leaveLog(bucket, faults);
  const replica = await bucket.open("log");
  insert(replica, "one", "two", "three");
  await kill(bucket.folder, "log", "kept");
  faults.isEffective = false;
  faults.left = 0;
  await assert.rejects(replica.close());
}

for (const count of [1, 2]) {
  const left = `a recovery of ${count} TXIDs`;
  for (const late of [1, 2, 4]) {
    test(`${left} goes on from what it has stored although ${late} listings lack it`, () =>
      withBucket(async (bucket) => {
        await leaveTxids(bucket, count);
        const faults = bucket.server.options.faults = new Late(late);
        const next = await bucket.open("kept");
        assert.equal(faults.left, 0);
        assert.equal(next.txid, 1n + BigInt(count));
        insert(next, "four");
        await next.close();
        assert.deepEqual(await bucket.rows(), ["one", "two", "three", "four"]);
      }));
  }

  test(`${left} fails where listings go on lacking what it has stored, and is no conflict`, () =>
    withBucket(async (bucket) => {
      await leaveTxids(bucket, count);
      bucket.server.options.faults = new Late(Infinity);
      await assert.rejects(bucket.open("kept"), (error) => {
        assert.ok(error instanceof StorageError && error.retryable, String(error));
        assert.match(
          error.message,
          /its files end at TXID 0{15}1, expected TXID 0{15}2, which is stored/,
        );
        return true;
      });
      bucket.server.options.faults = new FaultSchedule([]);
      await (await bucket.open("kept")).close();
      assert.deepEqual(await bucket.rows(), ["one", "two", "three"]);
    }));
}

/** Listings lack TXID 3, which is there. */
class Lacking extends FaultSchedule {
  constructor() {
    super([]);
  }

  override pick({ key }: FaultSubject): Fault | undefined {
    return key === "" ? { kind: "staleListing", hide: /\/0000\/0{15}3-/ } : undefined;
  }
}

test("a writer is not opened on top of less than its log has stored while that can be read", () =>
  withBucket(async (bucket) => {
    const one = await bucket.open("log");
    for (const text of ["one", "two"]) {
      insert(one, text);
      await one.sync();
    }
    await one.close();
    bucket.server.options.faults = new Lacking();
    await assert.rejects(bucket.open("log"), (error) => {
      assert.ok(error instanceof StorageError && error.retryable, String(error));
      assert.match(
        error.message,
        /its files end at TXID 0{15}2, expected TXID 0{15}3, which is stored; open it again/,
      );
      return true;
    });
    bucket.server.options.faults = new FaultSchedule([]);
    const again = await bucket.open("log");
    insert(again, "three");
    await again.close();
    assert.deepEqual(await bucket.rows(), ["one", "two", "three"]);
  }));

/** Opens `kept`, whose upload is held; `release` lets it through. */
async function openHeld(bucket: Bucket, more: OpenOptions) {
  await leaveTxids(bucket, 1);
  let release = () => {};
  const until = new Promise<void>((resolve) => release = resolve);
  bucket.server.options.faults = new FaultSchedule([{
    method: "PUT",
    key: LTX,
    fault: { kind: "held", until },
  }]);
  bucket.server.log.length = 0;
  const opening = bucket.open("kept", { requestTimeoutMs: 60_000, ...more });
  opening.catch(() => {});
  while (!bucket.server.log.some(({ method, key }) => method === "PUT" && LTX.test(key))) await delay(2);
  return { opening, release };
}

test("the time that a recovery takes to store a TXID does not count as the opening's", () =>
  withBucket(async (bucket) => {
    const openTimeoutMs = 2_000;
    const { opening, release } = await openHeld(bucket, { openTimeoutMs });
    await delay(openTimeoutMs + 500);
    release();
    await (await opening).close();
    assert.deepEqual(await bucket.rows(), ["one", "two", "three"]);
  }));

test("a signal ends a recovery that stores a TXID", () =>
  withBucket(async (bucket) => {
    const abort = new AbortController();
    const { opening, release } = await openHeld(bucket, { signal: abort.signal });
    const reason = new Error("enough");
    abort.abort(reason);
    await assert.rejects(opening, (error) => error === reason);
    release();
    const isLocked = (error: Error) => assert.match(error.message, /another writer of this machine has it/);
    let again: Replica | void = undefined; // who gives up hears of it before the log's lock is given up
    while (!again) again = await bucket.open("kept").catch(isLocked);
    await again.close();
    assert.deepEqual(await bucket.rows(), ["one", "two", "three"]);
  }));

test("a writer that was killed right after an upload comes back although another has gone on", () =>
  withBucket(async (bucket) => {
    const one = await bucket.open("one");
    insert(one, "one");
    await kill(bucket.folder, "one", "kept");
    await one.close();
    const two = await bucket.open("two");
    insert(two, "two");
    await two.close();
    const back = await bucket.open("kept");
    assert.equal(back.txid, 3n);
    insert(back, "back");
    await back.close();
    assert.deepEqual(await bucket.rows(), ["one", "two", "back"]);
    assert.deepEqual(counters(bucket), [1, 2, 3, 4]);
  }));

test("a base that cannot be written after an upload is no conflict with oneself, killed or not", () =>
  withBucket(async (bucket) => {
    const replica = await bucket.open("log");
    const room = join(bucket.folder, "log.base.tmp");
    insert(replica, "one");
    await rm(room, { force: true });
    await mkdir(room);
    const unwritable = { name: "WriteLogError", message: /^Cannot write ".*log\.base": / };
    for (let i = 0; i < 2; i++) await assert.rejects(replica.sync(), unwritable);
    insert(replica, "two");
    await kill(bucket.folder, "log", "kept");
    await rm(room, { recursive: true });
    assert.equal(await replica.sync(), 3n);
    await replica.close();
    assert.equal(bucket.stores.get("db/0000/0000000000000002-0000000000000002.ltx"), 1);
    bucket.server.remove("db/0000/0000000000000003-0000000000000003.ltx"); // killed before that
    const next = await bucket.open("kept");
    assert.equal(next.txid, 3n);
    await next.close();
    assert.deepEqual(await bucket.rows(), ["one", "two"]);
  }));

test("a change counter is never stored twice, whoever stored the state that is written on top of", () =>
  withBucket(async (bucket) => {
    const [one, two] = [await bucket.open("one"), await bucket.open("two")];
    insert(one, "one", "one");
    await one.sync();
    await two.refresh();
    insert(two, "two", "two", "two");
    await kill(bucket.folder, "two", "kept"); // committed on top of what it followed
    const next = await bucket.open("kept");
    assert.equal(next.txid, 3n);
    await one.refresh();
    insert(one, "one");
    await one.sync();
    await next.refresh();
    insert(next, "next");
    await next.close();
    assert.deepEqual(counters(bucket), [1, 3, 6, 7, 8]);
    await one.close();
    await two.close(); // what it has is stored, to the byte
    assert.deepEqual(await bucket.rows(), ["one", "one", "two", "two", "two", "one", "next"]);
  }));

test("a new database's log does not go into another replica, and goes into its own", () =>
  withFolder(async (folder) => {
    const replica = await openAt(folder, "one", join(folder, "log"));
    withConnection(replica, undefined, (db) => db.exec("CREATE TABLE secret(who)"));
    await kill(folder, "log", "kept");
    withConnection(replica, undefined, (db) => db.exec("DROP TABLE secret"));
    await replica.close();
    await rm(join(folder, "one"), { recursive: true }); // it was killed before it stored anything
    const other = openAt(folder, "other", join(folder, "kept"));
    await assert.rejects(other, {
      name: "ConflictError",
      message: /to be stored elsewhere.*the log is kept/,
    });
    await using empty = await openAt(folder, "other", join(folder, "other.log"));
    assert.equal(empty.txid, 0n);
    await using own = await openAt(folder, "one", join(folder, "kept"));
    assert.equal(own.txid, 1n);
    assert.equal(withConnection(own, undefined, (db) => valueOf(db, "SELECT count(*) FROM secret")), 0);
  }));

async function withFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "recovery-test-"));
  try {
    await act(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function openAt(folder: string, name: string, bufferPath: string): Promise<Replica> {
  return openReplica(`file://${folder}/${name}`, {
    write: true,
    bufferPath,
    syncIntervalMs: 0,
    pollIntervalMs: 0,
  });
}

/** Rows as numbers. */
function numbers(replica: Replica): unknown[] {
  return withConnection(replica, undefined, (db) => rowsOf(db, "SELECT a FROM t").map(({ a }) => a));
}

test("a log all of which is stored keeps nobody from opening what has come in the replica's place", () =>
  withFolder(async (folder) => {
    const create = (replica: Replica, table: string) =>
      withConnection(replica, undefined, (db) => db.exec(`CREATE TABLE ${table}(a)`));
    const first = await openAt(folder, "replica", join(folder, "first"));
    create(first, "one");
    const holder = first.connect();
    holder.exec("BEGIN IMMEDIATE"); // a transaction is under way while it is stored, so the file is kept
    await first.sync();
    await kill(folder, "first", "kept");
    holder.close();
    await first.close();
    assert.equal((await listLogs(join(folder, "kept"))).length, 1);
    await rm(join(folder, "replica"), { recursive: true });
    const second = await openAt(folder, "replica", join(folder, "second"));
    create(second, "two");
    await second.close();
    await using again = await openAt(folder, "replica", join(folder, "kept"));
    assert.deepEqual(await listLogs(join(folder, "kept")), []);
    create(again, "three");
    assert.equal(await again.sync(), 2n);
  }));

test("a bufferPath that names no file is refused, and nothing is made there", () =>
  withFolder(async (folder) => {
    for (const path of [join(folder, "sub/"), join(folder, "sub\\")]) {
      await assert.rejects(openAt(folder, "replica", path), {
        name: "TypeError",
        message: /^Cannot keep a write log at ".*sub.+": expected the name of a file/,
      });
    }
    assert.deepEqual(await readdir(folder), []);
  }));

test("a relative bufferPath stays where it was when the working directory changes", () =>
  withFolder(async (folder) => {
    const before = process.cwd();
    await mkdir(join(folder, "here"));
    await mkdir(join(folder, "there"));
    try {
      process.chdir(join(folder, "here"));
      const replica = await openAt(folder, "replica", "log");
      const db = replica.connect();
      db.exec("CREATE TABLE t(a)");
      process.chdir(join(folder, "there"));
      for (let i = 1; i < 4; i++) {
        await replica.sync();
        db.exec(`INSERT INTO t VALUES (${i})`);
      }
      assert.deepEqual(await readdir(join(folder, "there")), []);
      db.close();
      await replica.close();
    } finally {
      process.chdir(before);
    }
    await using reader = await openReplica(`file://${folder}/replica`);
    assert.deepEqual(numbers(reader), [1, 2, 3]);
  }));
