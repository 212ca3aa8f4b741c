/** What a query costs: requests, pages, and none of either when nothing has changed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { drivers, NOISE_SUM, noiseSql, rowsOf, tableSql, valueOf, withConnection } from "./drivers.ts";

/** What a miss brings at most, its neighbours included, and the next one, where that is near the first. */
const FIRST_MISS_BYTES = 16 * 1024;
const SECOND_MISS_BYTES = 64 * 1024;

for (const { name, Database } of drivers) {
  test(`R9: ${name} repeats a query without a request or a miss, transaction after transaction`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(tableSql(2000));
      folder.snapshot();
      await using replica = await openReplica(folder.url);
      withConnection(replica, Database, (db) => {
        const sql = "SELECT count(*) AS n, sum(length(b)) AS s FROM t";
        const wanted = folder.rows(sql);
        assert.deepEqual(rowsOf(db, sql), wanted);
        const mark = replica.stats();
        for (let i = 0; i < 20; i++) assert.deepEqual(rowsOf(db, sql), wanted);
        const { getRequests, listRequests, misses, hits, transactions } = replica.stats(mark);
        assert.deepEqual({ getRequests, listRequests, misses }, {
          getRequests: 0,
          listRequests: 0,
          misses: 0,
        });
        assert.equal(hits, 0, "SQLite asked again for pages that it had");
        assert.equal(transactions, 20);
      });
    }));
}

test("R9: the change counter and what goes with it stay the same from read to read", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(tableSql(10));
    await using replica = await openReplica(folder.url);
    const [a, b] = [replica.connect(), replica.connect()];
    const version = "PRAGMA data_version";
    const seen = [1, 2, 3].flatMap(() => [valueOf(a, version), valueOf(b, version)]);
    assert.equal(new Set(seen).size, 1);
    assert.equal(valueOf(a, "PRAGMA journal_mode"), "delete");
    assert.equal(valueOf(a, "PRAGMA journal_mode = wal"), "delete");
    a.close();
    b.close();
  }));

test(
  "R10: a trivial query costs the same on a large database as on a small one",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({ pageSize: 512 }, (small) =>
      withReplicaFolder({ pageSize: 512 }, async (large) => {
        small.step("CREATE TABLE one (a); INSERT INTO one VALUES (1)");
        large.record(`CREATE TABLE one (a); INSERT INTO one VALUES (1); CREATE TABLE z (x); INSERT INTO z
        WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 300) SELECT zeroblob(100000) FROM i`);
        large.snapshot();
        assert.ok(large.commitAt(1) > 55_000);
        const times = await Promise.all([small, large].map(async (folder) => {
          await using replica = await openReplica(folder.url);
          return withConnection(replica, undefined, (db) => {
            const statement = db.prepare("SELECT a FROM one");
            const run = () => {
              const began = performance.now();
              for (let i = 0; i < 500; i++) statement.get();
              return performance.now() - began;
            };
            run();
            return Math.min(...Array.from({ length: 7 }, run));
          });
        }));
        assert.ok(times[1]! < times[0]! * 5 + 5, `${times} ms for 500 queries`);
      })),
);

test("Replica.stats() counts since opening, and since a mark", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1000));
    folder.snapshot();
    await using replica = await openReplica(folder.url, { prefetch: "off" });
    const opened = replica.stats();
    assert.deepEqual([opened.listRequests, opened.getRequests, opened.misses], [1, 2, 0]);
    withConnection(replica, undefined, (db) => rowsOf(db, NOISE_SUM));
    const all = replica.stats();
    const since = replica.stats(opened);
    assert.ok(since.misses > 0 && since.getRequests > 0 && since.bytes > 500_000);
    assert.equal(since.misses, all.misses);
    assert.equal(since.getRequests, all.getRequests - 2);
    assert.equal(since.listRequests, 0);
    assert.ok(since.getRequests <= since.misses);
    assert.ok(since.pagesLoaded >= since.misses);
    assert.ok(all.poolBytes >= all.pagesLoaded * 4096 - all.pagesEvicted * 4096);
    await replica.close();
    assert.equal(replica.stats().misses, all.misses);
  }));

test("Replica fetches a neighbourhood with a missed page, not each page by itself", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(2000));
    folder.snapshot();
    await using replica = await openReplica(folder.url, { prefetch: "off" });
    withConnection(replica, undefined, (db) => rowsOf(db, NOISE_SUM));
    const { getRequests, pagesLoaded } = replica.stats();
    assert.ok(pagesLoaded >= folder.commitAt(1) - 1);
    assert.ok(getRequests < pagesLoaded / 2.5, `${getRequests} requests for ${pagesLoaded} pages`);
  }));

for (const prefetch of ["off", "auto"] as const) {
  test(`Replica: a point query takes two reads of few bytes, prefetch "${prefetch}"`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(8000));
      folder.snapshot();
      await using replica = await openReplica(folder.url, { prefetch });
      const mark = replica.stats();
      withConnection(replica, undefined, (db) => valueOf(db, "SELECT x FROM n WHERE id = 4000"));
      const { bytes, getRequests, aheadPages } = replica.stats(mark);
      assert.deepEqual([getRequests, aheadPages], [2, 0]);
      assert.ok(bytes <= FIRST_MISS_BYTES + SECOND_MISS_BYTES, `${bytes} bytes`);
    }));
}

test("Replica: two connections share buffers", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1000));
    folder.snapshot();
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => rowsOf(db, NOISE_SUM));
    const mark = replica.stats();
    withConnection(replica, undefined, (db) => rowsOf(db, NOISE_SUM));
    const { misses, getRequests, hits } = replica.stats(mark);
    assert.deepEqual([misses, getRequests], [0, 0]);
    assert.ok(hits > 200);
  }));
