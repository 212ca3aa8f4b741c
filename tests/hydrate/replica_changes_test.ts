/** What becomes of a copy when the replica changes: replaced, rewritten, compacted, out of reach. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Replica } from "../../mod.ts";
import { assertSame, noiseSql, rowsOf, valueOf, withConnection } from "../replica/drivers.ts";
import { stepValue, takeAway, until } from "../replica/following.ts";
import { FaultSchedule } from "../support/faults.ts";
import { ReplicaFolder, SNAPSHOT } from "../support/replica_folder.ts";
import { bytesSent, readerOf, shorten, smallSql, SUM, withPlace, withServedPlace } from "./hydrating.ts";

const TIMEOUT = { timeout: 120_000 } as const;

/** Reads all, and tells whether that took any request. */
function assertReads(replica: Replica, folder: ReplicaFolder): void {
  const mark = replica.mark();
  withConnection(replica, undefined, (db) => assertSame(db, folder));
  assert.equal(replica.stats(mark).getRequests, 0);
}

for (const pageSize of [512, 4096]) {
  for (const isWhole of [true, false]) {
    const when = isWhole ? "whole" : "coming";
    test(
      `A replica that is replaced by one of ${pageSize}-byte pages while its copy is ${when}`,
      TIMEOUT,
      () =>
        withPlace({ pageSize: 512 }, async (place) => {
          const other = await ReplicaFolder.make({ pageSize });
          try {
            const { folder } = place;
            folder.step(smallSql(3_000));
            stepValue(folder, 3);
            other.step(smallSql(700));
            other.step("UPDATE v SET x = 2");
            other.step("UPDATE v SET x = 3");
            const replica = await place.open({ onReplaced: "follow" } as never);
            if (isWhole) await replica.hydrated();
            const db = replica.connect();
            const sql = "SELECT x FROM v";
            db.exec("BEGIN");
            assert.equal(valueOf(db, sql), 3);
            const before = isWhole ? shorten(rowsOf(db, SUM)) : [];
            folder.replaceBy(other);
            await replica.refresh();
            if (isWhole) assert.deepEqual(shorten(rowsOf(db, SUM)), before);
            db.exec("COMMIT");
            assert.deepEqual(shorten(rowsOf(db, SUM)), shorten(other.rows(SUM)));
            await replica.hydrated();
            assertReads(replica, other);
            db.close();
            await replica.close();
            const again = await place.openWhole();
            assertReads(again, other);
            await again.close();
          } finally {
            other.close();
          }
        }),
    );
  }
}

test(
  "All files of the replica may go once the copy is whole: compaction and retention cost no page",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(400));
      stepValue(folder, 6);
      const replica = await place.openWhole();
      for (let txid = 7; txid <= 20; txid++) {
        folder.step(`UPDATE v SET x = ${txid}; UPDATE k SET x = randomblob(400) WHERE id % 20 = ${txid}`);
        if (txid % 3 === 0) folder.write(1, txid - 2, txid);
        if (txid % 5 === 0) folder.snapshot();
        if (txid === 15) {
          for (let gone = 1; gone < 13; gone++) folder.delete(0, gone, gone);
          folder.delete(SNAPSHOT, 1, 10);
        }
        await replica.refresh();
        await replica.hydrated();
        assertReads(replica, folder);
      }
      const back = takeAway(folder);
      assertReads(replica, folder);
      back();
      await replica.close();
      await place.assertCopy();
    }),
);

test(
  "A replica that is copied elsewhere and back, all its objects new, goes on, and so does its copy",
  TIMEOUT,
  () =>
    withServedPlace({ pageSize: 512 }, async (place) => {
      const { folder, s3 } = place;
      folder.step(smallSql(400));
      stepValue(folder, 4);
      place.upload();
      const replica = await place.openWhole();
      const all = s3.keys().map((key) => ({ key, bytes: s3.get(key)! }));
      for (const { key } of all) s3.remove(key);
      for (const { key, bytes } of all) s3.put(key, bytes);
      stepValue(folder, 6);
      place.upload();
      await replica.refresh();
      await replica.hydrated();
      await using reader = await readerOf(replica);
      assert.deepEqual(shorten(await reader.ask(SUM)), shorten(folder.rows(SUM)));
      await replica.close();
      await place.assertCopy();
    }),
);

test(
  "Storage that fails for a while delays a copy, and what is resumed stays resumed",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      folder.record(noiseSql(3_000));
      folder.snapshot();
      place.upload();
      await place.make();
      folder.step("CREATE TABLE v (x); INSERT INTO v VALUES (1)");
      stepValue(folder, 5);
      folder.snapshot();
      place.upload();
      // The state is the snapshot's; what was changed since stands in files that nothing else asks for.
      s3.options.faults = new FaultSchedule([{
        key: "/0000/",
        method: "GET",
        on: "object",
        times: 40,
        fault: { kind: "status", status: 503 },
      }]);
      const size = folder.sizeOf(SNAPSHOT, 1, 5);
      s3.log.length = 0;
      const replica = await place.open({ readTimeoutMs: 1_000 });
      await replica.hydrated();
      assert.ok(s3.log.filter(({ status }) => status === 503).length > 0);
      assert.ok(bytesSent(s3) < size / 2, `${bytesSent(s3)} bytes of ${size}`);
      await replica.close();
      await place.assertCopy();
    }),
);

