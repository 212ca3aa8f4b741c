/**
 * One restore with ours, from openReplica() to the whole file; prints figures as JSON.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";

const { endpoint, out } = JSON.parse(process.argv[2]!);
const start = performance.now();
const replica = await openReplica("s3://bucket/db", {
  endpoint,
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" },
});
await replica.restore(out);
console.log(JSON.stringify({
  restoreMs: performance.now() - start,
  rssMb: process.memoryUsage().rss / 2 ** 20,
}));
process.exit(0);
