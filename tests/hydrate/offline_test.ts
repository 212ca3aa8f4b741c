/** A replica that cannot be reached, opened from the local copy that a process before has left. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { OpenOptions } from "../../mod.ts";
import { sealRecord } from "../../src/hydrate/hydration_record.ts";
import { CachedPlace } from "../cache/cached_place.ts";
import { recordValue, until } from "../replica/following.ts";

const ALL = "SELECT x, pad FROM v, w";

/** Options without a disk cache. */
function copied({ cacheDir }: CachedPlace, more: OpenOptions = {}): OpenOptions {
  return { cacheDir: undefined, hydrate: join(cacheDir, "copy.db"), offline: "serve-stale", ...more };
}

/** Makes a few transactions, and has them brought to a copy. */
async function prepare(place: CachedPlace): Promise<void> {
  const { folder } = place;
  recordValue(folder, 2);
  folder.record("CREATE TABLE w (pad); INSERT INTO w VALUES (randomblob(30000))");
  folder.snapshot();
  for (let txid = 4; txid <= 6; txid++) folder.step(`UPDATE v SET x = ${txid}`);
  place.push();
  await place.with(copied(place), (replica) => replica.hydrated());
}

test("a whole copy is opened without a network, and told to be old", () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    await place.gate.set("shut");
    const before = place.s3.log.length;
    await place.with(copied(place), async (replica, rows) => {
      assert.equal(replica.txid, 6n);
      assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
      assert.deepEqual(await rows("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
      assert.ok(replica.lagMs >= 0 && replica.lagMs < 60_000, `${replica.lagMs}`);
      assert.match(String(replica.lastError), /Cannot list/);
      await replica.hydrated();
      assert.equal(replica.hydration?.txid, 6n);
    });
    assert.equal(place.s3.log.length, before);
    assert.match(place.notices.join(), /cannot be reached: its last state is shown, TXID 0{15}6/);
  }));

test("it is followed again once the network is back, and the copy with it", () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    await place.gate.set("shut");
    await place.with(copied(place, { pollIntervalMs: 20 }), async (replica, rows) => {
      place.folder.step("UPDATE v SET x = 7");
      place.push();
      const read = place.s3.log.length;
      await place.gate.set("open");
      await until("TXID 7", () => replica.txid === 7n);
      assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
      await replica.hydrated();
      await until("the copy has it", () => replica.hydration?.txid === 7n);
      const snapshots = place.s3.log.slice(read).filter(({ key }) => key.startsWith("db/0009/"));
      assert.deepEqual(snapshots, [], "nothing that is there already is read");
    });
    await place.gate.set("shut");
    await place.with(copied(place), async (replica, rows) => {
      assert.equal(replica.txid, 7n);
      assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
    });
  }));

test("a copy that is not as it was left is refused in words", () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    await place.gate.set("shut");
    const path = join(place.cacheDir, "copy.db");
    const whole = readFileSync(path);
    for (let page = 0; page < whole.length; page += 4096) {
      const bytes = Uint8Array.from(whole);
      bytes[page + 2_000]! ^= 1;
      writeFileSync(path, bytes);
      await assert.rejects(
        place.open(copied(place)),
        /cannot be reached .*pages fit to their checksums, expected/s,
      );
    }
    writeFileSync(path, whole);
    truncateSync(path, whole.length - 4096);
    await assert.rejects(place.open(copied(place)), /cannot be reached .*bytes, expected/s);
    writeFileSync(path, whole);
    await place.with(copied(place), async (_replica, rows) => {
      assert.deepEqual(await rows(ALL), place.folder.rows(ALL));
    });
  }));

test("a copy that is ahead of the state that is shown without a network stays, and is taken over with it", () =>
  CachedPlace.with(async (place) => {
    const { folder, s3, gate, cacheDir, notices } = place;
    await prepare(place);
    await place.with({}, async (_replica, rows) => {
      assert.deepEqual(await rows(ALL), folder.rows(ALL));
    });
    folder.step("UPDATE v SET x = 7");
    place.push();
    const path = join(cacheDir, "copy.db");
    await place.with(copied(place), (replica) => replica.hydrated());
    const { seal: _, ...record } = JSON.parse(readFileSync(`${path}-state`, "utf8"));
    writeFileSync(`${path}-state`, sealRecord(JSON.stringify({ ...record, isWhole: false }))); // killed on its way to TXID 7
    await gate.set("shut");
    const options = { hydrate: path, offline: "serve-stale", pollIntervalMs: 20 } as const;
    await place.with(options, async (replica, rows) => {
      assert.equal(replica.txid, 6n);
      await until("the copy has to wait", () => notices.some((text) => text.includes("the copy has TXID")));
      assert.ok(existsSync(`${path}-state`));
      assert.equal((await rows("SELECT x FROM v"))[0]!.x, 6);
      s3.log.length = 0;
      await gate.set("open");
      await until("the copy has it", () => replica.hydration?.txid === 7n);
      const snapshots = s3.log.filter(({ key }) => key.startsWith("db/0009/"));
      assert.deepEqual(snapshots, [], "nothing that is there already is read");
    });
  }));

test("another process's copy, one of another replica, and none at all are of no use", () =>
  CachedPlace.with(async (place) => {
    await prepare(place);
    await place.with(copied(place), async () => {
      await place.gate.set("shut");
      await assert.rejects(place.open(copied(place)), /another process or replica has it/);
    });
    const soon = { requestTimeoutMs: 1_000 };
    for (const other of [{ hydrate: join(place.cacheDir, "none.db") }, { path: "elsewhere/" }]) {
      await assert.rejects(place.open({ ...copied(place, soon), ...other }), /^DeadlineError: Cannot list/);
    }
    await assert.rejects(
      place.open(copied(place, { write: true, bufferPath: join(place.cacheDir, "log") })),
      {
        message: /for writing: it cannot be reached/,
      },
    );
    await assert.rejects(
      place.open({ cacheDir: undefined, offline: "serve-stale", hydrate: true }),
      TypeError,
    );
  }));
