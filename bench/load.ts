/**
 * What becomes of time, memory and fairness where there is much of something?
 *
 * `npm run bench -- load [connections,replicas,huge,files] [runs] [--pages 2621440] [--files 10000] [--count 200] [--without-go]`
 *
 * - `connections`: 200 connections in 16 threads of one process look rows up on one replica, with all pages in memory, with
 *   few, and beside threads that scan; the same on a local file and by the Go VFS.
 * - `replicas`: 200 replicas open and followed in one process, in a bucket and in folders.
 * - `huge`: a database of 10 GB whose pages are made when they are asked for.
 * - `files`: 10,000 files on level 0, of which the newest state takes 100 or all, in a bucket and in a folder.
 *
 * Medians of as many fresh processes, each in Bun and in Deno; the Go VFS where it can do it, in Bun, in a process of its
 * own. Every row that is read is compared with what it must be.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { FakeS3 } from "../tests/support/fake_s3.ts";
import { goVfsLibrary } from "../tests/support/go_vfs.ts";
import { hugeReplica } from "../tests/support/huge_replica.ts";
import { type HistoryShape, LongHistory, putHistory, writeHistory } from "../tests/support/long_history.ts";
import { namedDatabase } from "./support/databases.ts";
import type { ConnectionsArgument } from "./support/load_connections_any.ts";
import type { FilesArgument } from "./support/load_files_any.ts";
import type { HugeArgument } from "./support/load_huge_any.ts";
import type { ReplicasArgument } from "./support/load_replicas_any.ts";
import { type Figures, measure, medians, OverTimeError, serve, table } from "./support/measure.ts";

type Row = Record<string, string | number>;

const RUNTIMES = ["bun", "deno"] as const;
const LATENCY_MS = 5;
const BYTES_PER_SECOND = 80e6;
/** How long the Go VFS is given. */
const GO_TIMEOUT_MS = 300_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    pages: { type: "string", default: "2621440" },
    files: { type: "string", default: "10000" },
    count: { type: "string", default: "200" },
    seconds: { type: "string", default: "8" },
    "without-go": { type: "boolean", default: false },
  },
});
const [pages, fileCount, count, seconds] = [values.pages, values.files, values.count, values.seconds].map(
  Number,
) as [number, number, number, number];
const kinds = { connections, replicas, huge, files };
const wanted = (positionals[0] ?? Object.keys(kinds).join()).split(",");
const runs = Number(positionals[1] ?? 3);
for (const kind of wanted) {
  const measureKind = kinds[kind as keyof typeof kinds];
  if (!measureKind) throw new Error(`Cannot measure "${kind}": expected ${Object.keys(kinds).join(", ")}`);
  await measureKind();
}
process.exit(0);

async function taken(
  runtime: "bun" | "deno",
  script: string,
  argument: unknown,
  { env = {}, timeoutMs = 0, times = runs }: {
    env?: Record<string, string>;
    timeoutMs?: number;
    times?: number;
  } = {},
): Promise<Figures> {
  const all: Figures[] = [];
  for (let run = 0; run < times; run++) {
    all.push(await measure(runtime, `bench/support/${script}`, argument, env, timeoutMs));
  }
  return medians(all);
}

/** The Go VFS's figures; undefined, and why on stderr, where it has none. */
async function takenByGo(script: string, argument: object, url: string): Promise<Figures | undefined> {
  const library = goVfsLibrary();
  if (library === undefined || values["without-go"]) return undefined;
  const env = {
    LITESTREAM_REPLICA_URL: url,
    AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
    AWS_SECRET_ACCESS_KEY: "any",
    LITESTREAM_LOG_LEVEL: "error",
  };
  try {
    return await taken("bun", script, { ...argument, library }, { env, timeoutMs: GO_TIMEOUT_MS, times: 1 });
  } catch (error) {
    const why = error instanceof OverTimeError ? error.message : `${error}`.slice(-2_000);
    console.error(`Go VFS, ${script}: ${why}`);
    return undefined;
  }
}

/** Rows of different systems have different figures: one line a figure. */
function printTurned(title: string, columns: Row[]): void {
  const names = [...new Set(columns.flatMap((column) => Object.keys(column)))];
  const [heading, ...figures] = names;
  const rows = figures.map((name) => ({
    figure: name,
    ...Object.fromEntries(columns.map((column) => [String(column[heading!]), column[name] ?? ""])),
  }));
  console.log(`\n${title}\n\n${table(rows)}`);
}

function anonymousServer(latencyMs = LATENCY_MS): Promise<FakeS3> {
  return FakeS3.start({ anonymous: true, verify: false, latencyMs, bytesPerSecond: BYTES_PER_SECOND });
}

