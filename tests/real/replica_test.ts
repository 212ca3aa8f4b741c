import assert from "node:assert/strict";
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openReplica, type Replica } from "../../mod.ts";
import { encodeFile } from "../../src/ltx/encoder.ts";
import { formatLtxFileName, lockPgno } from "../../src/ltx/txid.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { goVfsLibrary, queryGoVfs } from "../support/go_vfs.ts";
import { type LocalDatabase, openLocal } from "../support/local_database.ts";
import { lz4 } from "../support/lz4.ts";
import { nativeLz4 } from "../support/native_lz4.ts";
import {
  type Daemon,
  folderUrl,
  listFiles,
  litestreamBinary,
  litestreamFrameBinary,
  replicate,
  restore,
  type S3Server,
  s3ServerBinary,
  skipWithout,
  startS3Server,
  withFolder,
} from "../support/real.ts";
import type { PlainDatabase } from "../support/sqlite.ts";
import { makeReplicaZoo } from "../support/zoo.ts";

const noDaemon = skipWithout({ litestream: litestreamBinary() });
const noS3 = skipWithout({ litestream: litestreamBinary(), "S3 server": s3ServerBinary() });
const noGoVfs = skipWithout({ "Go VFS": goVfsLibrary() });
const noZoo = skipWithout({ litestream: litestreamBinary(), "older litestream": litestreamFrameBinary() });

/** Every row of every table, each value as an SQL literal. */
function contents(database: Pick<LocalDatabase, "prepare">): Record<string, string[]> {
  const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").all();
  return Object.fromEntries(tables.map(({ name }: { name: string }) => {
    const columns = database.prepare(`SELECT name FROM pragma_table_info('${name}')`).all();
    const row = columns.map((column: { name: string }) => `quote("${column.name}")`).join(` || ',' || `);
    return [name, database.prepare(`SELECT ${row} AS r FROM "${name}" ORDER BY 1`).all().map(({ r }) => r)];
  }));
}

async function sourceContents(path: string): Promise<Record<string, string[]>> {
  const database = await openLocal(path);
  try {
    return contents(database);
  } finally {
    database.close();
  }
}

/** Reads a replica through every driver and compares it with its source. */
async function assertSame(replica: Replica, sourcePath: string): Promise<void> {
  const wanted = await sourceContents(sourcePath);
  for (const { name, Database } of await allDrivers()) {
    const database = replica.connect(Database);
    try {
      const check = database.prepare("PRAGMA integrity_check").all();
      assert.deepEqual(check.map((row) => Object.values(row)[0]), ["ok"], name);
      assert.deepEqual(contents(database), wanted, name);
    } finally {
      database.close();
    }
  }
}

test("openReplica() reads the zoo: page sizes, shrinks, VACUUM, LZ4 frames", { skip: noZoo }, async () => {
  for (const animal of await makeReplicaZoo()) {
    await using replica = await openReplica(animal.url);
    assert.equal(replica.size.pageSize, animal.pageSize, animal.name);
    await assertSame(replica, animal.db);
  }
});

async function workload(sqlite: PlainDatabase, daemon: Daemon): Promise<void> {
  sqlite.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX tb ON t(b)");
  for (let i = 0; i < 12; i++) {
    sqlite.exec(`INSERT INTO t(b) SELECT hex(randomblob(300)) FROM pragma_function_list LIMIT 40`);
    if (i % 3 === 2) sqlite.exec(`UPDATE t SET b = 'changed ${i}' WHERE a % 7 = ${i % 7}`);
    if (i === 8) sqlite.exec("DELETE FROM t WHERE a % 2 = 0; VACUUM");
    await daemon.sync();
  }
}

test(
  "openReplica() reads what a daemon wrote to a folder",
  { skip: noDaemon },
  () =>
    withFolder(async (folder) => {
      const db = join(folder, "source.db");
      const url = folderUrl(join(folder, "replica"));
      const txid = await replicate({ db, url, run: workload });
      await using replica = await openReplica(url);
      assert.equal(replica.txid, txid);
      await assertSame(replica, db);
    }),
);

let server: S3Server | undefined;
before(async () => {
  if (!noS3) server = await startS3Server();
});
after(() => server?.close());

test("openReplica() reads what a daemon wrote to S3", { skip: noS3 }, () =>
  withFolder(async (folder) => {
    const { env, accessKey, secretKey, endpoint, bucket } = server!;
    const db = join(folder, "source.db");
    const url = server!.url("daemon");
    const txid = await replicate({ db, url, env, run: workload });
    const levels = new Set((await listFiles(url, { env })).map(({ level }) => level));
    assert.deepEqual([...levels].sort(), [0, 1, 2, 3, 9]);
    const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
    await using replica = await openReplica(`s3://${bucket}/daemon`, { endpoint, credentials });
    assert.equal(replica.txid, txid);
    await assertSame(replica, db);
  }));

