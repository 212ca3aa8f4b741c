/**
 * What the soaks share: a replica to read, child processes of this runtime, threads that query.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { encodeFile } from "../../src/ltx/encoder.ts";
import { lz4 } from "../support/lz4.ts";
import { openLocal } from "../support/local_database.ts";

/** Rounds of a soak: `name` in the environment, else a number that fits into the daily tests. */
export function rounds(name: string, daily: number): number {
  return Number(process.env[name] ?? daily);
}

/** A folder replica of a table `t(id, body)` with `rows` rows of 200 random bytes; removed by `remove()`. */
export async function makeReplica(rows: number): Promise<{ url: string; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "soak-replica-"));
  const path = join(folder, "source.db");
  const database = await openLocal(path);
  database.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB)");
  database.exec(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
     INSERT INTO t SELECT i, randomblob(200) FROM n`,
  );
  database.close();
  await mkdir(join(folder, "ltx/9"), { recursive: true });
  await writeFile(join(folder, "ltx/9", SNAPSHOT_NAME), snapshotOf(await readFile(path)));
  return { url: `file://${folder}`, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** Name of a file with all of a database at TXID 1. */
export const SNAPSHOT_NAME = "0000000000000001-0000000000000001.ltx";

/** The bytes of that file, for a database of pages of 4096 bytes. */
export function snapshotOf(database: Uint8Array): Uint8Array {
  const pageSize = 4096;
  const commit = database.length / pageSize;
  const pages = Array.from(
    { length: commit },
    (_, i) => ({ pgno: i + 1, page: new Uint8Array(database.subarray(i * pageSize, (i + 1) * pageSize)) }),
  );
  const fields = { pageSize, commit, minTxid: 1n, maxTxid: 1n, timestampMs: Date.now() };
  return encodeFile(fields, pages, { lz4 });
}

/** Starts a script of this folder as a process of the same runtime. */
export function spawnScript(name: string, args: string[] = []): ChildProcess {
  const script = fileURLToPath(new URL(name, import.meta.url));
  const before = "Deno" in globalThis ? ["run", "-A", "--v8-flags=--expose-gc"] : [];
  return spawn(process.execPath, [...before, script, ...args], { stdio: ["ignore", "pipe", "pipe"] });
}

/** The exit code or signal of a process, or "hangs" when it prints nothing for `quietMs`, with what it printed. */
export function outcome(child: ChildProcess, quietMs: number): Promise<{ how: string; printed: string }> {
  let printed = "";
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      resolve({ how: "hangs", printed });
    }, quietMs);
    const hear = (data: unknown) => {
      printed += data;
      timer.refresh();
    };
    child.stdout!.on("data", hear);
    child.stderr!.on("data", hear);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ how: signal ?? String(code), printed });
    });
  });
}

/** Starts a thread with a script of this folder. */
export function startThread(name: string, workerData: unknown): Worker {
  return new Worker(new URL(name, import.meta.url), { workerData });
}

/** The next message of a thread; rejects when it fails or ends first. */
export function nextMessage<T>(worker: Worker): Promise<T> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

/** Threads and file descriptors of this process, of these the sockets; zeros where the system does not tell. */
export function processCensus(): { threads: number; descriptors: number; sockets: number } {
  try {
    const targets = readdirSync("/proc/self/fd").map(descriptorTarget).filter((target) => target !== "");
    return {
      threads: readdirSync("/proc/self/task").length,
      descriptors: targets.length,
      sockets: targets.filter((target) => target.startsWith("socket:")).length,
    };
  } catch {
    return { threads: 0, descriptors: 0, sockets: 0 };
  }
}

function descriptorTarget(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return ""; // that of the directory itself
  }
}
