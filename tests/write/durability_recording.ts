/**
 * A writer's calls, recorded: what it did to its files, what was stored when, and what it told of.
 *
 * @module
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { FolderStore } from "../../src/storage/folder.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { replicaFiles } from "../../src/view/restore_plan.ts";
import { CrashDisk, type Operation, readTrace } from "./crash_disk.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const COMPILER = process.env.CC ?? "cc";
/** Bun calls the kernel past the library that records; so the writer is Deno's whoever tests it. */
const DENO = "Deno" in globalThis ? process.execPath : join(ROOT, "node_modules", ".bin", "deno");

/** Why nothing can be recorded here, as `skip` of node:test takes it: `false` when it can. */
export const noRecorder: string | false = process.platform !== "linux"
  ? "recording a process's calls needs Linux"
  : spawnSync(COMPILER, ["--version"]).status !== 0
  ? "recording a process's calls needs a C compiler"
  : existsSync(DENO)
  ? false
  : "recording a process's calls needs Deno";

/** Processes of one recording, one after the other: each but the first recovers what the one before left. */
const SESSIONS = 2;

/** What is recorded. */
export interface RecordingOptions {
  readonly pageSize: number;
  /** Transactions of each process. */
  readonly transactions: number;
  /** So many in a row are synchronous, then as many are not; 0: all are. */
  readonly offRun: number;
}

/** A recording. The store, as it was in the end, lies in `folder/replica`. */
export interface Recording {
  readonly folder: string;
  /** Where the folder lay: a log knows its replica by the name as well. */
  readonly place: string;
  readonly operations: readonly Operation[];
  /** All that was ever stored, by path in the folder, with what identifies it. */
  readonly stored: ReadonlyMap<string, ReplicaFile>;
}

/** Runs writers in a new folder beneath `parent` and records them. */
export async function recordWriter(parent: string, options: RecordingOptions): Promise<Recording> {
  const { pageSize, transactions, offRun } = options;
  const place = join(parent, "place");
  const folder = join(parent, "recorded");
  const trace = join(parent, "trace");
  const library = makeRecorder(parent);
  for (const name of ["log", "replica"]) mkdirSync(join(place, name), { recursive: true });
  const script = fileURLToPath(new URL("durability_child.ts", import.meta.url));
  const args = ["run", "-A", "--no-check", script, place, pageSize, transactions, offRun].map(String);
  const env = { ...process.env, LD_PRELOAD: library, RECORDER_FOLDER: place, RECORDER_TRACE: trace };
  for (let session = 0; session < SESSIONS; session++) {
    const { status, stderr } = spawnSync(DENO, args, { env, cwd: ROOT });
    assert.equal(status, 0, `a recorded writer failed: ${stderr}`);
  }
  const operations = readTrace(readFileSync(trace));
  checkWhole(place, operations);
  renameSync(place, folder);
  return { folder, place, operations, stored: await storedIn(folder) };
}

function makeRecorder(folder: string): string {
  const library = join(folder, "log_recorder.so");
  const source = join(ROOT, "tests", "c", "log_recorder.c");
  const args = ["-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"];
  const { status, stderr } = spawnSync(COMPILER, args);
  assert.equal(status, 0, `Cannot compile the recorder: ${stderr}`);
  return library;
}

/** Whatever was not recorded shows here: all operations together lead to the very files that lie there. */
function checkWhole(folder: string, operations: readonly Operation[]): void {
  const disk = new CrashDisk();
  for (const operation of operations) disk.apply(operation);
  const files = disk.now();
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile()
  );
  const paths = found.map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter((path) => files.has(path) || !isJustBegun(join(folder, path))).sort();
  assert.deepEqual([...files.keys()].sort(), paths, "the recorded files are those that lie there");
  for (const [path, bytes] of files) {
    assert.ok(readFileSync(join(folder, path)).equals(bytes), `the recorded content of ${path} lies there`);
  }
}

/** A file may be made while the process exits, and not be written down any more. */
function isJustBegun(path: string): boolean {
  return path.endsWith(".tmp") && statSync(path).size === 0;
}

async function storedIn(folder: string): Promise<Map<string, ReplicaFile>> {
  const path = join(folder, "replica");
  const store = new FolderStore({ scheme: "file", name: "recorded", path, layout: "folder", prefixes: [""] });
  const stored = new Map<string, ReplicaFile>();
  for await (const page of store.list("ltx/0/")) {
    for (const file of replicaFiles(page, "folder", 0)) stored.set(`replica/${file.key}`, file);
  }
  await store.close();
  return stored;
}
