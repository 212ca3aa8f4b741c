/**
 * From the start of a process to its first row, or to its first committed write; prints as JSON when it had come to each step,
 * and the CPU time of all its threads. It is copied into projects where the package is installed in different ways. A program of
 * Deno need not load Node's modules, which takes as long as all else that is loaded, so this one does at the end.
 *
 * @module
 */
import { openReplica } from "@x/litestream-vfs";

const { endpoint, work, startedMs } = JSON.parse((globalThis.Deno?.args ?? globalThis.process.argv).at(-1));
const told = {};

function mark(step) {
  told[`${step} ms`] = performance.timeOrigin + performance.now() - startedMs;
}

mark("loaded");
const writing = work && { write: true, bufferPath: `${work}/log`, hydrate: `${work}/copy.db` };
const replica = await openReplica("s3://bucket/db", {
  endpoint,
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" },
  ...writing,
});
mark("open");
const database = replica.connect();
if (work) database.exec("UPDATE orders SET amount = amount + 1 WHERE id = 4711");
else database.prepare("SELECT * FROM orders WHERE id = 4711").get();
mark(work ? "committed" : "first row");
const { default: process } = await import("node:process");
const { user, system } = process.cpuUsage();
console.log(JSON.stringify({ ...told, "CPU ms": (user + system) / 1000 }));
process.exit(0);
