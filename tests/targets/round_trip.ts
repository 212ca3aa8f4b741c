/**
 * What a platform must be able to do, in one program that needs nothing but this package: `<runtime> round_trip.ts`.
 *
 * A replica in a folder is written, read by threads, looked back at, kept locally, restored; a worker ends in the middle of
 * its work. Prints a line each, and as the last one the platform; exit code 1 where something differs. scripts/targets.mjs
 * runs it on every platform that can be run.
 *
 * @module
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { joinReplica, openReplica, type SharedReplica } from "../../mod.ts";

const ROWS = 3_000;
const SUM = "SELECT count(*) AS n, sum(length(b)) AS bytes FROM t";
const FILL = `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${ROWS}) ` +
  "INSERT INTO t SELECT i, hex(randomblob(60)) FROM c";

function told(what: string): void {
  console.log(`ok ${what}`);
}

/** Asks a worker that joins a replica for a sum; or leaves it while it looks on. */
async function inWorker(shared: SharedReplica, isLeft = false): Promise<unknown> {
  const worker = new Worker(new URL(import.meta.url), { workerData: { shared, isLeft } });
  const answer = await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  if (isLeft) await worker.terminate();
  return answer;
}

async function workerMain(): Promise<void> {
  const { shared, isLeft } = workerData as { shared: SharedReplica; isLeft: boolean };
  const replica = await joinReplica(shared);
  const db = replica.connect();
  parentPort!.postMessage(db.prepare(SUM).get());
  if (isLeft) return void setInterval(() => db.prepare(SUM).get(), 1);
  db.close();
  await replica.close();
}

async function main(home: string): Promise<void> {
  mkdirSync(join(home, "replica"));
  const url = pathToFileURL(join(home, "replica")).href;
  const bufferPath = join(home, "log", "buffer");
  const expected = { n: ROWS, bytes: ROWS * 120 };
  {
    await using writer = await openReplica(url, { write: true, bufferPath });
    const db = writer.connect();
    db.exec("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)");
    db.exec(FILL);
    db.exec("BEGIN; DELETE FROM t; ROLLBACK");
    await writer.sync();
    assert.deepEqual({ ...db.prepare(SUM).get() as object }, expected);
    db.exec("DELETE FROM t WHERE a > 1000; VACUUM");
    db.close();
    told("a writer commits, rolls back, stores, and vacuums");
    const second = await openReplica(url, { write: true, bufferPath }).catch((error: Error) => error);
    assert.ok(second instanceof Error, "a second writer was let in");
    told(`a second writer is refused: ${second.name}`);
  }
  const hydrate = join(home, "local.db");
  {
    await using replica = await openReplica(url, { hydrate });
    const db = replica.connect();
    assert.deepEqual({ ...db.prepare(SUM).get() as object }, { n: 1000, bytes: 120_000 });
    const [first] = (await replica.points()).filter(({ txid }) => txid > 0n);
    assert.ok(first);
    const past = replica.connect({ asOf: first.txid });
    const { n } = past.prepare("SELECT count(*) AS n FROM sqlite_schema").get() as { n: number };
    assert.equal(n, 1);
    past.close();
    told("a reader sees the newest state, and an older one beside it");
    const sums = await Promise.all([1, 2, 3].map(() => inWorker(replica.share())));
    for (const sum of sums) assert.deepEqual({ ...sum as object }, { n: 1000, bytes: 120_000 });
    for (let round = 0; round < 3; round++) await inWorker(replica.share(), true);
    assert.deepEqual({ ...db.prepare(SUM).get() as object }, { n: 1000, bytes: 120_000 });
    told("threads join, and one that is ended in the middle leaves the others alone");
    await replica.hydrated();
    assert.ok(existsSync(hydrate));
    db.close();
    told("all of it is kept in a local file");
  }
  {
    await using replica = await openReplica(url, { hydrate });
    await replica.hydrated();
    await replica.restore(join(home, "restored.db"));
    assert.ok(existsSync(join(home, "restored.db")));
    told("a local file is taken up again, and a plain one restored");
  }
}

/** What fails meanwhile must not be hidden by what is still open. */
function removeFolder(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch (error) {
    console.log(`# left behind: ${error}`);
  }
}

if (isMainThread) {
  const home = mkdtempSync(join(tmpdir(), "round-trip-"));
  try {
    await main(home);
  } catch (error) {
    console.log(
      "not ok",
      error,
      (error as SuppressedError).suppressed ?? "",
      (error as SuppressedError).error ?? "",
    );
    process.exitCode = 1;
  } finally {
    removeFolder(home);
  }
  const { bun, deno } = process.versions;
  console.log(`${process.platform} ${process.arch}, ${bun ? `Bun ${bun}` : `Deno ${deno}`}`);
} else {
  await workerMain();
}
