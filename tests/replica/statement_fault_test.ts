/** What SQLite says of a connection's last call, where the driver is silent. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";

const FAILS_AT_3 = `WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 5)
  SELECT x, CASE WHEN x = 3 THEN abs(-9223372036854775807 - 1) END FROM c`;

/** As many rows as come before the end, or a failure, whether it is told or not. */
function countRows(rows: Iterable<unknown>): number {
  let count = 0;
  try {
    for (const _ of rows) count++;
  } catch {
    // Bun says so; what matters here is what faultOf() says in both
  }
  return count;
}

test("Replica.faultOf() tells why an iteration ended, and nothing of one that came to its end", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x)");
    await using replica = await openReplica(folder.url);
    const db = replica.connect(DatabaseSync, { database: { readOnly: true } });
    assert.equal(countRows(db.prepare(FAILS_AT_3).iterate()), 2);
    assert.deepEqual(replica.faultOf(db), { code: 1, message: "integer overflow" });
    assert.equal(countRows(db.prepare("SELECT 1 UNION SELECT 2").iterate()), 2);
    assert.equal(replica.faultOf(db), undefined);
    assert.throws(() => db.prepare("SELECT * FROM absent"));
    assert.deepEqual(replica.faultOf(db), { code: 1, message: "no such table: absent" });
    assert.equal(replica.faultOf({}), undefined);
    db.close();
    assert.equal(replica.faultOf(db), undefined);
  }));
