/** What drivers have besides statements: values read and written in parts, copies of the whole database. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type DatabaseClass, openReplica, type Replica } from "../../mod.ts";
import { allDrivers, type TestedDriver } from "../support/all_drivers.ts";
import type { LocalDatabase } from "../support/local_database.ts";
import { Random } from "../support/random.ts";
import { folderUrl, withFolder } from "../support/real.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { ScriptConnection } from "./connection.ts";
import { contentsOf, differingParts } from "./contents.ts";

const drivers = await allDrivers();
const BODY_SIZE = 100_000;
const TABLE = `CREATE TABLE t(id INTEGER PRIMARY KEY, head TEXT, body BLOB);
  CREATE INDEX t_head ON t(head);`;
const ROWS = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
  INSERT INTO t SELECT i, 'head ' || i, CAST(printf('%.*c', ${BODY_SIZE}, char(64 + i)) AS BLOB) FROM n`;

interface Blob {
  readonly byteLength: number;
  readSync(offset: number, p: Uint8Array): void;
  writeSync(offset: number, b: Uint8Array): void;
  close(): void;
}
type BlobDatabase = LocalDatabase & {
  openBlob(place: { table: string; column: string; row: number; readonly?: boolean }): Blob;
};
type SerialClass = DatabaseClass<LocalDatabase & { serialize(): Uint8Array }>;

function driverWith(member: string): TestedDriver | undefined {
  return drivers.find(({ Database }) => Database && member in Database.prototype);
}

function skipUnless(driver: unknown, what: string): string | false {
  if (driver) return false;
  console.error(`skipped: no driver of this runtime has ${what}`);
  return `no driver of this runtime has ${what}`;
}

/** A replica that is written, with rows that are stored and rows that are not yet. */
function withWritten(act: (replica: Replica, folder: string) => Promise<void>): Promise<void> {
  return withFolder(async (folder) => {
    await using replica = await openReplica(folderUrl(join(folder, "replica")), {
      write: true,
      bufferPath: join(folder, "log"),
      syncIntervalMs: 0,
    });
    const db = replica.connect();
    for (const sql of [...TABLE.split(";\n"), ROWS]) db.exec(sql);
    await replica.sync();
    db.exec("UPDATE t SET head = 'new ' || id, body = x'00' WHERE id % 3 = 0");
    db.close();
    await act(replica, folder);
  });
}

/** Opens a file by this runtime's first driver. */
function plain(path: string, folder: string): ScriptConnection {
  return ScriptConnection.ofFile(path, drivers[0]!, folder);
}

const blobs = driverWith("openBlob");
const noBlobs = skipUnless(blobs, "openBlob()");

test(
  "parts of a value are read over a replica, and none is changed",
  { skip: noBlobs },
  () =>
    withReplicaFolder({ pageSize: 1024 }, async (folder) => {
      folder.step(`${TABLE} ${ROWS}`);
      await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
      const db = replica.connect(blobs!.Database) as BlobDatabase;
      const random = new Random(3);
      for (let i = 0; i < 60; i++) {
        const row = 1 + random.next(20);
        const blob = db.openBlob({ table: "t", column: "body", row });
        assert.equal(blob.byteLength, BODY_SIZE);
        const part = new Uint8Array(1 + random.next(5000));
        blob.readSync(random.next(BODY_SIZE - part.length), part);
        assert.ok(part.every((byte) => byte === 64 + row), `row ${row}`);
        blob.close();
      }
      assert.throws(() => db.openBlob({ table: "t", column: "body", row: 1, readonly: false }), /readonly/);
      db.close();
    }),
);

