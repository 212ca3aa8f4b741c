/**
 * Threads one after another, each of which loads a driver of SQLite, reads a replica and ends; nothing else here loads one.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { openReplica } from "../../mod.ts";
import { allDrivers } from "../support/all_drivers.ts";

const THREADS = 6;

/** First lines of the process's map of memory that name a library of SQLite, but for the shim's. */
function libraries(): string[] {
  const lines = readFileSync("/proc/self/maps", "utf8").split("\n");
  return lines.filter((line) => /libsqlite3[^/]*$/.test(line) && line.split(/\s+/)[2] === "00000000");
}

async function readOnce(url: string): Promise<number> {
  let rows = 0;
  for (const { Database } of await allDrivers()) {
    await using replica = await openReplica(url);
    const db = replica.connect(Database);
    rows += (db.prepare("SELECT count(*) AS n FROM t").all() as { n: number }[])[0]!.n;
    db.close();
  }
  return rows;
}

if (isMainThread) {
  const places = new Set<string>();
  const spacers: ArrayBuffer[] = [];
  let rows = 0;
  for (let i = 0; i < THREADS; i++) {
    const worker = new Worker(new URL(import.meta.url), { workerData: process.argv[2] });
    rows += await new Promise<number>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
    await worker.terminate();
    for (const line of libraries()) places.add(line.split("-")[0]!);
    spacers.push(new ArrayBuffer(3 * 2 ** 20)); // so that a library that was let go comes to lie elsewhere
  }
  console.log(JSON.stringify({ rows, threads: THREADS, places: places.size, left: libraries().length }));
  process.exit(0);
} else {
  parentPort!.postMessage(await readOnce(workerData as string));
}
