import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Replica } from "../../mod.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { listLogs } from "../../src/write/write_log.ts";
import { rounds } from "../soak/soak_support.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { type Fault, FaultSchedule, type FaultSubject } from "../support/faults.ts";
import { lz4 } from "../support/lz4.ts";
import {
  type Bucket,
  bucketOf,
  levelZero,
  LTX,
  Outage,
  type PlainError,
  readKept,
  Rival,
  type Told,
  withBucket,
} from "./rival.ts";

const HOUR = 3_600_000;

/** Rows of a rival that takes over. */
const RIVALS = ["rival0", "rival1", "rival2", "rival3", "rival4"];

/** As src/write/writer.ts has it: after so long a silence all levels are looked at. */
const LOOK_AFTER_MS = 10_000;

/** Each TXID was stored once: nothing was written twice, nothing overwritten. */
function assertStoredOnce({ stores }: Bucket): void {
  const twice = [...stores].filter(([key, count]) => LTX.test(key) && count !== 1);
  assert.deepEqual(twice, []);
}

/** The words name both TXIDs and the log that is kept, whose path this gives. */
function assertTold({ name, message }: PlainError): string {
  assert.equal(name, "ConflictError", message);
  const told = /Cannot store TXID [0-9a-f]{16} .*another writer stored TXID [0-9a-f]{16}.*"(.+)\.\*"/.exec(
    message,
  );
  assert.ok(told, message);
  return told[1]!;
}

function insert(replica: Replica, who: string): void {
  const db = replica.connect();
  try {
    db.exec(`INSERT INTO t(who) VALUES ('${who}')`);
  } finally {
    db.close();
  }
}

const starts = [
  { name: "that look when asked", pollIntervalMs: 0 },
  { name: "that look all the time", pollIntervalMs: 20 },
  { name: "that both begin a new database", pollIntervalMs: 0, isEmpty: true },
];
for (const { name, pollIntervalMs, isEmpty } of starts) {
  test(
    `two processes ${name} and write at once make one history, and the loser keeps its data`,
    { timeout: 600_000 },
    async () => {
      for (let round = rounds("RIVAL_ROUNDS", 1); round > 0; round--) {
        await withBucket(async (bucket) => {
          const names = ["one", "two"];
          const rivals = names.map((name) =>
            Rival.begin(bucket.url, bucket.options(name, { pollIntervalMs }))
          );
          try {
            await Promise.all(rivals.map((rival) => rival.opened()));
            const told = await Promise.all(
              rivals.map((rival, i) => rival.ask<Told>({ act: "race", who: names[i]!, count: 15 })),
            );
            for (const rival of rivals) await rival.ask({ act: "close" }).catch(() => {});
            assertStoredOnce(bucket);
            const stored = told.flatMap((each) => each.stored);
            assert.deepEqual((await bucket.rows()).sort(), stored.sort());
            const txids = told.flatMap((each) => each.txids);
            assert.equal(new Set(txids).size, txids.length, `no TXID is both's: ${txids}`);
            const losers = told.filter(({ failure }) => failure);
            assert.ok(losers.length <= 1, JSON.stringify(losers));
            if (pollIntervalMs === 0) assert.equal(losers.length, 1, "both wrote on top of one TXID");
            for (const { failure, waiting } of losers) {
              const path = assertTold(failure!);
              const kept = await readKept(path, levelZero(bucket));
              for (const row of waiting) assert.ok(kept.includes(row), `${row} of ${kept}`);
            }
          } finally {
            for (const rival of rivals) await rival.kill();
          }
        }, { isEmpty });
      }
    },
  );
}

/** A writer in another process commits and stores so many rows, and closes. */
async function race(bucket: Bucket, count: number): Promise<void> {
  const rival = await Rival.start(bucket.url, bucket.options("rival"));
  try {
    const { failure } = await rival.ask<Told>({ act: "race", who: "rival", count });
    assert.equal(failure, undefined, failure?.message);
    await rival.ask({ act: "close" });
  } finally {
    await rival.kill();
  }
}

/** Takes over from a writer that sleeps: five TXIDs, of which level 0 has the last one alone later. */
async function takeOver(bucket: Bucket): Promise<void> {
  await race(bucket, RIVALS.length);
  await bucket.compact(HOUR);
  const left = bucket.server.keys().filter((key) => LTX.test(key));
  assert.deepEqual(left.map((key) => key.slice(-20)), ["0000000000000007.ltx"], "L0 retention has run");
}

