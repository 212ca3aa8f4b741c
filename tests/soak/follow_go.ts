/**
 * A process that follows a replica with one connection of the Go VFS, in Bun. Takes and prints what
 * {@link ./follow_ours.ts} does, with a report each second, since it may freeze.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import type { ProcessReport, ProcessStart } from "./follow_ours.ts";
import { openQuery } from "./follow_query.ts";
import { FollowReader, sleep } from "./follow_reader.ts";

const { library, ...start } = JSON.parse(process.argv[2]!) as ProcessStart & { library: string };
const name = "bun:sqlite";
const { Database } = await import(name);
const READONLY_URI = 0x1 | 0x40;
new Database(":memory:").loadExtension(library);
const query = openQuery(
  new Database(`file:replica.db?vfs=litestream&poll_interval=${start.pollIntervalMs}ms`, READONLY_URI),
);
const reader = new FollowReader({
  reader: start.name,
  query,
  pauseMs: 0,
  holdMs: start.holdMs,
  reasonOf: String,
});
const seen: [string, number][] = [];
const delays: number[] = [];
let generation = Number.MAX_SAFE_INTEGER;
let longestSilenceMs = 0;
let printedMs = Date.now();
let isOver = false;

function print(): void {
  longestSilenceMs = Math.max(longestSilenceMs, Date.now() - printedMs);
  printedMs = Date.now();
  const report: ProcessReport = {
    reports: [reader.report()],
    told: [],
    seen,
    delays,
    log: [],
    longestSilenceMs,
    hung: 0,
    stats: undefined,
  };
  process.stdout.write(`${JSON.stringify({ report })}\n`);
}

createInterface({ input: process.stdin }).on("line", () => isOver = true).on("close", () => isOver = true);

let checkMs = 0;
for (let count = 0; !isOver;) {
  const state = reader.look();
  const atMs = Date.now();
  if (state) {
    seen.push([state.txid, atMs]);
    const since = generation;
    generation = state.generation;
    try {
      const rows = query(`SELECT ms FROM clock WHERE generation > ${since} AND generation <= ${generation}`);
      for (const { ms } of rows) delays.push(atMs - Number(ms));
    } catch {
      await reader.transaction("marks"); // tells of it where it fails again
    }
  }
  if (Date.now() > checkMs) {
    checkMs = Date.now() + start.pauseMs;
    await reader.transaction(count % 24 === 11 ? "integrity" : count % 6 === 5 ? "rows" : "marks");
    count++;
  }
  if (Date.now() - printedMs > 2_000) print();
  await sleep(20);
}
await sleep(2 * start.pollIntervalMs);
if (reader.look()) seen.push([reader.report().last!.txid, Date.now()]);
await reader.transaction("rows");
print();
await sleep(200);
process.exit(0);
