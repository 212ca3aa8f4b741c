/**
 * How soon does a process that has just been started commit its first write, as in the request that boots a server?
 *
 * `npm run bench -- boot [runs] [--latency 0,5,20]` · a replica of 30 MB behind an S3 stand-in with added latency (ms);
 * `write` and `hydrate` on an empty disk, a new process each time. All times are from the start of the process: its modules
 * are loaded, the replica is open, an UPDATE is committed, it is stored (asked for by `sync()`), all pages are local.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { benchDatabase } from "./support/databases.ts";
import { type Figures, measure, medians, serve, table } from "./support/measure.ts";

const ROWS = 180_000;
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { latency: { type: "string", default: "0,5,20" } },
});
const runs = Number(positionals[0] ?? 5);
const database = await benchDatabase("boot", ROWS);
const rows: Record<string, string | number>[] = [];
for (const latencyMs of options.latency.split(",").map(Number)) {
  for (const runtime of ["bun", "deno"] as const) {
    const all: Figures[] = [];
    for (let run = 0; run < runs; run++) all.push(await boot(runtime, latencyMs));
    const { loadedMs, openMs, committedMs, storedMs, hydratedMs, ...counts } = medians(all);
    rows.push({
      "latency ms": String(latencyMs),
      runtime,
      "loaded ms": loadedMs!,
      "open ms": openMs!,
      "committed ms": committedMs!,
      "stored ms": storedMs!,
      "local ms": hydratedMs!,
      ...counts,
    });
  }
}
console.log(table(rows));
process.exit(0);

async function boot(runtime: "bun" | "deno", latencyMs: number): Promise<Figures> {
  const folder = await mkdtemp(join(tmpdir(), "boot-bench-"));
  try {
    await using server = await serve(database, latencyMs);
    return await measure(runtime, "bench/support/boot_any.ts", {
      endpoint: server.endpoint,
      path: join(folder, "log"),
      hydrate: join(folder, "copy.db"),
      startedMs: performance.timeOrigin + performance.now(),
    });
  } finally {
    await rm(folder, { recursive: true });
  }
}
