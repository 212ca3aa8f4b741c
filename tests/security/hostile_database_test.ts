/** The database itself is somebody else's: its schema, its values, its pages. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { openReplica, type ReplicaDatabase } from "../../mod.ts";
import { drivers, IS_BUN, rowsOf, thrownBy, valueOf, withConnection } from "../replica/drivers.ts";
import { Random } from "../support/random.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";

const SEED = Number(process.env.FUZZ_SEED ?? 1 + Math.floor(Math.random() * 1e9));
const ROUNDS = Number(process.env.FUZZ_ROUNDS ? 200 : 25);

for (const { name, Database } of drivers) {
  test(`${name}: what is only read is not trusted: its views call no function that is not harmless`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(`
        CREATE TABLE t (a);
        INSERT INTO t VALUES (1);
        CREATE VIEW loads AS SELECT load_extension('/tmp/evil.so');
        CREATE VIEW travels AS SELECT litestream_set_time('1 hour ago');
        CREATE VIEW tells AS SELECT litestream_txid() AS txid, a FROM t;
        CREATE VIEW calls AS SELECT own(a) AS n FROM t;
      `);
      await using replica = await openReplica(folder.url);
      withConnection(replica, Database, (db) => {
        assert.equal(valueOf(db, "PRAGMA trusted_schema"), 0);
        assert.match(thrownBy(() => rowsOf(db, "SELECT * FROM loads")).message, /unsafe use|not authorized/);
        assert.match(thrownBy(() => rowsOf(db, "SELECT * FROM travels")).message, /unsafe use/);
        assert.deepEqual(rowsOf(db, "SELECT * FROM tells"), [{ txid: "0000000000000001", a: 1 }]);
        db.exec("PRAGMA writable_schema = ON");
        assert.equal(valueOf(db, "PRAGMA writable_schema"), 0, "it is defensive");
        ownFunction(db, () => {
          assert.match(thrownBy(() => rowsOf(db, "SELECT * FROM calls")).message, /unsafe use of own/);
          assert.equal(valueOf(db, "SELECT own(20)"), 21, "who writes the statement may");
          db.exec("PRAGMA trusted_schema = ON");
          assert.deepEqual(rowsOf(db, "SELECT * FROM calls"), [{ n: 2 }]);
        });
      });
    }));

  test(`${name}: who writes has the schema for its own, as SQLite does`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(
        "CREATE TABLE t (a); CREATE VIEW calls AS SELECT own(a) AS n FROM t; INSERT INTO t VALUES (1)",
      );
      const bufferPath = join(folder.home, "log");
      await using replica = await openReplica(folder.url, { write: true, bufferPath });
      withConnection(replica, Database, (db) => {
        assert.equal(valueOf(db, "PRAGMA trusted_schema"), 1);
        ownFunction(db, () => assert.deepEqual(rowsOf(db, "SELECT * FROM calls"), [{ n: 2 }]));
      });
    }));

  test(`${name}: no text of SQL opens a replica by URI where nobody has called register()`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.step("CREATE TABLE t (a)");
      await using replica = await openReplica(folder.url);
      withConnection(replica, Database, (db) => {
        const uri = `file:other.db?vfs=litestream&replica_url=${encodeURIComponent(folder.url)}`;
        try {
          thrownBy(() => db.exec(`ATTACH '${uri}' AS other; SELECT * FROM other.t`));
        } finally {
          rmSync(uri, { force: true }); // what a driver makes of it that interprets no URI: a file of that name
        }
      });
    }));
}

/** Gives a connection a function `own(n)`, one more than n, where the driver can: `bun:sqlite` has none. */
function ownFunction(db: ReplicaDatabase, use: () => void): void {
  const { function: define } = db as unknown as {
    function?: (name: string, act: (n: number) => number) => void;
  };
  if (define === undefined) {
    assert.ok(IS_BUN, "every other driver has functions of the application's");
    return console.log("hostile database: bun:sqlite has no functions of the application's, nothing to call");
  }
  define.call(db, "own", (n) => n + 1);
  use();
}

test(`pages that a hostile writer has made up end in rows or an error (FUZZ_SEED=${SEED})`, () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(`
      CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b BLOB);
      CREATE INDEX i ON t (a);
      WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300)
      INSERT INTO t SELECT x, 'text ' || (x * 7919 % 300), randomblob(x * 13 % 6000) FROM n;
      CREATE VIRTUAL TABLE f USING fts5 (a);
      INSERT INTO f SELECT a FROM t;
    `);
    const random = new Random(SEED);
    const commit = folder.commitAt(1);
    const queries = [
      "PRAGMA integrity_check",
      "SELECT count(*), sum(length(b)) FROM t",
      "SELECT * FROM t WHERE a > 'text 2' ORDER BY a LIMIT 50",
      "SELECT * FROM f WHERE f MATCH 'text'",
      "SELECT * FROM sqlite_schema",
    ];
    let failures = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const hit = new Set(Array.from({ length: 1 + random.next(4) }, () => 1 + random.next(commit)));
      const spoil = (page: Uint8Array, pgno: number) => {
        if (!hit.has(pgno)) return page;
        const spoilt = page.slice();
        for (let i = 0; i < 8; i++) spoilt[random.next(i < 4 ? 32 : 4096)] = random.next(256);
        return spoilt;
      };
      folder.put(folder.pathOf(0, 1, 1), folder.encode(1, 1, spoil));
      const opened = await openReplica(folder.url, { pollIntervalMs: 0, log: () => {} }).catch(() =>
        undefined
      );
      if (opened === undefined) {
        failures++;
        continue;
      }
      await using replica = opened;
      for (const { Database } of drivers) {
        for (const sql of queries) {
          try {
            withConnection(replica, Database, (db) => rowsOf(db, sql));
          } catch (error) {
            assert.ok(error instanceof Error && error.message !== "", String(error));
            failures++;
          }
        }
      }
    }
    assert.ok(failures > 0, "something was spoilt");
  }));
