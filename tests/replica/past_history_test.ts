/** Every moment of a history shows what the definition says, whatever files are left of it. */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { openReplica, type Replica, type ReplicaDatabase, RestorePlanError } from "../../mod.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { resealFile } from "../support/ltx_files.ts";
import { Random } from "../support/random.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { rowsOf, thrownBy } from "./drivers.ts";
import { modelTxid, reachable, type TimedFile } from "./past_model.ts";

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 12);
const SECONDS = 180;
const START_MS = 1_700_000_000_000;

/** A history of one transaction a second, and what is left of it. */
class History {
  readonly folder: ReplicaFolder;
  readonly files: TimedFile[] = [];
  readonly #timeOf: (txid: number) => number;

  constructor(folder: ReplicaFolder, timeOf: (txid: number) => number = (txid) => START_MS + txid * 1000) {
    this.folder = folder;
    this.#timeOf = timeOf;
  }

  /** The next transaction: it grows a table, changes a row, and now and then the schema. */
  record(): number {
    const n = this.folder.txid + 1;
    const first =
      "CREATE TABLE h (n INTEGER PRIMARY KEY, x TEXT); CREATE TABLE state (n INTEGER); INSERT INTO state VALUES (0);";
    const schema = n % 40 === 20
      ? `CREATE TABLE extra${n} (a);`
      : n % 40 === 39
      ? `DROP TABLE extra${n - 19};`
      : "";
    return this.folder.record(
      `${n === 1 ? first : ""} ${schema} INSERT INTO h VALUES (${n}, hex(randomblob(${
        n % 50
      }))); UPDATE state SET n = ${n};`,
    );
  }

  write(level: number, minTxid: number, maxTxid: number): void {
    const bytes = this.folder.encode(minTxid, maxTxid);
    const createdMs = this.#timeOf(maxTxid);
    const head = new DataView(bytes.buffer);
    const isOther = head.getBigUint64(TIMESTAMP_AT) !== BigInt(createdMs);
    head.setBigUint64(TIMESTAMP_AT, BigInt(createdMs));
    this.folder.put(this.folder.pathOf(level, minTxid, maxTxid), isOther ? resealFile(bytes) : bytes);
    this.files.push({ level, minTxid, maxTxid, createdMs });
  }

  delete(file: TimedFile): void {
    this.folder.delete(file.level, file.minTxid, file.maxTxid);
    this.files.splice(this.files.indexOf(file), 1);
  }
}

/** Where an LTX header has its timestamp; see LTX format version 3, "Header". */
const TIMESTAMP_AT = 32;

/** The TXID whose content a connection sees. */
function seenBy(db: Pick<ReplicaDatabase, "prepare" | "exec" | "close">): number {
  const [row] = rowsOf(
    db,
    `SELECT n, (SELECT count(*) FROM h) AS count, (SELECT max(n) FROM h) AS top, litestream_txid() AS txid,
       (SELECT count(*) FROM sqlite_schema) AS tables FROM state`,
  );
  const n = row!.n as number;
  const tables = 2 + (n % 40 >= 20 && n % 40 < 39 ? 1 : 0);
  assert.deepEqual(row, { n, count: n, top: n, txid: n.toString(16).padStart(16, "0"), tables });
  return n;
}

/** What a moment shows; undefined where it is refused as too early. */
function tried(act: () => number): number | undefined {
  try {
    return act();
  } catch (error) {
    assert.match((error as Error).message, /Cannot find a state before/);
    return undefined;
  }
}

function seenAt(replica: Replica, momentMs: number): number | undefined {
  return tried(() => {
    const db = replica.connect({ asOf: new Date(momentMs) });
    try {
      return seenBy(db);
    } finally {
      db.close();
    }
  });
}

/** Asserts that each of the moments shows what the model says, by a connection of its own and by `move`. */
function assertMoments(replica: Replica, files: readonly TimedFile[], moments: Iterable<number>): number {
  let count = 0;
  const mover = replica.connect();
  for (const momentMs of moments) {
    const wanted = modelTxid(files, momentMs);
    const name = new Date(momentMs).toISOString();
    assert.equal(seenAt(replica, momentMs), wanted, `connect() at ${name}`);
    const moved = tried(() => {
      mover.exec(`PRAGMA litestream_time = '${name}'`);
      return seenBy(mover);
    });
    assert.equal(moved, wanted, `PRAGMA at ${name}`);
    count++;
  }
  mover.close();
  return count;
}

/** Every second of a history with a millisecond on either side. */
function* secondsOf(count: number): Generator<number> {
  for (let second = 0; second <= count + 1; second++) {
    for (const ms of [-1, 0, 1]) yield START_MS + second * 1000 + ms;
  }
}

