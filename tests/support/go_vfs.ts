/**
 * The Go VFS of Litestream, to compare with: npm's `litestream-vfs` in a process of its own, because loading it makes
 * every ordinary database of its process fail, and because it waits for ever where a replica is not as it likes.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { childEnvironment, withFolder } from "./real.ts";
import type { Row } from "./sqlite.ts";

const BUN = fileURLToPath(new URL("../../node_modules/.bin/bun", import.meta.url));
const PROCESS = fileURLToPath(new URL("./go_vfs_process.mjs", import.meta.url));

/** What is asked of the Go VFS. */
export interface GoVfsQuery {
  /** `file:///…`, or `s3://…` as Litestream takes it. */
  readonly url: string;
  /** Statements, run in this order on one connection. */
  readonly sql: readonly string[];
  /** Keys for S3, and any LITESTREAM_ setting. */
  readonly env?: Record<string, string>;
  /** Further parameters of the database's URI, such as `poll_interval`. */
  readonly parameters?: Record<string, string>;
  /** When it is killed; 30 s by default. */
  readonly timeoutMs?: number;
}

/** The extension's path, or `undefined` where npm has none for this platform. */
export function goVfsLibrary(): string | undefined {
  try {
    const path = createRequire(import.meta.url)("litestream-vfs").getLoadablePath() as string;
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Runs statements through the Go VFS and returns the rows of each. Blobs come as lower-case hex, 64-bit integers past
 * 2^53 rounded.
 *
 * @throws {Error} it failed, or had not ended in time; the message has its log
 */
export async function queryGoVfs(query: GoVfsQuery): Promise<Row[][]> {
  return await withFolder(async (folder) => {
    const answer = join(folder, "answer.json");
    const parameters = new URLSearchParams({ vfs: "litestream", ...query.parameters });
    const request = { library: goVfsLibrary(), uri: `file:replica.db?${parameters}`, sql: query.sql, answer };
    await runProcess(request, query);
    return JSON.parse(await readFile(answer, "utf8"));
  });
}

function runProcess(request: unknown, { url, env, timeoutMs = 30_000 }: GoVfsQuery): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(BUN, [PROCESS, JSON.stringify(request)], {
      env: childEnvironment({ ...env, LITESTREAM_REPLICA_URL: url }),
      stdio: ["ignore", "pipe", "pipe"],
    });
    let log = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => log += chunk);
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else reject(new Error(`Go VFS ended with ${code ?? signal} within ${timeoutMs} ms\n${log}`));
    });
  });
}
