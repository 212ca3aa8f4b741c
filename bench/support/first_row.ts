/**
 * Opens a replica wherever it lies, looks up a row, and scans; prints figures as JSON.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";

const { url, options } = JSON.parse(process.argv[2]!);
const start = performance.now();
const replica = await openReplica(url, options);
const openMs = performance.now() - start;
const database = replica.connect();
const row = database.prepare("SELECT * FROM orders WHERE id = 4711").get();
const firstRowMs = performance.now() - start;
if (row.id !== 4711) throw new Error(`found ${JSON.stringify(row)}, expected row 4711`);
const { listRequests, getRequests, bytes } = replica.stats();
const scanStart = performance.now();
database.prepare("SELECT sum(length(note)) FROM orders NOT INDEXED").get();
const scanMs = performance.now() - scanStart;
const after = replica.stats();
console.log(JSON.stringify({
  "open ms": openMs,
  "first row ms": firstRowMs,
  LIST: listRequests,
  GET: getRequests,
  KB: bytes / 1000,
  "scan ms": scanMs,
  "scan GET": after.getRequests - getRequests,
  "scan MB": (after.bytes - bytes) / 1e6,
}));
process.exit(0);
