/** A replica that cannot be reached: opened from its last state, and followed again. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ReplicaError, type StaleEvent } from "../../mod.ts";
import { hashOf } from "../../src/cache/cache_folder.ts";
import { recordValue, stepValue, until } from "../replica/following.ts";
import { FaultSchedule } from "../support/faults.ts";
import { ReplicaFolder } from "../support/replica_folder.ts";
import { CachedPlace } from "./cached_place.ts";
import type { GateState } from "./gate.ts";

const STALE = { offline: "serve-stale" } as const;
const ALL = "SELECT x, pad FROM v, w";

/** Makes a few transactions, and has them opened and queried once. */
async function prepare(place: CachedPlace): Promise<void> {
  const { folder } = place;
  recordValue(folder, 2);
  folder.record("CREATE TABLE w (pad); INSERT INTO w VALUES (randomblob(3000))");
  folder.snapshot();
  for (let txid = 4; txid <= 6; txid++) folder.step(`UPDATE v SET x = ${txid}`);
  place.push();
  await place.with({}, async (_replica, rows) => assert.deepEqual(await rows(ALL), folder.rows(ALL)));
}

/** Sets the time at which the last state was seen back, as if it were that long ago. */
function age({ cacheDir }: CachedPlace, ms: number): void {
  const plans = join(cacheDir, "plans");
  for (const name of readdirSync(plans).filter((name) => name.endsWith(".json"))) {
    const path = join(plans, name);
    const text = readFileSync(path, "utf8").slice(65)
      .replace(/"seenMs":(\d+)/, (_, seenMs) => `"seenMs":${Number(seenMs) - ms}`);
    writeFileSync(path, `${hashOf(text)}\n${text}`);
  }
}

for (const state of ["shut", "silent"] as const satisfies GateState[]) {
  test(`offline "serve-stale": a replica whose server is ${state} is opened and read as it was seen last`, () =>
    CachedPlace.with(async (place) => {
      await prepare(place);
      age(place, 7_200_000);
      await place.gate.set(state);
      await place.with(STALE, async (replica, rows) => {
        assert.equal(replica.txid, 6n);
        assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
        assert.ok(replica.lagMs >= 7_200_000 && replica.lagMs < 7_300_000, `${replica.lagMs}`);
        const [{ lag }] = await rows("SELECT litestream_lag() AS lag") as [{ lag: number }];
        assert.ok(lag >= 7_200 && lag < 7_300, `${lag}`);
        assert.match(String(replica.lastError), /Cannot list/);
      });
      assert.match(
        place.notices.join(),
        /cannot be reached: its last state is shown, TXID 0{15}6, seen 2 h ago/,
      );
    }));
}

test('offline "serve-stale": 503 is an outage, 403 and 404 are answers', () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    const answer = (status: number, code: string) => {
      place.s3.options.faults = new FaultSchedule([{ fault: { kind: "status", status, code } }]);
    };
    answer(503, "ServiceUnavailable");
    await place.with(STALE, (replica) => assert.equal(replica.txid, 6n));
    for (const [status, code] of [[403, "AccessDenied"], [404, "NoSuchBucket"]] as const) {
      answer(status, code);
      await assert.rejects(place.open(STALE), new RegExp(code));
    }
    place.s3.options.faults = new FaultSchedule([]);
    place.folder.clear();
    for (const key of place.s3.keys()) place.s3.remove(key);
    await assert.rejects(place.open(STALE), /no LTX files there/);
  }));

test('offline "serve-stale": an answer that another try would mend fails no opening', () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    stepValue(place.folder, 7);
    place.push();
    const fault = { kind: "status", status: 429, code: "TooManyRequests" } as const;
    place.s3.options.faults = new FaultSchedule([{ fault, on: "list", times: 1 }]);
    await place.with(STALE, (replica) => assert.equal(replica.txid, 7n));
    assert.deepEqual(place.notices, []);
  }));

test('offline "error", and no state kept: the opening fails as ever', () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    await place.gate.set("shut");
    const brief = { requestTimeoutMs: 300 };
    await assert.rejects(place.open(brief), /Cannot list/);
    await assert.rejects(
      place.open({ ...brief, ...STALE, cacheDir: join(place.cacheDir, "other") }),
      /Cannot list/,
    );
  }));

