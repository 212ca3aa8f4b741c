/** What a replica, a connection and a transaction took: totals, marks, what each driver reaches, and the price. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  joinReplica,
  type OpenOptions,
  openReplica,
  priceOf,
  type Replica,
  ReplicaError,
} from "../../mod.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { NOISE_SUM, noiseSql, rowsOf, valueOf, withConnection } from "./drivers.ts";

const drivers = await allDrivers();
/** In the middle: what lies at either end came with the opening. */
const row = (id: number): string => `SELECT x FROM n WHERE id = ${id}`;
const OFF: OpenOptions = { prefetch: "off", pollIntervalMs: 0 };

function statsTest(
  name: string,
  options: OpenOptions,
  use: (replica: Replica) => Promise<void> | void,
): void {
  test(name, { timeout: 60_000 }, () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(1000));
      folder.snapshot();
      await using replica = await openReplica(folder.url, options);
      await use(replica);
    }));
}

for (const { name, Database } of drivers) {
  statsTest(`stats({ connection }): ${name} has what came since it alone was opened`, OFF, (replica) => {
    withConnection(replica, Database, (other) => rowsOf(other, row(400)));
    const mark = replica.mark();
    withConnection(replica, Database, (db) => {
      rowsOf(db, NOISE_SUM);
      const { connection } = replica.stats({ connection: db });
      const total = replica.stats(mark);
      for (const [counter, count] of Object.entries(connection)) {
        if (counter === "roundTrips") assert.ok(count > 0 && count <= connection.misses);
        else assert.equal(count, total[counter as keyof typeof total], counter);
      }
      assert.ok(connection.misses > 2 && connection.bytesUsed > 500_000, JSON.stringify(connection));
    });
  });

  statsTest(`stats({ connection }): ${name} tells its transactions apart`, OFF, (replica) => {
    withConnection(replica, Database, (db) => {
      const { connection: opened, transaction: none } = replica.stats({ connection: db });
      assert.equal(opened.transactions, 0);
      assert.ok(Object.values(none).every((count) => count === 0), JSON.stringify(none));
      db.exec("BEGIN");
      rowsOf(db, row(400));
      const { transaction: first } = replica.stats({ connection: db });
      assert.ok(first.misses > 0 && first.bytesUsed > 0);
      rowsOf(db, row(700));
      const { transaction: both, connection } = replica.stats({ connection: db });
      assert.ok(both.misses > first.misses && both.bytesUsed > first.bytesUsed);
      db.exec("COMMIT");
      assert.deepEqual(replica.stats({ connection: db }).transaction, both);
      rowsOf(db, row(700));
      const { transaction: repeated, connection: after } = replica.stats({ connection: db });
      assert.deepEqual([repeated.misses, repeated.getRequests, repeated.bytesUsed], [0, 0, 0]);
      assert.equal(after.misses, connection.misses);
      assert.equal(after.transactions, connection.transactions + 1);
    });
  });

  statsTest(`litestream_stats: ${name} gives totals, connection and transaction as JSON`, OFF, (replica) => {
    withConnection(replica, Database, (other) => rowsOf(other, NOISE_SUM));
    withConnection(replica, Database, (db) => {
      for (const sql of ["PRAGMA litestream_stats", "SELECT litestream_stats()"]) {
        rowsOf(db, row(400));
        const { connection, transaction, ...total } = JSON.parse(String(valueOf(db, sql)));
        assert.deepEqual({ connection, transaction }, replica.stats({ connection: db }));
        const { poolBytes: _, pinned: __, ...counters } = replica.stats();
        for (const [counter, count] of Object.entries(counters)) assert.equal(total[counter], count, counter);
        assert.ok(total.misses > connection.misses);
      }
    });
  });
}

statsTest("stats(): a mark and an earlier result mean the same", OFF, (replica) => {
  const [before, mark] = [replica.stats(), replica.mark()];
  withConnection(replica, undefined, (db) => rowsOf(db, row(400)));
  assert.deepEqual(replica.stats(mark), replica.stats(before));
  assert.ok(replica.stats(mark).misses > 0);
  assert.equal(replica.stats(replica.mark()).misses, 0);
  assert.equal(replica.stats(replica.mark()).poolBytes, replica.stats().poolBytes);
});

statsTest("stats(): what is loaded ahead is its connection's", { pollIntervalMs: 0 }, (replica) => {
  withConnection(replica, undefined, (db) => {
    rowsOf(db, NOISE_SUM);
    const { connection, transaction } = replica.stats({ connection: db });
    assert.ok(transaction.aheadPages > 20 && transaction.aheadHits > 20, JSON.stringify(transaction));
    assert.ok(transaction.aheadHits <= transaction.aheadPages);
    assert.ok(connection.getRequests >= transaction.getRequests);
    assert.ok(transaction.roundTrips < transaction.getRequests + 1);
  });
});

statsTest(
  "stats({ connection }) knows those of its own connect(), while they are open",
  OFF,
  async (replica) => {
    await using joined = await joinReplica(replica.share());
    const db = joined.connect();
    rowsOf(db, row(400));
    assert.ok(joined.stats({ connection: db }).connection.misses > 0);
    assert.throws(() => replica.stats({ connection: db }), (error) => {
      assert.ok(error instanceof ReplicaError);
      assert.match(error.message, /^Cannot count .*: connect\(\) of this replica gave no such database$/);
      return true;
    });
    db.close();
    assert.throws(() => joined.stats({ connection: db }), /: it was closed$/);
  },
);

statsTest("stats({ connection }) goes on when the replica is closed", OFF, async (replica) => {
  const db = replica.connect();
  rowsOf(db, row(400));
  const before = replica.stats({ connection: db });
  await replica.close();
  assert.deepEqual(replica.stats({ connection: db }), before);
  db.close();
});

test("priceOf() is a thousandth of the price of a thousand, for each request", () => {
  assert.equal(priceOf({ getRequests: 1_000_000 }).toFixed(6), "0.400000");
  assert.equal(priceOf({ getRequests: 0, listRequests: 1_000_000 }).toFixed(6), "5.000000");
  assert.equal(priceOf({ getRequests: 3, listRequests: 5 }, { getPer1000: 1000, listPer1000: 2000 }), 13);
});
