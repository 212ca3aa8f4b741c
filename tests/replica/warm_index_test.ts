/** An index that is in memory leads to a table that is not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { ASKED } from "./following.ts";
import { drivers, rowsOf, withConnection } from "./drivers.ts";

const ROWS = 6000;
const CUSTOMERS = 150;

/** Rows of one customer lie all over the table. */
const SQL = `CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER, note BLOB);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS})
  INSERT INTO orders SELECT i, i * 7919 % ${CUSTOMERS}, randomblob(900) FROM n;
  CREATE INDEX by_customer ON orders(customer);`;

for (const { name, Database } of drivers) {
  test(`${name}: rows by an index whose pages are in memory come in few round trips`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(SQL);
      folder.snapshot();
      await using replica = await openReplica(folder.url, ASKED);
      withConnection(replica, Database, (db) => {
        db.exec("PRAGMA cache_size = 1");
        rowsOf(db, "SELECT sum(customer) FROM orders INDEXED BY by_customer");
        rowsOf(db, "SELECT id, hex(note) FROM orders WHERE customer = 1"); // interior pages come with it
        const mark = replica.mark();
        const sql = "SELECT id, hex(note) FROM orders WHERE customer = 77";
        assert.deepEqual(rowsOf(db, sql), folder.rows(sql));
        const { roundTrips, misses } = replica.stats(mark);
        assert.ok(misses > 0, "the table was in memory too");
        assert.ok(roundTrips <= 5, `${roundTrips} round trips, ${misses} misses`);
      });
    }));
}
