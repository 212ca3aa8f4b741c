/**
 * One cold opening with ours: from openReplica() to the first row; prints figures as JSON.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";

const { endpoint, id } = JSON.parse(process.argv[2]!);
const start = performance.now();
const replica = await openReplica("s3://bucket/db", {
  endpoint,
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" },
});
const opened = performance.now();
const database = replica.connect();
const row = database.prepare("SELECT * FROM orders WHERE id = ?").get(id);
const end = performance.now();
if (row?.id !== id) throw new Error(`row ${id} is missing`);
const { listRequests, getRequests, bytes, roundTrips } = replica.stats();
console.log(JSON.stringify({
  openMs: opened - start,
  rowMs: end - start,
  requests: listRequests + getRequests,
  kib: bytes / 1024,
  roundTrips,
  rssMb: process.memoryUsage().rss / 2 ** 20,
}));
process.exit(0);
