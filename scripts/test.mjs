/**
 * Everything that must hold, in one command: `npm test`.
 *
 *   node scripts/test.mjs              all steps
 *   node scripts/test.mjs deno bun     only the steps named (see the table it prints)
 *   --long                             soaks and fuzzing at full length, and the mutants
 *   --verbose                          the output of every step, not only of those that fail
 *
 * The last line is `N passed, N failed`, with `, N skipped` when tests were skipped. A step that should have run tests
 * and ran none has failed. With CI=true a real part that is missing is a failure.
 *
 * @module
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { buildShim, LANGUAGE, shimSources, WARNINGS } from "./build_shim.mjs";
import { BUN, compiler, DENO, filesUnder, ROOT, run, works } from "./project.mjs";
import { canPrebuild, setup } from "./setup.mjs";

const FLAGS = ["--long", "--verbose"];
const options = process.argv.slice(2);
const long = options.includes("--long");
const verbose = options.includes("--verbose");
const chosen = options.filter((option) => !FLAGS.includes(option));

/** Ends a step that hangs, with what it has said so far. */
const STEP_MINUTES_MAX = long ? 120 : 20;
/** A single test in Bun; Deno has no limit of its own. */
const BUN_TEST_MS_MAX = long ? 3_600_000 : 300_000;

const CODE = ["src", "ffi", "tests", "bench", "scripts", "docs/examples"];

/** Rounds of the long form, unless the environment says otherwise. */
const LONG_ROUNDS = {
  BELL_ROUNDS: "1000000",
  DETACH_ROUNDS: "100",
  EXIT_ROUNDS: "200",
  OPEN_ROUNDS: "1000",
  ENDURANCE_ROUNDS: "100",
  FUZZ_ROUNDS: "400000",
  HTTP_FUZZ_ROUNDS: "400",
  OPENS: "10000",
  FOLLOW_SECONDS: "600",
  KILL_ROUNDS: "600",
  DURABILITY_STATES: "12000",
  RIVAL_ROUNDS: "8",
  HYDRATE_SECONDS: "600",
  HYDRATE_KILLS: "60",
  BOOT_KILLS: "60",
  WORKLOAD_ROUNDS: "14",
  DIFF_DATABASES: "100",
  LONG: "1",
};

