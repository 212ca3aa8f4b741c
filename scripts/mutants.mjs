/**
 * Brings known bugs back, one at a time, and expects the tests named for them to fail.
 *
 *   node scripts/mutants.mjs               all of tests/mutants/, in Bun
 *   node scripts/mutants.mjs R9 P1         those whose names begin so
 *   node scripts/mutants.mjs --deno        in Deno
 *
 * A mutant is a patch; the lines before it say what it brings back, and `Tests: FILE…` names the tests. The tests must
 * pass without it: they run once on an unchanged copy first.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { BUN, DENO, ROOT } from "./project.mjs";
import { withCopy } from "./source_copy.mjs";

const FOLDER = join(ROOT, "tests", "mutants");
/** A mutant that makes tests hang is found too. */
const TIMEOUT_MS = 90_000;

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

/** Whether the tests pass in a copy, and what they printed. */
function runTests(copy, tests, isDeno) {
  const [command, args] = isDeno
    ? [DENO, ["test", "-A", "--no-check", ...tests]]
    : [BUN, ["test", "--timeout", "60000", ...tests.map((test) => `./${test}`)]];
  const { status, stdout, stderr, signal } = spawnSync(command, args, {
    cwd: copy,
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    killSignal: "SIGKILL",
    env: { ...process.env, NO_COLOR: "1" },
  });
  return { passed: status === 0, output: `${stdout}${stderr}${signal ? `ended by ${signal}\n` : ""}` };
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

const before = await withCopy((copy) => {
  must(copy, process.execPath, ["scripts/build_shim.mjs"]);
  return runTests(copy, tests, isDeno);
});
if (!before.passed) {
  console.error(`The tests fail without any mutant:\n${before.output}`);
  process.exit(2);
}
for (const { name, path, tests, isC } of mutants) {
  const { passed, output } = await withCopy((copy) => {
    must(copy, "patch", ["-p1", "-s", "--no-backup-if-mismatch", "-i", path]);
    if (isC) must(copy, process.execPath, ["scripts/build_shim.mjs"]);
    return runTests(copy, tests, isDeno);
  });
  if (passed) survivors++;
  const found = failures(output);
  console.error(passed ? `SURVIVED  ${name}` : `found     ${name}: ${found.length} tests fail`);
  for (const failure of found.slice(0, 3)) console.error(`            ${failure}`);
}
console.error(`${mutants.length - survivors} of ${mutants.length} mutants found`);
process.exit(survivors > 0 ? 1 : 0);
