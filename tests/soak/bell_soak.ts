/**
 * Long reads through a core whose garbage is collected all the time; prints a dot a second while they get on, and at the
 * end what happened as JSON.
 *
 * @module
 */
import process from "node:process";
import { joinReplica } from "../../mod.ts";
import { makeConfig } from "../../src/replica_config.ts";
import { findShim } from "../../src/shim_path.ts";
import { nextMessage, startThread } from "./soak_support.ts";

const [url, rows, misses, threads] = process.argv.slice(2);
const shimPath = findShim();
const core = startThread("./gc_core_worker.ts", {});
await nextMessage(core); // it hears
const ready = nextMessage(core);
core.postMessage({ shimPath });
await ready;
// Four buffers of sixteen pages: nearly every read waits for the core.
const config = { ...makeConfig(url, {}, {}), cacheBytesMax: 256 * 1024 };
const opened = nextMessage<{ value: number; error?: string }>(core);
core.postMessage({ id: 1, kind: "open", config });
const { value: replicaId, error } = await opened;
if (error) throw new Error(error);
const shared = { shimPath, replicaId, name: "soak", writes: false };
const readers = Array.from(
  { length: Number(threads) },
  () => startThread("./reader_thread.ts", { shared, rows: Number(rows), misses: Number(misses) }),
);
await Promise.all(readers.map((reader) => nextMessage(reader)));
const watched = await joinReplica(shared);
let waited = 0;
const watch = setInterval(() => {
  const { misses: now } = watched.stats();
  if (now > waited) console.error(".");
  waited = now;
}, 1_000);
const results = await Promise.all(readers.map((reader) => nextMessage(reader)));
clearInterval(watch);
console.log(JSON.stringify(results));
process.exit(0);
