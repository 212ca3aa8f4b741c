/** A damaged write log: under its writer nothing of it is stored; a crash's torn end is no damage. */
import assert from "node:assert/strict";
import { copyFile, open, readdir, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Replica, ReplicaDatabase } from "../../mod.ts";
import { listLogs, readLog } from "../../src/write/write_log.ts";
import { rowsOf, valueOf, withConnection } from "../replica/drivers.ts";
import { type Bucket, LTX, withBucket } from "./rival.ts";

const lost = { name: "WriteLogError", message: /^Cannot go on writing to .*: / };

/** SQL for rows that split trees: `from` to `to`. */
function many(from: number, to: number): string {
  return `WITH RECURSIVE n(i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${to})
    INSERT INTO t(who) SELECT 'row ' || (i * 7919 % 2003) FROM n`;
}

/** A log of two transactions; the second one has several frames, from `before` on. */
interface Written {
  readonly path: string;
  readonly before: number;
  readonly size: number;
}

async function write(bucket: Bucket, db: ReplicaDatabase): Promise<Written> {
  db.exec("INSERT INTO t(who) VALUES ('one')");
  const [path] = await listLogs(join(bucket.folder, "log"));
  const before = (await stat(path!)).size;
  db.exec(many(2, 2000));
  return { path: path!, before, size: (await stat(path!)).size };
}

/** Changes a byte, or has zeros in place of some. */
async function change(path: string, offset: number, size = 1): Promise<void> {
  const file = await open(path, "r+");
  const found = new Uint8Array(size);
  await file.read(found, 0, size, offset);
  await file.write(size === 1 ? found.map((byte) => byte ^ 0x10) : found.fill(0), 0, size, offset);
  await file.close();
}

const damages: [string, (written: Written) => Promise<void>][] = [
  ["lost its last transaction", ({ path, before }) => truncate(path, before)],
  ["was cut inside its last transaction", ({ path, size }) => truncate(path, size - 4136)],
  ["was cut by a byte", ({ path, size }) => truncate(path, size - 1)],
  ["has another bit in its last frame", ({ path, size }) => change(path, size - 2000)],
  ["has another bit in its last commit's mark", ({ path, size }) => change(path, size - 4136 + 7)],
  ["has another bit in a transaction before", ({ path, before }) => change(path, before - 2000)],
  ["is gone", ({ path }) => rm(path)],
];

/** Nothing is stored; the log is kept, and who opens it comes to a state that there was, or is told. */
async function assertNothingWrong(bucket: Bucket, replica: Replica): Promise<void> {
  const logs = () => listLogs(join(bucket.folder, "log"));
  const kept = await logs();
  await assert.rejects(replica.close(), lost);
  assert.equal(bucket.server.keys().filter((key) => LTX.test(key)).length, 1);
  assert.deepEqual(await logs(), kept);
  try {
    await (await bucket.open("log", { log: () => {} })).close();
  } catch (error) {
    assert.equal((error as Error).name, "WriteLogError");
  }
  const rows = await bucket.rows();
  assert.ok(rows.length <= 1, `${rows.length} rows, of a transaction that was not whole`);
  assert.deepEqual(rows, ["one"].slice(0, rows.length));
}

for (const [how, damage] of damages) {
  test(`a log that ${how} under its writer is not stored: sync() tells, and nothing goes on`, () =>
    withBucket(async (bucket) => {
      const replica = await bucket.open("log");
      const db = replica.connect();
      await damage(await write(bucket, db));
      await assert.rejects(replica.sync(), lost);
      assert.throws(() => db.exec("INSERT INTO t(who) VALUES ('on top')"));
      assert.match(String(replica.lastError), /^WriteLogError: /);
      await assert.rejects(replica.sync(), lost);
      db.close();
      await assertNothingWrong(bucket, replica);
    }));
}

for (const [how, damage] of damages.filter(([how]) => /lost|cut|gone/.test(how))) {
  test(`nothing is committed to a log that ${how}`, () =>
    withBucket(async (bucket) => {
      const replica = await bucket.open("log");
      const db = replica.connect();
      await damage(await write(bucket, db));
      assert.throws(() => db.exec("INSERT INTO t(who) VALUES ('on top')"));
      assert.match(String(replica.lastError), /^WriteLogError: .*log\.\d+": it was deleted or cut/);
      await assert.rejects(replica.sync(), lost);
      db.close();
      await assertNothingWrong(bucket, replica);
    }));
}

test("a transaction under way on top of what a log has lost does not come to be stored", () =>
  withBucket(async (bucket) => {
    const replica = await bucket.open("log");
    const db = replica.connect();
    const { path, before } = await write(bucket, db);
    await truncate(path, before);
    db.exec("BEGIN");
    const syncing = assert.rejects(replica.sync(), lost);
    try {
      db.exec("INSERT INTO t(who) VALUES ('on top')");
    } catch {
      // it may have been told of already
    }
    await syncing;
    assert.throws(() => {
      db.exec("INSERT INTO t(who) VALUES ('on top')");
      db.exec("COMMIT");
    });
    db.close();
    await assertNothingWrong(bucket, replica);
  }));

/** What a crash leaves before the log is stored, under another name. */
async function crashed(bucket: Bucket): Promise<Written> {
  const { folder, server } = bucket;
  const replica = await bucket.open("log");
  const db = replica.connect();
  const written = await write(bucket, db);
  for (const name of await readdir(folder)) {
    const [, ending] = /^log(\.(?:base|\d+))$/.exec(name) ?? [];
    if (ending) await copyFile(join(folder, name), join(folder, `torn${ending}`));
  }
  db.close();
  await replica.close();
  for (const key of server.keys().filter((key) => /0{15}2\.ltx$/.test(key))) server.remove(key);
  const path = written.path.replace(/log(\.\d+)$/, "torn$1");
  assert.equal((await readLog(path))?.txids[0]?.transactions, 2);
  return { ...written, path };
}

/** How a crash may tear a transaction whose COMMIT waits for the disk, by its blocks of 4096 bytes. */
const torn: [string, (blocks: number[]) => number[]][] = [
  ["first block", (blocks) => blocks.slice(0, 1)],
  ["first two blocks", (blocks) => blocks.slice(0, 2)],
  ["middle", (blocks) => blocks.slice(1, -1)],
  ["every second block", (blocks) => blocks.filter((_, i) => i % 2 === 0)],
  ["last block", (blocks) => blocks.slice(-1)],
];
for (const [which, pick] of torn) {
  test(`a crash that tears the last transaction's ${which} leaves those before it`, () =>
    withBucket(async (bucket) => {
      const { path, before, size } = await crashed(bucket);
      const blocks: number[] = [];
      for (let at = Math.ceil(before / 4096) * 4096; at < size; at += 4096) blocks.push(at);
      assert.ok(blocks.length > 4, `${blocks.length} blocks`);
      for (const at of pick(blocks)) await change(path, at, Math.min(4096, size - at));
      await using next = await bucket.open("torn", { log: () => {} });
      assert.equal(next.txid, 2n);
      withConnection(next, undefined, (db) => {
        assert.deepEqual(rowsOf(db, "SELECT who FROM t"), [{ who: "one" }]);
        assert.equal(valueOf(db, "PRAGMA integrity_check"), "ok");
      });
    }));
}

test("another bit in a transaction that one came after is damage, and told", () =>
  withBucket(async (bucket) => {
    const { path, before } = await crashed(bucket);
    await change(path, before - 2000);
    await assert.rejects(bucket.open("torn"), { name: "WriteLogError", message: /it is damaged at byte/ });
    assert.deepEqual(await bucket.rows(), []);
  }));
