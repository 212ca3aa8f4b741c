import assert from "node:assert/strict";
import { copyFile, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica, type Replica } from "../../mod.ts";

/** Two writers of one replica, each with a log of its own. */
async function withTwo(
  act: (one: Replica, two: Replica, folder: string, url: string) => Promise<void>,
  more: object = {},
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "conflict-test-"));
  const url = `file://${folder}/replica`;
  const options = { write: true, syncIntervalMs: 0, pollIntervalMs: 0, ...more };
  const begun = await openReplica(url, { ...options, bufferPath: join(folder, "begun") });
  const db = begun.connect();
  db.exec("CREATE TABLE t(who TEXT)");
  db.close();
  await begun.close();
  const one = await openReplica(url, { ...options, bufferPath: join(folder, "one") });
  const two = await openReplica(url, { ...options, bufferPath: join(folder, "two") });
  try {
    await act(one, two, folder, url);
  } finally {
    await one.close().catch(() => {});
    await two.close().catch(() => {});
    await rm(folder, { recursive: true, force: true });
  }
}

function write(replica: Replica, who: string): void {
  const db = replica.connect();
  try {
    db.exec(`INSERT INTO t VALUES ('${who}')`);
  } finally {
    db.close();
  }
}

function read(replica: Replica): string {
  const db = replica.connect();
  try {
    return db.prepare("SELECT group_concat(who, ' ') AS all_ FROM (SELECT who FROM t ORDER BY rowid)").get()
      .all_;
  } finally {
    db.close();
  }
}

test("W3, W4: of two writers the later one is told, keeps its log, and overwrites nothing", () =>
  withTwo(async (one, two, folder, url) => {
    write(one, "one");
    write(two, "two");
    assert.equal(await one.sync(), 2n);
    const conflict = { name: "ConflictError", message: /another writer stored TXID 0000000000000002/ };
    await assert.rejects(two.sync(), conflict);
    await assert.rejects(two.sync(), conflict);
    assert.throws(() => write(two, "more"), "a statement after a conflict");
    assert.throws(() => read(two));
    assert.match(String(two.lastError), /ConflictError: .*two\.\*/s);
    await assert.rejects(two.close(), conflict);
    assert.ok((await readdir(folder)).some((name) => /^two\.\d+$/.test(name)), "its log is kept");
    assert.equal(read(one), "one");
    write(one, "on");
    await one.sync();
    await using reader = await openReplica(url);
    assert.equal(read(reader), "one on");
    // What is kept is not stored behind anybody's back, and a writer with a log of its own goes on.
    const again = { write: true, bufferPath: join(folder, "two"), syncIntervalMs: 0 };
    await assert.rejects(openReplica(url, again), { name: "ConflictError", message: /the log is kept/ });
    await using fresh = await openReplica(url, { ...again, bufferPath: join(folder, "fresh") });
    await one.close();
    write(fresh, "fresh");
    await fresh.sync();
    assert.equal(read(fresh), "one on fresh");
  }));

test("another's transaction that comes while ours waits is a conflict, whatever comes first", () =>
  withTwo(async (one, two) => {
    write(one, "one");
    await one.sync();
    write(two, "two");
    await assert.rejects(two.refresh(), { name: "ConflictError" });
    await assert.rejects(two.sync(), { name: "ConflictError" });
  }));

test("a writer without anything to store follows another, and writes on top of it", () =>
  withTwo(async (one, two) => {
    for (let round = 0; round < 4; round++) {
      write(one, `one${round}`);
      await one.sync();
      await two.refresh();
      write(two, `two${round}`);
      await two.sync();
      await one.refresh();
    }
    const wanted = "one0 two0 one1 two1 one2 two2 one3 two3";
    assert.equal(read(one), wanted);
    assert.equal(read(two), wanted);
    assert.equal(one.txid, 9n);
  }));

test("a stale connection's write after another process's commit is refused, and works when begun anew", () =>
  withTwo(async (one, two) => {
    const db = two.connect();
    db.exec("BEGIN");
    assert.equal(db.prepare("SELECT count(*) AS n FROM t").get().n, 0);
    write(one, "one");
    await one.sync();
    await two.refresh();
    assert.throws(() => db.exec("INSERT INTO t VALUES ('stale')"));
    db.exec("ROLLBACK");
    db.exec("INSERT INTO t VALUES ('anew')");
    await two.sync();
    assert.equal(read(two), "one anew");
    db.close();
  }));

test("a log whose replica was made anew under the same names is kept, not stored", () =>
  withTwo(async (one, two, folder) => {
    await one.close();
    write(two, "two");
    for (const name of await readdir(folder)) {
      // what a crash would leave
      if (name.startsWith("two.")) await copyFile(join(folder, name), join(folder, `kept${name.slice(3)}`));
    }
    await two.close();
    await rm(join(folder, "replica"), { recursive: true });
    const url = `file://${folder}/replica`;
    const other = await openReplica(url, {
      write: true,
      bufferPath: join(folder, "other"),
      syncIntervalMs: 0,
    });
    const db = other.connect();
    db.exec("CREATE TABLE t(who TEXT, more TEXT)");
    db.close();
    await other.close();
    const kept = { write: true, bufferPath: join(folder, "kept") };
    await assert.rejects(openReplica(url, kept), { name: "ConflictError", message: /another one by now/ });
    await assert.rejects(openReplica(url, kept), { name: "ConflictError" });
    await using reader = await openReplica(url);
    assert.equal(reader.txid, 1n);
  }));

test("a log that was stored just before a crash is stored once", () =>
  withTwo(async (one, two, folder, url) => {
    await one.close();
    write(two, "two");
    for (const name of await readdir(folder)) {
      if (name.startsWith("two.")) await copyFile(join(folder, name), join(folder, `kept${name.slice(3)}`));
    }
    await two.close(); // as if it had been killed after the upload
    await using next = await openReplica(url, { write: true, bufferPath: join(folder, "kept") });
    assert.equal(next.txid, 2n);
    assert.equal(read(next), "two");
    assert.ok(!(await readdir(folder)).some((name) => /^kept\.\d+$/.test(name)));
  }));
