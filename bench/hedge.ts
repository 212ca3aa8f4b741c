/**
 * What do requests that stall cost, with hedging and without?
 *
 * `npm run bench -- hedge [queries] [--latency 20] [--stall 2000] [--every 50]` · 500 point queries at
 * random ids, cold, one after the other, in Bun and Deno, through an S3 stand-in with added latency (ms) and
 * 80 MB/s a connection, of whose answers one in `every` comes `stall` ms late. "Without" is a `fetch` that
 * holds a second request for the same bytes back until the first is answered. Draws `bench/plots/hedge.svg`.
 *
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { FaultSchedule } from "../tests/support/faults.ts";
import { namedDatabase } from "./support/databases.ts";
import { type Figures, measure, serve, table } from "./support/measure.ts";
import { barPlot } from "./support/plot.ts";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    latency: { type: "string", default: "20" },
    stall: { type: "string", default: "2000" },
    every: { type: "string", default: "50" },
  },
});
const queries = Number(positionals[0] ?? 500);
const latencyMs = Number(options.latency);
const stallMs = Number(options.stall);
const SEED = 9;
const WAYS = [
  { name: "no stalls", stalls: false, isHedged: true },
  { name: "stalls, hedging", stalls: true, isHedged: true },
  { name: "stalls, no hedging", stalls: true, isHedged: false },
] as const;
const SHARES = ["p50", "p95", "p99", "longest"] as const;

const database = await namedDatabase("medium");
const rows: Record<string, string | number>[] = [];
const ofBun: Figures[] = [];
for (const runtime of ["bun", "deno"] as const) {
  for (const { name, stalls, isHedged } of WAYS) {
    await using server = await serve(database, latencyMs);
    const fault = { kind: "slow", delayMs: stallMs } as const;
    const rule = { fault, on: "object", probability: 1 / Number(options.every) } as const;
    if (stalls) server.options.faults = new FaultSchedule([rule], SEED);
    const argument = { endpoint: server.endpoint, rows: database.rows, queries, isHedged };
    const figures = await measure(runtime, "bench/support/hedge_any.ts", argument);
    if (runtime === "bun") ofBun.push(figures);
    rows.push({
      runtime,
      way: name,
      "p50 ms": figures.p50!,
      "p95 ms": figures.p95!,
      "p99 ms": figures.p99!,
      "longest ms": figures.longest!,
      "all ms": figures.sum!,
      requests: figures.requests!,
      hedges: figures.hedges!,
    });
  }
}
console.log(table(rows));
const svg = barPlot({
  title: `${queries} point queries, one answer in ${options.every} ${stallMs} ms late: ms, shorter is better`,
  series: WAYS.map(({ name }) => name),
  groups: SHARES.map((share) => ({
    name: share,
    bars: ofBun.map((figures) => ({ value: figures[share]!, label: `${Math.round(figures[share]!)}` })),
  })),
});
const plots = new URL("./plots/", import.meta.url);
await mkdir(plots, { recursive: true });
await writeFile(fileURLToPath(new URL("hedge.svg", plots)), svg);
process.exit(0);
