/** A replica that is written and has a copy: reads are local, writes are kept and stored, and both agree. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { rowsOf, withConnection } from "../replica/drivers.ts";
import { until } from "../replica/following.ts";
import { rounds } from "../soak/soak_support.ts";
import { openPlain } from "../support/sqlite.ts";
import { Random } from "../support/random.ts";
import {
  Child,
  type Place,
  readerOf,
  shorten,
  smallSql,
  SUM,
  withPlace,
  withServedPlace,
} from "./hydrating.ts";

const TIMEOUT = { timeout: 120_000 } as const;

function writing(place: Place, more: OpenOptions = {}): OpenOptions {
  return {
    write: true,
    bufferPath: join(place.folder.home, "log"),
    syncIntervalMs: 20,
    compact: false,
    ...more,
  };
}

/** What a fresh reader of the replica, and a plain one of the copy, see. */
async function assertStored(place: Place, wanted: unknown[]): Promise<void> {
  await using replica = await openReplica(place.url, place.access);
  await using reader = await readerOf(replica);
  assert.deepEqual(shorten(await reader.ask(SUM)), wanted);
  const plain = await openPlain(place.path);
  try {
    assert.deepEqual(plain.all("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
    assert.deepEqual(shorten(plain.all(SUM)), wanted);
  } finally {
    plain.close();
  }
}

test(
  "Commits before, at and after the switch to the copy equal the model",
  TIMEOUT,
  () =>
    withServedPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(4_000));
      folder.snapshot();
      place.upload();
      const release = place.hold();
      const replica = await place.open(writing(place));
      await using writer = await readerOf(replica);
      await using reader = await readerOf(replica);
      const before = 12;
      for (let x = 1, after = 0; after < 30; x++) {
        const part = x % 31;
        const sql = x % 10 === 0
          ? "DELETE FROM k WHERE id % 17 = 3"
          : `UPDATE k SET x = x || x'${part.toString(16).padStart(2, "0")}' WHERE id % 31 = ${part}`;
        for (const each of [`UPDATE v SET x = ${x}`, sql]) {
          await writer.ask(each);
          folder.source.exec(each);
        }
        const wanted = shorten(folder.rows(SUM));
        assert.deepEqual(shorten(await writer.ask(SUM)), wanted);
        assert.deepEqual(shorten(await reader.ask(SUM)), wanted);
        if (x < before) assert.equal(replica.hydration?.phase, "under-way");
        if (x === before) release();
        if (replica.hydration?.txid) after++;
        if (x % 7 === 0) await replica.sync();
      }
      await replica.sync();
      await replica.hydrated();
      const mark = replica.mark();
      assert.deepEqual(shorten(await reader.ask(SUM)), shorten(folder.rows(SUM)));
      assert.equal(replica.stats(mark).getRequests, 0);
      await replica.close();
      await assertStored(place, shorten(folder.rows(SUM)));
    }),
);

test(
  "What is committed and not stored yet is read beside the copy, and comes into it once it is stored",
  TIMEOUT,
  () =>
    withServedPlace({ pageSize: 512 }, async (place) => {
      const { folder, s3 } = place;
      folder.step(smallSql(500));
      place.upload();
      const replica = await place.openWhole(writing(place, { syncIntervalMs: 0 }));
      const db = replica.connect();
      const mark = replica.mark();
      s3.log.length = 0;
      db.exec("UPDATE v SET x = 7; UPDATE k SET x = x'00' WHERE id < 9");
      folder.source.exec("UPDATE v SET x = 7; UPDATE k SET x = x'00' WHERE id < 9");
      assert.deepEqual(shorten(rowsOf(db, SUM)), shorten(folder.rows(SUM)));
      assert.equal(s3.log.filter(({ method, key }) => method === "GET" && key !== "").length, 0);
      assert.ok(replica.stats(mark).localReads > 0);
      await replica.sync();
      await replica.hydrated();
      assert.equal(replica.hydration?.txid, 2n);
      assert.deepEqual(shorten(rowsOf(db, SUM)), shorten(folder.rows(SUM)));
      db.close();
      await replica.close();
      await place.openWhole().then((again) => again.close());
    }),
);