for (const state of ["shut", "silent"] as const satisfies GateState[]) {
  test(`offline "serve-stale": a last state whose ranges are gone is refused in words, the server ${state}`, () =>
    CachedPlace.with(async (place) => {
      await prepare(place);
      rmSync(join(place.cacheDir, "objects"), { recursive: true });
      await place.gate.set(state);
      await assert.rejects(place.open(STALE), (error) => {
        return error instanceof ReplicaError &&
          /it cannot be reached \(.*\), and of its last state, TXID 0{15}6, seen \d+ s ago, not all is on disk: Cannot/
            .test(error.message);
      });
      await place.gate.set("open");
      await place.with(
        STALE,
        async (_replica, rows) => assert.deepEqual(await rows(ALL), place.folder.rows(ALL)),
      );
    }));
}

test('offline "serve-stale" does not open for writing', () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    await place.gate.set("shut");
    const writing = { ...STALE, write: true, bufferPath: join(place.cacheDir, "log") };
    await assert.rejects(place.open(writing), (error) => {
      return error instanceof ReplicaError && /for writing: it cannot be reached/.test(error.message);
    });
  }));

test("offline: what is not on disk fails in words, what is there is read on", () =>
  CachedPlace.with(async (place) => {
    place.folder.record("CREATE TABLE v (x); INSERT INTO v VALUES (1)");
    place.folder.record(`CREATE TABLE big (x); INSERT INTO big
      WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 500) SELECT randomblob(3000) FROM i`);
    place.folder.snapshot();
    place.push();
    const quick = { ...STALE, prefetch: "off", requestTimeoutMs: 3_000 } as const;
    await place.with(
      quick,
      async (_replica, rows) => assert.deepEqual(await rows("SELECT x FROM v"), [{ x: 1 }]),
    );
    await place.gate.set("shut");
    await place.with(quick, async (_replica, rows) => {
      await assert.rejects(rows("SELECT sum(length(x)) FROM big"), /Cannot read bytes \d+-\d+ of/);
      assert.deepEqual(await rows("SELECT x FROM v"), [{ x: 1 }]);
      await place.gate.set("open");
      assert.deepEqual(await rows("SELECT count(*) AS n FROM big"), [{ n: 500 }]);
    });
  }));

test("offline: a replica that is open reads on from disk, with no option", () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    await place.with({}, async (_replica, rows) => {
      await place.gate.set("shut");
      assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
    });
  }));

test("offline: maxStaleMs holds for the time before the opening, too", () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    age(place, 60_000);
    await place.gate.set("shut");
    await place.with({ ...STALE, maxStaleMs: 50_000 }, async (replica, rows) => {
      await assert.rejects(rows(ALL), /StaleError: .*was last seen 6\d{4} ms ago/);
      const told: StaleEvent[] = [];
      replica.on("stale", (event) => told.push(event));
      await until("it is told", () => told.length > 0);
      assert.ok(told[0]!.lagMs >= 60_000);
      await place.gate.set("open");
      assert.equal(await replica.refresh(), 6n);
      assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
    });
  }));

test("offline: a clock that was set back makes nothing younger than now", () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    age(place, -3_600_000);
    await place.gate.set("shut");
    await place.with(STALE, (replica) => assert.ok(replica.lagMs < 60_000, `${replica.lagMs}`));
  }));

/** Opens offline, lets `change` happen, and waits for the state it made to be seen by itself. */
function comesBack(name: string, change: (place: CachedPlace) => void): void {
  test(`offline, and back: ${name}`, () =>
    CachedPlace.with(async (place) => {
      await prepare(place);
      age(place, 3_600_000);
      await place.gate.set("shut");
      await place.with({ ...STALE, pollIntervalMs: 20 }, async (replica, rows) => {
        assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
        await until("a look that failed", () => replica.stats().failedPolls > 0);
        change(place);
        await place.gate.set("open");
        await until("a look that went well", () => replica.lagMs < 1_000);
        assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
        assert.equal(replica.txid, BigInt(place.folder.txid));
        stepValueOf(place);
        await replica.waitFor(BigInt(place.folder.txid));
        assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
      });
    }));
}

