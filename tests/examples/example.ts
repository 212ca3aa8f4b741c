/**
 * What tests of the examples share: a replica to read, and an example run as a user runs it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { IS_BUN } from "../replica/drivers.ts";
import type { ReplicaFolder } from "../support/replica_folder.ts";

/** The folder of the examples. */
export const EXAMPLES = new URL("../../docs/examples/", import.meta.url);

/** Ratings of three sandwiches. */
export const RATINGS =
  `CREATE TABLE ratings (id INTEGER PRIMARY KEY, sandwich TEXT NOT NULL, stars INTEGER NOT NULL);
  INSERT INTO ratings (sandwich, stars) VALUES ('blt', 4), ('reuben', 5), ('club', 2), ('blt', 3), ('reuben', 4);`;

/** What their averages are, best first. */
export const BEST = [
  { sandwich: "reuben", stars: 4.5, ratings: 2 },
  { sandwich: "blt", stars: 3.5, ratings: 2 },
  { sandwich: "club", stars: 2, ratings: 1 },
];

/** Makes the replica of ratings. */
export function recordRatings(folder: ReplicaFolder): void {
  folder.step(RATINGS);
  folder.snapshot();
}

/** How an example is run. */
export interface RunOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Before the file's name; `run -A` in Deno unless given. */
  readonly flags?: readonly string[];
}

/** Starts an example in this runtime. */
export function startExample(name: string, { args = [], env = {}, flags }: RunOptions = {}): ChildProcess {
  const path = fileURLToPath(new URL(name, EXAMPLES));
  const before = flags ?? (IS_BUN ? [] : ["run", "-A"]);
  return spawn(process.execPath, [...before, path, ...args], {
    env: { ...process.env, NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Runs an example to its end; gives the lines that it printed. Fails where it does, or says something beside. */
export async function runExample(name: string, options: RunOptions = {}): Promise<string[]> {
  const { code, out, err } = await endOf(startExample(name, options));
  assert.equal(code, 0, `${name}: ${err}`);
  assert.equal(err, "", `${name} prints to stderr`);
  return out.trimEnd().split("\n");
}

/** What a process printed, and how it ended; one that does not is killed after a minute. */
export function endOf(child: ChildProcess): Promise<{ code: number | null; out: string; err: string }> {
  let [out, err] = ["", ""];
  child.stdout!.on("data", (chunk) => out += chunk);
  child.stderr!.on("data", (chunk) => err += chunk);
  const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, out, err });
    });
  });
}
