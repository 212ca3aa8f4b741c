/**
 * How long does hydration take, what do look-ups cost meanwhile, and what does reading cost afterwards, against the Go VFS
 * and a local file?
 *
 * `npm run bench -- hydrate [runs] [--data medium] [--latency 0,5,20]` · each point in a fresh process, on a new file,
 * behind an S3 stand-in with added latency (ms) and 80 MB/s a connection. "hydrated" is from the call that opens the
 * replica until all pages are read from the file; look-ups meanwhile are of random ids, 5 ms apart, in runs of their own. A
 * look-up afterwards is in autocommit, with SQLite's default cache and with `cache_size=0`; a scan is all of `orders`.
 * "resumed" follows a process that killed itself once half of the pages were there.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { goVfsLibrary } from "../tests/support/go_vfs.ts";
import type { FakeS3 } from "../tests/support/fake_s3.ts";
import { type BenchDatabase, namedDatabase } from "./support/databases.ts";
import { type Figures, measure, medians, serve, table } from "./support/measure.ts";

type Runtime = "bun" | "deno";

const script = "bench/support/hydrate_any.ts";
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: "string", default: "medium" },
    latency: { type: "string", default: "0,5,20" },
  },
});
const runs = Number(positionals[0] ?? 5);
const database = await namedDatabase(options.data);
const rows: Record<string, string | number>[] = [];
for (const latencyMs of options.latency.split(",").map(Number)) {
  await using server = await serve(database, latencyMs);
  const [go] = await inTurn(() => hydrateGo(database, server));
  for (const runtime of ["bun", "deno"] as const) {
    const [ours, local] = await inTurn(
      () => hydrateOurs(runtime, database, server),
      () => readLocal(runtime, database),
    );
    rows.push(row({ latencyMs, runtime, ours, local, go }));
  }
  rows.push(goRow(latencyMs, go));
}
console.log(table(rows));
process.exit(0);

/** Medians of what is measured in turn: a noisy machine disturbs all alike. */
async function inTurn<Takes extends (() => Promise<Figures>)[]>(
  ...takes: Takes
): Promise<{ [K in keyof Takes]: Figures }> {
  const all = takes.map((): Figures[] => []);
  for (let run = 0; run < runs; run++) {
    for (const [i, take] of takes.entries()) all[i]!.push(await take());
  }
  return all.map(medians) as { [K in keyof Takes]: Figures };
}

/** Requests and bytes that the server has answered since `from`. */
function served({ log }: FakeS3, from: number): Figures {
  const answered = log.slice(from).filter(({ status }) => status === 200 || status === 206);
  const bytes = answered.reduce((sum, { bytes }) => sum + bytes, 0);
  return { requests: answered.length, mb: bytes / 1e6 };
}

async function hydrateOurs(runtime: Runtime, { rows }: BenchDatabase, server: FakeS3): Promise<Figures> {
  const folder = await mkdtemp(join(tmpdir(), "hydrate-bench-"));
  try {
    const argument = (name: string) => ({
      system: "ours",
      endpoint: server.endpoint,
      hydrate: join(folder, name),
      rows,
      lookUps: 0,
    });
    const before = server.log.length;
    const figures = await measure(runtime, script, { ...argument("one.db"), lookUps: 20_000 });
    const moved = served(server, before);
    const { duringMs, duringMaxMs } = await measure(runtime, script, {
      ...argument("two.db"),
      looksUp: true,
    });
    await measure(runtime, script, { ...argument("three.db"), killAt: 0.5 }).catch(() => {}); // it kills itself
    const resumedAt = server.log.length;
    const { hydratedMs: resumedMs } = await measure(runtime, script, argument("three.db"));
    const rest = served(server, resumedAt);
    return {
      ...figures,
      ...moved,
      duringMs: duringMs!,
      duringMaxMs: duringMaxMs!,
      resumedMs: resumedMs!,
      restMb: rest.mb!,
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function readLocal(runtime: Runtime, { rows, path }: BenchDatabase): Promise<Figures> {
  return await measure(runtime, script, { system: "local", path, rows, lookUps: 20_000 });
}

async function hydrateGo({ rows }: BenchDatabase, server: FakeS3): Promise<Figures> {
  const folder = await mkdtemp(join(tmpdir(), "hydrate-bench-"));
  const { accessKeyId, secretAccessKey } = server.options;
  const env = (name: string) => ({
    LITESTREAM_REPLICA_URL: `s3://bucket/db?endpoint=${server.endpoint}`,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    LITESTREAM_HYDRATION_ENABLED: "true",
    LITESTREAM_HYDRATION_PATH: join(folder, name),
  });
  try {
    const argument = { system: "go", library: goVfsLibrary(), rows, lookUps: 0 };
    const before = server.log.length;
    const figures = await measure("bun", script, { ...argument, lookUps: 2_000 }, env("one.db"));
    const moved = served(server, before);
    const { duringMs, duringMaxMs } = await measure(
      "bun",
      script,
      { ...argument, looksUp: true },
      env("two.db"),
    );
    return { ...figures, ...moved, duringMs: duringMs!, duringMaxMs: duringMaxMs! };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Figures of all three, side by side. */
interface Compared {
  readonly latencyMs: number;
  readonly runtime: Runtime;
  readonly ours: Figures;
  readonly local: Figures;
  readonly go: Figures;
}

function row({ latencyMs, runtime, ours, local, go }: Compared): Record<string, string | number> {
  return {
    "latency ms": String(latencyMs),
    system: `ours, ${runtime}`,
    ...common(ours),
    "times Go": go.hydratedMs! / ours.hydratedMs!,
    "look-ups /s, times local": ours.perSecond! / local.perSecond!,
    "cache_size=0, times local": ours.uncachedPerSecond! / local.uncachedPerSecond!,
    "scan, times local": local.scanMs! / ours.scanMs!,
    "requests after": ours.requestsAfter!,
    "resumed ms": ours.resumedMs!,
    "rest MB": ours.restMb!,
  };
}

function goRow(latencyMs: number, go: Figures): Record<string, string | number> {
  const none = Object.fromEntries(
    [
      "times Go",
      "look-ups /s, times local",
      "cache_size=0, times local",
      "scan, times local",
      "requests after",
    ]
      .map((name) => [name, ""]),
  );
  return {
    "latency ms": String(latencyMs),
    system: "Go VFS, bun",
    ...common(go),
    ...none,
    "resumed ms": "",
    "rest MB": "",
  };
}

function common(figures: Figures): Record<string, string | number> {
  return {
    "hydrated ms": figures.hydratedMs!,
    requests: figures.requests!,
    "MB moved": figures.mb!,
    "look-up meanwhile, ms": figures.duringMs!,
    "at most": figures.duringMaxMs!,
    "look-ups /s": figures.perSecond!,
    "scan ms": figures.scanMs!,
  };
}
