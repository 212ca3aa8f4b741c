import assert from "node:assert/strict";
import { readFile, rename, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openReplica, ReplacedError, type Replica, StorageError } from "../../mod.ts";
import { writeIndex } from "../../src/storage/http/folder_index.ts";
import {
  type Daemon,
  folderUrl,
  litestreamBinary,
  replicate,
  skipWithout,
  startDaemon,
  withFolder,
} from "../support/real.ts";
import { openPrimary, type PlainDatabase } from "../support/sqlite.ts";
import { nginxBinary, startNginx, startPythonServer, type WebServer } from "../support/web_servers.ts";

const skip = skipWithout({ litestream: litestreamBinary(), nginx: nginxBinary() });
let server: WebServer | undefined;
before(async () => {
  if (!skip) server = await startNginx("off");
});
after(() => server?.close());

interface Published {
  readonly url: string;
  /** The replica as the server has it. */
  readonly folder: string;
  readonly sqlite: PlainDatabase;
  readonly daemon: Daemon;
}

/** A replica that a real Litestream writes into a served folder; one row is in it. */
function indexTest(title: string, body: (given: Published) => Promise<void>): void {
  test(title, { skip }, () =>
    withFolder(async (home) => {
      const name = crypto.randomUUID();
      const folder = join(server!.folder, name);
      const sqlite = await openPrimary(join(home, "primary.db"));
      const daemon = await startDaemon({ db: sqlite.path, url: folderUrl(folder) });
      try {
        sqlite.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); INSERT INTO t(b) VALUES ('first')");
        await daemon.sync();
        await body({ url: `${server!.origin}/${name}`, folder, sqlite, daemon });
      } finally {
        await daemon.stop();
        sqlite.close();
      }
    }));
}

async function insert({ sqlite, daemon }: Published, count: number): Promise<bigint[]> {
  const txids: bigint[] = [];
  for (let i = 0; i < count; i++) {
    sqlite.exec(`INSERT INTO t(b) VALUES ('row ${i}')`);
    txids.push(await daemon.sync());
  }
  return txids;
}

function countOf(replica: Replica, asOf?: bigint): number {
  const db = replica.connect(asOf === undefined ? {} : { asOf });
  try {
    return db.prepare("SELECT count(*) AS n FROM t").get().n;
  } finally {
    db.close();
  }
}

/** What the follower tells besides progress. */
function troublesOf(replica: Replica): string[] {
  const told: string[] = [];
  for (const type of ["replaced", "gap", "error"] as const) replica.on(type, () => void told.push(type));
  return told;
}

indexTest("a follower goes on by name where the index stays behind, and never back", async (given) => {
  const { url, folder } = given;
  await writeIndex(folder);
  const index = await readFile(join(folder, "index.json"));
  await using replica = await openReplica(url, { pollIntervalMs: 20 });
  const told = troublesOf(replica);
  const txids = await insert(given, 6);
  await replica.waitFor(txids.at(-1)!);
  assert.equal(countOf(replica), 7);
  // Both list, by an old index.
  for (let i = 0; i < 2; i++) assert.equal(await replica.refresh(), txids.at(-1));
  assert.equal(countOf(replica), 7);
  assert.equal(countOf(replica, txids[2]!), 4);
  await writeIndex(folder);
  assert.equal(await replica.refresh(), txids.at(-1));
  await writeFile(join(folder, "index.json"), index); // a cache between gives the old one
  const [next] = await insert(given, 1);
  await replica.waitFor(next!);
  assert.equal(await replica.refresh(), next);
  assert.equal(countOf(replica), 8);
  assert.deepEqual(told, []);
});

indexTest("what is newer than the index is found by name after opening", async (given) => {
  const { url, folder } = given;
  await writeIndex(folder);
  const txids = await insert(given, 3);
  await using replica = await openReplica(url, { pollIntervalMs: 20 });
  const told = troublesOf(replica);
  await replica.waitFor(txids.at(-1)!);
  assert.equal(countOf(replica), 4);
  assert.deepEqual(told, []);
});

indexTest("another database in its place is told of, though files were met by name", async (given) => {
  const { url, folder, daemon } = given;
  await writeIndex(folder);
  await using replica = await openReplica(url, { pollIntervalMs: 0 });
  const txids = await insert(given, 3);
  await replica.waitFor(txids.at(-1)!);
  await daemon.stop();
  await withFolder(async (home) => {
    const other = join(server!.folder, crypto.randomUUID());
    await replicate({
      db: join(home, "other.db"),
      url: folderUrl(other),
      waitFor: [0, 9],
      run: (sqlite) => sqlite.exec("CREATE TABLE u(a)"),
    });
    const later = Date.now() / 1000 + 5; // servers tell times in seconds
    for (const { key } of (await writeIndex(other)).files) await utimes(join(other, key), later, later);
    await rename(folder, `${folder}.old`);
    await rename(other, folder);
    await writeIndex(folder);
    await utimes(join(folder, "index.json"), later, later);
  });
  await assert.rejects(replica.refresh(), ReplacedError);
});

indexTest("a replica behind static files cannot be written to", async ({ url, folder }) => {
  await writeIndex(folder);
  await assert.rejects(openReplica(url, { write: true }), (error) => {
    assert.ok(error instanceof StorageError);
    assert.match(error.message, /^Cannot write to http:.*: it can only be read, expected no option write$/);
    assert.equal(error.retryable, false);
    return true;
  });
});

indexTest("a server that ignores ranges is told of in so many words", async ({ folder, daemon }) => {
  await daemon.sync();
  const python = await startPythonServer(folder);
  try {
    await assert.rejects(openReplica(python.origin), (error) => {
      assert.ok(error instanceof StorageError, String(error));
      assert.match(error.message, /status 200 without a range, expected a server that answers ranges/);
      assert.equal(error.retryable, false);
      return true;
    });
  } finally {
    await python.close();
  }
});
