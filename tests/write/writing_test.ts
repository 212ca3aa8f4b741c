import assert from "node:assert/strict";
import { mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { openReplica, type Replica, type ReplicaDatabase } from "../../mod.ts";
import { valueOf } from "../replica/drivers.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { openLocal } from "../support/local_database.ts";

import { compareWork, run } from "./compared_work.ts";
import { dump } from "./workload.ts";

/** A folder with an empty replica; removed afterwards. */
async function inFolder(act: (folder: string, url: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "write-test-"));
  try {
    await act(folder, `file://${folder}/replica`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function opened(url: string, folder: string, more: object = {}): Promise<Replica> {
  return openReplica(url, { write: true, bufferPath: join(folder, "log"), syncIntervalMs: 0, ...more });
}

const drivers = await allDrivers();
const MODES = ["DELETE", "TRUNCATE", "PERSIST", "MEMORY"];

for (const [i, { name, Database }] of drivers.entries()) {
  for (const [j, pageSize] of [512, 4096, 65_536].entries()) {
    const round = { pageSize, journalMode: MODES[(i + j) % MODES.length]!, seed: 31 + 7 * i + j };
    const of = `${name}, pages of ${pageSize} bytes, journal_mode ${round.journalMode}`;
    test(
      `a written replica is what a local file would be: ${of}`,
      { timeout: 120_000 },
      () =>
        inFolder(async (folder, url) => {
          const { states } = await compareWork(folder, url, { ...round, Database });
          await using replica = await openReplica(url);
          const local = await openLocal(join(folder, "local.db"));
          const read = replica.connect(Database);
          assert.equal(dump(read), dump(local));
          read.close();
          for (const [txid, state] of states) {
            const past = replica.connect(Database, { asOf: txid });
            assert.equal(dump(past), state, `TXID ${txid}`);
            past.close();
          }
          local.close();
        }),
    );
  }
}

for (const { name, Database } of drivers) {
  test(`W1, W2: what was written is read back after it is stored, with one page in memory: ${name}`, () =>
    inFolder(async (folder, url) => {
      await using replica = await opened(url, folder, { cacheBytesMax: 1024 * 1024 });
      const db = replica.connect(Database);
      db.exec("PRAGMA cache_size = 1");
      db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT)");
      db.exec(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO t SELECT i, printf('%.*c', 1000, 'a') FROM n`,
      );
      await replica.sync();
      for (let i = 1; i <= 3; i++) {
        db.exec(`UPDATE t SET body = 'new ${i}' WHERE id = ${i * 700}`);
        await replica.sync();
        const { body } = db.prepare(`SELECT body FROM t WHERE id = ${i * 700}`).get();
        assert.equal(body, `new ${i}`);
      }
      assert.equal(db.prepare("SELECT count(*) AS n FROM t").get().n, 3000);
      assert.deepEqual({ ...db.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
      db.close();
    }));

  test(`W6, W12: connections of one process share what is written: ${name}`, () =>
    inFolder(async (folder, url) => {
      await using replica = await opened(url, folder);
      const [one, two] = [replica.connect(Database), replica.connect(Database)];
      one.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER)");
      one.exec("INSERT INTO t VALUES (1, 0), (2, 0)");
      one.exec("UPDATE t SET n = 1 WHERE id = 1");
      two.exec("UPDATE t SET n = 1 WHERE id = 2");
      await replica.sync();
      for (const db of [one, two]) {
        assert.equal(db.prepare("SELECT sum(n) AS n FROM t").get().n, 2);
      }
      // A reader keeps its state while another connection commits.
      two.exec("BEGIN");
      assert.equal(two.prepare("SELECT sum(n) AS n FROM t").get().n, 2);
      one.exec("UPDATE t SET n = n + 10");
      await replica.sync();
      assert.equal(two.prepare("SELECT sum(n) AS n FROM t").get().n, 2);
      assert.notEqual(run(two, "UPDATE t SET n = 0"), "", "a stale reader must not write");
      two.exec("ROLLBACK");
      assert.equal(two.prepare("SELECT sum(n) AS n FROM t").get().n, 22);
      // One writer at a time.
      one.exec("BEGIN IMMEDIATE");
      assert.notEqual(run(two, "BEGIN IMMEDIATE"), "");
      assert.notEqual(run(one, "PRAGMA litestream_write_enabled = 0"), "");
      one.exec("COMMIT");
      two.exec("PRAGMA litestream_write_enabled = 0");
      assert.notEqual(run(one, "UPDATE t SET n = 0"), "");
      two.exec("PRAGMA litestream_write_enabled = 1");
      assert.equal(run(two, "BEGIN IMMEDIATE; UPDATE t SET n = 5; COMMIT"), "");
      assert.equal(one.prepare("SELECT sum(n) AS n FROM t").get().n, 10);
      one.close();
      two.close();
    }));
}

/** What a connection tells of the state that it sees. */
function told(db: ReplicaDatabase) {
  const { txid, time, commit, pageSize, ageSeconds } = JSON.parse(
    String(valueOf(db, "SELECT litestream_stats()")),
  );
  assert.equal(valueOf(db, "SELECT litestream_txid()"), txid);
  assert.equal(valueOf(db, "SELECT litestream_time()"), time);
  assert.equal(valueOf(db, "PRAGMA litestream_time"), time);
  return { txid, time, commit, pageSize, ageSeconds };
}

for (const { name, Database } of drivers) {
  test(`what is told of a state that is not stored yet is that state's own: ${name}`, () =>
    inFolder(async (folder, url) => {
      await using replica = await opened(url, folder);
      const [db, reader] = [replica.connect(Database), replica.connect(Database)];
      const before = new Date().toISOString();
      db.exec("CREATE TABLE t(a)");
      const first = told(reader);
      assert.ok(first.time >= before && first.time <= new Date().toISOString(), first.time);
      assert.equal(first.time, replica.time?.toISOString());
      assert.ok(first.ageSeconds < 60);
      assert.deepEqual({ commit: first.commit, pageSize: first.pageSize }, replica.size);
      await replica.sync();
      assert.equal(told(reader).txid, first.txid);

      reader.exec("BEGIN");
      assert.equal(valueOf(reader, "SELECT count(*) FROM t"), 0);
      const pinned = told(reader);
      while (new Date().toISOString() <= pinned.time) await delay(1);
      db.exec("INSERT INTO t VALUES (zeroblob(100000))");
      assert.deepEqual({ ...told(reader), ageSeconds: 0 }, { ...pinned, ageSeconds: 0 }, "what it sees");
      db.exec("BEGIN");
      assert.ok(Number(valueOf(db, "SELECT count(*) FROM t")) > 0);
      reader.exec("COMMIT");
      for (const { time, commit, pageSize } of [told(db), told(reader)]) {
        assert.ok(time > pinned.time);
        assert.equal(time, replica.time?.toISOString());
        assert.deepEqual({ commit, pageSize }, replica.size);
        assert.ok(commit > pinned.commit);
      }
      db.exec("COMMIT");
      reader.close();
      db.close();
    }));
}

test("what is committed and not stored is stored by the next process, once", () =>
  inFolder(async (folder, url) => {
    const { Database } = drivers[0]!;
    const replica = await opened(url, folder);
    const db = replica.connect(Database);
    db.exec("CREATE TABLE t(a INTEGER)");
    await replica.sync();
    db.exec("INSERT INTO t VALUES (1)");
    assert.ok((await readdir(folder)).includes("log.2"));
    db.close();
    await replica.close(); // stores it
    assert.ok(!(await readdir(folder)).some((name) => /^log\.\d/.test(name)));
    await using next = await opened(url, folder);
    const again = next.connect(Database);
    assert.equal(again.prepare("SELECT count(*) AS n FROM t").get().n, 1);
    assert.equal(next.txid, 2n);
    again.close();
  }));

test("a second writer on one log is refused with words, a reader is not", () =>
  inFolder(async (folder, url) => {
    await using replica = await opened(url, folder);
    const db = replica.connect();
    db.exec("CREATE TABLE t(a INTEGER)");
    await replica.sync();
    await assert.rejects(opened(url, folder), { name: "WriteLogError", message: /another writer/ });
    await using reader = await openReplica(url);
    await assert.rejects(reader.sync(), { name: "ReplicaError", message: /open for reading/ });
    const read = reader.connect();
    assert.throws(() => read.exec("INSERT INTO t VALUES (1)"), /readonly|read-only|read only/i);
    for (const each of [read, db]) each.close();
  }));

test("with litestream_durable a commit returns when it is stored, and fails where it cannot be", () =>
  inFolder(async (folder, url) => {
    await using replica = await opened(url, folder);
    const level = join(folder, "replica/ltx/0");
    const stored = async () => (await readdir(level)).filter((name) => name.endsWith(".ltx")).length;
    const db = replica.connect();
    db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY)");
    db.exec("PRAGMA litestream_durable = on");
    for (let i = 1; i <= 3; i++) {
      db.exec(`INSERT INTO t VALUES (${i})`);
      assert.equal(await stored(), i);
    }
    db.exec("BEGIN IMMEDIATE");
    db.exec("ROLLBACK");
    assert.equal(await stored(), 3);
    await rename(level, `${level}-away`);
    await writeFile(level, "no folder");
    assert.throws(() => db.exec("INSERT INTO t VALUES (4)"));
    assert.match(String(replica.lastError), /Cannot put/);
    await rm(level);
    await rename(`${level}-away`, level);
    db.exec("PRAGMA litestream_durable = off");
    await replica.sync();
    assert.equal(
      db.prepare("SELECT count(*) AS n FROM t").get().n,
      4,
      "it was committed, and is stored by now",
    );
    db.close();
    await using reader = await openReplica(url);
    const read = reader.connect();
    assert.equal(read.prepare("SELECT count(*) AS n FROM t").get().n, 4);
    assert.throws(() => read.exec("PRAGMA litestream_durable = on"), /open for reading/);
    read.close();
  }));

for (const pageSize of [4096, 8192]) {
  test(`what a database that begins empty has later is found by its trees: pages of ${pageSize} bytes`, () =>
    inFolder(async (folder, url) => {
      await using replica = await opened(url, folder, { cacheBytesMax: 1024 * 1024 });
      const { Database } = drivers[0]!;
      const writer = replica.connect(Database);
      writer.exec(`PRAGMA page_size = ${pageSize}`);
      writer.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, body BLOB); CREATE INDEX t_k ON t(k)");
      writer.exec(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO t SELECT i, i * 7919 % 10007, randomblob(1000) FROM n`,
      );
      await replica.sync();
      writer.close();
      const reader = replica.connect(Database);
      const mark = replica.mark();
      const sql = "SELECT count(body) AS n FROM t INDEXED BY t_k WHERE k BETWEEN 1000 AND 1200";
      assert.ok(Number(reader.prepare(sql).get().n) > 150);
      assert.ok(replica.stats(mark).aheadHits > 0, "rows that the index names are read ahead");
      reader.close();
    }));
}
