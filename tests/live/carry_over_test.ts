/** A state that comes to lie in other files keeps what of it is in memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica, type Replica, type ReplicaDatabase, type ReplicaStats } from "../../mod.ts";
import { assertSame, drivers, NOISE_SUM, noiseSql, rowsOf, withConnection } from "../replica/drivers.ts";
import { ASKED, census, until } from "../replica/following.ts";
import {
  type ReplicaFolder,
  type ReplicaFolderOptions,
  SNAPSHOT,
  withReplicaFolder,
} from "../support/replica_folder.ts";

/** Pages in memory that go with one of their run, at most. */
const RUN_PAGES = { off: 4, auto: 16 } as const;

/** A replica that is made and deleted again, of which nothing may be left in the shim. */
async function withoutRemains(
  options: ReplicaFolderOptions,
  use: (folder: ReplicaFolder) => Promise<void>,
): Promise<void> {
  const before = await census();
  await withReplicaFolder(options, use);
  await until("the shim is as before", async () => (await census()).every((n, i) => n <= before[i]!));
}

/** Pages that differ between two transactions. */
function changedPages(folder: ReplicaFolder, from: number, to: number): number {
  const [before, after] = [folder.bytesAt(from), folder.bytesAt(to)];
  let count = 0;
  for (let offset = 0; offset < after.length; offset += folder.pageSize) {
    const [old, now] = [before, after].map((bytes) => bytes.subarray(offset, offset + folder.pageSize));
    if (Buffer.compare(old!, now!) !== 0) count++;
  }
  return count;
}

/** Has SQLite itself keep next to nothing, so that a repeated query asks for its pages again. */
function forgetful(db: ReplicaDatabase): ReplicaDatabase {
  db.exec("PRAGMA cache_size = 1");
  return db;
}

/** Reads all rows, asserts that they are the source's, and gives what it cost. */
function readAll(replica: Replica, db: ReplicaDatabase, folder: ReplicaFolder): ReplicaStats {
  const mark = replica.stats();
  assert.deepEqual(rowsOf(db, NOISE_SUM), folder.rows(NOISE_SUM));
  return replica.stats(mark);
}

for (const { name, Database } of drivers) {
  test(`${name}: a query repeated after a snapshot fetches only what was written since`, () =>
    withoutRemains({}, async (folder) => {
      folder.record(noiseSql(1500));
      folder.snapshot();
      folder.step("UPDATE n SET x = randomblob(900) WHERE id = 700");
      await using replica = await openReplica(folder.url, ASKED);
      withConnection(
        replica,
        Database,
        (db) => assert.ok(readAll(replica, forgetful(db), folder).pagesLoaded > 300),
      );
      folder.snapshot();
      assert.equal(await replica.refresh(), 2n);
      folder.delete(SNAPSHOT, 1, 1);
      folder.delete(0, 2, 2);
      withConnection(replica, Database, (db) => {
        const mark = replica.stats();
        const again = readAll(replica, forgetful(db), folder);
        assert.ok(again.getRequests <= changedPages(folder, 1, 2), `${again.getRequests} requests`);
        assert.ok(again.hits > 300, `${again.hits} pages asked for`);
        assertSame(db, folder);
        assert.ok(replica.stats(mark).getRequests <= changedPages(folder, 1, 2));
      });
    }));
}

test("A connection goes on through a snapshot with what it had, a transaction too", () =>
  withoutRemains({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    folder.step("UPDATE n SET x = randomblob(900) WHERE id IN (300, 900)");
    await using replica = await openReplica(folder.url, ASKED);
    const [db, within] = [forgetful(replica.connect()), forgetful(replica.connect())];
    within.exec("BEGIN");
    for (const each of [db, within]) readAll(replica, each, folder);
    folder.snapshot();
    await replica.refresh();
    folder.delete(SNAPSHOT, 1, 1);
    folder.delete(0, 2, 2);
    const requests = [db, within].map((each) => readAll(replica, each, folder).getRequests);
    assert.ok(requests[0]! <= changedPages(folder, 1, 2), `${requests} requests`);
    assert.equal(requests[1], 0, "pages lay twice in memory, or were lost");
    within.exec("COMMIT");
    db.close();
    within.close();
  }));

for (const prefetch of ["off", "auto"] as const) {
  test(`prefetch "${prefetch}": what came with pages that changed later is all that is fetched again`, () =>
    withoutRemains({}, async (folder) => {
      folder.record(noiseSql(1500));
      folder.snapshot();
      await using replica = await openReplica(folder.url, { ...ASKED, prefetch });
      withConnection(
        replica,
        undefined,
        (db) => assert.ok(readAll(replica, forgetful(db), folder).pagesLoaded > 300),
      );
      folder.step("UPDATE n SET x = randomblob(900) WHERE id % 300 = 0");
      await replica.refresh();
      const changed = changedPages(folder, 1, 2);
      withConnection(replica, undefined, (db) => readAll(replica, forgetful(db), folder));
      const mark = replica.stats();
      folder.snapshot();
      await replica.refresh();
      folder.delete(SNAPSHOT, 1, 1);
      folder.delete(0, 2, 2);
      withConnection(replica, undefined, (db) => {
        const { misses } = readAll(replica, forgetful(db), folder);
        assert.ok(misses <= changed * RUN_PAGES[prefetch], `${misses} misses, ${changed} pages changed`);
        assertSame(db, folder);
      });
      assert.ok(replica.stats(mark).getRequests <= 2 + changed * RUN_PAGES[prefetch]);
    }));
}