test(
  "A copy is resumed without files that were listed, and are gone by now",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      folder.record(noiseSql(1_000));
      folder.snapshot();
      place.upload();
      await place.make();
      folder.step("CREATE TABLE v (x); INSERT INTO v VALUES (1)");
      stepValue(folder, 5);
      folder.snapshot();
      place.upload();
      s3.options.faults = new FaultSchedule([{
        key: "/0000/",
        method: "GET",
        on: "object",
        fault: { kind: "status", status: 404, code: "NoSuchKey" },
      }]);
      s3.log.length = 0;
      const replica = await place.openWhole();
      assert.ok(s3.log.length < 60, `${s3.log.length} requests`);
      await replica.close();
      await place.assertCopy();
    }),
);

test(
  "Files that go while the copy comes are found elsewhere",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder } = place;
      folder.step(noiseSql(3_000));
      folder.step("UPDATE n SET x = randomblob(900) WHERE id > 1500");
      folder.step("CREATE TABLE v (x); INSERT INTO v VALUES (1)");
      place.upload();
      const release = place.hold();
      const replica = await place.open();
      folder.snapshot();
      folder.delete(0, 1, 1);
      folder.delete(0, 2, 2);
      place.upload();
      release();
      await replica.hydrated();
      await replica.close();
      await place.assertCopy();
    }),
);

test(
  "A copy is not whole while pages are read from files that the newest state was led to meanwhile",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      folder.record(noiseSql(2_000));
      folder.snapshot();
      for (let i = 0; i < 4; i++) folder.step(`UPDATE n SET x = randomblob(900) WHERE id % 100 = ${i}`);
      place.upload();
      const release = place.hold();
      const replica = await place.open();
      await until("the copy has begun", () => s3.log.some(({ status }) => status === 503));
      folder.write(1, 2, 5);
      place.upload();
      await replica.refresh();
      release();
      await replica.hydrated();
      const { pages, pagesTotal } = replica.hydration!;
      assert.equal(pages, pagesTotal);
      assertReads(replica, folder);
      await replica.close();
      await place.assertCopy();
    }),
);

test(
  "A copy that is closed before it is whole goes on where it was",
  TIMEOUT,
  () =>
    withServedPlace({ bytesPerSecond: 1_500_000 }, async (place) => {
      const { folder, s3 } = place;
      folder.record(noiseSql(12_000));
      folder.snapshot();
      place.upload();
      const replica = await place.open();
      await until("a third is there", () => replica.hydration!.pages > folder.commitAt(1) / 3);
      const { pages } = replica.hydration!;
      await replica.close();
      s3.options.bytesPerSecond = 0;
      s3.log.length = 0;
      await place.make();
      const size = folder.sizeOf(SNAPSHOT, 1, 1);
      const most = size * (1 - pages / folder.commitAt(1)) + 1_500_000;
      assert.ok(bytesSent(s3) < most, `${bytesSent(s3)} bytes of ${size}, expected below ${most}`);
      await place.assertCopy();
    }),
);

test(
  "Queries bring their pages first, whatever the copy is busy with",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder } = place;
      folder.step(smallSql(12_000));
      folder.snapshot();
      place.upload();
      const release = place.hold();
      const replica = await place.open();
      await using reader = await readerOf(replica);
      assert.deepEqual(await reader.ask("SELECT count(*) AS n FROM k WHERE id IN (5, 6000, 11999)"), [{
        n: 3,
      }]);
      assert.equal(replica.hydration?.phase, "under-way");
      release();
      await replica.hydrated();
      await replica.close();
    }),
);

test("a connection to the past of the newest TXID goes on when its files are deleted, and the copy stays the newest state's", () =>
  withPlace({}, async (place) => {
    const { folder } = place;
    folder.step(noiseSql(1500));
    folder.step("UPDATE n SET x = randomblob(900) WHERE id = 1");
    await using replica = await place.openWhole({ cacheBytesMax: 1024 * 1024, prefetch: "off" });
    const past = [replica.connect({ asOf: 2n }), replica.connect({ asOf: 2n })];
    for (const db of past) assert.equal(valueOf(db, "SELECT count(*) FROM sqlite_schema"), 1);
    folder.snapshot();
    folder.delete(0, 1, 1);
    for (const db of past) assertSame(db, folder);
    assertReads(replica, folder);
    for (const db of past) db.close();
  }));