/** A writer sleeps while a rival takes over whose files are compacted away; `act` is after it awoke. */
function withSleeper(
  { pollIntervalMs, isPending }: { pollIntervalMs: number; isPending: boolean },
  act: (sleeper: Rival, bucket: Bucket, objects: Uint8Array[]) => Promise<void>,
): Promise<void> {
  return withBucket(async (bucket) => {
    const sleeper = await Rival.start(bucket.url, bucket.options("sleeper", { pollIntervalMs }));
    try {
      await sleeper.ask({ act: "insert", who: "first" });
      assert.equal(await sleeper.ask({ act: "sync" }), 2);
      if (isPending) await sleeper.ask({ act: "insert", who: "pending" });
      sleeper.pause();
      const objects = levelZero(bucket);
      const slept = delay(LOOK_AFTER_MS + 500);
      await takeOver(bucket);
      await slept;
      sleeper.resume();
      await act(sleeper, bucket, objects);
      assertStoredOnce(bucket);
    } finally {
      await sleeper.kill();
    }
  });
}

/** It is told, stores nothing, and its log still has what it committed. */
async function assertLoses(
  sleeper: Rival,
  bucket: Bucket,
  { objects, who }: { objects: Uint8Array[]; who: string },
): Promise<void> {
  const failure = await sleeper.ask({ act: "sync" }).then(() => undefined, (error: PlainError) => error);
  assert.ok(failure, "its sync() must fail");
  const path = assertTold(failure);
  await assert.rejects(sleeper.ask({ act: "insert", who: "later" }));
  await assert.rejects(sleeper.ask({ act: "close" }), { name: "ConflictError" });
  await sleeper.kill();
  assert.deepEqual(await bucket.rows(), ["first", ...RIVALS]);
  assert.deepEqual(await readKept(path, objects), ["first", who]);
}

test(
  "a writer that slept while another took over is told, also where retention has removed the other's files",
  { timeout: 120_000 },
  async () => {
    await Promise.all([
      withSleeper(
        { pollIntervalMs: 0, isPending: true },
        (sleeper, bucket, objects) => assertLoses(sleeper, bucket, { objects, who: "pending" }),
      ),
      withSleeper({ pollIntervalMs: 0, isPending: false }, async (sleeper, bucket, objects) => {
        await sleeper.ask({ act: "insert", who: "after" });
        await assertLoses(sleeper, bucket, { objects, who: "after" });
      }),
      withSleeper(
        { pollIntervalMs: 200, isPending: true },
        (sleeper, bucket, objects) => assertLoses(sleeper, bucket, { objects, who: "pending" }),
      ),
      withSleeper({ pollIntervalMs: 200, isPending: false }, async (sleeper, bucket) => {
        assert.equal(await sleeper.ask({ act: "refresh" }), 7);
        await sleeper.ask({ act: "insert", who: "after" });
        assert.equal(await sleeper.ask({ act: "sync" }), 8, "it had nothing to lose, and goes on from there");
        assert.deepEqual(await bucket.rows(), ["first", ...RIVALS, "after"]);
      }),
    ]);
  },
);

/** Answers the next PUT of level 0 once it is on, later than a writer may be silent. */
class Hold extends FaultSchedule {
  isOn = false;

  override pick({ method, key }: FaultSubject): Fault | undefined {
    if (!this.isOn || method !== "PUT" || !LTX.test(key)) return undefined;
    this.isOn = false;
    return { kind: "slow", delayMs: LOOK_AFTER_MS + 1_000 };
  }
}

