/**
 * What does a start cost, in every way in which a program has this package?
 *
 * `npm run bench -- start [runs] [--latency 20] [--only NAME] [--act read,write]` · a replica of 30 MB behind an S3 stand-in with
 * added latency (ms); a new process each time, all forms in turn, so that what else the machine does falls on all alike. From the
 * start of the process: its modules are loaded; the replica is open; a look-up by key has its row, or, for writing and with a
 * local copy, an UPDATE is committed; and the CPU time of all its threads. The first run of each form fills its caches and is not
 * counted.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { benchDatabase } from "./support/databases.ts";
import { type Figures, measureCommand, medians, serve, table } from "./support/measure.ts";
import { type Form, removeForms, startForms } from "./support/start_forms.ts";

const ROWS = 180_000;
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    latency: { type: "string", default: "20" },
    only: { type: "string", default: "" },
    act: { type: "string", default: "read,write" },
  },
});
const runs = Number(positionals[0] ?? 9);
const database = await benchDatabase("boot", ROWS);
const forms = await startForms();
const chosen = forms.filter(({ name, runtime }) => `${name} ${runtime}`.includes(options.only));
try {
  for (const latencyMs of options.latency.split(",").map(Number)) {
    for (const act of options.act.split(",")) {
      console.log(`\n${act}, ${latencyMs} ms\n\n${table(await measured(act === "write", latencyMs))}`);
    }
  }
} finally {
  await removeForms(forms);
}
process.exit(0);

async function measured(isWriting: boolean, latencyMs: number): Promise<Record<string, string | number>[]> {
  const found = new Map(chosen.map((form) => [form, [] as Figures[]]));
  for (let run = 0; run <= runs; run++) {
    for (const [form, all] of found) {
      const figures = await start(form, isWriting, latencyMs);
      if (run > 0) all.push(figures);
    }
  }
  return [...found].map(([{ name, runtime }, all]) => ({ form: `${name}, ${runtime}`, ...medians(all) }));
}

async function start(
  { command, folder, env }: Form,
  isWriting: boolean,
  latencyMs: number,
): Promise<Figures> {
  const work = isWriting ? await mkdtemp(join(tmpdir(), "start-bench-work-")) : undefined;
  try {
    await using server = await serve(database, latencyMs);
    const { endpoint } = server;
    const startedMs = performance.timeOrigin + performance.now();
    return await measureCommand(command, { endpoint, work, startedMs }, { cwd: folder, env });
  } finally {
    if (work) await rm(work, { recursive: true });
  }
}