/** Three minutes as a daemon leaves them: levels of 10, 30 and 60 s, snapshots each minute, the oldest level 0 deleted. */
function recordThreeMinutes(history: History): void {
  for (let n = 1; n <= SECONDS; n++) {
    history.record();
    history.write(0, n, n);
    for (const [level, seconds] of [[1, 10], [2, 30], [3, 60]] as const) {
      if (n % seconds === 0) history.write(level, n - seconds + 1, n);
    }
    if (n === 1 || n % 60 === 45) history.write(9, 1, n);
  }
  for (const file of [...history.files]) {
    if (file.level === 0 && file.maxTxid <= 100) history.delete(file);
    if (file.level === 1 && file.maxTxid <= 40) history.delete(file);
  }
}

test(
  "Every second of three minutes shows what was written before it",
  { timeout: 300_000 },
  () =>
    withReplicaFolder({ pageSize: 1024 }, async (folder) => {
      const history = new History(folder);
      recordThreeMinutes(history);
      await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
      const count = assertMoments(replica, history.files, secondsOf(SECONDS));
      assert.equal(count, 3 * (SECONDS + 2));
      const ends = reachable(history.files);
      for (let txid = 1; txid <= SECONDS; txid++) {
        if (ends.includes(txid)) {
          const db = replica.connect({ asOf: BigInt(txid) });
          assert.equal(seenBy(db), txid);
          db.close();
        } else {
          const { cause } = thrownBy(() => replica.connect({ asOf: BigInt(txid) })) as { cause?: unknown };
          assert.ok(
            cause instanceof RestorePlanError && cause.fault === "unreachable",
            `TXID ${txid}: ${cause}`,
          );
        }
      }
    }),
);

for (const { name, Database } of await allDrivers()) {
  test(
    `Moments in any order on one connection (${name})`,
    { timeout: 120_000 },
    () =>
      withReplicaFolder({ pageSize: 1024 }, async (folder) => {
        const history = new History(folder);
        recordThreeMinutes(history);
        const random = new Random(SEED);
        await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
        const db = replica.connect(Database);
        for (let i = 0; i < 150; i++) {
          const momentMs = START_MS + random.next((SECONDS + 4) * 1000);
          const wanted = modelTxid(history.files, momentMs);
          const how = random.next(3);
          const text = new Date(momentMs).toISOString();
          const seen = tried(() => {
            if (how === 0) db.exec(`PRAGMA litestream_time = '${text}'`);
            if (how === 1) rowsOf(db, `SELECT litestream_set_time('${text}')`);
            if (how === 2) {
              db.exec("BEGIN");
              try {
                db.exec(`PRAGMA litestream_time('${text}')`);
                return seenBy(db);
              } finally {
                db.exec("COMMIT");
              }
            }
            return seenBy(db);
          });
          assert.equal(seen, wanted, `${text}, seed ${SEED}, move ${i}`);
          if (i % 10 !== 9) continue;
          db.exec("PRAGMA litestream_time = latest");
          assert.equal(seenBy(db), SECONDS);
        }
        db.close();
      }),
  );
}

test(
  `Histories at random, with clocks set back and files lost (seed ${SEED})`,
  { timeout: 300_000 },
  async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await withReplicaFolder({ pageSize: 512 }, async (folder) => {
        const random = new Random(SEED + round);
        const count = 30 + random.next(60);
        const times = new Map<number, number>();
        let nowMs = START_MS;
        for (let n = 1; n <= count; n++) {
          nowMs += random.next(1500);
          if (round % 2 === 1 && random.next(20) === 0) nowMs -= random.next(8000);
          times.set(n, nowMs);
        }
        const history = new History(folder, (txid) => times.get(txid)!);
        for (let n = 1; n <= count; n++) {
          history.record();
          history.write(0, n, n);
          for (const [level, size] of [[1, 4], [2, 12]] as const) {
            if (n % size === 0) history.write(level, n - size + 1, n);
          }
          if (n === 1 || random.next(25) === 0) history.write(9, 1, n);
        }
        for (const file of [...history.files]) {
          const isBase = file.level === 9 && file.maxTxid === 1;
          if (!isBase && file.maxTxid < count && random.next(file.level === 0 ? 4 : 10) === 0) {
            history.delete(file);
          }
        }
        // The newest must be there for an opening without a gap.
        if (reachable(history.files).at(-1) !== count) history.write(9, 1, count);
        await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
        const moments = new Set<number>();
        for (const { createdMs } of history.files) for (const ms of [-1, 0, 1]) moments.add(createdMs + ms);
        assertMoments(replica, history.files, moments);
      }).catch((error) => {
        error.message = `seed ${SEED}, round ${round}: ${error.message}`;
        throw error;
      });
    }
  },
);
