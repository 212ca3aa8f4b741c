/** A history written by a real Litestream, seen at every second of it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { openReplica, type Replica } from "../../mod.ts";
import { openLocal } from "../support/local_database.ts";
import {
  folderUrl,
  litestreamBinary,
  restore,
  skipWithout,
  startDaemon,
  withFolder,
} from "../support/real.ts";
import { openPrimary, type PlainDatabase } from "../support/sqlite.ts";
import { modelTxid, reachable, type TimedFile, timedFiles } from "../replica/past_model.ts";
import { rowsOf } from "../replica/drivers.ts";

const noDaemon = skipWithout({ litestream: litestreamBinary() });

/** How long is written; three minutes with LONG=1. */
const SECONDS = process.env.LONG === "1" ? 180 : 40;

/** What identifies a state. */
const CONTENT = "SELECT count(*) AS count, max(n) AS top, (SELECT n FROM state) AS state FROM h";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Writes several times a second; remembers what the database held at each TXID that was waited for. */
async function write(sqlite: PlainDatabase, sync: () => Promise<bigint>): Promise<Map<number, object>> {
  const states = new Map<number, object>();
  const untilMs = Date.now() + SECONDS * 1000;
  for (let n = 1; Date.now() < untilMs; n++) {
    sqlite.exec(
      `BEGIN; INSERT INTO h (x) VALUES (hex(randomblob(${n % 300}))); UPDATE state SET n = ${n}; COMMIT`,
    );
    if (n % 50 === 30) sqlite.exec(`DELETE FROM h WHERE n % 3 = 0`);
    states.set(Number(await sync()), sqlite.all(CONTENT)[0]!);
    await sleep(n % 7 === 0 ? 900 : 250);
  }
  return states;
}

interface Seen {
  readonly txid: number;
  readonly content: object;
}

/** What a moment shows, or why not. */
function seen(act: () => { db: Parameters<typeof rowsOf>[0]; done?: () => void }): Seen | undefined {
  try {
    const { db, done } = act();
    const [{ txid }] = rowsOf(db, "SELECT litestream_txid() AS txid") as [{ txid: string }];
    const hasTable = rowsOf(db, "SELECT 1 FROM sqlite_schema WHERE name = 'state'").length > 0;
    const content = hasTable ? rowsOf(db, CONTENT)[0]! : {};
    done?.();
    return { txid: Number(`0x${txid}`), content };
  } catch (error) {
    assert.match((error as Error).message, /Cannot find a state before/);
    return undefined;
  }
}

function assertMoments(
  replica: Replica,
  files: readonly TimedFile[],
  states: ReadonlyMap<number, object>,
): number {
  const moments = new Set<number>();
  for (const { createdMs } of files) for (const ms of [-1, 0, 1]) moments.add(createdMs + ms);
  const [first, last] = [Math.min(...moments), Math.max(...moments)];
  for (let ms = Math.floor(first / 1000) * 1000; ms < last + 2000; ms += 1000) moments.add(ms);
  const mover = replica.connect();
  for (const ms of [...moments].sort((a, b) => a - b)) {
    const name = new Date(ms).toISOString();
    const wanted = modelTxid(files, ms);
    const byOption = seen(() => {
      const db = replica.connect({ asOf: new Date(ms) });
      return { db, done: () => db.close() };
    });
    const byPragma = seen(() => {
      mover.exec(`PRAGMA litestream_time = '${name}'`);
      return { db: mover };
    });
    assert.equal(byOption?.txid, wanted, `connect() at ${name}`);
    assert.deepEqual(byPragma, byOption, `PRAGMA at ${name}`);
    const state = states.get(wanted ?? 0);
    if (state) assert.deepEqual(byOption?.content, state, `content at ${name}`);
  }
  mover.close();
  return moments.size;
}

test("Every moment of a history shows what Litestream had written before it", {
  skip: noDaemon,
  timeout: (SECONDS + 240) * 1000,
}, () =>
  withFolder(async (folder) => {
    const replicaFolder = join(folder, "replica");
    const url = folderUrl(replicaFolder);
    const path = join(folder, "source.db");
    const sqlite = await openPrimary(path);
    sqlite.exec(
      "CREATE TABLE h (n INTEGER PRIMARY KEY, x TEXT); CREATE TABLE state (n); INSERT INTO state VALUES (0)",
    );
    const daemon = await startDaemon({
      db: path,
      url,
      levels: ["2s", "10s"],
      snapshotInterval: "12s",
      snapshotRetention: "1h",
      l0Retention: "8s",
    });
    let states: Map<number, object>;
    try {
      states = await write(sqlite, () => daemon.sync());
      await daemon.waitForLevels([0, 1, 2, 9]);
    } finally {
      await daemon.stop();
      sqlite.close();
    }
    const files = await timedFiles(replicaFolder);
    assert.ok(new Set(files.map(({ level }) => level)).size >= 4);
    await using replica = await openReplica(url, { pollIntervalMs: 0 });
    const count = assertMoments(replica, files, states);
    const points = await replica.points({ exact: true });
    assert.deepEqual(points.map(({ txid }) => Number(txid)), reachable(files));
    console.log(`${states.size} states, ${files.length} files, ${points.length} points, ${count} moments`);
    await assertRestores(replica, url, folder, points.map(({ time }) => time.getTime()));
  }));

/** Litestream's own restore of a few moments gives the same. */
async function assertRestores(
  replica: Replica,
  url: string,
  folder: string,
  times: readonly number[],
): Promise<void> {
  for (const part of [0.1, 0.35, 0.6, 0.85]) {
    const ms = times[Math.floor(times.length * part)]!;
    for (const after of [1, 700]) {
      if (ms + after >= times.at(-1)!) continue; // restore refuses what lies behind the newest file
      const timestamp = new Date(ms + after).toISOString();
      const out = join(folder, `restored-${ms + after}.db`);
      await restore(url, out, { timestamp });
      const restored = await openLocal(out);
      const db = replica.connect({ asOf: timestamp });
      for (
        const sql of [
          "SELECT * FROM h ORDER BY n",
          "SELECT * FROM state",
          "SELECT name, sql FROM sqlite_schema",
        ]
      ) {
        assert.deepEqual(rowsOf(db, sql), rowsOf(restored, sql), `${sql} at ${timestamp}`);
      }
      db.close();
      restored.close();
    }
  }
}
