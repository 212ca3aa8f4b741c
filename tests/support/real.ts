/**
 * The real parts: Litestream's daemon and restore, and an S3 server. `scripts/setup.mjs` puts them into `.tools/`.
 *
 * A part that is not there makes its tests skip and say why; with CI=true it makes them fail.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { AwsClient } from "aws4fetch";
import { openPrimary, type PlainDatabase } from "./sqlite.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Where setup puts programs, and tests what is worth keeping between runs. */
export const TOOLS = join(ROOT, ".tools");
/** The release whose replicas everything else is compared with. */
export const LITESTREAM_VERSION = "0.5.17";
/** The last release that writes pages as LZ4 frames. */
export const LITESTREAM_FRAME_VERSION = "0.5.15";

const DEADLINE_MS = 30_000;
/** For a command to its end, in ms: the machine may be busy. */
const COMMAND_MS = 120_000;

/** The daemon and command line of {@link LITESTREAM_VERSION}, or LITESTREAM_BIN. */
export function litestreamBinary(): string | undefined {
  return program(process.env.LITESTREAM_BIN, `litestream-${LITESTREAM_VERSION}/bin/litestream`);
}

/** The same of {@link LITESTREAM_FRAME_VERSION}, or LITESTREAM_FRAME_BIN. */
export function litestreamFrameBinary(): string | undefined {
  return program(process.env.LITESTREAM_FRAME_BIN, `litestream-${LITESTREAM_FRAME_VERSION}/bin/litestream`);
}

/** The S3 server (versitygw), or S3_SERVER_BIN. */
export function s3ServerBinary(): string | undefined {
  return program(process.env.S3_SERVER_BIN, "versitygw-1.8.0/versitygw");
}

/** A program in `.tools/`, or the one that stands in for it; undefined where there is none. */
export function program(override: string | undefined, path: string): string | undefined {
  if (override) return override;
  return existsSync(join(TOOLS, path)) ? join(TOOLS, path) : undefined;
}

/**
 * Why a test cannot run here, as `skip` of node:test takes it: `false` when every part is there.
 *
 * @throws {Error} a part is missing and CI is "true"
 */
export function skipWithout(parts: Record<string, string | undefined>): string | false {
  const missing = Object.keys(parts).filter((name) => parts[name] === undefined);
  if (missing.length === 0) return false;
  const reason = `Missing ${missing.join(", ")}: run node scripts/setup.mjs test`;
  if (process.env.CI === "true") throw new Error(reason);
  console.error(`skipped: ${reason}`);
  return reason;
}

/** A running S3 server with one bucket, alone for the test that started it. */
export interface S3Server {
  /** Origin, such as `http://127.0.0.1:40123`; buckets are the first part of the path. */
  readonly endpoint: string;
  readonly region: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly bucket: string;
  /** The bucket as the folder it is on disk: an object is the file of its key. */
  readonly folder: string;
  /** What Litestream, its VFS and ours read the keys from. */
  readonly env: Record<string, string>;
  /** The replica URL for a path in the bucket, in the form Litestream takes. */
  url(path: string): string;
  close(): Promise<void>;
}

