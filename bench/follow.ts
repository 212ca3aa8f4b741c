/**
 * How many requests does following a replica take, and what do they cost a month?
 *
 * `npm run bench -- follow [seconds]` · ours and the Go VFS with 1 and with 16 connections, each in a process of its own
 * in Bun with its default settings, on one replica that a daemon writes with its default intervals to a real S3 server:
 * first idle, then with a commit a second. Each connection looks at the newest row once a second. Requests are counted on
 * the wire for 120 s and extrapolated.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { goVfsLibrary } from "../tests/support/go_vfs.ts";
import {
  childEnvironment,
  type S3Server,
  startDaemon,
  startS3Server,
  withFolder,
} from "../tests/support/real.ts";
import { openPrimary } from "../tests/support/sqlite.ts";
import { CountingProxy, type RequestKinds } from "./support/counting_proxy.ts";
import { table } from "./support/measure.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const KINDS = ["GET", "HEAD", "LIST", "other"] as const;

/** US dollars a request, S3 Standard in us-east-1; "other" are GetBucketLocation and the like. */
const PRICES: RequestKinds = { GET: 0.0004e-3, HEAD: 0.0004e-3, LIST: 0.005e-3, other: 0.0004e-3 };
const HOURS_A_MONTH = 730;

/** A process that follows, behind a proxy of its own. */
interface Follower {
  readonly system: "ours" | "go";
  readonly connections: number;
  readonly proxy: CountingProxy;
  readonly child: ChildProcess;
  readonly lines: AsyncIterator<string>;
}

const seconds = Number(process.argv[2] ?? 120);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function startFollower(
  server: S3Server,
  { system, connections }: Pick<Follower, "system" | "connections">,
): Promise<Follower> {
  const proxy = await CountingProxy.start(server.endpoint);
  const url = server.url("follow").replace(
    encodeURIComponent(server.endpoint),
    encodeURIComponent(proxy.endpoint),
  );
  const argument = JSON.stringify({ system, url, connections, library: goVfsLibrary() });
  const env = childEnvironment({ ...server.env, ...(system === "go" && { LITESTREAM_REPLICA_URL: url }) });
  const script = join(ROOT, "bench/support/follow_any.ts");
  const child = spawn(join(ROOT, "node_modules/.bin/bun"), [script, argument], {
    env,
    stdio: ["pipe", "pipe", "ignore"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const follower = { system, connections, proxy, child, lines };
  await lineOf(follower, (line) => line === "ready");
  return follower;
}

/** The next line that is ours; the Go VFS logs to standard output too. */
async function lineOf({ lines, system }: Follower, isOurs: (line: string) => boolean): Promise<string> {
  for (;;) {
    const { value, done } = await lines.next();
    if (done) throw new Error(`Cannot measure ${system}: its process has ended`);
    if (isOurs(value)) return value;
  }
}

/** Counts what each follower asks for in a while; a row each. */
async function measureAll(
  followers: readonly Follower[],
  load: string,
): Promise<Record<string, string | number>[]> {
  const before = followers.map(({ proxy }) => ({ ...proxy.counts }));
  const startMs = performance.now();
  await sleep(seconds * 1000);
  const hours = (performance.now() - startMs) / 3_600_000;
  return followers.map(({ system, connections, proxy }, i) => {
    const hourly = KINDS.map((kind) => (proxy.counts[kind] - before[i]![kind]) / hours);
    const price = hourly.reduce((sum, count, k) => sum + count * PRICES[KINDS[k]!], 0) * HOURS_A_MONTH;
    return {
      replica: load,
      system: system === "ours" ? "ours" : "Go VFS",
      connections: String(connections),
      ...Object.fromEntries(
        KINDS.map((kind, k) => [`${kind} /h`, Math.round(hourly[k]!).toLocaleString("en")]),
      ),
      "$ a month": price.toFixed(2),
    };
  });
}

const rows = await withFolder(async (folder) => {
  const server = await startS3Server();
  const path = join(folder, "primary.db");
  const primary = await openPrimary(path);
  primary.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
    INSERT INTO t SELECT i, randomblob(200) FROM n`);
  const daemon = await startDaemon({
    db: path,
    url: server.url("follow"),
    env: server.env,
    levels: ["30s", "5m", "1h"],
    snapshotInterval: "24h",
    snapshotRetention: "24h",
    l0Retention: "5m",
  });
  const followers: Follower[] = [];
  try {
    await daemon.sync();
    for (const system of ["ours", "go"] as const) {
      for (const connections of [1, 16]) followers.push(await startFollower(server, { system, connections }));
    }
    await sleep(35_000); // past the first compaction
    const idle = await measureAll(followers, "idle");
    const writing = setInterval(() => primary.exec("INSERT INTO t(body) VALUES (randomblob(200))"), 1_000);
    await sleep(35_000);
    const busy = await measureAll(followers, "a commit a second");
    clearInterval(writing);
    for (const follower of followers) {
      follower.child.stdin!.end();
      const name = `${follower.system}, ${follower.connections} connections`;
      console.error(`${name}: ${await lineOf(follower, (line) => line.startsWith('{"last"'))}`);
    }
    return [...idle, ...busy];
  } finally {
    for (const { child, proxy } of followers) {
      child.kill("SIGKILL");
      await proxy.close();
    }
    await daemon.stop();
    primary.close();
    await server.close();
  }
});
console.log(table(rows));
process.exit(0);
