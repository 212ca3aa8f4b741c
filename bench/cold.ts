/**
 * How long do queries take on a replica of which nothing is in memory, against the Go VFS and a plain local file?
 *
 * `npm run bench -- cold [runs] [--data small,orders] [--latency 20] [--only pk,scan] [--limit 12] [--cache MiB]` ·
 * each figure of a fresh process, after the opening unless it is the question; ours in Bun and Deno, the Go VFS in Bun,
 * through an S3 stand-in with added latency (ms) and 80 MB/s a connection. What has not ended after `limit` seconds is
 * run again as far as it comes in that time, and its total reckoned from the share done: those are marked ≈, with the
 * share; requests and KiB are of that share. One that cannot be stopped is marked >. Passes over a table are held
 * against plain ranged GETs of the same objects (64 connections, 1 MiB each) in the same run: "of their speed" compares
 * bytes a second, of which ours counts only those of pages that the pass needs; "moved / needed" is what else it moved.
 *
 * Data: small (10 MB), medium (200 MB), many (the same with 300 incrementals), orders (200 MB, scattered), orders-many,
 * large (1 GB), vectors (12 MB, sqlite-vec); workloads: see `support/workloads.ts`. `cache` bounds the pages that ours
 * keeps in memory. PREFETCH=off in the environment runs ours without reading ahead. A run of all workloads draws
 * `bench/plots/cold-DATA-LATENCYms.svg`.
 *
 * @module
 */
import { statSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { FakeS3 } from "../tests/support/fake_s3.ts";
import { goVfsLibrary } from "../tests/support/go_vfs.ts";
import { type BenchDatabase, namedDatabase } from "./support/databases.ts";
import { type Figures, measure, medians, OverTimeError, serve, table } from "./support/measure.ts";
import { neededBytes } from "./support/needed_bytes.ts";
import { barPlot } from "./support/plot.ts";
import type { SystemArgument } from "./support/systems.ts";
import { isFor, type Workload, workloadOf, WORKLOADS } from "./support/workloads.ts";

type Runtime = "bun" | "deno";

/** Where one workload is run. */
interface Place {
  readonly workload: Workload;
  readonly database: BenchDatabase;
  readonly server: FakeS3;
}

/** Figures by system, of all runs so far. */
class Samples {
  readonly #all = new Map<string, Figures[]>();

  add(system: string, figures: Figures): void {
    this.#all.set(system, [...this.#all.get(system) ?? [], figures]);
  }

  of(system: string): Figures {
    return medians(this.#all.get(system) ?? [{}]);
  }
}

/** Beyond the limit, for start, opening, and one query that was begun in time; the Go VFS opens `many` in 13 s. */
const GRACE_MS = { ours: 5_000, go: 20_000, local: 20_000 };
/** The Go VFS is slow, and waits for latency most of the time: its figures hardly differ. */
const GO_RUNS_MAX = 3;
const RUNTIMES = ["bun", "deno"] as const;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: "string", default: "small,medium,orders,vectors" },
    latency: { type: "string", default: "20" },
    only: { type: "string" },
    limit: { type: "string", default: "12" },
    cache: { type: "string" },
  },
});
const runs = Number(positionals[0] ?? 5);
const limitMs = Number(options.limit) * 1000;
const cacheBytesMax = options.cache === undefined ? undefined : Number(options.cache) * 2 ** 20;
const chosen = options.only?.split(",").map(workloadOf) ?? WORKLOADS;
/** At least so long, and nothing is known of the share. */
const KILLED: Figures = { openMs: 0, ms: limitMs, share: 0, digest: 0, rssMb: 0, killed: 1 };
const names = options.data.split(",");
const library = goVfsLibrary();
const rows: Record<string, string | number>[] = [];

for (const name of names) {
  const database = await namedDatabase(name);
  for (const latencyMs of options.latency.split(",").map(Number)) {
    await using server = await serve(database, latencyMs);
    const results = await measureAll(database, server);
    rows.push(...results.flatMap((result) => tableRows(result, { name, latencyMs })));
    if (options.only === undefined) await draw(results, `${name}-${latencyMs}ms`);
  }
}
console.log(table(rows));
process.exit(0);

