/**
 * Running one measurement in a process of its own, and putting figures side by side.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { FakeS3 } from "../../tests/support/fake_s3.ts";
import { childEnvironment } from "../../tests/support/real.ts";
import type { BenchDatabase } from "./databases.ts";

/** What a measured process prints as JSON. */
export type Figures = Record<string, number>;

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** The program of a runtime. What npm links as `deno` is a script of Node's, whose own start would be measured with it. */
export function executable(runtime: "bun" | "deno"): string {
  const deno = root("node_modules/deno/deno");
  return runtime === "deno" && existsSync(deno) ? deno : root(`node_modules/.bin/${runtime}`);
}

/** The middle of some numbers. */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Medians of each figure over several runs. */
export function medians(runs: Figures[]): Figures {
  return Object.fromEntries(
    Object.keys(runs[0]!).map((name) => [name, median(runs.map((run) => run[name]!))]),
  );
}

/** A measurement took longer than it may. */
export class OverTimeError extends Error {
  override readonly name = "OverTimeError";
}

/**
 * Runs a script in a fresh process of a runtime; the last line of JSON that it prints has its figures.
 *
 * @throws {OverTimeError} it had not ended after `timeoutMs`, where that is not 0, and was killed
 */
export function measure(
  runtime: "bun" | "deno",
  script: string,
  argument: unknown,
  env: Record<string, string> = {},
  timeoutMs = 0,
): Promise<Figures> {
  const before = runtime === "deno" ? ["run", "-A"] : [];
  const command = [executable(runtime), ...before, root(script)];
  return measureCommand(command, argument, { env, timeoutMs });
}

/**
 * The same of any command, run in the folder `cwd`, whose last word is the argument as JSON.
 *
 * @throws {OverTimeError} as {@link measure} does
 */
export function measureCommand(
  command: readonly string[],
  argument: unknown,
  { env = {}, timeoutMs = 0, cwd }: { env?: Record<string, string>; timeoutMs?: number; cwd?: string } = {},
): Promise<Figures> {
  const name = command.join(" ");
  const [program, ...words] = [...command, JSON.stringify(argument)];
  const child = spawn(program!, words, {
    ...(cwd === undefined ? {} : { cwd }),
    env: childEnvironment(env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  let complaints = "";
  child.stdout.on("data", (data) => printed += data);
  child.stderr.on("data", (data) => complaints += data);
  let late = false;
  const kill = () => {
    late = true;
    child.kill("SIGKILL");
  };
  const timer = timeoutMs > 0 ? setTimeout(kill, timeoutMs) : undefined;
  return new Promise((resolve, reject) => {
    child.on("close", (code) => {
      clearTimeout(timer);
      if (late) return reject(new OverTimeError(`${name} was killed after ${timeoutMs} ms`));
      // The Go VFS may write its log behind it.
      const line = printed.split("\n").findLast((line) => line.startsWith("{"));
      if (code === 0 && line !== undefined) resolve(JSON.parse(line));
      else reject(new Error(`${name} ended with ${code}: ${printed}${complaints}`));
    });
  });
}

/** An S3 stand-in that holds a database's replica at `s3://bucket/db`, with latency and bandwidth per connection. */
export async function serve(database: BenchDatabase, latencyMs: number): Promise<FakeS3> {
  const server = await FakeS3.start({ latencyMs, bytesPerSecond: 80e6, verify: false });
  for (const [key, path] of database.objects) await server.putFile(`db/${key}`, path);
  return server;
}

/** A table in Markdown. */
export function table(rows: Record<string, string | number>[]): string {
  const names = Object.keys(rows[0]!);
  const text = (value: string | number) =>
    typeof value === "number"
      ? (value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3))
      : value;
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  return [
    line(names),
    line(names.map(() => "---")),
    ...rows.map((row) => line(names.map((name) => text(row[name]!)))),
  ]
    .join("\n");
}
