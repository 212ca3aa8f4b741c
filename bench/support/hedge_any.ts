/**
 * Point queries one after the other, cold, in this process; prints figures as JSON.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";
import { Random } from "../../tests/support/random.ts";

const { endpoint, rows, queries, isHedged } = JSON.parse(process.argv[2]!);
const module = new URL("./unhedged_fetch.ts", import.meta.url).href;
const replica = await openReplica("s3://bucket/db", {
  endpoint,
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" },
  pollIntervalMs: 0,
  ...(isHedged ? {} : { fetch: { module } }),
});
const statement = replica.connect().prepare("SELECT amount FROM orders WHERE id = ?");
const random = new Random(8);
const mark = replica.stats();
const times = Float64Array.from({ length: queries }, () => {
  const began = performance.now();
  statement.get(1 + random.next(rows));
  return performance.now() - began;
}).sort();
const at = (share: number) => times[Math.min(queries - 1, Math.floor(queries * share))]!;
const { getRequests, hedges } = replica.stats(mark);
console.log(JSON.stringify({
  p50: at(0.5),
  p95: at(0.95),
  p99: at(0.99),
  longest: at(1),
  sum: times.reduce((sum, ms) => sum + ms, 0),
  requests: getRequests,
  hedges,
}));
process.exit(0);