test("openReplica() says what is wrong with bucket, path and keys", { skip: noS3 }, async () => {
  const { accessKey, secretKey, endpoint, bucket } = server!;
  const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
  const open = (url: string, keys = credentials) => openReplica(url, { endpoint, credentials: keys });
  await assert.rejects(open(`s3://${bucket}/empty`), { name: "RestorePlanError", fault: "empty" });
  await assert.rejects(open("s3://no-such-bucket/x"), {
    name: "StorageError",
    status: 404,
    code: "NoSuchBucket",
  });
  await assert.rejects(
    open(`s3://${bucket}/x`, { ...credentials, secretAccessKey: "wrong-wrong" }),
    (error: Error) => {
      assert.equal(error.name, "StorageError");
      assert.ok(!error.message.includes("wrong-wrong") && !error.message.includes(secretKey));
      return true;
    },
  );
});

/** A snapshot and two incrementals of our own encoder; the last shrinks the database. */
async function writeOwnReplica(folder: string): Promise<string> {
  const path = join(folder, "own.db");
  const database = await openLocal(path);
  const steps = [
    "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); INSERT INTO t(b) VALUES ('one'), (hex(zeroblob(9000)))",
    "INSERT INTO t(b) VALUES ('two'); CREATE TABLE u(x)",
    "DELETE FROM t WHERE a = 2; VACUUM",
  ];
  for (const [index, sql] of steps.entries()) {
    database.exec(sql);
    const bytes = new Uint8Array(await readFile(path));
    const commit = bytes.length / 4096;
    const pages = Array.from({ length: commit }, (_, i) => ({
      pgno: i + 1,
      page: bytes.subarray(i * 4096, (i + 1) * 4096),
    }));
    const txid = BigInt(index + 1);
    const level = join(folder, "replica/ltx", index === 0 ? "9" : "0");
    await mkdir(level, { recursive: true });
    const file = encodeFile(
      { pageSize: 4096, commit, minTxid: txid, maxTxid: txid, timestampMs: Date.now() },
      pages,
      { lz4 },
    );
    await writeFile(join(level, formatLtxFileName({ minTxid: txid, maxTxid: txid })), file);
  }
  database.close();
  return path;
}

test(
  "encodeFile() writes what litestream restores and the Go VFS reads",
  { skip: noDaemon || noGoVfs },
  () =>
    withFolder(async (folder) => {
      const path = await writeOwnReplica(folder);
      const url = folderUrl(join(folder, "replica"));
      await restore(url, join(folder, "restored.db"));
      assert.deepEqual(await sourceContents(join(folder, "restored.db")), await sourceContents(path));
      const [rows] = await queryGoVfs({ url, sql: ["SELECT a, b FROM t ORDER BY a"] });
      assert.deepEqual(rows, [{ a: 1, b: "one" }, { a: 3, b: "two" }]);
      await using replica = await openReplica(url);
      await assertSame(replica, path);
    }),
);

/** Pages of a database file, read one by one; the lock page is left out. */
function* storedPages(path: string, pageSize: number, commit: number) {
  const file = openSync(path, "r");
  try {
    for (let pgno = 1; pgno <= commit; pgno++) {
      const page = new Uint8Array(pageSize);
      readSync(file, page, 0, pageSize, (pgno - 1) * pageSize);
      if (pgno !== lockPgno(pageSize)) yield { pgno, page };
    }
  } finally {
    closeSync(file);
  }
}

test("openReplica() reads a database that crosses the lock page at 1 GiB", () =>
  withFolder(async (folder) => {
    const pageSize = 65536;
    const path = join(folder, "large.db");
    const database = await openLocal(path);
    database.exec(`PRAGMA page_size=${pageSize}; PRAGMA journal_mode=off; PRAGMA synchronous=off;
      CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB);
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1080)
        INSERT INTO t SELECT i, zeroblob(1000000) FROM n;
      CREATE TABLE last(x); INSERT INTO last VALUES ('behind the lock page')`);
    database.close();
    const commit = statSync(path).size / pageSize;
    assert.ok(commit > lockPgno(pageSize));
    const range = { minTxid: 1n, maxTxid: 1n };
    const fields = { pageSize, commit, ...range, timestampMs: Date.now() };
    const file = encodeFile(fields, storedPages(path, pageSize, commit), { lz4: await nativeLz4() });
    const level = join(folder, "replica/ltx/9");
    await mkdir(level, { recursive: true });
    await writeFile(join(level, formatLtxFileName(range)), file);
    await rm(path);
    await using replica = await openReplica(folderUrl(join(folder, "replica")));
    const connection = replica.connect();
    const rows = connection.prepare("SELECT x FROM last").all();
    assert.deepEqual(rows.map(({ x }) => x), ["behind the lock page"]);
    assert.deepEqual(Object.values(connection.prepare("PRAGMA integrity_check").get()), ["ok"]);
    const sum = connection.prepare("SELECT sum(length(b)) AS bytes FROM t").get();
    assert.equal(sum.bytes, 1_080_000_000);
    connection.close();
  }));
