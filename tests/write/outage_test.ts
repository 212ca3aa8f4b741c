import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { LogEntry, OpenOptions, Replica, ReplicaDatabase } from "../../mod.ts";
import { listLogs } from "../../src/write/write_log.ts";
import type { FaultRule } from "../support/faults.ts";
import { type Bucket, levelZero, LTX, Outage, PlainImage, withBucket } from "./rival.ts";

/** How long the store is away under load; a minute with LONG=1. */
const SECONDS = process.env.LONG === "1" ? 60 : 5;

/** How much longer a slow machine may take, in ms. */
const PATIENCE_MS = 120_000;

const MiB = 1024 * 1024;
const UNSYNCED_MAX = MiB;
const CACHE_MAX = 16 * MiB;

/** Of a row, in bytes, and of what its transaction logs beside, generously. */
const BODY = 2_000;
const TRANSACTION_MAX = 64 * 1024;

/** Above what the process had; what is kept for each request that fails would come to more. */
const MEMORY_GROWTH_MAX = 192 * MiB;

const OPTIONS: OpenOptions = {
  syncIntervalMs: 50,
  pollIntervalMs: 200,
  requestTimeoutMs: 1_500,
  unsyncedBytesMax: UNSYNCED_MAX,
  cacheBytesMax: CACHE_MAX,
};

/** What the load came to. */
interface Load {
  committed: number;
  refused: number;
  logMax: number;
  memoryMax: number;
}

/** Bytes of the log's files. */
async function logSize(bucket: Bucket): Promise<number> {
  let sum = 0;
  for (const path of await listLogs(join(bucket.folder, "log"))) {
    sum += await stat(path).then(({ size }) => size, () => 0); // it may be stored by now
  }
  return sum;
}

/** The one reason that a transaction may fail for: the database is busy; the connection has the words. */
function assertBusy(db: ReplicaDatabase, error: unknown): void {
  assert.match(String(error), /database is locked/);
  const { errcode, errno } = error as { errcode?: number; errno?: number };
  assert.equal(errcode ?? errno ?? 5, 5, "SQLITE_BUSY");
  const words = String(Object.values(db.prepare("PRAGMA litestream_error").get())[0]);
  const [, found, wanted] =
    /Cannot write: (\d+) bytes wait to be stored, expected at most (\d+)/.exec(words) ?? [];
  assert.ok(Number(found) > UNSYNCED_MAX && Number(wanted) === UNSYNCED_MAX, words);
}

/** Commits numbered rows for {@link SECONDS}, and on until there are enough. */
async function load(
  replica: Replica,
  bucket: Bucket,
  isEnough: (came: Load) => boolean,
): Promise<Load> {
  const came: Load = { committed: 0, refused: 0, logMax: 0, memoryMax: 0 };
  const db = replica.connect();
  const untilMs = Date.now() + SECONDS * 1000;
  const isGoing = () => Date.now() < untilMs || (!isEnough(came) && Date.now() < untilMs + PATIENCE_MS);
  for (let round = 0; isGoing(); round++) {
    for (let i = 0; i < 4; i++) {
      try {
        const row = `${came.committed + 1} ' || hex(randomblob(${BODY / 2})) || '`;
        db.exec(`INSERT INTO t(who) VALUES ('${row}')`);
        came.committed++;
      } catch (error) {
        assertBusy(db, error);
        came.refused++;
      }
    }
    await delay(8);
    if (round % 8 > 0) continue;
    came.logMax = Math.max(came.logMax, await logSize(bucket));
    came.memoryMax = Math.max(came.memoryMax, process.memoryUsage.rss());
    assert.ok(replica.stats().poolBytes <= CACHE_MAX, `${replica.stats().poolBytes} bytes in the pool`);
  }
  db.close();
  return came;
}

