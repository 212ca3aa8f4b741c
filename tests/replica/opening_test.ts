/** Opening: what it costs, how it fails, how it waits. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  DeadlineError,
  openReplica,
  ReplicaClosedError,
  type ReplicaDatabase,
  ReplicaError,
  RestorePlanError,
  ShimError,
  StorageError,
} from "../../mod.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { assertSame, drivers, noiseSql, tableSql, thrownBy, valueOf, withConnection } from "./drivers.ts";
import { ASKED, census, stepValue } from "./following.ts";

async function rejection(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof Error, `threw ${error}`);
    return error;
  }
  assert.fail("did not reject");
}

test("R13: opening lists all levels in one request and makes at most two requests a plan file, in at most three round trips", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1000));
    folder.snapshot();
    for (let i = 0; i < 20; i++) folder.step(`UPDATE n SET x = randomblob(900) WHERE id = ${i * 40}`);
    folder.step("UPDATE n SET x = randomblob(900)");
    await using replica = await openReplica(folder.url);
    const { listRequests, getRequests, roundTrips, retries } = replica.stats();
    assert.equal(listRequests, 1);
    assert.ok(getRequests <= 2 * 22, `${getRequests} requests`);
    assert.equal(getRequests, 20 + 2 * 2); // small files whole, large ones head and tail
    assert.ok(roundTrips <= 3, `${roundTrips} round trips`);
    assert.equal(retries, 0);
  }));

test("R13: files outside the plan are not read", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(100));
    for (let i = 2; i <= 30; i++) folder.step(`UPDATE t SET a = ${i} WHERE id = ${i}`);
    folder.snapshot(10);
    folder.snapshot(25);
    folder.write(1, 2, 20);
    await using replica = await openReplica(folder.url);
    assert.equal(replica.stats().getRequests, 6);
    withConnection(replica, undefined, (db) => assertSame(db, folder));
  }));

test("R13: the first row of a point query comes within six round trips", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(8000));
    folder.snapshot();
    await using replica = await openReplica(folder.url);
    withConnection(
      replica,
      undefined,
      (db) => assert.equal(valueOf(db, "SELECT id FROM n WHERE id = 4321"), 4321),
    );
    assert.ok(replica.stats().roundTrips <= 6, `${replica.stats().roundTrips} round trips`);
  }));

test("R5: an empty replica fails at once, with words", () =>
  withReplicaFolder({}, async (folder) => {
    const began = performance.now();
    const error = await rejection(openReplica(folder.url));
    assert.ok(error instanceof RestorePlanError && error.fault === "empty", String(error));
    assert.match(error.message, /no LTX files there.*waitForReplicaMs/);
    assert.ok(error.message.includes(folder.path));
    assert.ok(performance.now() - began < 2000);
  }));

test("R5: a folder that does not exist fails at once, with words", () =>
  withReplicaFolder({}, async (folder) => {
    const error = await rejection(openReplica(`${folder.url}/nowhere`));
    assert.ok(error instanceof RestorePlanError || error instanceof StorageError, String(error));
    assert.match(error.message, /nowhere/);
    assert.ok(error instanceof RestorePlanError && error.fault === "empty", String(error));
    assert.match(
      error.message,
      /no LTX files there, for there is no such folder, expected .*waitForReplicaMs/,
    );
  }));

test("R5: a replica of Litestream 0.3.x is recognised", () =>
  withReplicaFolder({}, async (folder) => {
    const path = join(folder.path, "generations", "0123456789abcdef", "snapshots");
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, "00000000.snapshot.lz4"), "x");
    const error = await rejection(openReplica(folder.url));
    assert.ok(error instanceof RestorePlanError && error.fault === "v0.3", String(error));
    assert.match(error.message, /0\.3\.x.*litestream restore/);
  }));

test("R5: files of both generations open as the newer", () =>
  withReplicaFolder({}, async (folder) => {
    mkdirSync(join(folder.path, "generations", "0123456789abcdef"), { recursive: true });
    folder.step(tableSql(10));
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => assertSame(db, folder));
  }));

test("R5: waitForReplicaMs ends with a DeadlineError when nothing comes", () =>
  withReplicaFolder({}, async (folder) => {
    const began = performance.now();
    const error = await rejection(openReplica(folder.url, { waitForReplicaMs: 700 }));
    const took = performance.now() - began;
    assert.ok(error instanceof DeadlineError, String(error));
    assert.match(error.message, /still empty after 700 ms/);
    assert.ok(error.cause instanceof RestorePlanError, String(error.cause));
    assert.ok(took >= 650 && took < 3000, `${took} ms`);
  }));

test("R5: waitForReplicaMs opens when the first files appear", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(10));
    const opening = openReplica(folder.url, { waitForReplicaMs: 20_000 });
    setTimeout(() => folder.snapshot(), 300);
    await using replica = await opening;
    withConnection(replica, undefined, (db) => assertSame(db, folder));
  }));

test("R5: waitForReplicaMs does not wait when something else is wrong", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(10));
    folder.record("DELETE FROM t");
    folder.write(0, 2, 2);
    const began = performance.now();
    const error = await rejection(openReplica(folder.url, { waitForReplicaMs: 20_000 }));
    assert.ok(error instanceof RestorePlanError && error.fault === "gap", String(error));
    assert.ok(performance.now() - began < 2000);
  }));

test("R5: an AbortSignal cancels a waiting opening with its reason", () =>
  withReplicaFolder({}, async (folder) => {
    const reason = new Error("enough");
    const abort = new AbortController();
    setTimeout(() => abort.abort(reason), 200);
    const began = performance.now();
    const error = await rejection(
      openReplica(folder.url, { waitForReplicaMs: 20_000, signal: abort.signal }),
    );
    assert.equal(error, reason);
    assert.ok(performance.now() - began < 2000);
    assert.equal(await rejection(openReplica(folder.url, { signal: abort.signal })), reason);
  }));

test("P4: a gap fails with the TXIDs and the file behind it", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(10));
    folder.snapshot();
    folder.record("UPDATE t SET a = 1");
    folder.step("UPDATE t SET a = 2");
    const error = await rejection(openReplica(folder.url));
    assert.ok(error instanceof RestorePlanError && error.fault === "gap", String(error));
    assert.match(
      error.message,
      /TXID 0000000000000001 and go on at 0000000000000003 \("ltx\/0\/0000000000000003/,
    );
  }));

test("P4: URLs, options and shims that cannot be used fail with words before anything is asked", async () => {
  for (const url of ["nonsense", "ftp://host/path", "file://relative"]) {
    assert.ok(await rejection(openReplica(url)) instanceof TypeError);
  }
  assert.ok(await rejection(openReplica("file:///r", { openTimeoutMs: 0 })) instanceof RangeError);
  const error = await rejection(openReplica("file:///r", { shimPath: "/no/such/shim.so" }));
  assert.ok(error instanceof ShimError);
  assert.match(error.message, /\/no\/such\/shim\.so.*npm run shim/);
});

test("P4: a connection that cannot be opened says why", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(tableSql(10));
    const replica = await openReplica(folder.url);
    assert.throws(() => replica.connect(class Nothing {}), /class Nothing.*bun:sqlite, node:sqlite/);
    assert.throws(() => replica.connect(undefined, { timeoutMs: 0 }), /timeoutMs: 0,/);
    assert.throws(() => replica.connect(undefined, { timeoutMs: 1.5 }), RangeError);
    await replica.close();
    const error = thrownBy(() => replica.connect());
    assert.ok(error instanceof ReplicaClosedError, String(error));
  }));

test("P4: a connection whose driver refuses says what the driver said, not an older error", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1000));
    folder.snapshot();
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => {
      folder.delete(9, 1, 1);
      thrownBy(() => valueOf(db, "SELECT sum(length(hex(x))) FROM n"));
    });
    assert.ok(replica.lastError instanceof ReplicaError);
    class Refusing extends (drivers[0]!.Database as new (path: string, options?: object) => ReplicaDatabase) {
      constructor(path: string, options?: object) {
        super(path, options);
        if (path !== ":memory:") throw new Error("refused by the driver");
      }
    }
    const error = thrownBy(() => replica.connect(Refusing));
    assert.match(error.message, /^Cannot connect to .*: refused by the driver$/);
  }));

test("a connection that its driver refuses leaves nothing of the moment that it was for", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 30);
    await using replica = await openReplica(folder.url, ASKED);
    class Refusing extends (drivers[0]!.Database as new (path: string, options?: object) => ReplicaDatabase) {
      constructor(path: string, options?: object) {
        if (path !== ":memory:") throw new Error("refused by the driver");
        super(path, options);
      }
    }
    for (let txid = 1n; txid < 30n; txid++) {
      thrownBy(() => replica.connect(Refusing, { asOf: txid }));
    }
    const [views] = await census();
    assert.ok(views! < 12, `${views} views`); // the core keeps some for the next who asks
    withConnection(replica, undefined, (db) => assert.equal(valueOf(db, "SELECT x FROM v"), 30));
  }));

test("P9: several replicas stand side by side, of one driver each under its own name", () =>
  withReplicaFolder({}, (one) =>
    withReplicaFolder({ pageSize: 512 }, async (two) => {
      one.step("CREATE TABLE t (a); INSERT INTO t VALUES ('one')");
      two.step("CREATE TABLE t (a); INSERT INTO t VALUES ('two')");
      await using first = await openReplica(one.url);
      await using second = await openReplica(two.url);
      const [a, b] = [first.connect(), second.connect()];
      for (let round = 0; round < 3; round++) {
        assert.equal(valueOf(a, "SELECT a FROM t"), "one");
        assert.equal(valueOf(b, "SELECT a FROM t"), "two");
      }
      a.close();
      b.close();
    })));

test("openReplica() of the same place twice gives two replicas, closed on their own", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(tableSql(10));
    const first = await openReplica(folder.url);
    await using second = await openReplica(folder.url);
    await first.close();
    await first.close();
    assert.equal(first.txid, 0n);
    assert.equal(second.txid, 1n);
    withConnection(second, undefined, (db) => assertSame(db, folder));
  }));
