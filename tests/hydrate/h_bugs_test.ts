/** Bugs of upstream's hydration, H1 to H9, none of which is here. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { stepValue, until } from "../replica/following.ts";
import { assertSame, noiseSql, rowsOf, valueOf, withConnection } from "../replica/drivers.ts";
import { CHECKSUM_FLAG, pageChecksum, rollChecksum } from "../../src/ltx/checksum.ts";
import { encodeFile } from "../../src/ltx/encoder.ts";
import type { Lz4 } from "../../src/ltx/lz4.ts";
import { nativeLz4 } from "../support/native_lz4.ts";
import { type ReplicaFolder, SNAPSHOT } from "../support/replica_folder.ts";
import { readerOf, shorten, smallSql, SUM, withPlace, withServedPlace } from "./hydrating.ts";

/** The file of one transaction, with the database's checksum before and after it. */
function tracked(folder: ReplicaFolder, txid: number, lz4: Lz4): Uint8Array<ArrayBuffer> {
  const { pageSize } = folder;
  const pagesAt = (at: number) =>
    Array.from({ length: at === 0 ? 0 : folder.commitAt(at) }, (_, i) => {
      return { pgno: i + 1, page: folder.bytesAt(at).subarray(i * pageSize, (i + 1) * pageSize) };
    });
  const checksumAt = (at: number) =>
    pagesAt(at).reduce((sum, { pgno, page }) => rollChecksum(sum, pageChecksum(pgno, page)), CHECKSUM_FLAG);
  const before = pagesAt(txid - 1);
  const fields = {
    pageSize,
    commit: folder.commitAt(txid),
    minTxid: BigInt(txid),
    maxTxid: BigInt(txid),
    timestampMs: 1_700_000_000_000 + txid * 1000,
    flags: 0,
    preApplyChecksum: txid === 1 ? 0n : checksumAt(txid - 1),
  };
  const changed = pagesAt(txid).filter(({ page }, i) =>
    !before[i] || Buffer.compare(page, before[i].page) !== 0
  );
  return encodeFile(fields, changed, { lz4, postApplyChecksum: checksumAt(txid) });
}

const TIMEOUT = { timeout: 60_000 } as const;

test(
  "H1: what is committed while the copy comes is seen, and stays when it is whole",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder } = place;
      folder.record(noiseSql(3_000));
      folder.snapshot();
      place.upload();
      await using replica = await place.open();
      const release = place.hold();
      await using reader = await readerOf(replica);
      folder.step("CREATE TABLE v (x); INSERT INTO v VALUES (2)");
      for (let txid = 3; txid <= 6; txid++) {
        stepValue(folder, txid);
        place.upload();
        await replica.refresh();
        assert.equal(replica.hydration?.phase, "under-way");
        assert.deepEqual(await reader.ask("SELECT x FROM v"), [{ x: txid }]);
      }
      release();
      await replica.hydrated();
      assert.deepEqual(await reader.ask("SELECT x FROM v"), [{ x: 6 }]);
      assert.equal(replica.hydration?.txid, 6n);
      withConnection(replica, undefined, (db) => assertSame(db, folder));
      await replica.close();
      await place.assertCopy();
    }),
);

test(
  "H2: connections of one replica, and replicas of one process, do not take the copy from each other",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(500));
      await using first = await place.openWhole();
      await using second = await place.open();
      await using privately = await place.openWhole({ hydrate: true });
      const wanted = shorten(folder.rows(SUM));
      const connections = [first, first, second, second, privately].map((replica) => replica.connect());
      for (const db of [...connections, ...connections]) assert.deepEqual(shorten(rowsOf(db, SUM)), wanted);
      assert.equal(second.hydration?.phase, "under-way");
      assert.equal(second.hydration?.pages, 0);
      for (const db of connections) db.close();
    }),
);

for (const gone of [2, 4] as const) {
  test(
    `H3: a resumed copy has what was compacted away meanwhile; transactions 2-${gone}`,
    TIMEOUT,
    () =>
      withPlace({ pageSize: 512 }, async (place) => {
        const { folder } = place;
        folder.step(smallSql(300));
        await place.make();
        for (let txid = 2; txid <= 6; txid++) {
          folder.step(`UPDATE k SET x = randomblob(400) WHERE id % 50 = ${txid}`);
        }
        folder.write(1, 2, gone);
        for (let txid = 2; txid <= gone; txid++) folder.delete(0, txid, txid);
        await using replica = await place.openWhole();
        assert.equal(replica.hydration?.txid, 6n);
        withConnection(replica, undefined, (db) => assertSame(db, folder));
        await replica.close();
        await place.assertCopy();
      }),
  );
}

test(
  "H4: a reader keeps its state while the copy goes on; shrinking waits for it, and is applied then",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(400));
      await using replica = await place.openWhole();
      const before = shorten(folder.rows(SUM));
      const [reader, other] = [replica.connect(), replica.connect()];
      reader.exec("BEGIN");
      assert.equal(valueOf(reader, "SELECT x FROM v"), 1);
      folder.step("UPDATE k SET x = randomblob(400); INSERT INTO k(x) SELECT randomblob(400) FROM k");
      await replica.refresh();
      const added = folder.commitAt(2) - folder.commitAt(1);
      await until("pages come that the reader does not see", () => replica.hydration!.pages >= added);
      assert.equal(replica.hydration?.phase, "under-way");
      assert.deepEqual(shorten(rowsOf(reader, SUM)), before);
      folder.step("DELETE FROM k WHERE id > 20");
      folder.step("VACUUM");
      await replica.refresh();
      assertSame(other, folder);
      assert.deepEqual(shorten(rowsOf(reader, SUM)), before);
      reader.exec("COMMIT");
      await replica.hydrated();
      assertSame(reader, folder);
      assert.equal(replica.hydration?.pagesTotal, folder.commitAt(4));
      for (const db of [reader, other]) db.close();
      await replica.close();
      await place.assertCopy();
    }),
);

