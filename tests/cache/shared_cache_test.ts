/**
 * Several processes that share one cache, larger than its bound, while one more damages files of it.
 *
 * LONG=1: ten processes for five minutes, and their figures printed; else four for a few seconds.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Random } from "../support/random.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { contentOf, type SharedCacheReport, type SharedCacheSettings } from "./shared_cache_child.ts";

const LONG = process.env.LONG === "1";
const SECONDS = LONG ? 300 : 4;
const PROCESSES = LONG ? 10 : 4;
const ROWS = LONG ? 60_000 : 20_000;
const MiB = 1024 * 1024;
const BOUND = LONG ? 12 * MiB : 4 * MiB;

/** What all together may be above the bound for a moment. */
const SLACK = 1.15;

/**
 * What a process may have grown in its second half: pools and indexes are bounded, garbage comes and goes.
 */
const GROWTH_MAX = 64 * MiB;

/** Most memory that a process may take at any time: the runtime, a pool of 1 MiB, indexes, garbage. */
const RSS_MAX = 320 * MiB;

/**
 * The limit that the system keeps for all that a process may write to, used or not. Bun reserves about
 * 1.5 GiB for its code, and does without FFI where it cannot; Deno reserves 1 GiB.
 */
const DATA_MAX = ("Bun" in globalThis ? 2304 : 1536) * MiB;

function runChild(settings: SharedCacheSettings): Promise<SharedCacheReport> {
  const script = fileURLToPath(new URL("./shared_cache_child.ts", import.meta.url));
  const before = "Deno" in globalThis ? ["run", "-A", "--no-check", script] : [script];
  const command = [process.execPath, ...before, JSON.stringify(settings)];
  const child = spawn("sh", ["-c", `ulimit -d ${DATA_MAX / 1024}; exec "$@"`, "sh", ...command], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout.on("data", (data) => printed += data);
  return new Promise((resolve, reject) => {
    child.on("close", (code) => {
      if (code === 0) resolve(JSON.parse(printed) as SharedCacheReport);
      else reject(new Error(`child ended with ${code}: ${printed}`));
    });
  });
}

/** Paths and sizes of all files of ranges, some of which may vanish meanwhile. */
async function filesIn(cacheDir: string): Promise<{ path: string; bytes: number }[]> {
  const found = await readdir(join(cacheDir, "objects"), { recursive: true, withFileTypes: true }).catch(
    () => [],
  );
  const files = found.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  const sizes = await Promise.all(files.map((path) => stat(path).catch(() => undefined)));
  return files.flatMap((path, i) => {
    const size = sizes[i]?.size;
    return size === undefined ? [] : [{ path, bytes: Math.ceil(size / 4096) * 4096 }];
  });
}

/** Flips a bit of a file; one that another process has just removed appears again, damaged. */
async function damage(path: string, random: Random): Promise<void> {
  const bytes = await readFile(path).catch(() => undefined);
  if (!bytes?.length) return;
  bytes[random.next(bytes.length)]! ^= 1 << random.next(8);
  await writeFile(path, bytes).catch(() => {});
}

test(
  "processes share a cache within its bound, and never see what was damaged",
  { timeout: 600_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.source.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, content TEXT, pad BLOB)");
      folder.record((source) => {
        source.exec("BEGIN");
        for (let id = 1; id <= ROWS; id++) {
          source.all("INSERT INTO t VALUES (?, ?, randomblob(700))", id, contentOf(id));
        }
        source.exec("COMMIT");
      });
      folder.snapshot();
      const cacheDir = mkdtempSync(join(tmpdir(), "shared-cache-"));
      try {
        const settings = {
          url: folder.url,
          cacheDir,
          cacheDirBytesMax: BOUND,
          rowCount: ROWS,
          seconds: SECONDS,
        };
        const children = Array.from({ length: PROCESSES }, (_, i) => {
          return runChild({ ...settings, cacheBytesMax: MiB, seed: 100 + i });
        });
        let isOver = false;
        const reports = Promise.all(children).finally(() => isOver = true);
        reports.catch(() => {}); // awaited below
        const random = new Random(5);
        let most = 0;
        for (let damaged = 0; !isOver; damaged++) {
          const files = await filesIn(cacheDir);
          most = Math.max(most, files.reduce((sum, { bytes }) => sum + bytes, 0));
          if (files.length > 0) await damage(files[random.next(files.length)]!.path, random);
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        check(await reports, most);
      } finally {
        rmSync(cacheDir, { recursive: true, force: true });
      }
    }),
);

function check(reports: readonly SharedCacheReport[], most: number): void {
  if (LONG) { for (const report of reports) console.log(JSON.stringify(report)); }
  if (LONG) console.log(`most on disk: ${most} of ${BOUND}`);
  for (const { wrong, queries, diskReads, rss: [before, after] } of reports) {
    assert.deepEqual(wrong, []);
    assert.ok(queries > 0 && diskReads > 0);
    assert.ok(Math.max(before, after) < RSS_MAX, `${before} bytes of memory, then ${after}`);
    if (LONG) assert.ok(after < before + GROWTH_MAX, `${before} bytes of memory, then ${after}`);
  }
  assert.ok(most > BOUND / 2, `${most} of ${BOUND}: the bound was never met`);
  assert.ok(most <= BOUND * SLACK, `${most} of ${BOUND}`);
}
