/**
 * Scripts of this repository as processes of a runtime, which take an argument as JSON and print lines of JSON.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { childEnvironment } from "../support/real.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Starts a script of the repository in a runtime, with one argument as JSON. */
export function startScript(
  runtime: "bun" | "deno",
  script: string,
  { argument, env }: { argument: unknown; env: Record<string, string> },
): ChildProcess {
  const before = runtime === "deno" ? ["run", "-A", "--no-check", "--v8-flags=--expose-gc"] : [];
  const program = join(ROOT, "node_modules/.bin", runtime);
  const child = spawn(program, [...before, join(ROOT, script), JSON.stringify(argument)], {
    env: childEnvironment(env),
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin!.on("error", () => {}); // it has ended; its exit code tells
  return child;
}

/** The lines of a process as JSON; others, such as a library's log, are skipped. */
export function onJsonLine(child: ChildProcess, use: (value: Record<string, unknown>) => void): void {
  createInterface({ input: child.stdout! }).on("line", (line) => {
    if (line.startsWith("{")) use(JSON.parse(line));
  });
}

/** An {@link InvariantWriter} of a local database, as a process. */
export class PrimaryWriter {
  readonly #child: ChildProcess;
  readonly ready: Promise<unknown>;
  readonly #ended: Promise<unknown>;
  generation = 0;

  constructor(runtime: "bun" | "deno", argument: unknown) {
    this.#child = startScript(runtime, "tests/support/invariant_writer_process.ts", { argument, env: {} });
    let errors = "";
    this.#child.stderr!.on("data", (data) => errors += data);
    this.#ended = new Promise((resolve, reject) => {
      this.#child.once(
        "close",
        (code) => code === 0 ? resolve(0) : reject(new Error(`writer: ${code} ${errors}`)),
      );
    });
    this.#ended.catch(() => {}); // stop() tells
    this.ready = new Promise<void>((resolve, reject) => {
      this.#ended.catch(reject);
      onJsonLine(this.#child, ({ generation }) => {
        this.generation = Number(generation);
        resolve();
      });
    });
  }

  /** Ends it; its last generation is known then. */
  async stop(): Promise<void> {
    this.#child.stdin!.end();
    await this.#ended;
  }
}