async function connections(): Promise<void> {
  const database = await namedDatabase("medium");
  await using server = await serve(database, LATENCY_MS);
  const script = "load_connections_any.ts";
  const { path, rows } = database;
  const base = {
    path,
    rows,
    endpoint: server.endpoint,
    threads: 16,
    connections: count,
    seconds,
    scanners: 0,
  };
  const url = `s3://bucket/db?endpoint=${server.endpoint}`;
  const memory = { cacheBytesMax: 2 ** 29 };
  const few = { cacheBytesMax: 16 * 2 ** 20 };
  const works = [
    { name: "in memory", options: memory, scanners: 0, warms: true },
    { name: "few in memory", options: few, scanners: 0 },
    { name: "few, 2 threads scan", options: few, scanners: 2 },
    { name: "few, one connection a thread", options: few, scanners: 0, connections: 16 },
  ];
  for (const { name, ...work } of works) {
    const columns: Row[] = [];
    for (const runtime of RUNTIMES) {
      const argument: ConnectionsArgument = { ...base, ...work, system: "ours" };
      columns.push({ system: `ours, ${runtime}`, ...await taken(runtime, script, argument) });
      if (name !== "in memory") continue;
      const local: ConnectionsArgument = { ...base, ...work, system: "local" };
      columns.push({ system: `local, ${runtime}`, ...await taken(runtime, script, local) });
    }
    const go: ConnectionsArgument = { ...base, ...work, options: {}, system: "go" };
    const before = server.log.length;
    const byGo = work.scanners === 0 ? await takenByGo(script, go, url) : undefined;
    if (byGo) {
      columns.push({ system: "Go VFS", ...byGo, "requests of the process": server.log.length - before });
    }
    printTurned(`connections, ${name}`, columns);
  }
}

async function replicas(): Promise<void> {
  const script = "load_replicas_any.ts";
  const base = 1_000_000;
  const shape: HistoryShape = { transactions: 6, snapshots: [1] };
  await using server = await anonymousServer();
  const folder = await mkdtemp(join(tmpdir(), "load-"));
  try {
    const first = await LongHistory.make();
    for (let i = 0; i < count; i++) {
      const history = first.withBase(i * base);
      putHistory(server, `db${i}`, history.files(shape));
      writeHistory(join(folder, `db${i}`), history.files(shape));
    }
    for (const place of [{ endpoint: server.endpoint }, { folder }]) {
      const columns: Row[] = [];
      for (const runtime of RUNTIMES) {
        const argument: ReplicasArgument = { ...place, count, base, seconds, look: "process" };
        const loop: ReplicasArgument = { ...argument, look: "loop" };
        const figures = { ...await taken(runtime, script, argument), ...await taken(runtime, script, loop) };
        columns.push({ runtime, ...figures });
      }
      printTurned(
        `${count} replicas, ${Object.keys(place)[0] === "folder" ? "folders" : "a bucket"}`,
        columns,
      );
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function huge(): Promise<void> {
  const script = "load_huge_any.ts";
  const replica = hugeReplica(pages);
  await using server = await anonymousServer();
  server.putMade(`huge/0009/${replica.name}`, replica.size, (offset, size) => replica.read(offset, size));
  putHistory(server, "tiny", (await LongHistory.make()).files({ transactions: 2, snapshots: [1] }));
  const columns: Row[] = [];
  const argument: HugeArgument = { system: "ours", endpoint: server.endpoint, pages, seconds: 60 };
  const url = `s3://bucket/huge?endpoint=${server.endpoint}`;
  const before = server.log.length;
  const byGo = await takenByGo(script, { ...argument, system: "go" }, url);
  const goRequests = server.log.length - before;
  for (const runtime of RUNTIMES) {
    const loop = await taken(runtime, script, { ...argument, system: "loop" });
    columns.push({ system: `ours, ${runtime}`, ...await taken(runtime, script, argument), ...loop });
  }
  if (byGo) columns.push({ system: "Go VFS", ...byGo, "requests of the process": goRequests });
  printTurned(`${(pages * 4096 / 1e9).toFixed(1)} GB`, columns);
}

async function files(): Promise<void> {
  const script = "load_files_any.ts";
  const history = await LongHistory.make();
  const shapes: Record<string, HistoryShape> = {
    covered: {
      transactions: fileCount,
      snapshots: [1, fileCount - 100],
      levels: [[1, 30], [2, 300], [3, 3000]],
    },
    deep: { transactions: fileCount, snapshots: [1] },
  };
  await using server = await anonymousServer();
  const folder = await mkdtemp(join(tmpdir(), "load-"));
  try {
    const tiny = history.files({ transactions: 2, snapshots: [1] });
    for (const file of tiny) {
      putHistory(server, "tiny", [file]);
      writeHistory(join(folder, "tiny"), [file]);
    }
    for (const [name, shape] of Object.entries(shapes)) {
      putHistory(server, name, history.files(shape));
      writeHistory(join(folder, name), history.files(shape));
      const byGo: Row[] = [];
      for (const place of [{ endpoint: server.endpoint }, { folder }]) {
        const columns: Row[] = [];
        const argument: FilesArgument = { ...place, name, system: "ours", least: fileCount };
        const isFolder = "folder" in place;
        const url = isFolder ? `file://${folder}/${name}` : `s3://bucket/${name}?endpoint=${server.endpoint}`;
        const before = server.log.length;
        const figures = await takenByGo(script, { ...argument, system: "go" }, url);
        if (figures) {
          byGo.push({ system: "Go VFS", ...figures, "requests of the process": server.log.length - before });
        }
        for (const runtime of RUNTIMES) {
          const loop = await taken(runtime, script, { ...argument, system: "loop" });
          columns.push({ system: `ours, ${runtime}`, ...await taken(runtime, script, argument), ...loop });
        }
        printTurned(`${fileCount} files, ${name}, ${isFolder ? "folder" : "bucket"}`, [
          ...columns,
          ...byGo.splice(0),
        ]);
      }
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}
