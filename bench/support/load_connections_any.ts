/**
 * Many connections in some threads of this process on one database, all looking rows up; prints figures as JSON.
 *
 * @module
 */
import process from "node:process";
import { Worker } from "node:worker_threads";
import { type OpenOptions, openReplica } from "../../mod.ts";
import type { ThreadAnswer, ThreadStart } from "./load_connections_thread.ts";
import { median } from "./measure.ts";
import { poolMb, processFigures } from "./process_figures.ts";

/** What is measured. */
export interface ConnectionsArgument {
  readonly system: "ours" | "go" | "local";
  readonly endpoint: string;
  readonly path: string;
  readonly library?: string;
  readonly rows: number;
  readonly threads: number;
  readonly connections: number;
  readonly seconds: number;
  readonly options: OpenOptions;
  /** So many of the threads go through the table from its beginning, time and again. */
  readonly scanners: number;
}

const argument: ConnectionsArgument = JSON.parse(process.argv[2]!);
const { system, endpoint, path, library, rows, threads, connections, seconds, scanners } = argument;
const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" };
const replica = system === "ours"
  ? await openReplica("s3://bucket/db", { endpoint, credentials, ...argument.options })
  : undefined;
if (library !== undefined) {
  const module = "bun:sqlite";
  const { Database } = await import(module);
  new Database(":memory:").loadExtension(library);
}

const before = processFigures();
const workers = Array.from({ length: threads }, (_, i) => {
  const count = Math.floor(connections * (i + 1) / threads) - Math.floor(connections * i / threads);
  const workerData: ThreadStart = {
    system,
    path,
    shared: replica?.share(),
    connections: count,
    rows,
    seed: i + 1,
    isScanner: i < scanners,
  };
  return new Worker(new URL("./load_connections_thread.ts", import.meta.url), { workerData });
});
const answerOf = (worker: Worker) =>
  new Promise<ThreadAnswer>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
const opened = await Promise.all(workers.map(answerOf));
const mark = replica?.mark();
const answers = workers.map(answerOf);
const untilMs = Date.now() + seconds * 1000;
for (const worker of workers) worker.postMessage(untilMs);
const all = await Promise.all(answers);
const lookers = all.filter((_, i) => i >= scanners);
const times = Float64Array.from(lookers.flatMap(({ sample }) => sample)).sort();
const meansMs = lookers.flatMap(({ meansMs }) => meansMs).sort((a, b) => a - b);
const counts = lookers.map(({ count }) => count);
const total = counts.reduce((sum, count) => sum + count, 0);
const errors = all.reduce((sum, { errors }) => sum + errors, 0);
const first = all.find(({ fault }) => fault)?.fault;
if (first) console.error(first);
const figures = processFigures();
const stats = mark && replica!.stats(mark);
console.log(JSON.stringify({
  "connect ms": median(opened.flatMap(({ meansMs }) => meansMs)),
  "look-ups /s": total / seconds,
  "p50 ms": times[Math.floor(times.length / 2)] ?? 0,
  "p99 ms": times[Math.floor(times.length * 0.99)] ?? 0,
  "longest ms": Math.max(...lookers.map(({ longestMs }) => longestMs)),
  "slowest connection / median": meansMs.at(-1)! / (meansMs[meansMs.length >> 1] ?? 1),
  "least thread / median": Math.min(...counts) / median(counts),
  errors,
  "requests /s": (stats?.getRequests ?? 0) / seconds,
  "MB /s": (stats?.bytes ?? 0) / 1e6 / seconds,
  "misses / look-up": (stats?.misses ?? 0) / total,
  "ahead wasted share": stats && stats.aheadPages > 0 ? stats.aheadWasted / stats.aheadPages : 0,
  ...figures,
  "RSS for them MB": figures["RSS MB"] - before["RSS MB"],
  "pool MB": system === "ours" ? await poolMb() : 0,
}));
process.exit(0);
