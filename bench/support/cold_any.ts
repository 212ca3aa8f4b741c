/**
 * One workload, cold, on one system in this process; prints figures as JSON.
 *
 * `share` is how much of it was done before `limitMs` had passed: of the queries, or of the table's rows where
 * `stepwise`. `digest` is of all results, to see that the systems agree; 0 where not everything was done.
 *
 * @module
 */
import process from "node:process";
import { openSystem } from "./systems.ts";
import { workloadOf } from "./workloads.ts";

const { work, database: asked, limitMs, stepwise, ...argument } = JSON.parse(process.argv[2]!);
const workload = workloadOf(work);
const { database, replica, openMs } = await openSystem(argument);
const mark = workload.opens ? undefined : replica?.stats();
const begin = performance.now();
const { share, digest } = stepwise ? takeSteps() : runQueries();
const workMs = performance.now() - begin;
const stats = replica?.stats(mark);
console.log(JSON.stringify({
  openMs,
  ms: workload.opens ? openMs + workMs : workMs,
  share,
  digest,
  rssMb: process.memoryUsage().rss / 2 ** 20,
  ...(stats && {
    requests: stats.listRequests + stats.getRequests,
    kib: stats.bytes / 1024,
    roundTrips: stats.roundTrips,
  }),
}));
process.exit(0);

function runQueries(): { share: number; digest: number } {
  const queries = workload.queries(asked);
  // deno-lint-ignore no-explicit-any
  const statements = new Map<string, any>();
  let digest = 0;
  for (const [i, { sql, parameters }] of queries.entries()) {
    if (performance.now() - begin > limitMs) return { share: i / queries.length, digest: 0 };
    if (!statements.has(sql)) statements.set(sql, database.prepare(sql));
    for (const row of statements.get(sql).all(...parameters)) digest = digestOf(row, digest);
  }
  return { share: 1, digest };
}

function takeSteps(): { share: number; digest: number } {
  const { sql, parameters } = workload.stepwise!(asked);
  let rows = 0;
  for (const _ of database.prepare(sql).iterate(...parameters)) {
    rows++;
    if (performance.now() - begin > limitMs) break;
  }
  return { share: rows / asked.rows, digest: 0 };
}

function digestOf(row: Record<string, unknown>, before: number): number {
  let digest = before;
  for (const value of Object.values(row)) {
    const bytes = value instanceof Uint8Array ? value : String(value);
    for (let i = 0; i < bytes.length; i++) {
      digest = (Math.imul(digest, 31) + (typeof bytes === "string" ? bytes.charCodeAt(i) : bytes[i]!)) | 0;
    }
  }
  return digest;
}