for (const pollIntervalMs of [0, 200]) {
  test(
    `a writer that slept while its PUT was on the way is told of a takeover: looks each ${pollIntervalMs} ms`,
    { timeout: 120_000 },
    async () => {
      const faults = new Hold([]);
      await withBucket(async (bucket) => {
        const options = bucket.options("log", { pollIntervalMs, requestTimeoutMs: 60_000 });
        const sleeper = await Rival.start(bucket.url, options);
        try {
          await sleeper.ask({ act: "insert", who: "first" });
          await sleeper.ask({ act: "sync" });
          await sleeper.ask({ act: "insert", who: "held" });
          const objects = levelZero(bucket);
          faults.isOn = true;
          const syncing = sleeper.ask({ act: "sync" }).then(() => undefined, (error) => error);
          while (faults.isOn) await delay(2);
          sleeper.pause();
          const slept = delay(LOOK_AFTER_MS + 2_000);
          await race(bucket, RIVALS.length);
          await bucket.compact(HOUR);
          await slept;
          sleeper.resume();
          assert.equal((await syncing)?.name, "ConflictError");
          await sleeper.ask({ act: "close" }).catch(() => {});
          await sleeper.kill();
          assert.deepEqual(await bucket.rows(), ["first", ...RIVALS]);
          assert.deepEqual(await readKept(`${bucket.folder}/log`, objects), ["first", "held"]);
          for (let opened = 0; opened < 2; opened++) {
            await assert.rejects(bucket.open("log"), {
              name: "ConflictError",
              message: /it ended in a conflict: another writer stored TXID .*; the log is kept, move it away/,
            });
          }
          assert.deepEqual(await readKept(`${bucket.folder}/log`, objects), ["first", "held"]);
          assert.deepEqual(await bucket.rows(), ["first", ...RIVALS]);
        } finally {
          await sleeper.kill();
        }
      }, { faults });
    },
  );
}

for (const gone of ["all files", "the newest file"]) {
  test(
    `a writer stores nothing on top of what is not there any more: ${gone}`,
    { timeout: 120_000 },
    () =>
      withBucket(async (bucket) => {
        const ours = await bucket.open("log");
        insert(ours, "first");
        await ours.sync();
        insert(ours, "second");
        await ours.sync();
        const keys = [...bucket.server.keys()].filter((key) => LTX.test(key)).sort();
        const lost = (gone === "all files" ? keys : keys.slice(-1)).map((key) =>
          [key, bucket.server.get(key)!] as const
        );
        for (const [key] of lost) bucket.server.remove(key);
        await delay(LOOK_AFTER_MS + 500);
        insert(ours, "third");
        for (let tries = 0; tries < 3; tries++) {
          await assert.rejects(ours.sync(), {
            name: "StorageError",
            retryable: true,
            message:
              /Cannot store TXID 0000000000000004 .*expected what was stored up to 0000000000000003; .* is kept in/,
          });
        }
        assert.equal((await listLogs(`${bucket.folder}/log`)).length, 1);
        for (const [key, bytes] of lost) bucket.server.put(key, bytes);
        await ours.sync();
        await ours.close();
        assert.deepEqual(await bucket.rows(), ["first", "second", "third"]);
      }),
  );
}

test("a writer waits for a listing that is late", { timeout: 120_000 }, () =>
  withBucket(async (bucket) => {
    const ours = await bucket.open("log");
    insert(ours, "first");
    await ours.sync();
    const newest = [...bucket.server.keys()].filter((key) => LTX.test(key)).sort().at(-1)!;
    const bytes = bucket.server.get(newest)!;
    await delay(LOOK_AFTER_MS + 500);
    insert(ours, "second");
    bucket.server.remove(newest);
    const syncing = ours.sync();
    await delay(100);
    bucket.server.put(newest, bytes);
    await syncing;
    await ours.close();
    assert.deepEqual(await bucket.rows(), ["first", "second"]);
  }));

test("what is committed on top of another's transactions is stored by the next process after a kill", () =>
  withBucket(async (bucket) => {
    const killed = await Rival.start(bucket.url, bucket.options("log"));
    await race(bucket, 3);
    assert.equal(await killed.ask({ act: "refresh" }), 4);
    await killed.ask({ act: "insert", who: "committed" });
    await killed.kill();
    const next = await bucket.open("log");
    assert.equal(next.txid, 5n);
    await next.close();
    assert.deepEqual(await bucket.rows(), ["rival0", "rival1", "rival2", "committed"]);
  }));

/** The change counter of page 1 by TXID, as it is stored. */
function counters(bucket: Bucket): number[] {
  return levelZero(bucket).map((bytes) => {
    const { pgno, page } = decodeFile(bytes, lz4).frames[0]!;
    assert.equal(pgno, 1);
    return new DataView(page.buffer, page.byteOffset).getUint32(24);
  });
}