function stepValueOf(place: CachedPlace): void {
  place.folder.step(`UPDATE v SET x = ${place.folder.txid + 1}`);
  place.push();
}

comesBack("nothing has happened", () => {});

comesBack("with new transactions", (place) => {
  for (let i = 0; i < 5; i++) stepValueOf(place);
});

comesBack("all known files were compacted, and nothing is new", (place) => {
  place.folder.clear();
  place.folder.snapshot();
  place.push();
});

comesBack("all known files were compacted, with new transactions", (place) => {
  const { folder } = place;
  const before = folder.txid;
  stepValue(folder, before + 3);
  folder.clear();
  folder.snapshot(before + 2);
  folder.write(1, before + 3, before + 3);
  place.push();
});

comesBack("files of level 0 were compacted into level 1, with new transactions", (place) => {
  const { folder } = place;
  const before = folder.txid;
  stepValue(folder, before + 3);
  folder.write(1, 4, before + 3);
  for (let txid = 4; txid <= before + 3; txid++) folder.delete(0, txid, txid);
  place.push();
});

test("offline, and back: another database took the place", () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    const other = await ReplicaFolder.make();
    try {
      other.step(
        "CREATE TABLE v (x); CREATE TABLE w (pad); INSERT INTO v VALUES ('other'); INSERT INTO w VALUES (1)",
      );
      for (const onReplaced of ["error", "follow"] as const) {
        age(place, 3_600_000);
        await place.gate.set("shut");
        await place.with({ ...STALE, pollIntervalMs: 20, onReplaced }, async (replica, rows) => {
          assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
          let isReplaced = false;
          replica.on("replaced", () => isReplaced = true);
          for (const key of place.s3.keys()) place.s3.remove(key);
          place.s3.put("db/0000/0000000000000001-0000000000000001.ltx", other.encode(1, 1));
          await place.gate.set("open");
          await until("it is told", () => isReplaced);
          if (onReplaced === "error") await assert.rejects(rows(ALL), /ReplacedError/);
          else await until("the other one", async () => (await rows("SELECT x FROM v"))[0]!.x === "other");
        });
        place.push(); // so that the second round begins with the first database
        await place.with({}, async (_replica, rows) => void await rows(ALL));
      }
    } finally {
      other.close();
    }
  }));

test("offline: a damaged last state counts as none, and the next opening makes a new one", () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    const plans = join(place.cacheDir, "plans");
    const path = join(plans, readdirSync(plans).find((name) => name.endsWith(".json"))!);
    const whole = readFileSync(path);
    const quick = { ...STALE, requestTimeoutMs: 1_000 };
    await place.gate.set("shut");
    for (const at of [0, 63, 64, 65, 100, whole.length - 1]) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 1;
      writeFileSync(path, damaged);
      await assert.rejects(place.open(quick), /Cannot list/, `byte ${at}`);
    }
    writeFileSync(path, whole.subarray(0, 200));
    await assert.rejects(place.open(quick), /Cannot list/);
    await place.gate.set("open");
    await place.with(quick, async () => {});
    await place.gate.set("shut");
    await place.with(
      quick,
      async (_replica, rows) => assert.deepEqual(await rows(ALL), place.folder.rows(ALL)),
    );
  }));

test("offline: at a bucket's root, where keys begin in one of two ways, the one that was seen is taken", () =>
  CachedPlace.with(async (place) => {
    place.folder.step("CREATE TABLE v (x); INSERT INTO v VALUES (1)");
    place.s3.put("/0000/0000000000000001-0000000000000001.ltx", place.folder.encode(1, 1));
    const root = { ...STALE, path: "" };
    await place.with(
      root,
      async (_replica, rows) => assert.deepEqual(await rows("SELECT x FROM v"), [{ x: 1 }]),
    );
    await place.gate.set("shut");
    await place.with(
      root,
      async (_replica, rows) => assert.deepEqual(await rows("SELECT x FROM v"), [{ x: 1 }]),
    );
  }));
