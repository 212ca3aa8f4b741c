/** Many threads, connections, replicas and openings in one process, and what stays of them. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import { joinReplica, openReplica, ReplicaClosedError } from "../../mod.ts";
import { findShim } from "../../src/shim_path.ts";
import { ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { assertSame, NOISE_SUM, noiseSql, rowsOf, tableSql, valueOf, withConnection } from "./drivers.ts";
import { Reader } from "./reader.ts";

/** Live views, objects, runs and chunks of the shim, and its replicas. */
async function census(): Promise<number[]> {
  const native = await loadNative(findShim());
  const words = new Uint32Array(16);
  native.calls.ls_census(new Uint8Array(words.buffer), words.length);
  return [...words.subarray(0, 5)];
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 100; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`not within 5 s: ${what}`);
}

test(
  "8 threads read one replica at once and see the same",
  { timeout: 120_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(3000));
      folder.snapshot();
      folder.step("UPDATE n SET x = randomblob(900) WHERE id % 3 = 0");
      await using replica = await openReplica(folder.url, { cacheBytesMax: 1024 * 1024 });
      const readers = await Promise.all(
        Array.from({ length: 8 }, () => Reader.start({ shared: replica.share() })),
      );
      const wanted = folder.rows(NOISE_SUM);
      for (let round = 0; round < 3; round++) {
        const answers = await Promise.all(readers.map((reader) => reader.ask(NOISE_SUM)));
        for (const { rows, error } of answers) {
          assert.equal(error, undefined);
          assert.deepEqual(rows, wanted);
        }
      }
      await Promise.all(readers.map((reader) => reader.close()));
      const { getRequests, misses } = replica.stats();
      assert.ok(getRequests < misses, `${getRequests} requests for ${misses} misses`);
    }),
);

test(
  "8 threads that miss the same pages share their requests",
  { timeout: 120_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(2000));
      folder.snapshot();
      await using replica = await openReplica(folder.url);
      const readers = await Promise.all(
        Array.from({ length: 8 }, () => Reader.start({ shared: replica.share() })),
      );
      const answers = await Promise.all(readers.map((reader) => reader.ask(NOISE_SUM)));
      for (const { error } of answers) assert.equal(error, undefined);
      await Promise.all(readers.map((reader) => reader.close()));
      const { pagesLoaded } = replica.stats();
      assert.ok(pagesLoaded <= folder.commitAt(1), `${pagesLoaded} pages loaded of ${folder.commitAt(1)}`);
    }),
);

test("32 connections of one thread read one replica", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(tableSql(500));
    await using replica = await openReplica(folder.url);
    const connections = Array.from({ length: 32 }, () => replica.connect());
    for (const db of connections) db.exec("BEGIN");
    for (const db of connections) assert.equal(valueOf(db, "SELECT count(*) FROM t"), 500);
    connections.slice(0, 16).forEach((db) => db.close());
    for (const db of connections.slice(16)) assertSame(db, folder);
    connections.slice(16).forEach((db) => db.close());
  }));

test("20 replicas stand open in one process", { timeout: 60_000 }, async () => {
  const folders: ReplicaFolder[] = [];
  try {
    for (let i = 0; i < 20; i++) {
      const folder = await ReplicaFolder.make({ pageSize: i % 2 ? 4096 : 1024 });
      folders.push(folder);
      folder.step(`CREATE TABLE t (a); INSERT INTO t VALUES (${i})`);
    }
    const replicas = await Promise.all(folders.map(({ url }) => openReplica(url)));
    for (let round = 0; round < 2; round++) {
      replicas.forEach((replica, i) =>
        withConnection(replica, undefined, (db) => assert.equal(valueOf(db, "SELECT a FROM t"), i))
      );
    }
    await Promise.all(replicas.map((replica) => replica.close()));
  } finally {
    for (const folder of folders) folder.close();
  }
});

test("joinReplica() of a closed replica fails with words", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(tableSql(10));
    const replica = await openReplica(folder.url);
    const shared = replica.share();
    await using joined = await joinReplica(shared);
    assert.equal(joined.txid, 1n);
    withConnection(joined, undefined, (db) => assertSame(db, folder));
    await replica.close();
    await assert.rejects(joinReplica(shared), ReplicaClosedError);
    assert.throws(() => joined.connect(), ReplicaClosedError);
  }));

test("Closing a joined replica leaves the one that opened it open", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(tableSql(10));
    await using replica = await openReplica(folder.url);
    const joined = await joinReplica(replica.share());
    await joined.close();
    withConnection(replica, undefined, (db) => assertSame(db, folder));
  }));

test(
  "200 openings leave no memory in the shim, no file and no thread behind",
  { timeout: 120_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(600));
      folder.snapshot();
      folder.step("DELETE FROM n WHERE id = 5");
      const once = async () => {
        await using replica = await openReplica(folder.url);
        withConnection(replica, undefined, (db) => rowsOf(db, "SELECT count(*) FROM n WHERE id > 550"));
      };
      const count = (what: string) =>
        existsSync(`/proc/self/${what}`) ? readdirSync(`/proc/self/${what}`).length : 0;
      for (let i = 0; i < 50; i++) await once();
      const [files, threads] = [count("fd"), count("task")];
      const before = await census();
      const memory = process.memoryUsage().rss;
      for (let i = 0; i < 150; i++) await once();
      await until("the shim is as before", async () => (await census()).every((n, i) => n <= before[i]!));
      assert.ok(count("fd") <= files + 5, `${files} files before, ${count("fd")} after`);
      assert.ok(count("task") <= threads + 5, `${threads} threads before, ${count("task")} after`);
      const grown = process.memoryUsage().rss - memory;
      assert.ok(grown < 60 * 1024 * 1024, `${(grown / 1024 / 1024).toFixed(1)} MiB more`);
    }),
);

test("An opening that fails leaves nothing behind", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(600));
    folder.snapshot();
    folder.record("DELETE FROM n");
    folder.record("VACUUM");
    folder.put(folder.pathOf(0, 2, 2), new Uint8Array(500));
    const before = await census();
    for (let i = 0; i < 20; i++) await assert.rejects(openReplica(folder.url));
    assert.deepEqual(await census(), before);
  }));

test(
  "Openings that are cancelled at any moment leave nothing behind",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(600));
      folder.snapshot();
      await using keep = await openReplica(folder.url);
      const before = await census();
      let [opened, cancelled] = [0, 0];
      for (let i = 0; i < 60; i++) {
        const abort = new AbortController();
        setTimeout(() => abort.abort(new Error("enough")), i % 12);
        try {
          await (await openReplica(folder.url, { signal: abort.signal })).close();
          opened++;
        } catch (error) {
          assert.equal((error as Error).message, "enough");
          cancelled++;
        }
      }
      await until("the shim is as before", async () => (await census()).every((n, i) => n <= before[i]!));
      assert.ok(cancelled > 0, `${opened} opened, ${cancelled} cancelled`);
      assert.equal(keep.txid, 1n);
    }),
);
