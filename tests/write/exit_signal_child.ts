/**
 * Commits once, tells of it, and waits for its end: `URL BUFFER_PATH [on | once | worker | unnamed]`. With the first two it
 * listens to SIGTERM itself, before the replica is opened; with `worker` by once(), and a thread of its own has the replica;
 * with `unnamed` it tells itself of SIGTERM, without the signal's name, as Deno before 2.8 does.
 *
 * @module
 */
import process from "node:process";
import { parentPort, Worker, workerData } from "node:worker_threads";
import { openReplica } from "../../mod.ts";

const isThread = Array.isArray(workerData);
const [url, bufferPath, own] = isThread ? workerData as string[] : process.argv.slice(2);
if (own === "on" || own === "once" || own === "worker") {
  process[own === "on" ? "on" : "once"]("SIGTERM", () => {
    setTimeout(() => {
      console.log("ended by itself");
      process.exit(7);
    }, 500);
  });
}

async function commit(): Promise<void> {
  const replica = await openReplica(url, { write: true, bufferPath: bufferPath!, syncIntervalMs: 0 });
  const db = replica.connect();
  db.exec("CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES (1)");
  if (isThread) await replica.sync(); // signals are the main thread's
  else console.log("committed");
}

if (own === "worker") {
  new Worker(new URL(import.meta.url), { workerData: [url, bufferPath] }).on("message", console.log);
} else {
  await commit();
  if (isThread) parentPort!.postMessage("committed");
}
if (own === "unnamed") process.emit("SIGTERM" as never);
setInterval(() => {}, 1000);
