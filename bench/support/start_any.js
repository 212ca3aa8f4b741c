/**
 * From the start of a process to its first row, or to its first committed write; prints as JSON when it had come to each step,
 * and the CPU time of all its threads until then. It is copied into projects where the package is installed in different ways.
 *
 * @module
 */
import { openReplica } from "@x/litestream-vfs";
import process from "node:process";

const { endpoint, work, startedMs } = JSON.parse(process.argv.at(-1));
const told = {};

function mark(step) {
  const { user, system } = process.cpuUsage();
  told[`${step} ms`] = performance.timeOrigin + performance.now() - startedMs;
  told[`${step} CPU`] = (user + system) / 1000;
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
console.log(JSON.stringify(told));
process.exit(0);