test("the change counter goes on from another writer's transactions", () =>
  withBucket(async (bucket) => {
    await using ours = await bucket.open("log");
    await race(bucket, 3);
    await ours.refresh();
    insert(ours, "ours");
    await ours.sync();
    assert.deepEqual(counters(bucket), [1, 2, 3, 4, 5]);
  }));

/** How an answer is lost, and of which PUTs. */
const lost: [string, Fault, number[]?][] = [
  ["500", { kind: "doneBut", then: { kind: "status", status: 500 } }],
  ["nothing", { kind: "doneBut", then: { kind: "silence" } }, [1, 3, 5]],
  ["a connection that is cut", { kind: "doneBut", then: { kind: "reset" } }],
  ["a head alone", { kind: "doneBut", then: { kind: "resetAfterHeaders" } }],
];
for (const [answer, fault, nth] of lost) {
  test(`a PUT that was done, its answer ${answer}, is no conflict with oneself, killed or not`, async () => {
    const faults = new Outage([{ fault, method: "PUT", key: LTX, ...(nth && { nth }) }]);
    faults.isOn = false;
    await withBucket(async (bucket) => {
      const { server } = bucket;
      const options = bucket.options("log", { requestTimeoutMs: 1_500 });
      const begun = await Rival.start(bucket.url, options);
      await begun.ask({ act: "insert", who: "one" });
      faults.isOn = true;
      const puts = () => server.log.filter(({ method, key }) => method === "PUT" && LTX.test(key)).length;
      const before = puts();
      begun.tell({ act: "sync" });
      while (puts() === before) await delay(2);
      await begun.kill();
      assert.equal(bucket.stores.get("db/0000/0000000000000002-0000000000000002.ltx"), 1);
      // Its successor finds the log and the object; its own answers are lost as well.
      const next = await Rival.start(bucket.url, options);
      try {
        assert.deepEqual(await next.ask({ act: "rows" }), ["one"]);
        for (const [i, who] of ["two", "three"].entries()) {
          await next.ask({ act: "insert", who });
          // Where no answer comes at all the time may be over before it is read back: asked again, it is.
          const sync = () => next.ask({ act: "sync" });
          assert.equal(await sync().catch(sync), 3 + i);
        }
        await next.ask({ act: "close" });
      } finally {
        await next.kill();
      }
      faults.isOn = false;
      assertStoredOnce(bucket);
      assert.deepEqual(await bucket.rows(), ["one", "two", "three"]);
      assert.deepEqual(await listLogs(`${bucket.folder}/log`), []);
    }, { faults });
  });
}

/** SQLite's extended code as the driver tells it; undefined where it has none. */
function codeOf(error: unknown): number | undefined {
  const { errcode, errno } = error as { errcode?: number; errno?: number };
  return errcode ?? errno;
}

for (const { name, Database } of await allDrivers()) {
  test(`a read that becomes a write after another's commit is SQLITE_BUSY_SNAPSHOT: ${name}`, () =>
    withBucket(async (bucket) => {
      await using replica = await bucket.open("log");
      const [reader, writer] = [replica.connect(Database), replica.connect(Database)];
      for (const isStored of [false, true]) {
        reader.exec("BEGIN");
        const seen = reader.prepare("SELECT count(*) AS n FROM t").get().n;
        writer.exec("INSERT INTO t(who) VALUES ('other')");
        if (isStored) await replica.sync();
        assert.throws(() => reader.exec("INSERT INTO t(who) VALUES ('lost update')"), (error) => {
          assert.equal(codeOf(error) ?? 517, 517, String(error));
          assert.match(String(error), /database is locked/);
          return true;
        });
        assert.equal(reader.prepare("SELECT count(*) AS n FROM t").get().n, seen, "its state stays");
        reader.exec("ROLLBACK");
        reader.exec("INSERT INTO t(who) VALUES ('anew')");
      }
      await replica.sync();
      for (const db of [reader, writer]) db.close();
      assert.deepEqual(await bucket.rows(), ["other", "anew", "other", "anew"]);
    }));
}