for (const prefetch of ["off", "auto"] as const) {
  test(`prefetch "${prefetch}": snapshot after snapshot, each after a change, keeps memory in step`, () =>
    withoutRemains({}, async (folder) => {
      folder.record(noiseSql(1000));
      folder.snapshot();
      await using replica = await openReplica(folder.url, { ...ASKED, prefetch });
      withConnection(replica, undefined, (db) => {
        readAll(replica, forgetful(db), folder);
      });
      for (let round = 0; round < 6; round++) {
        const base = folder.txid;
        // Pages that change are others each time; in between the database grows and shrinks.
        folder.step(`UPDATE n SET x = randomblob(900) WHERE id % 97 = ${round}`);
        folder.step(round % 2 ? "DELETE FROM n WHERE id > 1000" : noiseRows(1001, 1040));
        await replica.refresh();
        withConnection(replica, undefined, (db) => readAll(replica, forgetful(db), folder));
        folder.snapshot();
        assert.equal(await replica.refresh(), BigInt(folder.txid));
        folder.delete(SNAPSHOT, 1, base);
        for (let txid = base + 1; txid <= folder.txid; txid++) folder.delete(0, txid, txid);
        withConnection(replica, undefined, (db) => {
          const changed = changedPages(folder, base, folder.txid);
          const { misses } = readAll(replica, forgetful(db), folder);
          assert.ok(misses <= changed * RUN_PAGES[prefetch], `${misses} misses, ${changed} pages changed`);
          assertSame(db, folder);
        });
      }
      assert.equal(replica.lastError, undefined);
    }));
}

/** SQL that adds rows to the table of noise. */
function noiseRows(first: number, last: number): string {
  return `WITH RECURSIVE i(i) AS (SELECT ${first} UNION ALL SELECT i + 1 FROM i WHERE i < ${last})
    INSERT INTO n SELECT i, randomblob(900) FROM i`;
}

test("A transaction on an earlier state keeps what is in memory of files that are gone", () =>
  withoutRemains({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    await using replica = await openReplica(folder.url, ASKED);
    const [db, within] = [replica.connect(), forgetful(replica.connect())];
    within.exec("BEGIN");
    rowsOf(within, "SELECT count(*) FROM sqlite_schema");
    readAll(replica, db, folder);
    const wanted = folder.rows(NOISE_SUM);
    folder.step("UPDATE n SET x = randomblob(900) WHERE id = 700");
    await replica.refresh();
    folder.snapshot();
    await replica.refresh();
    folder.delete(SNAPSHOT, 1, 1);
    folder.delete(0, 2, 2);
    const mark = replica.stats();
    assert.deepEqual(rowsOf(within, NOISE_SUM), wanted);
    assert.equal(replica.stats(mark).getRequests, 0);
    within.exec("COMMIT");
    for (const each of [within, db]) {
      assertSame(each, folder);
      each.close();
    }
  }));

test("A past state in the new file is not shown pages that were written after it", () =>
  withoutRemains({}, async (folder) => {
    // Rows 700 to 740 lie on neighbouring pages. TXID 3 and 5 write some of those, TXID 2 all.
    const some = "id BETWEEN 700 AND 740 AND id % 8 < 4";
    folder.record(noiseSql(1500));
    folder.snapshot();
    folder.record("UPDATE n SET x = randomblob(900) WHERE id > 100");
    folder.record(`UPDATE n SET x = randomblob(900) WHERE ${some}`);
    const all = "SELECT id, hex(x) AS x FROM n ORDER BY id";
    const third = folder.rows(all);
    folder.record("UPDATE n SET x = randomblob(900) WHERE id = 1");
    folder.record(`UPDATE n SET x = randomblob(900) WHERE ${some}`);
    folder.write(1, 2, 5);
    await using replica = await openReplica(folder.url, ASKED);
    withConnection(replica, undefined, (db) => readAll(replica, forgetful(db), folder));
    folder.snapshot(3);
    for (const txid of [4, 5]) folder.write(0, txid, txid);
    folder.delete(1, 2, 5);
    await replica.refresh();
    const past = replica.connect({ asOf: 3n });
    try {
      assert.deepEqual(rowsOf(past, all), third);
    } finally {
      past.close();
    }
    withConnection(replica, undefined, (db) => assertSame(db, folder));
  }));
