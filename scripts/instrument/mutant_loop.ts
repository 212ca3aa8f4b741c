/**
 * Tries mutants one after the other in one process: what takes seconds with a process a mutant takes milliseconds. Put into
 * a copy of the sources by scripts/mutate.mjs, where tests are collected instead of run.
 *
 *   mutant_loop.ts record OUT FILE…         which mutants each test comes by, and how long it takes
 *   mutant_loop.ts try OUT JOBS FILE…       JOBS: a file of `[{ id, meets: [[test, count]] }]`
 *   mutant_loop.ts one OUT JOBS FILE…       the first of them, active since this process began
 *
 * OUT gets a line of JSON for each test or mutant; one that begins and never ends has this process ended from outside.
 *
 * @module
 */
import { appendFileSync, readFileSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { activate, takeCounts } from "./active_mutant.ts";
import { beginFile, collected } from "./collected.ts";

/** A test that waits for what never comes. */
const WAIT_MS = 60_000;
/** Comes by a mutant in an endless loop, as a multiple of those without it. */
const TURNS_FACTOR = 100;
const TURNS_MIN = 100_000;

/** Tests that take long, by their names; their files are among those that are tried with a process each. */
const HEAVY =
  /every (?:bit|byte|cut|flipped|changed)|rounds|random replicas|for all page sizes and both encodings/;

interface Job {
  readonly id: number;
  /** Numbers of tests, the quickest first, and how often each comes by the mutant. */
  readonly meets: readonly (readonly [test: number, count: number])[];
}

const [how, out, ...rest] = process.argv.slice(2);
const files = how === "record" ? rest : rest.slice(1);
const tell = (line: unknown) => appendFileSync(out!, `${JSON.stringify(line)}\n`);
// what a mutant leaves behind is no matter of the next one
process.on("unhandledRejection", () => {});
process.on("uncaughtException", () => {});
console.log = console.error = console.warn = () => {};

try {
  for (const file of files) {
    beginFile(file);
    await import(pathToFileURL(file).href);
  }
} catch {
  process.exit(1); // a mutant that keeps modules from being loaded
}
if (how === "record") await record();
else {
  const jobs = JSON.parse(readFileSync(rest[0]!, "utf8")) as Job[];
  for (const job of how === "one" ? jobs.slice(0, 1) : jobs) await tryMutant(job);
}
process.exit(0);

async function record(): Promise<void> {
  tell({ atOnce: takeCounts().map(([id]) => id) });
  for (const [test, { file, name }] of collected.entries()) {
    if (HEAVY.test(name)) continue;
    const started = performance.now();
    const failure = await failureOf(test);
    tell({ test, file, name, failure, ms: performance.now() - started, counts: takeCounts() });
  }
}

async function tryMutant({ id, meets }: Job): Promise<void> {
  tell({ id, state: "begun" });
  for (const [test, count] of meets) {
    activate(id, Math.max(TURNS_MIN, count * TURNS_FACTOR));
    if (await failureOf(test) === undefined) continue;
    activate(-1, Infinity);
    tell({ id, state: "killed", by: `${collected[test]!.file}: ${collected[test]!.name}` });
    return;
  }
  activate(-1, Infinity);
  tell({ id, state: "survived" });
}

/** Why a test fails; undefined when it passes. */
async function failureOf(test: number): Promise<string | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("it waits for ever")), WAIT_MS);
  });
  try {
    await Promise.race([collected[test]!.act(), late]);
    return undefined;
  } catch (error) {
    return String(error);
  } finally {
    clearTimeout(timer);
  }
}