/** Starts an S3 server on a free loopback port, over a temporary folder. */
export async function startS3Server(): Promise<S3Server> {
  const binary = s3ServerBinary();
  if (binary === undefined) throw new Error("Cannot start an S3 server: none in .tools/");
  const folder = await mkdtemp(join(tmpdir(), "s3-"));
  await Promise.all([mkdir(join(folder, "objects")), mkdir(join(folder, "metadata"))]);
  const [accessKey, secretKey, region, bucket] = [
    "test-access-key",
    "test-secret-key",
    "us-east-1",
    "replicas",
  ];
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const places = ["posix", "--sidecar", join(folder, "metadata"), join(folder, "objects")];
  const server = start(binary, ["--port", `127.0.0.1:${port}`, "--quiet", "--keep-alive", ...places], {
    ROOT_ACCESS_KEY: accessKey,
    ROOT_SECRET_KEY: secretKey,
    VGW_REGION: region,
  });
  const client = new AwsClient({ accessKeyId: accessKey, secretAccessKey: secretKey, region, service: "s3" });
  await untilReady("S3 server answers", server, folder, async () => {
    const answer = await client.fetch(`${endpoint}/${bucket}`, { method: "PUT" }).catch(() => undefined);
    await answer?.body?.cancel();
    return answer?.ok === true;
  });
  return {
    endpoint,
    region,
    accessKey,
    secretKey,
    bucket,
    folder: join(folder, "objects", bucket),
    env: { LITESTREAM_ACCESS_KEY_ID: accessKey, LITESTREAM_SECRET_ACCESS_KEY: secretKey },
    url(path) {
      const query = new URLSearchParams({ endpoint, region, forcePathStyle: "true" });
      return `s3://${bucket}/${path}?${query}`;
    },
    async close() {
      await server.stop("SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A replica in Litestream's configuration: `url` or `type`, and what else it needs. */
export type ReplicaSettings = Readonly<Record<string, string | number | boolean>>;

/** How a replica is written. Times are Go durations. */
export interface DaemonOptions {
  /** The source database; it must be in WAL mode. */
  readonly db: string;
  /** `file:///…` or {@link S3Server.url}. */
  readonly url: string;
  /** Settings of the replica in place of the URL alone, as Litestream's configuration names them. */
  readonly replica?: ReplicaSettings;
  /** Further databases that the same process replicates. */
  readonly beside?: readonly Pick<DaemonOptions, "db" | "url">[];
  /** Keys for S3: {@link S3Server.env}. */
  readonly env?: Record<string, string>;
  /** Another release's program. */
  readonly binary?: string;
  /** Compaction intervals of level 1, 2, 3 …; boundaries lie on multiples of the wall clock. */
  readonly levels?: readonly string[];
  readonly snapshotInterval?: string;
  readonly snapshotRetention?: string;
  /** How long a file stays in level 0 once level 1 has it too; "0s" for ever. */
  readonly l0Retention?: string;
}

/** A running `litestream replicate`. */
export interface Daemon {
  /** Waits until all that is committed is in the replica; returns its TXID. Of another database where one is given. */
  sync(db?: string): Promise<bigint>;
  /** Waits until each of these levels holds a file. */
  waitForLevels(levels: readonly number[]): Promise<void>;
  /** Lets it upload what is left, and ends it. */
  stop(): Promise<void>;
}

/** Starts the daemon on one database. Configuration keys as of Litestream 0.5.17. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const binary = options.binary ?? litestreamBinary();
  if (binary === undefined) throw new Error("Cannot replicate: no litestream in .tools/");
  const folder = await mkdtemp(join(tmpdir(), "litestream-"));
  const socket = join(folder, "socket");
  const config = join(folder, "litestream.yml");
  await writeFile(config, daemonConfig(options, socket));
  const daemon = start(binary, ["replicate", "-config", config], options.env);
  await untilReady("litestream listens", daemon, folder, () => existsSync(socket));
  return {
    async sync(db = options.db) {
      let synced: { txid: number; replica_txid: number };
      await until(`litestream has stored all of ${db}`, async () => {
        daemon.check();
        synced = JSON.parse(await finish(binary, ["sync", "-wait", "-json", "-socket", socket, db]));
        return synced.replica_txid >= synced.txid; // else one more came while it waited
      });
      return BigInt(synced!.replica_txid);
    },
    async waitForLevels(levels) {
      await until(`levels ${levels.join(", ")} hold files`, async () => {
        daemon.check();
        const present = new Set(
          (await listFiles(options.db, { ...options, config })).map((file) => file.level),
        );
        return levels.every((level) => present.has(level));
      });
    },
    async stop() {
      await daemon.stop("SIGINT");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function daemonConfig(options: DaemonOptions, socket: string): string {
  // JSON strings are YAML strings
  const levels = options.levels ?? ["100ms", "200ms", "400ms"];
  return [
    "socket:",
    "  enabled: true",
    `  path: ${JSON.stringify(socket)}`,
    "levels:",
    ...levels.map((interval) => `  - interval: ${interval}`),
    `l0-retention: ${options.l0Retention ?? "1h"}`,
    "snapshot:",
    `  interval: ${options.snapshotInterval ?? "300ms"}`,
    `  retention: ${options.snapshotRetention ?? "1h"}`,
    "dbs:",
    ...[options, ...options.beside ?? []].flatMap(databaseConfig),
    "",
  ].join("\n");
}

function databaseConfig({ db, ...replica }: Pick<DaemonOptions, "db" | "url" | "replica">): string[] {
  return [
    `  - path: ${JSON.stringify(db)}`,
    "    monitor-interval: 20ms",
    "    replica:",
    ...settingsOf(replica).map((line) => `      ${line}`),
    "      sync-interval: 20ms",
  ];
}

function settingsOf({ url, replica = { url } }: Pick<DaemonOptions, "url" | "replica">): string[] {
  return Object.entries(replica).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
}

/** A configuration for commands on one replica, whose database need not be there. */
export async function writeConfig(
  path: string,
  options: Pick<DaemonOptions, "db" | "url" | "replica">,
): Promise<void> {
  const settings = settingsOf(options).map((line) => `      ${line}`);
  await writeFile(
    path,
    ["dbs:", `  - path: ${JSON.stringify(options.db)}`, "    replica:", ...settings, ""].join("\n"),
  );
}

/** What {@link replicate} is told besides how the daemon runs. */
export interface ReplicateOptions extends DaemonOptions {
  readonly pageSize?: number;
  /** The workload. What it commits between two `daemon.sync()` becomes files of its own. */
  run(sqlite: PlainDatabase, daemon: Daemon): Promise<void> | void;
  /** Levels that must hold files at the end; 0 … 3 and 9 by default. */
  readonly waitFor?: readonly number[];
}

/**
 * Replicates a workload from beginning to end and returns the replica's TXID.
 *
 * Afterwards `db` is one plain file, byte for byte what a restore of the replica gives.
 */
export async function replicate(options: ReplicateOptions): Promise<bigint> {
  const sqlite = await openPrimary(options.db, { pageSize: options.pageSize });
  try {
    const daemon = await startDaemon(options);
    try {
      await options.run(sqlite, daemon);
      await daemon.sync();
      await daemon.waitForLevels(options.waitFor ?? [0, 1, 2, 3, 9]);
      return await daemon.sync();
    } finally {
      await daemon.stop();
    }
  } finally {
    // the daemon is gone: what it left in the WAL moves into the database
    sqlite.all("PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite.close();
  }
}

/** What `restore` may be told; times are RFC 3339. */
export interface RestoreOptions {
  readonly env?: Record<string, string>;
  readonly binary?: string;
  readonly txid?: bigint;
  readonly timestamp?: string;
  /** Where the replica is configured, which is then named by its database. */
  readonly config?: string;
}

/** Runs `litestream restore`: the replica as one database file at `out`, which must not exist. */
export async function restore(url: string, out: string, options: RestoreOptions = {}): Promise<void> {
  const { txid, timestamp } = options;
  const bounds = [
    ...(txid === undefined ? [] : ["-txid", txid.toString(16).padStart(16, "0")]),
    ...(timestamp === undefined ? [] : ["-timestamp", timestamp]),
  ];
  const config = options.config === undefined ? [] : ["-config", options.config];
  const args = ["restore", ...config, ...bounds, "-o", out, url];
  await finish(options.binary ?? litestreamBinary(), args, options.env);
}

/** One file of a replica, as Litestream itself lists it. */
export interface ReplicaFile {
  readonly level: number;
  readonly minTxid: bigint;
  readonly maxTxid: bigint;
  readonly size: number;
}

/** Runs `litestream ltx`: all files of a replica, by level, then TXID. */
export async function listFiles(
  url: string,
  options: { env?: Record<string, string> | undefined; binary?: string | undefined; config?: string } = {},
): Promise<ReplicaFile[]> {
  const output = await finish(
    options.binary ?? litestreamBinary(),
    [
      "ltx",
      ...(options.config === undefined ? [] : ["-config", options.config]),
      "-level",
      "all",
      "-json",
      url,
    ],
    options.env,
  );
  const files = (JSON.parse(output) ?? []) as {
    level: number;
    min_txid: string;
    max_txid: string;
    size: number;
  }[];
  return files.map((file) => ({
    level: file.level,
    minTxid: BigInt(`0x${file.min_txid}`),
    maxTxid: BigInt(`0x${file.max_txid}`),
    size: file.size,
  }));
}

/** The replica URL of a folder. */
export function folderUrl(path: string): string {
  return pathToFileURL(path).href;
}

/** Runs a temporary folder's worth of test, and removes the folder. */
export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "real-parts-test-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * The environment of a real part: none of the machine's own settings for S3 or Litestream reaches it. One of them,
 * AWS_CA_BUNDLE, keeps Litestream 0.5.17 from starting at all.
 */
export function childEnvironment(env: Record<string, string> = {}): Record<string, string | undefined> {
  const own = Object.entries(process.env).filter(([name]) => !/^(AWS_|LITESTREAM_)/.test(name));
  return { ...Object.fromEntries(own), ...env };
}

/** A program that runs until it is stopped. */
export interface Running {
  /** @throws {Error} it has ended */
  check(): void;
  stop(signal: NodeJS.Signals): Promise<void>;
}

/** Starts a program; it ends with this process. */
export function start(binary: string, args: string[], env: Record<string, string> = {}): Running {
  const child = spawn(binary, args, { env: childEnvironment(env), stdio: ["ignore", "pipe", "pipe"] });
  const output = outputOf(child);
  const ended = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve());
  });
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  return {
    check() {
      if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) return;
      throw new Error(`${binary} has ended with ${child.exitCode ?? child.signalCode}\n${output()}`);
    },
    async stop(signal) {
      child.kill(signal);
      const timer = setTimeout(kill, DEADLINE_MS);
      await ended;
      clearTimeout(timer);
      process.off("exit", kill);
    },
  };
}

/** Runs a command to its end and returns its standard output. */
function finish(
  binary: string | undefined,
  args: string[],
  env: Record<string, string> = {},
): Promise<string> {
  if (binary === undefined) throw new Error("Cannot run litestream: none in .tools/");
  return new Promise((resolve, reject) => {
    const child = spawn(binary, args, { env: childEnvironment(env), stdio: ["ignore", "pipe", "pipe"] });
    let standard = "";
    const output = outputOf(child);
    child.stdout?.on("data", (chunk) => standard += chunk);
    const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_MS);
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(standard);
      else reject(new Error(`${binary} ${args[0]} ended with ${code ?? signal}\n${output()}`));
    });
  });
}

/** Collects both streams of a child, the last 64 KiB or so of them, for messages. */
function outputOf(child: ChildProcess): () => string {
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk) => text = (text + chunk).slice(-65_536));
  }
  return () => text;
}

/** Waits as {@link until} does; when it fails, what was started is ended and its folder removed. */
export async function untilReady(
  what: string,
  started: Running,
  folder: string,
  holds: () => Promise<boolean> | boolean,
): Promise<void> {
  try {
    await until(what, () => {
      started.check();
      return holds();
    });
  } catch (error) {
    await started.stop("SIGKILL");
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Waits until something holds, half a minute at most. */
export async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!await holds()) {
    if (Date.now() > deadline) throw new Error(`Waited ${DEADLINE_MS} ms until ${what}: it did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A port of the loopback interface that nobody uses. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}