/** Medians of one workload on every system. */
interface Result {
  readonly workload: Workload;
  /** How many queries it is. */
  readonly queries: number;
  readonly ours: Record<Runtime, Figures>;
  readonly local: Record<Runtime, Figures>;
  readonly go: Figures;
  /** Plain ranged GETs of all objects, for a pass. */
  readonly plain: Record<Runtime, Figures>;
  /** Bytes that a pass needs. */
  readonly needed: number;
}

async function measureAll(database: BenchDatabase, server: FakeS3): Promise<Result[]> {
  const workloads = chosen.filter((workload) => isFor(workload, database.shape));
  const taken = new Map(workloads.map((workload) => [workload, new Samples()]));
  for (let run = 0; run < runs; run++) {
    const plain: Partial<Record<Runtime, Figures>> = {};
    for (const workload of workloads) {
      const samples = taken.get(workload)!;
      const place = { workload, database, server };
      for (const runtime of RUNTIMES) {
        const local = await runLocal(place, runtime);
        const ours = await runOurs(place, runtime);
        agree(ours, local, `${database.name} ${workload.name}: ours in ${runtime}`);
        samples.add(`local ${runtime}`, local);
        samples.add(`ours ${runtime}`, ours);
        if (workload.passes !== undefined) {
          plain[runtime] ??= await runPlain(place, runtime);
          samples.add(`plain ${runtime}`, plain[runtime]);
        }
        if (runtime === "bun" && (run === 0 || run < GO_RUNS_MAX && samples.of("go").share === 1)) {
          const go = await runGo(place);
          agree(go, local, `${database.name} ${workload.name}: the Go VFS`);
          samples.add("go", go);
        }
      }
      console.error(progress(place, samples));
    }
  }
  return await Promise.all(workloads.map(async (workload) => {
    const samples = taken.get(workload)!;
    const both = (system: string) => ({
      bun: samples.of(`${system} bun`),
      deno: samples.of(`${system} deno`),
    });
    return {
      workload,
      queries: workload.queries(database).length,
      ours: both("ours"),
      local: both("local"),
      go: samples.of("go"),
      plain: both("plain"),
      needed: workload.passes === undefined ? 0 : await neededBytes(database, workload.passes),
    };
  }));
}

/** The time of the whole, from that of the share done; `undefined` where it had to be killed. */
async function run(
  runtime: Runtime,
  place: Place,
  system: SystemArgument,
  how: { stepwise: boolean; env?: Record<string, string> },
): Promise<Figures | undefined> {
  const { workload, database: { rows, shape } } = place;
  const argument = {
    ...system,
    work: workload.name,
    database: { rows, shape },
    limitMs,
    stepwise: how.stepwise,
    hasVectors: shape === "vectors",
  };
  const timeoutMs = limitMs + GRACE_MS[system.system];
  try {
    const figures = await measure(runtime, "bench/support/cold_any.ts", argument, how.env, timeoutMs);
    return { ...figures, ms: figures.ms! / figures.share!, killed: 0 };
  } catch (error) {
    if (error instanceof OverTimeError) return undefined;
    throw error;
  }
}

async function runLocal(place: Place, runtime: Runtime): Promise<Figures> {
  const system = { system: "local", path: place.database.path } as const;
  return await run(runtime, place, system, { stepwise: false }) ?? KILLED;
}

/** Whole if it ends in time, else as far as it comes. */
async function runOurs(place: Place, runtime: Runtime): Promise<Figures> {
  const system = { system: "ours", endpoint: place.server.endpoint, cacheBytesMax } as const;
  const before = place.server.log.length;
  const figures = await run(runtime, place, system, { stepwise: false }) ??
    (place.workload.stepwise && await run(runtime, place, system, { stepwise: true })) ??
    { ...KILLED, roundTrips: 0 };
  const { atOnce, ...seen } = logged(place.server, before);
  return { ...seen, ...figures, atOnce: atOnce! };
}

/** A step at a time where there is a way to: it is not expected to end. */
async function runGo(place: Place): Promise<Figures> {
  const { accessKeyId, secretAccessKey } = place.server.options;
  const env = {
    LITESTREAM_REPLICA_URL: `s3://bucket/db?endpoint=${place.server.endpoint}`,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  };
  const stepwise = place.workload.stepwise !== undefined;
  const before = place.server.log.length;
  const figures = await run("bun", place, { system: "go", library }, { stepwise, env }) ?? KILLED;
  return { ...figures, ...logged(place.server, before) };
}

