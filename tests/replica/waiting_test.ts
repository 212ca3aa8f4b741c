/** Reads that wait: deadlines, interrupts, closing. Storage stalls because a pipe lies where a file was. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, openSync, renameSync, rmSync } from "node:fs";
import { test } from "node:test";
import { DeadlineError, type OpenOptions, openReplica, type Replica, ReplicaClosedError } from "../../mod.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { assertSame, NOISE_SUM, noiseSql, rowsOf, thrownBy, valueOf, withConnection } from "./drivers.ts";
import { Reader } from "./reader.ts";

/** Makes every read of a file wait until the function it returns is called. */
function stall(path: string): () => void {
  renameSync(path, `${path}.kept.tmp`);
  assert.equal(spawnSync("mkfifo", [path]).status, 0);
  let released = false;
  return () => {
    if (released) return;
    released = true;
    renameSync(path, `${path}.pipe.tmp`);
    renameSync(`${path}.kept.tmp`, path);
    closeSync(openSync(`${path}.pipe.tmp`, "r+")); // whoever waits for a writer sees one
    rmSync(`${path}.pipe.tmp`);
  };
}

interface Stalled {
  readonly folder: ReplicaFolder;
  readonly replica: Replica;
  release(): void;
}

/** A replica whose pages cannot be read but for those that came with its index. */
function withStalled(use: (stalled: Stalled) => Promise<void>, options: OpenOptions = {}): Promise<void> {
  return withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    const replica = await openReplica(folder.url, options);
    const release = stall(folder.pathOf(9, 1, 1));
    try {
      await use({ folder, replica, release });
    } finally {
      release();
      await replica.close();
    }
  });
}

const SOME = "SELECT hex(x) FROM n WHERE id = 900";

function elapsed<T>(act: () => T): { value: T; ms: number } {
  const began = performance.now();
  return { value: act(), ms: performance.now() - began };
}

test("connect({ timeoutMs }) ends a read that stalls, with a DeadlineError", () =>
  withStalled(async ({ folder, replica, release }) => {
    const db = replica.connect(undefined, { timeoutMs: 300 });
    const { ms } = elapsed(() => thrownBy(() => rowsOf(db, SOME)));
    assert.ok(ms >= 280 && ms < 2000, `${ms} ms`);
    assert.ok(replica.lastError instanceof DeadlineError, String(replica.lastError));
    assert.match(replica.lastError.message, /300 ms/);
    assert.match(String(valueOf(db, "PRAGMA litestream_error")), /^DeadlineError: Cannot read page.*300 ms/);
    await release();
    assertSame(db, folder);
    db.close();
  }));

test("readTimeoutMs ends reads of connections that name no timeout", () =>
  withStalled(({ replica }) => {
    withConnection(replica, undefined, (db) => {
      const { ms } = elapsed(() => thrownBy(() => rowsOf(db, SOME)));
      assert.ok(ms >= 180 && ms < 2000, `${ms} ms`);
      assert.ok(replica.lastError instanceof DeadlineError);
    });
    return Promise.resolve();
  }, { readTimeoutMs: 200 }));

test("Replica.interrupt() ends the read of another thread", () =>
  withStalled(async ({ replica, release }) => {
    const reader = await Reader.start({ shared: replica.share() });
    const asked = reader.ask(SOME);
    setTimeout(() => replica.interrupt(), 300);
    const { error, ms } = await asked;
    assert.match(error?.message ?? "", /interrupt/i);
    assert.match(error!.lastError, /interrupt\(\) was called/);
    assert.ok(ms >= 200 && ms < 3000, `${ms} ms`);
    release();
    assert.equal((await reader.ask(SOME)).rows.length, 1);
    await reader.close();
  }));

test("Replica.interrupt() ends what another thread computes, and not what comes after", () =>
  withStalled(async ({ replica, release }) => {
    release();
    const reader = await Reader.start({ shared: replica.share() });
    const endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c";
    const asked = reader.ask(endless);
    const again = setInterval(() => replica.interrupt(), 100); // it may not have begun at the first one
    const { error } = await asked;
    clearInterval(again);
    assert.match(error?.message ?? "", /interrupt/i);
    assert.equal((await reader.ask(SOME)).rows.length, 1);
    await reader.close();
  }));

test("Replica.interrupt() of a thread that joined ends the read of the one that opened", () =>
  withStalled(async ({ folder, replica, release }) => {
    const other = await Reader.start({ shared: replica.share() });
    const db = replica.connect();
    other.interruptAfter(300);
    const { value, ms } = elapsed(() => thrownBy(() => rowsOf(db, SOME)));
    assert.match(value.message, /interrupt/i);
    assert.ok(ms >= 200 && ms < 3000, `${ms} ms`);
    release();
    assertSame(db, folder);
    db.close();
    await other.close();
  }));

for (const force of [false, true]) {
  test(`Replica.close({ force: ${force} }) ends reads that wait, with words`, () =>
    withStalled(async ({ replica }) => {
      const readers = await Promise.all([1, 2, 3].map(() => Reader.start({ shared: replica.share() })));
      const asked = readers.map((reader) => reader.ask(SOME));
      await new Promise((resolve) => setTimeout(resolve, 200));
      const began = performance.now();
      await replica.close({ force });
      for (const { error } of await Promise.all(asked)) {
        assert.match(error?.lastError ?? "none", /ReplicaClosedError: .*closed/);
      }
      assert.ok(performance.now() - began < 2000);
      for (const reader of readers) {
        assert.match((await reader.ask(SOME)).error?.lastError ?? "none", /ReplicaClosedError/);
        await reader.close();
      }
    }));
}

test("Reads after closing fail with words; connections close before or after", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(noiseSql(50));
    const replica = await openReplica(folder.url);
    const [before, after] = [replica.connect(), replica.connect()];
    assert.equal(valueOf(after, "SELECT count(*) FROM n"), 50);
    before.close();
    await replica.close();
    thrownBy(() => rowsOf(after, "SELECT count(*) FROM n"));
    assert.ok(replica.lastError instanceof ReplicaClosedError, String(replica.lastError));
    assert.match(String(valueOf(after, "PRAGMA litestream_error")), /^ReplicaClosedError: .*was closed/);
    after.close();
    assert.deepEqual([replica.txid, replica.size.commit], [0n, 0]);
    assert.throws(() => replica.connect(), ReplicaClosedError);
  }));

test("Reads inside a transaction fail with words when the replica is closed", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(noiseSql(50));
    const replica = await openReplica(folder.url);
    const db = replica.connect();
    db.exec("BEGIN");
    valueOf(db, "SELECT count(*) FROM n");
    await replica.close();
    db.exec("PRAGMA shrink_memory");
    thrownBy(() => rowsOf(db, NOISE_SUM));
    db.close();
  }));

test("A read that stalls keeps nobody from pages that are in memory, and nobody from other replicas", () =>
  withStalled(async ({ replica }) => {
    const reader = await Reader.start({ shared: replica.share() });
    const asked = reader.ask(SOME);
    await new Promise((resolve) => setTimeout(resolve, 100));
    withConnection(replica, undefined, (db) => {
      const { value, ms } = elapsed(() => valueOf(db, "SELECT count(*) FROM sqlite_schema"));
      assert.equal(value, 1);
      assert.ok(ms < 500, `${ms} ms`);
    });
    await withReplicaFolder({}, async (folder) => {
      folder.step(noiseSql(400));
      await using other = await openReplica(folder.url);
      withConnection(other, undefined, (db) => assertSame(db, folder));
    });
    replica.interrupt();
    assert.ok((await asked).error);
    await reader.close();
  }));
