/**
 * One long read through a core whose garbage is collected all the time; prints what happened as JSON.
 *
 * @module
 */
import process from "node:process";
import { makeConfig } from "../../src/options.ts";
import { findShim } from "../../src/shim_path.ts";
import { nextMessage, startThread } from "./soak_support.ts";

const [url, rows, misses, threads] = process.argv.slice(2);
const shimPath = findShim();
const core = startThread("./gc_core_worker.ts", { shimPath });
await nextMessage(core);
// Four buffers of sixteen pages: nearly every read waits for the core.
const config = { ...makeConfig(url, {}, {}), cacheBytesMax: 256 * 1024 };
const opened = nextMessage<{ value: number; error?: string }>(core);
core.postMessage({ id: 1, kind: "open", config });
const { value: replicaId, error } = await opened;
if (error) throw new Error(error);
const shared = { shimPath, replicaId, name: "soak" };
const readers = Array.from(
  { length: Number(threads) },
  () => startThread("./reader_thread.ts", { shared, rows: Number(rows), misses: Number(misses) }),
);
await Promise.all(readers.map((reader) => nextMessage(reader)));
const results = await Promise.all(readers.map((reader) => nextMessage(reader)));
console.log(JSON.stringify(results));
process.exit(0);
