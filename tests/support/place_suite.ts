/**
 * What must hold of replicas wherever they lie: those that a real Litestream writes there are read, followed, travelled and
 * restored; what we write there, it restores.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  ConflictError,
  type OpenOptions,
  openReplica,
  type ReplicaDatabase,
  ReplicaError,
} from "../../mod.ts";
import { openLocal } from "./local_database.ts";
import {
  type DaemonOptions,
  litestreamBinary,
  type ReplicaSettings,
  replicate,
  restore,
  skipWithout,
  startDaemon,
  withFolder,
  writeConfig,
} from "./real.ts";
import { openPrimary, type PlainDatabase } from "./sqlite.ts";

/** A place for one replica, as ours and Litestream name it. */
export interface Place {
  /** What ours is opened with. */
  readonly url: string;
  readonly options?: OpenOptions;
  /** What Litestream is configured with. */
  readonly replica: ReplicaSettings;
  readonly env?: Record<string, string>;
}

/** A server with room for any number of replicas. */
export interface PlaceServer {
  /** A place of its own for `name`, which is one folder's name. */
  place(name: string): Place | Promise<Place>;
  close(): Promise<void>;
}

/** How the suite is run. */
export interface PlaceSuiteOptions {
  /** Whether ours may write there. */
  readonly writes: boolean;
  /** Parts without which it cannot be run, by name; Litestream is one of itself. */
  readonly parts: Record<string, string | undefined>;
}

const ROWS = 400;

/** Runs the suite on places of the server that `start` starts. */
export function testPlace(
  name: string,
  start: () => Promise<PlaceServer>,
  { writes, parts }: PlaceSuiteOptions,
): void {
  const skip = skipWithout({ litestream: litestreamBinary(), ...parts });
  let server: PlaceServer | undefined;
  before(async () => {
    if (!skip) server = await start();
  });
  after(() => server?.close());
  const placeTest = (title: string, body: (place: Place, folder: string) => Promise<void>) => {
    const place = title.replaceAll(/[^a-z]+/g, "-").replace(/-$/, "");
    test(`${name}: ${title}`, { skip }, () =>
      withFolder(async (folder) => {
        await body(await server!.place(place), folder);
      }));
  };

  placeTest("a replica of Litestream's is read as it restores it", async (place, folder) => {
    const db = join(folder, "primary.db");
    await replicate({ ...daemonOf(place, db), run: fill });
    await using replica = await openReplica(place.url, { pollIntervalMs: 0, ...place.options });
    const ours = replica.connect();
    assert.equal(contentOf(ours), await localContent(db));
    ours.close();
    const restored = join(folder, "ours.db");
    await replica.restore(restored);
    const theirs = await restoredBy(place, folder);
    assert.equal(await sha256(restored), await sha256(theirs));
  });

  placeTest("its writer is followed, and every moment can be seen", async (place, folder) => {
    const sqlite = await openPrimary(join(folder, "primary.db"));
    const daemon = await startDaemon(daemonOf(place, sqlite.path));
    try {
      sqlite.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)");
      await daemon.sync();
      await using replica = await openReplica(place.url, {
        waitForReplicaMs: 20_000,
        pollIntervalMs: 50,
        ...place.options,
      });
      const db = replica.connect();
      const seen = new Map<bigint, number>();
      for (let i = 0; i < 5; i++) {
        sqlite.exec(`INSERT INTO t(b) VALUES ('row ${i}')`);
        const txid = await daemon.sync();
        await replica.waitFor(txid);
        seen.set(replica.txid, countOf(db));
        assert.equal(countOf(db), i + 1);
      }
      db.close();
      const points = await replica.points();
      assert.ok(points.length >= seen.size, `${points.length} points`);
      for (const [txid, count] of seen) {
        const past = replica.connect({ asOf: txid });
        assert.equal(countOf(past), count, `at TXID ${txid}`);
        past.close();
      }
    } finally {
      await daemon.stop();
      sqlite.close();
    }
  });

  if (!writes) return;

  placeTest("what is written there Litestream restores", async (place, folder) => {
    const open = (log: string) =>
      openReplica(place.url, { write: true, bufferPath: join(folder, log), ...place.options });
    let content = "";
    for (const round of [1, 2]) {
      await using replica = await open("log");
      const db = replica.connect();
      db.exec("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b BLOB)");
      for (let i = 0; i < 20; i++) db.exec(`INSERT INTO t(b) VALUES (randomblob(${round * 300}))`);
      content = contentOf(db);
      await replica.sync();
      db.close();
    }
    assert.equal(await localContent(await restoredBy(place, folder)), content);
  });

  placeTest("of two writers one is told, and nothing is overwritten", async (place, folder) => {
    const options = { syncIntervalMs: 0, pollIntervalMs: 0, compact: false, ...place.options };
    const open = (log: string) =>
      openReplica(place.url, { write: true, bufferPath: join(folder, log), ...options });
    const first = await open("first");
    const one = first.connect();
    one.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)");
    await first.sync();
    const second = await open("second");
    const two = second.connect();
    one.exec("INSERT INTO t(b) VALUES ('first')");
    two.exec("INSERT INTO t(b) VALUES ('second')");
    await first.sync();
    await assert.rejects(second.sync(), (error) => error instanceof ConflictError);
    two.close();
    await second.close().catch((error) => assert.ok(error instanceof ReplicaError, String(error)));
    one.close();
    await first.close();
    const local = await openLocal(await restoredBy(place, folder));
    assert.deepEqual(local.prepare("SELECT b FROM t").all().map(({ b }) => b), ["first"]);
    local.close();
  });
}

function daemonOf(place: Place, db: string): DaemonOptions {
  const { url, replica, env } = place;
  return { db, url, replica, ...(env && { env }) };
}

/** Several transactions, each a file of its own, some that change what others wrote. */
async function fill(sqlite: PlainDatabase, daemon: { sync(): Promise<bigint> }): Promise<void> {
  sqlite.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB); CREATE INDEX i ON t(b)");
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < ROWS / 4; i++) {
      sqlite.all("INSERT INTO t(b, c) VALUES (?, randomblob(?))", `round ${round} row ${i}`, (i * 37) % 900);
    }
    sqlite.exec(`UPDATE t SET b = b || '!' WHERE a % 7 = ${round}`);
    await daemon.sync();
  }
}

/** All of a database that this suite makes, in short. */
function contentOf(db: ReplicaDatabase): string {
  const rows = db.prepare("SELECT * FROM t ORDER BY a").all();
  assert.equal(Object.values(db.prepare("PRAGMA integrity_check").get())[0], "ok");
  const hash = createHash("sha256");
  for (const row of rows) {
    for (const value of Object.values(row)) hash.update(value instanceof Uint8Array ? value : `${value}\0`);
  }
  return `${rows.length} rows, ${hash.digest("hex")}`;
}

async function localContent(path: string): Promise<string> {
  const db = await openLocal(path);
  try {
    return contentOf(db as unknown as ReplicaDatabase);
  } finally {
    db.close();
  }
}

function countOf(db: ReplicaDatabase): number {
  return db.prepare("SELECT count(*) AS n FROM t").get().n;
}

/** The replica as `litestream restore` makes a file of it. */
async function restoredBy(place: Place, folder: string): Promise<string> {
  const [config, out, db] = ["restore.yml", "theirs.db", "absent.db"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await writeConfig(config, daemonOf(place, db));
  await restore(db, out, { config, ...(place.env && { env: place.env }) });
  return out;
}

async function sha256(path: string): Promise<string> {
  return createHash("sha256").update(await readFile(path)).digest("hex");
}
