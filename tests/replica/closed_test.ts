/** What is told of a replica after it was closed: that it was, and nothing that is not so. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { joinReplica, openReplica } from "../../mod.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { drivers, extendedCode, rowsOf, thrownBy, valueOf } from "./drivers.ts";
import { OFTEN, pause, stepValue } from "./following.ts";

const SQLITE_IOERR_READ = 266;

const TOLD = [
  "SELECT litestream_txid()",
  "SELECT litestream_time()",
  "SELECT litestream_lag()",
  "SELECT litestream_stats()",
  "SELECT litestream_set_time('latest')",
  "PRAGMA litestream_txid",
  "PRAGMA litestream_time",
  "PRAGMA litestream_time = latest",
  "PRAGMA litestream_lag",
  "PRAGMA litestream_stats",
  "PRAGMA litestream_hydration_progress",
  "PRAGMA litestream_hydration_file",
  "PRAGMA litestream_write_enabled",
  "PRAGMA litestream_durable",
];

for (const { name, Database } of drivers) {
  test(
    `${name}: functions and PRAGMAs say that the replica was closed`,
    { timeout: 60_000 },
    () =>
      withReplicaFolder({}, async (folder) => {
        stepValue(folder, 3);
        const replica = await openReplica(folder.url, OFTEN);
        const connections = [
          replica.connect(Database),
          replica.connect(Database, { asOf: 2n }),
          replica.connect(Database),
        ];
        connections[2]!.exec("BEGIN");
        for (const db of connections) assert.equal(rowsOf(db, "SELECT x, litestream_lag() FROM v").length, 1);
        await replica.close();
        for (const db of connections.slice(0, 2)) { // the third one has its pages in SQLite's memory
          const code = extendedCode(thrownBy(() => rowsOf(db, "SELECT x FROM v")));
          assert.equal(code, SQLITE_IOERR_READ);
        }
        for (const db of connections) {
          for (const sql of TOLD) {
            const error = thrownBy(() => rowsOf(db, sql));
            assert.match(error.message, /ReplicaClosedError: Cannot read: the replica was closed/, sql);
          }
          assert.match(String(valueOf(db, "PRAGMA litestream_error")), /: the replica was closed$/);
          db.close();
        }
      }),
  );
}

test(
  "lagMs of a replica that was joined is Infinity once its opener has closed it",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      stepValue(folder, 3);
      const replica = await openReplica(folder.url, OFTEN);
      await using joined = await joinReplica(replica.share());
      const db = joined.connect();
      assert.ok(joined.lagMs < 30_000);
      await replica.close();
      await pause(20);
      assert.deepEqual([joined.lagMs, replica.lagMs], [Infinity, Infinity]);
      db.close();
    }),
);
