/**
 * Running one work of writing on one system, counting what its server saw, and looking whether its data are
 * right.
 *
 * @module
 */
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import type { FakeS3, LoggedRequest } from "../../tests/support/fake_s3.ts";
import { goVfsLibrary } from "../../tests/support/go_vfs.ts";
import { openLocal } from "../../tests/support/local_database.ts";
import { restore, withFolder } from "../../tests/support/real.ts";
import type { BenchDatabase } from "./databases.ts";
import { type Figures, measure, median, serve } from "./measure.ts";
import type { WriteArgument } from "./write_systems.ts";
import { changesOf, parametersOf, UPDATE, type Work } from "./write_works.ts";

/** What is measured at once: a work on a system. */
export interface WritePoint {
  readonly work: Work;
  readonly system: WriteArgument["system"];
  readonly runtime: "bun" | "deno";
  readonly synchronous?: "FULL" | "NORMAL";
  /** Of the server; 0 for a local file. */
  readonly latencyMs: number;
  /** The table is read before. */
  readonly isWarm: boolean;
}

/** How all points are measured. */
export interface WriteBounds {
  readonly database: BenchDatabase;
  /** How long transactions are made. */
  readonly seconds: number;
  /** After so long the large transaction is cut, and so is the reading before. */
  readonly limitMs: number;
}

/** Beyond the limits: start, opening, waiting, closing. */
const GRACE_MS = 30_000;

/** Files at level 0; others are of compaction. */
const TRANSACTIONS = /^db\/0000\//;

/**
 * Measures a point in a process of its own. `wrong` in the figures counts rows that are not as they were
 * written.
 *
 * @throws {OverTimeError} it did not end in time
 * @throws {Error} the process failed, or what it has stored cannot be restored
 */
export function measureWriting(point: WritePoint, bounds: WriteBounds): Promise<Figures> {
  return withFolder((folder) =>
    point.system === "local" ? measureLocal(point, bounds, folder) : measureStored(point, bounds, folder)
  );
}

async function measureLocal(point: WritePoint, bounds: WriteBounds, folder: string): Promise<Figures> {
  const path = join(folder, "local.db");
  await copyFile(bounds.database.path, path);
  const figures = await runWork(point, bounds, { path });
  return { ...completed(figures), wrong: await countWrong(point.work, bounds, { folder, path, figures }) };
}

async function measureStored(point: WritePoint, bounds: WriteBounds, folder: string): Promise<Figures> {
  await using server = await serve(bounds.database, point.latencyMs);
  const { endpoint, options: { accessKeyId, secretAccessKey } } = server;
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const url = `s3://bucket/db?endpoint=${endpoint}`;
  const figures = point.system === "ours"
    ? await runWork(point, bounds, { endpoint, path: join(folder, "log") })
    : await runWork(point, bounds, { library: goVfsLibrary() }, {
      ...env,
      LITESTREAM_REPLICA_URL: url,
      LITESTREAM_WRITE_ENABLED: "true",
      LITESTREAM_BUFFER_PATH: join(folder, "buffer"),
    });
  const seen = logged(server, figures);
  const path = join(folder, "restored.db");
  server.options.latencyMs = 0;
  await restore(url, path, { env });
  const wrong = await countWrong(point.work, bounds, { folder, path, figures });
  return { ...completed(figures), ...seen, wrong };
}

function runWork(
  { work, system, runtime, synchronous, isWarm }: WritePoint,
  { database: { rows }, seconds, limitMs }: WriteBounds,
  more: Partial<WriteArgument>,
  env: Record<string, string> = {},
): Promise<Figures> {
  const argument = { ...more, work: work.name, system, synchronous, rows, seconds, limitMs, isWarm };
  const timeoutMs = seconds * 1000 + 2 * limitMs + GRACE_MS;
  return measure(runtime, "bench/support/write_any.ts", argument, env, timeoutMs);
}

/** The time of the whole transaction, from that of the share done. */
function completed(figures: Figures): Figures {
  return figures.share === undefined ? figures : { ...figures, ms: figures.ms! / figures.share };
}

/** What the server saw from the work's beginning until the last of its files was stored. */
function logged(server: FakeS3, figures: Figures): Figures {
  const { latencyMs } = server.options;
  const storedAt = ({ atMs }: LoggedRequest) => performance.timeOrigin + atMs + latencyMs;
  const seen = server.log.filter((request) => storedAt(request) >= figures.beganAt!);
  const puts = seen.filter(({ method }) => method === "PUT" || method === "POST");
  const ofFiles = puts.filter(({ key }) => TRANSACTIONS.test(key));
  const files = ofFiles.filter(isLast);
  const during = puts.filter((put) => storedAt(put) <= figures.endedAt!);
  const last = files.at(-1);
  const durableMs = figures.durableMs ?? (last ? storedAt(last) - figures.endedAt! : 0);
  return {
    durableMs: Math.max(0, durableMs),
    files: files.length,
    fileKib: ofFiles.reduce((sum, put) => sum + bodySize(put), 0) / 1024,
    otherPuts: puts.length - ofFiles.length,
    otherRequests: seen.length - puts.length,
    putsPerSecond: during.length / (figures.endedAt! - figures.beganAt!) * 1000,
    ...waits(figures, files.map(storedAt)),
  };
}

/** Whether a file is there with this request: it has all of it, or completes its parts. */
function isLast({ method, target, status }: LoggedRequest): boolean {
  return status === 200 && /[?&]uploadId=/.test(target) === (method === "POST") &&
    !/[?&]uploads\b/.test(target);
}

/** From each commit that was watched to the next file that was stored. */
function waits(figures: Figures, stored: number[]): Figures {
  const commits = Object.keys(figures).filter((name) => /^at\d+$/.test(name)).map((name) => figures[name]!);
  if (commits.length === 0) return {};
  const times = commits.map((at) => (stored.find((ms) => ms >= at) ?? Infinity) - at);
  return { p50Ms: median(times), maxMs: Math.max(...times) };
}

const bodySize = ({ headers }: LoggedRequest) => Number(headers.get("content-length") ?? 0);

/** Makes the same changes in a copy of the database, and counts the rows that differ. */
async function countWrong(
  { name }: Work,
  { database }: WriteBounds,
  { folder, path, figures }: { folder: string; path: string; figures: Figures },
): Promise<number> {
  const expected = join(folder, "expected.db");
  await copyFile(database.path, expected);
  const local = await openLocal(expected);
  try {
    local.exec("PRAGMA synchronous=OFF; BEGIN");
    const update = local.prepare(UPDATE);
    const changes = changesOf(name, database.rows);
    for (let i = 0; i < figures.changes!; i++) update.get(...parametersOf(changes.next().value));
    local.exec("COMMIT");
    local.exec(`ATTACH '${path.replaceAll("'", "''")}' AS written`);
    const only = (one: string, other: string) =>
      local.prepare(
        `SELECT count(*) AS n FROM (SELECT * FROM ${one}.orders EXCEPT SELECT * FROM ${other}.orders)`,
      )
        .get().n;
    const [{ integrity_check: integrity }] = local.prepare("PRAGMA written.integrity_check").all();
    if (integrity !== "ok") throw new Error(`Cannot use what ${name} has written: ${integrity}`);
    return Math.max(only("main", "written"), only("written", "main"));
  } finally {
    local.close();
  }
}
