/** What is committed and not stored yet: whoever waits, looks or has joined counts it as a transaction does. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { DeadlineError, joinReplica, openReplica, type Replica, ReplicaClosedError } from "../../mod.ts";
import { valueOf, withConnection } from "./drivers.ts";
import { pause } from "./following.ts";

/** A test of a replica of a new database that stores only what it is asked to, and of the same one joined. */
function committedTest(name: string, use: (replica: Replica, joined: Replica) => Promise<void>): void {
  test(name, { timeout: 60_000 }, async () => {
    const home = mkdtempSync(join(tmpdir(), "replica-committed-"));
    try {
      const options = { write: true, syncIntervalMs: 0, pollIntervalMs: 200, bufferPath: join(home, "log") };
      await using replica = await openReplica(`file://${join(home, "replica")}`, options);
      await using joined = await joinReplica(replica.share());
      await use(replica, joined);
    } finally {
      rmSync(home, { recursive: true });
    }
  });
}

function commit(replica: Replica, sql: string): void {
  withConnection(replica, undefined, (db) => db.exec(sql));
}

committedTest("waitFor() and refresh() count what is committed and not stored", async (replica, joined) => {
  commit(replica, "CREATE TABLE t (a)");
  await replica.sync();
  commit(replica, "INSERT INTO t VALUES (1)");
  const seen = withConnection(replica, undefined, (db) => valueOf(db, "SELECT litestream_txid()"));
  assert.equal(seen, "0000000000000002");
  for (const either of [replica, joined]) {
    assert.equal(await either.waitFor(2n, { timeoutMs: 2_000 }), 2n);
    assert.equal(await either.waitFor(1n, { timeoutMs: 2_000 }), 2n);
    assert.equal(await either.refresh(), 2n);
    await assert.rejects(either.waitFor(3n, { timeoutMs: 100 }), DeadlineError);
    await assert.rejects(either.waitFor(1n, { signal: AbortSignal.abort(new Error("enough")) }), /enough/);
  }
});

committedTest("waitFor() ends when it is committed, stored or not", async (replica, joined) => {
  const waiting = Promise.all([replica, joined].map((either) => either.waitFor(1n, { timeoutMs: 10_000 })));
  await pause(50);
  commit(joined, "CREATE TABLE t (a)");
  assert.deepEqual(await waiting, [1n, 1n]);
});

committedTest("joined: a new database is at TXID 0, and not closed", async (replica, joined) => {
  assert.deepEqual([joined.txid, await joined.refresh(), await joined.waitFor(0n)], [0n, 0n, 0n]);
  const waiting = joined.waitFor(1n, { timeoutMs: 10_000 });
  const closed = assert.rejects(replica.waitFor(9n), ReplicaClosedError);
  const closedJoined = assert.rejects(joined.waitFor(9n), ReplicaClosedError);
  commit(replica, "CREATE TABLE t (a)");
  assert.equal(await waiting, 1n);
  await replica.close();
  await closed;
  await closedJoined;
  for (const either of [replica, joined]) await assert.rejects(either.waitFor(0n), ReplicaClosedError);
});