test(
  "H5: connections that break while the copy comes cost their own part only",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      folder.record(noiseSql(6_000));
      folder.snapshot();
      place.upload();
      const size = folder.sizeOf(SNAPSHOT, 1, 1);
      let broken = 0;
      s3.options.faults.pick = ({ key }) => {
        if (key === "" || s3.log.length % 3 !== 0 || broken >= 3) return undefined;
        broken++;
        return { kind: "cut", after: 100_000 };
      };
      await using replica = await place.openWhole();
      assert.equal(broken, 3);
      const sent = s3.log.reduce((sum, { bytes }) => sum + bytes, 0);
      assert.ok(sent < size * 1.5, `${sent} bytes for a file of ${size}`);
      assert.ok(s3.log.every(({ concurrency }) => concurrency <= 16));
      await replica.close();
      await place.assertCopy();
    }),
);

test(
  "H6: a small file costs one request, whatever it changes, and reading it none",
  TIMEOUT,
  () =>
    withServedPlace({ pageSize: 512 }, async (place) => {
      const { folder, s3 } = place;
      folder.step(smallSql(500));
      place.upload();
      await using replica = await place.openWhole();
      const db = replica.connect();
      for (let txid = 2; txid <= 6; txid++) {
        folder.step(`UPDATE v SET x = ${txid}; UPDATE k SET x = randomblob(400) WHERE id % 5 = ${txid % 5}`);
        place.upload();
        s3.log.length = 0;
        await replica.refresh();
        assert.deepEqual(shorten(rowsOf(db, SUM)), shorten(folder.rows(SUM)));
        await replica.hydrated();
        assert.deepEqual(shorten(rowsOf(db, SUM)), shorten(folder.rows(SUM)));
        const found = s3.log.filter(({ key, status }) => key !== "" && status < 300);
        assert.equal(found.length, 1, found.map(({ target }) => target).join("\n"));
      }
      db.close();
    }),
);

test(
  "H7: a copy knows where it stands without a clean end",
  TIMEOUT,
  () =>
    withServedPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(500));
      place.upload();
      await using replica = await place.openWhole();
      folder.step("UPDATE v SET x = 2");
      place.upload();
      await replica.refresh();
      await replica.hydrated();
      await until("the record follows", () => place.record().txid === "2" && place.record().isWhole);
      assert.ok(place.record().files.length >= 2);
    }),
);

test(
  "H8: time travel and a copy do without each other, before, while and after it becomes whole",
  TIMEOUT,
  () =>
    withServedPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(4_000));
      folder.snapshot();
      stepValue(folder, 4);
      place.upload();
      await using replica = await place.open();
      const release = place.hold();
      await using past = await readerOf(replica);
      await using reader = await readerOf(replica);
      const at = (txid: number) =>
        `PRAGMA litestream_time = '${new Date(1_700_000_000_001 + txid * 1000).toISOString()}'`;
      await past.ask(at(2));
      assert.deepEqual(await past.ask("SELECT x FROM v"), [{ x: 2 }]);
      assert.equal(replica.hydration?.phase, "under-way");
      release();
      await replica.hydrated();
      assert.deepEqual(await past.ask("SELECT x FROM v"), [{ x: 2 }]);
      await reader.ask(at(3));
      assert.deepEqual(await reader.ask("SELECT x FROM v"), [{ x: 3 }]);
      await reader.ask("PRAGMA litestream_time = latest");
      const mark = replica.mark();
      assert.deepEqual(shorten(await reader.ask(SUM)), shorten(folder.rows(SUM)));
      const { getRequests, localReads } = replica.stats(mark);
      assert.equal(getRequests, 0);
      assert.ok(localReads > 1_000, `${localReads} reads`);
      stepValue(folder, 5);
      place.upload();
      await replica.refresh();
      await replica.hydrated();
      assert.deepEqual(await past.ask("SELECT x FROM v"), [{ x: 2 }]);
      assert.deepEqual(await reader.ask("SELECT x FROM v"), [{ x: 5 }]);
    }),
);

test(
  "H9: files with a checksum over the database are taken like any others",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(300));
      stepValue(folder, 3);
      const lz4 = await nativeLz4();
      for (let txid = 1; txid <= 3; txid++) {
        folder.put(folder.pathOf(0, txid, txid), tracked(folder, txid, lz4));
      }
      await place.make();
      await place.assertCopy();
    }),
);

test("A private copy leaves nothing behind", TIMEOUT, () =>
  withPlace({}, async (place) => {
    stepValue(place.folder, 2);
    await using replica = await place.openWhole({ hydrate: true });
    withConnection(replica, undefined, (db) => assert.equal(valueOf(db, "SELECT x FROM v"), 2));
    assert.equal(replica.hydration?.path, undefined);
    assert.ok(!existsSync(place.path));
    assert.deepEqual(readdirSync(place.folder.home).sort(), ["replica", "source.db"]);
  }));
