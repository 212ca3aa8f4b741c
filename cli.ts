#!/usr/bin/env bun
/**
 * The command line: `query`, `shell`, `restore`, `points`, `diff` and `stats` of a replica where it lies.
 *
 * ```sh
 * deno run -A cli.ts query s3://bucket/sandwiches "SELECT * FROM ratings LIMIT 3" --at "5 minutes ago"
 * ```
 *
 * @module
 */
import process from "node:process";
import { isMainThread, workerData } from "node:worker_threads";
import { main } from "./src/cli/main.ts";
import { isQueryThread } from "./src/cli/query_messages.ts";

export { main } from "./src/cli/main.ts";
export type { CliInput, CliIo, CliStream, EndSignal } from "./src/cli/process_io.ts";

if (!isMainThread) {
  if (isQueryThread(workerData)) await import("./src/cli/query_worker.ts"); // of a bundle, which has no other file
} else if (import.meta.main) {
  // What waits for nothing may not hold the process up: a query that was given up, a thread that is ending.
  process.exit(await main(process.argv.slice(2)));
}
