/**
 * What does the index of a very large replica take, and does opening one hold anybody up?
 *
 * `npm run bench -- large_index [runs] [--pages 10000000]` · a snapshot of so many pages of 4 KiB is opened
 * in Bun and Deno, through an S3 stand-in with 5 ms of added latency and 80 MB/s a connection; its pages are
 * a hole in a file, its index is real. Meanwhile, each in a process of its own: how late a timer of 1 ms
 * comes on the user's thread, how long a look-up in memory takes on another replica, how long one that
 * misses, and how late a timer comes in the core's loop (the core on the main thread for that). One core
 * serves both replicas.
 *
 * Memory is counted as the shim keeps it, and seen as the process's growth, at once and after three seconds;
 * what the read-ahead knows of interior pages comes on top, once they are read: all of a table's, and all of
 * an index's.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { namedDatabase } from "./support/databases.ts";
import { type Figures, measure, medians, serve, table } from "./support/measure.ts";
import { sparseReplica } from "./support/sparse_replica.ts";
import { treeMapBytes } from "./support/tree_map_bytes.ts";

const LATENCY_MS = 5;
const RUNTIMES = ["bun", "deno"] as const;
const LOOKS = ["timer", "warm", "misses", "loop"] as const;
const MOMENTS = ["rest", "opening", "closing"] as const;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { pages: { type: "string", default: "10000000" } },
});
const runs = Number(positionals[0] ?? 3);
const pages = Number(values.pages);
const other = await namedDatabase("medium");
const large = await sparseReplica(pages);
await using server = await serve(other, LATENCY_MS);
await server.putFile(`large/${large.key}`, large.path);

async function taken(runtime: "bun" | "deno", look: string): Promise<Figures> {
  const argument = { look, endpoint: server.endpoint, rows: other.rows, pages };
  const all: Figures[] = [];
  for (let run = 0; run < runs; run++) {
    all.push(await measure(runtime, "bench/support/large_index_any.ts", argument));
  }
  return medians(all);
}

const memory: Record<string, string | number>[] = [];
const stalls: Record<string, string | number>[] = [];
for (const runtime of RUNTIMES) {
  memory.push({ runtime, ...await taken(runtime, "memory") });
  for (const look of LOOKS) {
    const figures = await taken(runtime, look);
    for (const moment of MOMENTS) {
      stalls.push({
        runtime,
        look,
        moment,
        "p50 ms": figures[`${moment} p50`]!,
        "p99 ms": figures[`${moment} p99`]!,
        "longest ms": figures[`${moment} longest`]!,
        count: figures[`${moment} count`]!,
        "open ms": moment === "opening" ? figures.openMs! : "",
      });
    }
  }
}
const { ofTable, ofIndex } = treeMapBytes(pages);
console.log(table(memory));
console.log(
  `\nread-ahead, B a page below interior pages read: table ${ofTable.toFixed(1)}, index ${
    ofIndex.toFixed(1)
  }\n`,
);
console.log(table(stalls));
process.exit(0);