const ENV = { ...(long ? LONG_ROUNDS : {}), NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", DENO_NO_PROMPT: "1" };
for (const name of Object.keys(LONG_ROUNDS)) if (process.env[name]) ENV[name] = process.env[name];
// Neither runtime needs more of a home than a place for its cache.
if (!process.env.HOME) ENV.DENO_DIR = join(ROOT, ".tools", "deno");

/** Processes that run tests at once: one more than there are cores, for tests wait a lot. */
const SHARES = Math.min(3, availableParallelism() + 1);

/** Processes in all, one after the other in each of those: files take so different times that a few would wait for one. */
const DEALS = 24;

/** Tests in C that run at once, beside the other steps. */
const C_SHARES = Math.min(2, availableParallelism());

/** Test files that are named with the time they took. */
const SLOWEST = 12;

/** Lines that tell of one failure at the end, and of all of a step's. */
const FAILURE_LINES = 18;
const FAILURES_LINES_MAX = 80;
const NAMES_MAX = 12;

const STEPS = [
  { name: "setup", run: setUp },
  { name: "fmt", run: () => deno(["fmt", "--check", ...formatted()]) },
  { name: "lint", run: () => deno(["lint", ...linted()]) },
  { name: "types", run: () => deno(["check", ...typescript()]) },
  { name: "doc-lint", run: () => deno(["doc", "--lint", ...documented()]) },
  { name: "shim", run: shim },
  { name: "prebuilt", run: prebuilt },
  { name: "doc-examples", run: docExamples },
  { name: "c-address", run: () => cTests("address,undefined"), isBeside: true },
  { name: "c-thread", run: () => cTests("thread"), isBeside: true },
  { name: "deno", run: denoTests },
  { name: "bun", run: bunTests },
  ...(long ? [{ name: "mutants", run: mutants }] : []),
];

/** A step's result: `{ ok, output, counts?, note? }`, counts being `{ passed, failed, skipped }`. */
async function main() {
  const unknown = chosen.filter((name) => !STEPS.some((step) => step.name === name));
  if (unknown.length > 0) {
    console.error(`Cannot run ${unknown.join(" ")}: expected ${STEPS.map((step) => step.name).join(", ")}`);
    return 2;
  }
  const total = { passed: 0, failed: 0, skipped: 0 };
  const broken = [];
  const runStep = async (step) => {
    const started = performance.now();
    const result = await step.run().catch((error) => ({ ok: false, output: `${error.stack ?? error}\n` }));
    tell(step, result, performance.now() - started);
    const { passed = 0, failed = 0, skipped = 0 } = result.counts ?? {};
    total.passed += passed;
    // a check, or a runner that broke down, is one thing that failed
    total.failed += result.ok ? failed : Math.max(failed, 1);
    total.skipped += skipped;
    if (!result.ok) broken.push({ name: step.name, why: failures(result), names: namesOf(result) });
    return result.ok;
  };
  const inTurn = async (steps) => {
    for (const step of steps) await runStep(step);
  };
  const wanted = STEPS.filter(({ name }) => chosen.length === 0 || chosen.includes(name));
  const first = wanted[0]?.name === "setup" ? wanted.shift() : undefined;
  if (first === undefined || await runStep(first)) {
    // those beside take one core for minutes, which the others do not use all the time
    await Promise.all([
      inTurn(wanted.filter(({ isBeside }) => isBeside)),
      inTurn(wanted.filter(({ isBeside }) => !isBeside)),
    ]);
  }
  for (const { name, why } of broken) console.log(`\nfailed in ${name}:\n${withLineEnd(why)}`);
  for (const { name, names } of broken) console.log(`failed: ${[name, ...names].join("\n  ")}`);
  const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : "";
  console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
  return broken.length > 0 || total.failed > 0 ? 1 : 0;
}

/** Prints what came of a step, and what it said where that matters. */
function tell({ name }, result, ms) {
  if (verbose || !result.ok) {
    process.stdout.write(withLineEnd(verbose ? result.output : result.why ?? withoutPassed(result.output)));
  }
  const { passed, failed, skipped } = result.counts ?? {};
  const counts = result.counts ? `${passed} passed, ${failed} failed, ${skipped} skipped` : result.note ?? "";
  const seconds = (ms / 1000).toFixed(1).padStart(6);
  console.log(`${result.ok ? "ok    " : "FAILED"} ${name.padEnd(13)} ${seconds} s  ${counts}`.trimEnd());
  if (!result.ok) { for (const name of namesOf(result)) console.log(`         failed: ${name}`); }
  for (const line of result.slowest ?? []) console.log(`         ${line}`);
}

async function setUp() {
  let output = "";
  await setup("test", (line) => {
    output += `${line}\n`;
    console.log(line);
  });
  return { ok: true, output };
}

async function command(program, args) {
  const { code, output } = await run(program, args, { env: ENV, minutesMax: STEP_MINUTES_MAX });
  return { ok: code === 0, output };
}

function deno(args) {
  return command(DENO, args);
}

function typescript() {
  return [...rootFiles(["mod.ts", "cli.ts"]), ...CODE.flatMap((folder) => filesUnder(folder, /\.ts$/))];
}

function linted() {
  return [...rootFiles(["mod.ts", "cli.ts"]), ...CODE.flatMap((folder) => filesUnder(folder, /\.m?[jt]s$/))];
}

function formatted() {
  const texts = [...rootFiles(["README.md", "CHANGELOG.md", "deno.json", "package.json"])];
  return [...linted(), ...texts, ...["docs", "bench"].flatMap((folder) => filesUnder(folder, /\.md$/))];
}

/** The public API; before there is a mod.ts, what it will be made of. */
function documented() {
  const entries = rootFiles(["mod.ts", "cli.ts"]);
  return entries.length > 0 ? entries : filesUnder("src", /\.ts$/);
}

function rootFiles(names) {
  return names.filter((name) => existsSync(join(ROOT, name)));
}

function testFiles() {
  return filesUnder("tests", /_test\.ts$/);
}

/** Examples of the sources are run; those of README and docs/, which tests/docs/ runs in both runtimes, are checked. */
async function docExamples() {
  const pages = [...rootFiles(["README.md"]), ...filesUnder("docs", /\.md$/)];
  const checked = await deno(["check", "--doc-only", ...pages]);
  if (!checked.ok) return checked;
  const candidates = [
    ...rootFiles(["mod.ts"]),
    ...["src", "ffi"].flatMap((folder) => filesUnder(folder, /\.ts$/)),
  ];
  // the runner imports every file it is given, and a worker's entry cannot be imported
  const sources = candidates.filter((path) =>
    /```(?:ts|js|typescript)\b/.test(readFileSync(join(ROOT, path), "utf8"))
  );
  const result = await deno(["test", "--doc", "-A", "--permit-no-files", ...sources]);
  const counts = denoCounts(result.output);
  counts.passed += (checked.output.match(/^Check .*#\d+-\d+\.ts$/gm) ?? []).length;
  return await counted({ ...result, output: checked.output + result.output }, () => counts);
}

async function shim() {
  const { path, built } = await buildShim();
  return { ok: true, output: "", note: `${built ? "built" : "up to date"}: ${path.slice(ROOT.length + 1)}` };
}

/** The libraries are what the sources give: all of them in the long form, else one; a test knows stale ones by a checksum. */
async function prebuilt() {
  if (!canPrebuild()) {
    return { ok: true, output: "", note: "not checked: zig is not installed for this machine" };
  }
  return await command(process.execPath, [
    "scripts/prebuild.mjs",
    "--check",
    ...(long ? [] : ["--only", "linux_x64"]),
  ]);
}

/**
 * Compiles and runs each tests/c/*_test.c with the shim's sources under a sanitizer. A test that includes one of those
 * sources, to reach what is static in it, is linked without that one.
 */
async function cTests(sanitizer) {
  const folder = mkdtempSync(join(tmpdir(), "c-tests-"));
  const counts = { passed: 0, failed: 0, skipped: 0 };
  let output = "";
  let why = "";
  try {
    const broken = (await atOnce(shimSources(), (path) => compileC(path, sanitizer, folder))).filter((
      { ok },
    ) => !ok);
    if (broken.length > 0) return { ok: false, output: broken.map(({ output }) => output).join("") };
    await atOnce(cTestFiles(sanitizer), async (test) => {
      const result = await cTest(test, sanitizer, folder);
      counts[result.ok ? "passed" : "failed"]++;
      const told = `--- ${test} (${sanitizer})\n${withLineEnd(result.output)}`;
      output += told;
      if (!result.ok) why += told.replace(/^ok .*\n/gm, "");
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { ...await counted({ ok: counts.failed === 0, output }, () => counts), why };
}

/** The thread sanitizer has nothing to find where no thread is started: those tests run under it in the long form alone. */
function cTestFiles(sanitizer) {
  const files = filesUnder("tests/c", /_test\.c$/);
  if (long || sanitizer !== "thread") return files;
  return files.filter((path) => readFileSync(join(ROOT, path), "utf8").includes("pthread_create"));
}

/** What `act` gives for each item, a few at once. */
async function atOnce(items, act, count = C_SHARES) {
  const results = [];
  const left = items.entries();
  await Promise.all(Array.from({ length: count }, async () => {
    for (const [i, item] of left) results[i] = await act(item);
  }));
  return results;
}

function objectOf(path, folder) {
  return join(folder, `${basename(path, ".c")}.o`);
}

/** Compiles one source into an object in `folder`. */
function compileC(path, sanitizer, folder) {
  const flags = [...LANGUAGE, ...WARNINGS, "-O1", "-g", "-fno-omit-frame-pointer", `-fsanitize=${sanitizer}`];
  if (sanitizer.includes("undefined")) flags.push("-fno-sanitize-recover=undefined");
  // SQLITE_CORE: sqlite3ext.h then calls the library directly
  return command(compiler(), [...flags, "-Iffi", "-DSQLITE_CORE", "-c", "-o", objectOf(path, folder), path]);
}

async function cTest(test, sanitizer, folder) {
  const included = [...readFileSync(join(ROOT, test), "utf8").matchAll(/#include "[^"]*ffi\/(\w+\.c)"/g)];
  const sources = shimSources().filter((path) => !included.some(([, name]) => basename(path) === name));
  const compiled = await compileC(test, sanitizer, folder);
  if (!compiled.ok) return compiled;
  const program = join(folder, basename(test, ".c"));
  const objects = [test, ...sources].map((path) => objectOf(path, folder));
  const libraries = ["-lsqlite3", "-l:liblz4.a", "-lm"];
  const linked = await command(compiler(), [
    "-pthread",
    `-fsanitize=${sanitizer}`,
    ...["-o", program, ...objects, ...libraries],
  ]);
  if (!linked.ok) return linked;
  // the thread sanitizer cannot live with every placement of memory that newer kernels choose
  const still = sanitizer === "thread" && works("setarch", ["-R", "true"]);
  const ran = still ? await command("setarch", ["-R", program]) : await command(program, []);
  return { ...ran, output: compiled.output + ran.output };
}

function denoTests() {
  const args = ["test", "-A", "--no-check"];
  return inShares((files, report) => deno([...args, `--junit-path=${report}`, ...files]), denoCounts);
}

function bunTests() {
  const args = ["test", "--timeout", String(BUN_TEST_MS_MAX), "--reporter=junit"];
  return inShares(
    (files, report) =>
      command(BUN, [...args, `--reporter-outfile=${report}`, ...files.map((path) => `./${path}`)]),
    bunCounts,
  );
}

/** All test files, dealt out to processes of which a few run at once: most files wait most of the time. */
async function inShares(runFiles, parse) {
  const files = testFiles();
  const deals = Array.from({ length: Math.min(DEALS, files.length) }, () => []);
  files.forEach((path, i) => deals[i % deals.length].push(path));
  const folder = mkdtempSync(join(tmpdir(), "test-times-"));
  try {
    const reports = deals.map((_, i) => join(folder, `${i}.xml`));
    const numbered = deals.map((files, i) => ({ files, report: reports[i] }));
    const results = await atOnce(
      numbered,
      ({ files, report }) => counted(runFiles(files, report), parse),
      SHARES,
    );
    const sum = (name) => results.reduce((total, { counts }) => total + (counts?.[name] ?? 0), 0);
    return {
      ok: results.every(({ ok }) => ok),
      output: results.map(({ output }) => output).join("\n"),
      counts: { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") },
      slowest: slowestOf(reports),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The files whose tests took longest, by the runners' reports, such as `tests/x_test.ts 12 s`. */
function slowestOf(reports) {
  const seconds = new Map();
  for (const report of reports.filter((path) => existsSync(path))) {
    for (const [tag] of readFileSync(report, "utf8").matchAll(/<testcase [^>]*>/g)) {
      const [, file] = /(?:file|classname)="(?:\.\/)?(tests\/[^"]*)"/.exec(tag) ?? [];
      const [, time] = / time="([\d.]+)"/.exec(tag) ?? [];
      if (file && time) seconds.set(file, (seconds.get(file) ?? 0) + Number(time));
    }
  }
  const slowest = [...seconds].sort(([, a], [, b]) => b - a).slice(0, SLOWEST);
  return slowest.map(([file, time]) => `${file} ${time.toFixed(0)} s`);
}

/** Every bug in tests/mutants/ must turn its tests red. */
function mutants() {
  return command(process.execPath, ["scripts/mutants.mjs"]);
}

/** A runner's result with its counts; one that ran nothing has failed. */
async function counted(result, parse) {
  const { ok, output } = await result;
  const counts = parse(output);
  if (counts.passed + counts.failed > 0) return { ok: ok && counts.failed === 0, output, counts };
  return { ok: false, output: `${withLineEnd(output)}no test ran\n`, counts };
}

/** Adds up `ok | 12 passed (3 steps) | 0 failed | 1 ignored (2s)`; a step is a test, the test around steps is too. */
function denoCounts(output) {
  const line = [...output.matchAll(/^(?:ok|FAILED) \| .*$/gm)].at(-1)?.[0] ?? "";
  const count = (word) => {
    const match = new RegExp(`(\\d+) ${word}(?: \\((\\d+) steps?\\))?`).exec(line);
    return Number(match?.[1] ?? 0) + Number(match?.[2] ?? 0);
  };
  return { passed: count("passed"), failed: count("failed"), skipped: count("ignored") };
}

/** Reads Bun's closing lines, ` 12 pass`, ` 1 skip`, ` 0 fail`, ` 1 error`. */
function bunCounts(output) {
  const count = (word) =>
    Number([...output.matchAll(new RegExp(`^ *(\\d+) ${word}s?$`, "gm"))].at(-1)?.[1] ?? 0);
  return {
    passed: count("pass"),
    failed: Math.max(count("fail"), count("error")),
    skipped: count("skip") + count("todo"),
  };
}

/** A failing runner's output without a line for each test that passed. */
function withoutPassed(output) {
  return output.replace(/^(?:\(pass\) .*|.* \.\.\. ok \(.*\)|Check .*|running \d+ tests? from .*)\n/gm, "");
}

/** The names of a step's tests that failed, as their runners print them. */
function namesOf({ output, why }) {
  const lines = (why ?? output).split("\n").map((line) => line.trim());
  const names = lines.filter((line) =>
    /^\(fail\) |^not ok |^--- .*_test\.c |^\S.* => \S+:\d+:\d+$/.test(line)
  );
  return [...new Set(names)].slice(0, NAMES_MAX);
}

/** What failed, in short, for a reader who is shown only the end of all that was printed. */
function failures({ output, why }) {
  const lines = withoutPassed(why ?? output).split("\n");
  const told = new Set();
  const tell = (from, count) => {
    for (let i = Math.max(0, from); i < Math.min(lines.length, from + count); i++) told.add(i);
  };
  lines.forEach((line, i) => {
    if (/^\(fail\) /.test(line)) tell(i - FAILURE_LINES, FAILURE_LINES + 1); // Bun tells why before it tells what
    if (/^.* => \S+:\d+:\d+$/.test(line)) tell(i, FAILURE_LINES); // Deno after it
  });
  const short = told.size > 0 ? [...told].sort((a, b) => a - b).map((i) => lines[i]) : lines;
  return short.slice(-FAILURES_LINES_MAX).join("\n");
}

function withLineEnd(text) {
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
process.exitCode = await main();