/** What somebody stores who knows no TXID of ours: his own of the state that the bucket has now. */
async function foreignObject(bucket: Bucket): Promise<{ key: string; bytes: Uint8Array }> {
  await using elsewhere = await FakeS3.start();
  for (const key of bucket.server.keys()) elsewhere.put(key, bucket.server.get(key)!);
  const place = bucketOf(elsewhere, bucket.folder);
  const replica = await place.open("foreign");
  insert(replica, "foreign");
  await replica.close();
  const key = elsewhere.keys().find((key) => !bucket.server.keys().includes(key) && LTX.test(key))!;
  return { key, bytes: elsewhere.get(key)! };
}

test("a daemon that overwrites what we stored is noticed by the next listing: statements tell", () =>
  withBucket(async (bucket) => {
    const { key, bytes } = await foreignObject(bucket);
    await using replica = await bucket.open("log", { requestTimeoutMs: 2_000 });
    const told: string[] = [];
    replica.on("replaced", ({ type }) => told.push(type));
    insert(replica, "ours");
    assert.equal(await replica.sync(), 2n);
    bucket.server.put(key, bytes); // without a condition: no store can refuse it
    const noticed = { name: /^(Replaced|Conflict)Error$/ };
    await assert.rejects(replica.refresh(), noticed);
    assert.throws(() => insert(replica, "more"), "nothing is written on top of what is gone");
    assert.match(String(replica.lastError), /^(Replaced|Conflict)Error: /);
    await assert.rejects(replica.refresh(), noticed, "it stays so");
    assert.deepEqual(told, ["replaced"]);
    assert.deepEqual(await bucket.rows(), ["foreign"]);
  }));

test("a daemon that stores the next TXID first is a conflict, for our follower as for our PUT", async () => {
  for (const isFollowed of [false, true]) {
    await withBucket(async (bucket) => {
      const { key, bytes } = await foreignObject(bucket);
      const objects = levelZero(bucket);
      const replica = await bucket.open("log");
      insert(replica, "ours");
      bucket.server.put(key, bytes);
      if (isFollowed) await assert.rejects(replica.refresh(), { name: "ConflictError" });
      const failure = await replica.sync().catch((error) => error);
      const path = assertTold(failure);
      await assert.rejects(replica.close(), { name: "ConflictError" });
      assert.deepEqual(await bucket.rows(), ["foreign"]);
      assert.deepEqual(await readKept(path, objects), ["ours"]);
      assertStoredOnce(bucket);
    });
  }
});

test("the writer's own look finds what somebody overwrote, and not what was written again", () =>
  withBucket((overwritten) =>
    withBucket(async (copied) => {
      const { key, bytes } = await foreignObject(overwritten);
      const [loser, writer] = [await overwritten.open("log"), await copied.open("log")];
      for (const replica of [loser, writer]) {
        const db = replica.connect();
        db.exec("INSERT INTO t(who) VALUES ('ours')");
        await replica.sync();
        db.exec("INSERT INTO t(who) VALUES ('more')");
        db.close();
      }
      overwritten.server.put(key, bytes);
      // Another ETag of the same content, as after an upload in parts.
      const path = join(copied.folder, "copy.ltx");
      await writeFile(path, copied.server.get(key)!);
      await copied.server.putFile(key, path);
      await delay(LOOK_AFTER_MS + 500);
      await assert.rejects(loser.sync(), { name: "ConflictError" });
      await assert.rejects(loser.close(), { name: "ConflictError" });
      assert.equal(levelZero(overwritten).length, 2);
      assert.deepEqual(await overwritten.rows(), ["foreign"]);
      assert.equal(await writer.sync(), 3n);
      await writer.close();
      assert.deepEqual(await copied.rows(), ["ours", "more"]);
    })
  ));

test("nothing is stored on top of a TXID of ours that somebody overwrote, as our follower finds", () =>
  withBucket(async (bucket) => {
    const { key, bytes } = await foreignObject(bucket);
    const ours = await bucket.open("log");
    insert(ours, "ours");
    await ours.sync();
    bucket.server.put(key, bytes);
    insert(ours, "pending");
    const noticed = { name: /^(Replaced|Conflict)Error$/ };
    await assert.rejects(ours.refresh(), noticed);
    await assert.rejects(ours.sync(), noticed);
    await assert.rejects(ours.close(), noticed);
    assert.equal(levelZero(bucket).length, 2);
    assert.deepEqual(await bucket.rows(), ["foreign"]);
  }));