/** What the server has seen since. */
function logged(server: FakeS3, before: number): Figures {
  const log = server.log.slice(before);
  return {
    requests: log.length,
    kib: log.reduce((sum, { bytes }) => sum + bytes, 0) / 1024,
    atOnce: log.reduce((most, { concurrency }) => Math.max(most, concurrency), 0),
  };
}

function runPlain({ database, server }: Place, runtime: Runtime): Promise<Figures> {
  const objects = [...database.objects].map(([key, path]) => ({ key, size: statSync(path).size }));
  return measure(runtime, "bench/support/plain_gets.ts", {
    endpoint: server.endpoint,
    objects,
    connections: 64,
    rangeBytes: 2 ** 20,
  });
}

function agree(figures: Figures, local: Figures, who: string): void {
  if (figures.digest === 0 || figures.digest === local.digest) return;
  throw new Error(`${who} gave other rows than the plain file`);
}

function milliseconds({ ms, share, killed }: Figures): string {
  const digits = ms! >= 100 ? Math.round(ms!).toLocaleString("en") : ms!.toPrecision(3);
  return `${killed ? "> " : share! < 1 ? "≈ " : ""}${digits}`;
}

function progress({ workload, database, server }: Place, samples: Samples): string {
  const systems = ["ours bun", "ours deno", "go", "local bun", "local deno"];
  const figures = systems.map((system) => `${system} ${milliseconds(samples.of(system))}`);
  return `${database.name} ${server.options.latencyMs} ms ${workload.name}: ${figures.join(" · ")}`;
}

/** A pass against plain GETs of the same objects. */
function beside({ ours, plain, needed }: Result, runtime: Runtime): Record<string, string | number> {
  const { ms, share, kib } = ours[runtime];
  const gets = plain[runtime];
  if (needed === 0) return { "plain GETs ms": "", "of their speed": "", "moved / needed": "" };
  return {
    "plain GETs ms": gets.ms!,
    "of their speed": `${(needed / ms! / (gets.kib! * 1024 / gets.ms!) * 100).toPrecision(3)} %`,
    "moved / needed": kib! * 1024 / (needed * share!),
  };
}

function tableRows(
  result: Result,
  { name, latencyMs }: { name: string; latencyMs: number },
): Record<string, string | number>[] {
  const { workload, queries, ours, local, go } = result;
  return RUNTIMES.map((runtime) => {
    const own = ours[runtime];
    const share = (figures: Figures) =>
      figures.killed ? "" : figures.share! < 1 ? ` (${(figures.share! * 100).toPrecision(2)} %)` : "";
    const ratio = go.ms! / own.ms!;
    return {
      data: name,
      "latency ms": String(latencyMs),
      work: workload.name,
      runtime,
      ms: milliseconds(own) + share(own),
      "ms a query": own.ms! / queries,
      requests: own.requests!,
      KiB: own.kib!,
      "round trips": own.roundTrips!,
      "at once": own.atOnce!,
      "RSS MB": own.rssMb!,
      "Go ms": milliseconds(go) + share(go),
      "Go requests": go.requests!,
      "Go KiB": go.kib!,
      "local ms": local[runtime].ms!,
      "Go / ours": `${go.killed ? "> " : ""}${
        ratio >= 100 ? Math.round(ratio).toLocaleString("en") : ratio.toPrecision(3)
      }`,
      "ours / local": own.ms! / local[runtime].ms!,
      ...beside(result, runtime),
    };
  });
}

async function draw(results: readonly Result[], place: string): Promise<void> {
  const mode = process.env.PREFETCH === undefined ? "" : `-prefetch-${process.env.PREFETCH}`;
  const cache = options.cache === undefined ? "" : `-cache-${options.cache}`;
  const file = fileURLToPath(new URL(`./plots/cold-${place}${mode}${cache}.svg`, import.meta.url));
  const bar = (figures: Figures, label = milliseconds(figures)) => ({ value: figures.ms!, label });
  const svg = barPlot({
    title: `Cold queries, ${place.replace(/-(\d+)ms$/, ", $1 ms added latency")}: ms, shorter is better`,
    series: ["Go VFS", "ours, Bun", "ours, Deno", "local file, Bun"],
    groups: results.map(({ workload, ours, go, local }) => ({
      name: workload.about,
      bars: [bar(go), bar(ours.bun), bar(ours.deno), bar(local.bun)],
    })),
  });
  await mkdir(fileURLToPath(new URL("./plots/", import.meta.url)), { recursive: true });
  await writeFile(file, svg);
}
