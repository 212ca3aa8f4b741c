import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { openLocal } from "../support/local_database.ts";

async function inFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "attached-test-"));
  try {
    await act(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function opened(folder: string, name: string) {
  const options = { write: true, bufferPath: join(folder, `${name}.log`), syncIntervalMs: 0 };
  return openReplica(`file://${folder}/${name}`, options);
}

test("one transaction writes to two replicas", () =>
  inFolder(async (folder) => {
    await using one = await opened(folder, "one");
    await using two = await opened(folder, "two");
    const db = one.connect();
    db.exec(`ATTACH '${two.path()}' AS two`);
    db.exec("CREATE TABLE t(a)");
    db.exec("CREATE TABLE two.t(a)");
    for (const end of ["COMMIT", "ROLLBACK"]) {
      db.exec("BEGIN");
      db.exec("INSERT INTO main.t VALUES (1)");
      db.exec("INSERT INTO two.t VALUES (1)");
      db.exec(end);
    }
    for (const table of ["main.t", "two.t"]) {
      assert.equal(db.prepare(`SELECT count(*) AS n FROM ${table}`).get().n, 1);
    }
    db.close();
    assert.deepEqual([await one.sync(), await two.sync()], [1n, 1n]);
  }));

test("a transaction over a replica and an ordinary file commits where a crash can be undone, else fails whole", () =>
  inFolder(async (folder) => {
    await using replica = await opened(folder, "replica");
    const plain = join(folder, "plain.db");
    const local = await openLocal(plain);
    local.exec("CREATE TABLE p(a)");
    local.close();
    const db = replica.connect();
    db.exec("CREATE TABLE t(a)");
    db.exec(`ATTACH '${plain}' AS plain`);
    db.exec("BEGIN");
    db.exec("INSERT INTO t VALUES (1)");
    db.exec("INSERT INTO plain.p VALUES (1)");
    assert.throws(() => db.exec("COMMIT"));
    try {
      db.exec("ROLLBACK");
    } catch {
      // SQLite has rolled back already
    }
    for (const table of ["t", "plain.p"]) {
      assert.equal(db.prepare(`SELECT count(*) AS n FROM ${table}`).get().n, 0, table);
    }
    db.exec("INSERT INTO t VALUES (2)"); // one file at a time works
    db.exec("INSERT INTO plain.p VALUES (2)");
    for (const table of ["t", "plain.p"]) {
      assert.equal(db.prepare(`SELECT count(*) AS n FROM ${table}`).get().n, 1, table);
    }
    db.close();
  }));

test("a transaction over a replica and an ordinary file in WAL mode commits, for SQLite takes that file by itself", () =>
  inFolder(async (folder) => {
    await using replica = await opened(folder, "replica");
    const plain = join(folder, "plain.db");
    const local = await openLocal(plain);
    local.exec("PRAGMA journal_mode = WAL");
    local.exec("CREATE TABLE p(a)");
    local.close();
    const db = replica.connect();
    db.exec("CREATE TABLE t(a)");
    db.exec(`ATTACH '${plain}' AS plain`);
    for (const end of ["COMMIT", "ROLLBACK"]) {
      db.exec("BEGIN");
      db.exec("INSERT INTO t VALUES (1)");
      db.exec("INSERT INTO plain.p VALUES (1)");
      db.exec(end);
    }
    for (const table of ["t", "plain.p"]) {
      assert.equal(db.prepare(`SELECT count(*) AS n FROM ${table}`).get().n, 1, table);
    }
    db.close();
  }));