test("a log all of which is stored is no conflict, even where another writer has gone on since", async () => {
  const rule = { fault: { kind: "doneBut", then: { kind: "silence" } }, method: "PUT", key: LTX } as const;
  const faults = new Outage([rule]);
  faults.isOn = false;
  await withBucket(async (bucket) => {
    const killed = await Rival.start(bucket.url, bucket.options("log"));
    await killed.ask({ act: "insert", who: "ours" });
    faults.isOn = true;
    killed.tell({ act: "sync" });
    while (!bucket.stores.has("db/0000/0000000000000002-0000000000000002.ltx")) await delay(2);
    await killed.kill();
    faults.isOn = false;
    await race(bucket, 2);
    await using next = await bucket.open("log");
    assert.equal(next.txid, 4n);
    assertStoredOnce(bucket);
    assert.deepEqual(await bucket.rows(), ["ours", "rival0", "rival1"]);
  }, { faults });
});

test("a writer without a base stores nothing into a gap that one listing alone does not show", () =>
  withBucket(async (bucket) => {
    const before = await bucket.open("before");
    for (const who of ["one", "two"]) {
      insert(before, who);
      await before.sync();
    }
    await bucket.compact(HOUR);
    for (const who of ["three", "four"]) {
      insert(before, who);
      await before.sync();
    }
    await before.close();
    await bucket.compact(2 * HOUR);
    const next = /^db\/0000\/0{15}4-/;
    for (const key of bucket.server.keys()) if (next.test(key)) bucket.server.remove(key);
    bucket.server.options.faults = new FaultSchedule([
      { fault: { kind: "staleListing", hide: /-0{15}[45]\.ltx/ }, on: "list", times: 1 },
    ]);
    const fresh = await bucket.open("fresh");
    insert(fresh, "five");
    const refused = await fresh.sync().then(() => undefined, (error: Error) => error);
    await fresh.close().catch(() => {});
    if (refused === undefined) {
      assert.ok((await bucket.rows()).includes("five"), bucket.server.keys().join(" "));
    }
  }));

for (const refusals of [0, 1]) {
  test(
    `a writer that paused stores nothing into a gap that one listing alone does not show: ${refusals} refused`,
    {
      timeout: 120_000,
    },
    () =>
      withBucket(async (bucket) => {
        const before = await bucket.open("before");
        insert(before, "one");
        await before.sync();
        await bucket.compact(HOUR);
        const paused = await bucket.open("paused");
        for (const who of ["two", "three"]) {
          insert(before, who);
          await before.sync();
        }
        await before.close();
        await bucket.compact(2 * HOUR);
        const next = /^db\/0000\/0{15}3-/;
        for (const key of bucket.server.keys()) if (next.test(key)) bucket.server.remove(key);
        insert(paused, "late");
        await delay(LOOK_AFTER_MS + 500);
        bucket.server.options.faults = new FaultSchedule([
          { fault: { kind: "staleListing", hide: /-0{15}[34]\.ltx/ }, on: "list", times: 1 },
          {
            fault: { kind: "status", status: 403, code: "AccessDenied" },
            method: "PUT",
            key: LTX,
            times: refusals,
          },
        ]);
        for (let i = 0; i < refusals; i++) await assert.rejects(paused.sync(), { name: "StorageError" });
        const told = await paused.sync().then(() => undefined, (error: Error) => error);
        assert.equal(told?.name, "ConflictError", `${told}; ${bucket.server.keys().join(" ")}`);
        await paused.close().catch(() => {});
        assert.deepEqual(await bucket.rows(), ["one", "two", "three"]);
      }),
  );
}

test("a writer of a new database looks before it stores anything, and finds another's that came first", () =>
  withBucket(async (bucket) => {
    const ours = await bucket.open("log");
    const told: string[] = [];
    ours.on("error", ({ error }) => told.push(String(error)));
    assert.equal(await ours.refresh(), 0n);
    await race(bucket, 2);
    assert.equal(await ours.refresh(), 2n);
    insert(ours, "ours");
    await ours.close();
    assert.deepEqual(told, []);
    assert.deepEqual(await bucket.rows(), ["rival0", "rival1", "ours"]);
  }, { isEmpty: true }));