/** All that was committed is stored, in order: each TXID has the first so many rows, none left out. */
async function assertArrived(bucket: Bucket, committed: number): Promise<void> {
  const objects = levelZero(bucket);
  const out = join(bucket.folder, "image.db");
  const sql = "SELECT CAST(substr(who, 1, instr(who, ' ')) AS INTEGER) FROM t ORDER BY id";
  const image = new PlainImage();
  let before = 0;
  for (const [i, object] of objects.entries()) {
    image.apply(object);
    if (i % Math.ceil(objects.length / 12) > 0 && i + 1 < objects.length) continue;
    const numbers = await image.query(out, sql);
    assert.deepEqual(numbers, Array.from(numbers, (_, i) => i + 1), `TXID ${i + 1}`);
    assert.ok(numbers.length >= before, `TXID ${i + 1}`);
    before = numbers.length;
  }
  assert.equal(before, committed);
  const twice = [...bucket.stores].filter(([key, count]) => LTX.test(key) && count !== 1);
  assert.deepEqual(twice, []);
}

/** Opens a writer, runs the load while the faults are on, then has all stored. */
async function run(
  rules: readonly FaultRule[],
  logMax: number,
  isEnough: (came: Load, told: readonly LogEntry[]) => boolean,
  assertLoad: (came: Load) => void = () => {},
): Promise<void> {
  const faults = new Outage(rules);
  faults.isOn = false;
  await withBucket(async (bucket) => {
    const told: LogEntry[] = [];
    const log = (entry: LogEntry) => void told.push(entry);
    const replica = await bucket.open("log", { ...OPTIONS, log });
    const memory = process.memoryUsage.rss();
    faults.isOn = true;
    const came = await load(replica, bucket, (came) => isEnough(came, told));
    const words = told.map(({ message }) => message).join("\n");
    assert.ok(isEnough(came, told), `${came.committed} committed, ${came.refused} refused; told: ${words}`);
    assertLoad(came);
    assert.ok(came.logMax <= logMax, `the log had ${came.logMax} bytes, expected at most ${logMax}`);
    const grown = came.memoryMax - memory;
    assert.ok(grown <= MEMORY_GROWTH_MAX, `memory grew by ${grown} bytes`);
    faults.isOn = false;
    await replica.sync().catch(() => replica.sync()); // the first may be an attempt that began before
    const after = replica.connect();
    after.exec(`INSERT INTO t(who) VALUES ('${came.committed + 1} at the end')`);
    after.close();
    await replica.close();
    assert.deepEqual(await listLogs(join(bucket.folder, "log")), []);
    await assertArrived(bucket, came.committed + 1);
  }, { faults });
}

/** Much was committed, the bound was met, and whoever reads the log was told. */
function isHeldUp({ committed, refused }: Load, told: readonly LogEntry[]): boolean {
  return committed > 100 && refused > 0 &&
    told.some(({ message }) => /cannot be stored right now/.test(message));
}

const away: [string, FaultRule][] = [
  ["answers nothing", { fault: { kind: "silence" } }],
  ["resets every connection", { fault: { kind: "reset" } }],
  ["answers 503 to all", { fault: { kind: "status", status: 503, code: "ServiceUnavailable" } }],
];
for (const [how, rule] of away) {
  test(
    `a store that ${how} for ${SECONDS} s: writers wait at the bound, all arrives afterwards`,
    { timeout: 600_000 },
    () =>
      run([rule], UNSYNCED_MAX + TRANSACTION_MAX, isHeldUp, ({ logMax }) => {
        assert.ok(logMax > UNSYNCED_MAX * 0.9, `the bound was reached: ${logMax} bytes`);
      }),
  );
}

/** Some comes through: a file that is stored lies beside the next one until it is removed. */
const storm: FaultRule[] = [
  { fault: { kind: "status", status: 503, code: "SlowDown" }, probability: 0.3 },
  { fault: { kind: "status", status: 429, code: "TooManyRequests" }, probability: 0.3 },
  { fault: { kind: "status", status: 500, code: "InternalError" }, probability: 0.2 },
  { fault: { kind: "doneBut", then: { kind: "status", status: 502 } }, probability: 0.2 },
  { fault: { kind: "reset" }, probability: 0.1 },
];
test(
  `a storm of 5xx and 429 for ${SECONDS} s under load: all arrives, in order, once`,
  { timeout: 600_000 },
  () =>
    run(
      storm,
      2 * UNSYNCED_MAX + TRANSACTION_MAX,
      ({ committed }) => committed > 100,
    ),
);
