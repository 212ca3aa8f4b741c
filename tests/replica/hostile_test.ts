/** Users who mean no harm and do it all the same: odd options, threads that are killed, classes of their own. */
import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import {
  DeadlineError,
  joinReplica,
  loadablePath,
  openReplica,
  ReplacedError,
  type Replica,
  ReplicaClosedError,
  type ReplicaDatabase,
  type SharedReplica,
} from "../../mod.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import {
  drivers,
  NOISE_SUM,
  noiseSql,
  rowsOf,
  tableSql,
  thrownBy,
  valueOf,
  withConnection,
} from "./drivers.ts";

/** A thread that opens a replica with a core of its own, and tells how to join it. */
async function opener(url: string): Promise<{ worker: Worker; shared: SharedReplica }> {
  const worker = new Worker(new URL("./opener_worker.ts", import.meta.url), { workerData: { url } });
  const shared = await new Promise<SharedReplica>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  return { worker, shared };
}

test("the longest times there are do not count as none", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(tableSql(10));
    const longest = 2 ** 31 - 1;
    await using replica = await openReplica(folder.url, {
      waitForReplicaMs: longest,
      openTimeoutMs: longest,
      readTimeoutMs: longest,
      requestTimeoutMs: longest,
    });
    const db = replica.connect(undefined, { timeoutMs: longest });
    assert.equal(valueOf(db, "SELECT count(*) FROM t"), 10);
    db.close();
    assert.throws(() => replica.connect(undefined, { timeoutMs: longest + 1 }), RangeError);
  }));

test("a credentials function that never answers ends with the opening's time, or its signal", async () => {
  const never = { credentials: () => new Promise<never>(() => {}), endpoint: "http://127.0.0.1:1" };
  await assert.rejects(openReplica("s3://bucket/path", { ...never, openTimeoutMs: 100 }), DeadlineError);
  const reason = new Error("enough");
  const abort = new AbortController();
  setTimeout(() => abort.abort(reason), 100);
  await assert.rejects(openReplica("s3://bucket/path", { ...never, signal: abort.signal }), reason);
});

test("credentials that are none are told, not replaced by those of the environment", async () => {
  const keys = { accessKeyId: "a", secretAccessKey: "b" };
  for (const given of [undefined, { ...keys, expiration: "soon" }, { ...keys, expiration: new Date(NaN) }]) {
    const opening = openReplica("s3://bucket/path", {
      credentials: (() => given) as unknown as () => typeof keys,
      endpoint: "http://127.0.0.1:1",
      openTimeoutMs: 1000,
    });
    await assert.rejects(opening, /Cannot use credentials/);
  }
});

for (const { name, Database } of drivers) {
  test(`${name}: a class that extends the driver's, with arguments of its own`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(tableSql(10));
      await using replica = await openReplica(folder.url);
      class Named extends (Database as new (path: string) => ReplicaDatabase) {
        readonly path: string;
        constructor(path: string) {
          super(path);
          this.path = path;
        }
      }
      const db = replica.connect(Named);
      assert.ok(db instanceof Named && db.path.length > 0);
      assert.equal(valueOf(db, "SELECT count(*) FROM t"), 10);
      db.close();
    }));
}

test("a thread that is terminated takes its replica along: readers elsewhere are told at once", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1000));
    folder.snapshot();
    const { worker, shared } = await opener(folder.url);
    await using joined: Replica = await joinReplica(shared);
    const db = joined.connect();
    assert.equal(valueOf(db, "SELECT count(*) FROM sqlite_schema"), 1);
    const began = performance.now();
    await worker.terminate();
    thrownBy(() => rowsOf(db, NOISE_SUM));
    assert.ok(performance.now() - began < 9000, `${performance.now() - began} ms`);
    assert.ok(joined.lastError instanceof ReplicaClosedError, String(joined.lastError));
    db.close();
    await using own = await openReplica(folder.url);
    withConnection(own, undefined, (db) => assert.equal(rowsOf(db, NOISE_SUM)[0]!.n, 1000));
  }));

for (const onReplaced of ["error", "follow"] as const) {
  test(`another replica with other files and another size, though with the same last TXID, is told apart (onReplaced: ${onReplaced})`, () =>
    withReplicaFolder({}, (folder) =>
      withReplicaFolder({}, async (other) => {
        folder.record(noiseSql(1000));
        folder.record("UPDATE n SET x = zeroblob(900) WHERE id = 1");
        folder.snapshot();
        other.step(noiseSql(1500));
        other.step("UPDATE n SET x = zeroblob(900) WHERE id = 2");
        await using replica = await openReplica(folder.url, { onReplaced });
        const db = replica.connect();
        assert.equal(valueOf(db, "SELECT count(*) FROM sqlite_schema"), 1);
        folder.replaceBy(other);
        thrownBy(() => rowsOf(db, NOISE_SUM));
        if (onReplaced === "error") {
          for (let again = 0; again < 2; again++) {
            assert.ok(replica.lastError instanceof ReplacedError, String(replica.lastError));
            assert.match(replica.lastError.message, /another database has taken its place/);
            thrownBy(() => rowsOf(db, NOISE_SUM));
          }
        } else {
          assert.match(
            replica.lastError!.message,
            /nothing tells that what is there now is the same database/,
          );
          assert.deepEqual(rowsOf(db, "PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
          assert.deepEqual(rowsOf(db, NOISE_SUM), other.rows(NOISE_SUM));
        }
        db.close();
      })));
}

test("two copies of the shim in one process keep to themselves", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(tableSql(10));
    const shimPath = join(folder.home, "another.so");
    copyFileSync(await loadablePath(), shimPath);
    for (const path of [undefined, shimPath, undefined]) {
      await using replica = await openReplica(folder.url, { shimPath: path });
      withConnection(replica, undefined, (db) => assert.equal(valueOf(db, "SELECT count(*) FROM t"), 10));
    }
  }));

test("close({ force }) after close(), and twice", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(tableSql(10));
    const replica = await openReplica(folder.url);
    await Promise.all([replica.close(), replica.close({ force: true }), replica.close({ force: true })]);
    replica.interrupt();
    assert.equal(replica.txid, 0n);
  }));