test(
  "Another process's commits are seen while nothing is pending, and written upon",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(400));
      const replica = await place.openWhole(writing(place));
      folder.step("UPDATE v SET x = 50; UPDATE k SET x = randomblob(400) WHERE id % 3 = 0");
      await replica.refresh();
      withConnection(replica, undefined, (db) => {
        assert.deepEqual(shorten(rowsOf(db, SUM)), shorten(folder.rows(SUM)));
        db.exec("UPDATE v SET x = x + 1");
        folder.source.exec("UPDATE v SET x = x + 1");
        assert.deepEqual(shorten(rowsOf(db, SUM)), shorten(folder.rows(SUM)));
      });
      await replica.sync();
      await replica.close();
      await assertStored(place, shorten(folder.rows(SUM)));
    }),
);

test(
  "A new database, written from its first page on, gets a copy",
  TIMEOUT,
  () =>
    withPlace({}, async (place) => {
      const replica = await place.open(writing(place));
      withConnection(replica, undefined, (db) => db.exec(smallSql(50)));
      const wanted = withConnection(replica, undefined, (db) => shorten(rowsOf(db, SUM)));
      await replica.sync();
      await replica.hydrated();
      withConnection(replica, undefined, (db) => assert.deepEqual(shorten(rowsOf(db, SUM)), wanted));
      await replica.close();
      await assertStored(place, wanted);
    }),
);

test(
  "A writer that is killed in any phase has all that it told of, and so has the copy",
  TIMEOUT,
  () =>
    withServedPlace({ pageSize: 512, latencyMs: 10, bytesPerSecond: 3_000_000 }, async (place) => {
      const random = new Random(rounds("HYDRATE_SEED", 3));
      place.folder.step(smallSql(2_000));
      place.folder.snapshot();
      place.upload();
      let last = 1;
      for (let round = 0; round < rounds("HYDRATE_KILLS", 5); round++) {
        await using child = new Child(place, { ...writing(place), commits: true });
        await child.line("open");
        const found = Number((await child.line("first")).slice(6));
        assert.ok(found >= last, `${found} after ${last}`);
        const phase = random.next(3);
        if (phase === 1) await until("some are committed", () => child.lines.length > 5 + random.next(20));
        if (phase === 2) await child.line("whole");
        await new Promise((resolve) => setTimeout(resolve, random.next(30)));
        await child.kill();
        const told = child.lines.filter((line) => line.startsWith("x "));
        last = Math.max(last, ...told.map((line) => Number(line.slice(2))));
      }
      const replica = await place.open(writing(place));
      await using reader = await readerOf(replica);
      assert.ok(Number((await reader.ask("SELECT x FROM v"))[0]!.x) >= last);
      const wanted = shorten(await reader.ask(SUM));
      await replica.sync();
      await replica.hydrated();
      assert.deepEqual(shorten(await reader.ask(SUM)), wanted);
      assert.deepEqual(await reader.ask("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
      await replica.close();
      await assertStored(place, wanted);
    }),
);

test(
  "A reader of another thread sees a writer's commits over the copy, each as a whole",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      place.folder.step(
        "CREATE TABLE a(x); CREATE TABLE b(x); INSERT INTO a VALUES (0); INSERT INTO b VALUES (0)",
      );
      const replica: Replica = await place.open(writing(place));
      await using reader = await readerOf(replica);
      const db = replica.connect();
      let isOver = false;
      const reading = (async () => {
        let last = 0;
        while (!isOver) {
          const [row] = await reader.ask("SELECT a.x AS a, b.x AS b FROM a, b") as { a: number; b: number }[];
          assert.equal(row!.a, row!.b);
          assert.ok(row!.a >= last);
          last = row!.a;
        }
        return last;
      })();
      for (let i = 1; i <= 200; i++) {
        db.exec(`BEGIN; UPDATE a SET x = ${i}; UPDATE b SET x = ${i}; COMMIT`);
        if (i % 20 === 0) await replica.sync();
        else await new Promise((resolve) => setTimeout(resolve, 1));
      }
      isOver = true;
      assert.ok(await reading > 0);
      db.close();
      await replica.close();
    }),
);