test(
  "parts of a value are written to a replica as to a file",
  { skip: noBlobs },
  () =>
    withWritten(async (replica, folder) => {
      const path = join(folder, "plain.db");
      const first = plain(path, folder);
      for (const sql of [...TABLE.split(";\n"), ROWS]) first.rows(sql);
      first.rows("UPDATE t SET head = 'new ' || id, body = x'00' WHERE id % 3 = 0");
      first.close();
      const written = replica.connect(blobs!.Database) as BlobDatabase;
      const local = new blobs!.Database(path) as BlobDatabase;
      for (const db of [written, local]) {
        const random = new Random(4);
        db.exec("PRAGMA cache_size = 2");
        for (let i = 0; i < 40; i++) {
          const blob = db.openBlob({
            table: "t",
            column: "body",
            row: 1 + 3 * random.next(6),
            readonly: false,
          });
          const part = random.bytes(1 + random.next(3000));
          blob.writeSync(random.next(BODY_SIZE - part.length), part);
          blob.close();
        }
        const blob = db.openBlob({ table: "t", column: "body", row: 2, readonly: false });
        assert.throws(() => blob.writeSync(BODY_SIZE - 1, new Uint8Array(2)));
        blob.close();
        db.close();
      }
      await replica.sync();
      const ours = ScriptConnection.ofReplica(replica, drivers[0]!, folder);
      const wanted = plain(path, folder);
      assert.deepEqual(differingParts(contentsOf(ours), contentsOf(wanted)), []);
      for (const db of [ours, wanted]) db.close();
    }),
);

/** Holds a copy of {@link withWritten}'s replica against the replica. */
function compareCopy(copy: ScriptConnection, replica: Replica, folder: string): void {
  const ours = ScriptConnection.ofReplica(replica, drivers[0]!, folder);
  try {
    assert.deepEqual(differingParts(contentsOf(copy), contentsOf(ours)), []);
    assert.deepEqual(copy.rows("SELECT count(*) FROM t WHERE head LIKE 'new%'"), [[6n]]);
  } finally {
    ours.close();
    copy.close();
  }
}

const node = drivers.find(({ name }) => name === "node:sqlite");
const { backup } = node ? await import("node:sqlite") as { backup?: unknown } : {};

test(
  "backup() copies a replica that is being written",
  { skip: skipUnless(backup, "backup()") },
  () =>
    withWritten(async (replica, folder) => {
      const db = replica.connect(node!.Database);
      const path = join(folder, "backup.db");
      await (backup as (db: unknown, path: string) => Promise<number>)(db, path);
      db.close();
      compareCopy(plain(path, folder), replica, folder);
    }),
);

test("VACUUM INTO copies a replica that is being written, with each driver", () =>
  withWritten((replica, folder) => {
    for (const [i, driver] of drivers.entries()) {
      const db = ScriptConnection.ofReplica(replica, driver, folder);
      const path = join(folder, `copy-${i}.db`);
      db.rows(`VACUUM INTO '${path}'`);
      const copy = plain(path, folder);
      const rows = "SELECT * FROM t ORDER BY id";
      assert.deepEqual(copy.rows(rows), db.rows(rows));
      assert.deepEqual(copy.rows("PRAGMA integrity_check"), [["ok"]]);
      for (const each of [db, copy]) each.close();
    }
    return Promise.resolve();
  }));

for (const driver of drivers) {
  test(`a written database keeps page size and rollback journal, unlike a file: ${driver.name}`, () =>
    withWritten(async (replica, folder) => {
      const db = ScriptConnection.ofReplica(replica, driver, folder);
      assert.deepEqual(db.rows("PRAGMA journal_mode = WAL"), [["delete"]]);
      assert.deepEqual(db.rows("PRAGMA mmap_size = 1000000"), []);
      db.rows("PRAGMA page_size = 8192");
      assert.match(db.run("VACUUM").error, /disk I\/O error/);
      assert.match(String(replica.lastError), /the page size of a database with pages cannot change/);
      db.close();
      const again = ScriptConnection.ofReplica(replica, driver, folder);
      assert.equal(again.run("VACUUM").error, "");
      assert.deepEqual(
        again.rows("SELECT page_size, integrity_check FROM pragma_page_size, pragma_integrity_check"),
        [[
          4096n,
          "ok",
        ]],
      );
      again.close();
      await replica.sync();
    }));
}

const serial = driverWith("serialize");

test(
  "serialize() copies a replica that is being written",
  { skip: skipUnless(serial, "serialize()") },
  () =>
    withWritten(async (replica, folder) => {
      const Serial = serial!.Database as unknown as SerialClass;
      const db = replica.connect(Serial);
      const path = join(folder, "serialized.db");
      await writeFile(path, db.serialize());
      db.close();
      compareCopy(plain(path, folder), replica, folder);
    }),
);
