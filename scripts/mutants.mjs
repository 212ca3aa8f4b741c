/**
 * Brings known bugs back, one at a time, and expects the tests named for them to fail.
 *
 *   node scripts/mutants.mjs               all of tests/mutants/, in Bun
 *   node scripts/mutants.mjs R9 P1         those whose names begin so
 *   node scripts/mutants.mjs --deno        in Deno
 *
 * A mutant is a patch; the lines before it say what it brings back, and `Tests: FILE…` names the tests. The tests must
 * pass without it: each file runs once on an unchanged copy first, which also tells how long it takes.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { BUN, DENO, ROOT, run } from "./project.mjs";
import { withCopy } from "./source_copy.mjs";

const FOLDER = join(ROOT, "tests", "mutants");
/** A mutant that makes tests hang is found too: after so many times as long as they take without it, and two minutes. */
const PATIENCE = 10;
const MINUTES_MIN = 2;
const MINUTES_MAX = 30;

/** What a patch file says of itself. */
function readMutant(path) {
  const text = readFileSync(path, "utf8");
  const tests = /^Tests: (.+)$/m.exec(text)?.[1]?.split(/\s+/);
  if (!tests) throw new Error(`Cannot run mutant "${path}": no line "Tests: FILE…" before the patch`);
  return { name: basename(path, ".patch"), path, tests, isC: /^\+\+\+ \S*\.[ch]\b/m.test(text) };
}

/** Runs a command in a copy; throws with its output unless it succeeds. */
function must(copy, command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: copy, encoding: "utf8" });
  if (status !== 0) {
    throw new Error(`Cannot run ${command} ${args.join(" ")}: ${error ?? `${stdout}${stderr}`}`);
  }
}

/** Whether the tests pass in a copy, what they printed, and how many minutes they took. */
async function runTests(copy, tests, { isDeno, minutesMax }) {
  const timeout = String(Math.round(minutesMax * 60_000));
  const [command, args] = isDeno
    ? [DENO, ["test", "-A", "--no-check", ...tests]]
    : [BUN, ["test", "--timeout", timeout, ...tests.map((test) => `./${test}`)]];
  const started = performance.now();
  const { code, output } = await run(command, args, { cwd: copy, minutesMax, env: { NO_COLOR: "1" } });
  return { passed: code === 0, output, minutes: (performance.now() - started) / 60_000 };
}

/** Names of the tests that failed, as either runner prints them. */
function failures(output) {
  const bun = [...output.matchAll(/^\(fail\) (.*?) \[[\d.]+m?s\]/gm)];
  const deno = [...output.matchAll(/^(.*?) \.\.\.(?:.*) FAILED/gm)];
  return [...new Set([...bun, ...deno].map((match) => match[1]))];
}

const isDeno = process.argv.includes("--deno");
const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
const mutants = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".patch"))
  .sort()
  .map((name) => readMutant(join(FOLDER, name)))
  .filter(({ name }) => wanted.length === 0 || wanted.some((start) => name.startsWith(start)));
const tests = [...new Set(mutants.flatMap((mutant) => mutant.tests))];
let survivors = 0;

/** Minutes that each file takes without any mutant. */
const minutesOf = new Map();
await withCopy(async (copy) => {
  must(copy, process.execPath, ["scripts/build_shim.mjs"]);
  for (const test of tests) {
    const { passed, output, minutes } = await runTests(copy, [test], { isDeno, minutesMax: MINUTES_MAX });
    if (!passed) throw new Error(`Cannot try mutants: ${test} fails without any\n${output}`);
    minutesOf.set(test, minutes);
  }
});
for (const { name, path, tests, isC } of mutants) {
  const { passed, output } = await withCopy(async (copy) => {
    must(copy, "patch", ["-p1", "-s", "--no-backup-if-mismatch", "-i", path]);
    if (isC) must(copy, process.execPath, ["scripts/build_shim.mjs"]);
    const usual = tests.reduce((sum, test) => sum + minutesOf.get(test), 0);
    return await runTests(copy, tests, { isDeno, minutesMax: MINUTES_MIN + PATIENCE * usual });
  });
  if (passed) survivors++;
  const found = failures(output);
  console.error(passed ? `SURVIVED  ${name}` : `found     ${name}: ${found.length} tests fail`);
  for (const failure of found.slice(0, 3)) console.error(`            ${failure}`);
}
console.error(`${mutants.length - survivors} of ${mutants.length} mutants found`);
process.exit(survivors > 0 ? 1 : 0);
