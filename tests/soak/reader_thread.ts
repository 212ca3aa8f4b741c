/**
 * A thread that reads random rows of a shared replica, and checks them, until told otherwise or an error.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica, type SharedReplica } from "../../mod.ts";

interface ReaderData {
  shared: SharedReplica;
  rows: number;
  /** Reads until this many pages were waited for by the whole replica; 0: until an error. */
  misses: number;
}

const { shared, rows, misses } = workerData as ReaderData;
const replica = await joinReplica(shared);
const database = replica.connect();
const statement = database.prepare("SELECT id, length(body) AS size FROM t WHERE id = ?");
let reads = 0;
let wrong = 0;
let error = "";
parentPort!.postMessage("ready");
try {
  for (;;) {
    const id = 1 + Math.floor(Math.random() * rows);
    const row = statement.get(id);
    if (row?.id !== id || row.size !== 200) wrong++;
    reads++;
    if (misses > 0 && reads % 64 === 0 && replica.stats().misses >= misses) break;
  }
} catch (thrown) {
  error = `${String(thrown)}: ${replica.lastError}`;
}
parentPort!.postMessage({ reads, wrong, error, misses: misses > 0 ? replica.stats().misses : 0 });
