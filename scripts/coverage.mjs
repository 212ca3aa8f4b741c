/**
 * Which lines, functions and branches the tests reach: `npm run coverage`.
 *
 *   node scripts/coverage.mjs                 C tests, then all tests in Bun and in Deno: an hour
 *   node scripts/coverage.mjs bun ltx view    in one of c, bun, deno; only test files whose path has one of the words
 *   node scripts/coverage.mjs --table         only the table of what was found before
 *   node scripts/coverage.mjs --missed src/ltx   and what nothing reaches of sources whose path begins so
 *   --jobs 1                                  test processes at once; 2 unless given
 *
 * Neither runtime's own instrument is used for the table: Bun's counts nothing on workers, where the core runs, and knows
 * no branches (github.com/oven-sh/bun/issues/43275). Instead a copy of the sources tells by itself what is reached, in both
 * runtimes alike, on workers and in child processes; and the shim in it is compiled with gcc's counters. Tests that look
 * at the sources as texts or bundle them fail in such a copy, and are named; the others must pass.
 * Results are kept in build/coverage/.
 *
 * @module
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { buildCountedShim, readCounters, runCTests } from "./instrument/c_coverage.mjs";
import { pointsOf } from "./instrument/points_of.mjs";
import { rewritten } from "./instrument/rewritten.mjs";
import { BUN, DENO, filesUnder, ROOT, run } from "./project.mjs";
import { installParser } from "./setup.mjs";
import { withCopy } from "./source_copy.mjs";

const KINDS = ["line", "function", "branch"];
const RUNS = ["c", "bun", "deno"];
const KEPT = join(ROOT, "build", "coverage");
const RECORDER = "scripts/instrument/reached.ts";
const MINUTES_MAX = 20;

function sources() {
  const modules = ["src", "ffi"].flatMap((folder) => filesUnder(folder, /\.ts$/));
  return ["mod.ts", "cli.ts", ...modules].filter((path) => !path.startsWith(join("ffi", "prebuilt")));
}

/** Has the sources in a copy write to `record` what is reached; returns the keys of all points by their number. */
function putPoints(ts, copy, record) {
  const keys = [];
  for (const path of sources()) {
    const source = readFileSync(join(ROOT, path), "utf8");
    const { points, edits } = pointsOf(ts, path, source, keys.length);
    const onLine = new Map();
    for (const { kind, line, name } of points) {
      const place = `${kind} ${line}`;
      const count = onLine.get(place) ?? 0;
      onLine.set(place, count + 1);
      const ending = kind === "line" ? "" : ` ${kind === "function" ? `${name} ${count}` : count}`;
      keys.push(`${path} ${place}${ending}`);
    }
    const from = relative(dirname(path), join("src", "reached.ts")).replace(/^(?!\.)/, "./");
    const head = /^#!.*\n/.exec(source)?.[0] ?? "";
    const text = rewritten(source, edits).slice(head.length);
    writeFileSync(join(copy, path), `${head}import { reached as __reached } from "${from}"; ${text}`);
  }
  const recorder = readFileSync(join(ROOT, RECORDER), "utf8");
  writeFileSync(
    join(copy, "src", "reached.ts"),
    recorder.replace('RECORD = ""', `RECORD = ${JSON.stringify(record)}`),
  );
  return keys;
}

/** Runs tests in a runtime; returns points by their key, and whether they were reached. */
async function runTests(runtime, { words, jobs }) {
  const ts = createRequire(import.meta.url)(await installParser());
  const folder = mkdtempSync(join(tmpdir(), "coverage-"));
  try {
    return await withCopy(async (copy) => {
      const record = join(folder, "reached");
      const keys = putPoints(ts, copy, record);
      mkdirSync(join(copy, "ffi", "build"), { recursive: true });
      await buildCountedShim(join(copy, "ffi", "build", "litestream_vfs.so"), join(folder, "counters"));
      const tests = filesUnder("tests", /_test\.ts$/).filter((path) =>
        words.length === 0 || words.some((word) => path.includes(word))
      );
      const queue = tests.values();
      await Promise.all(Array.from({ length: jobs }, async () => {
        for (const test of queue) await runTest(runtime, test, copy);
      }));
      const reached = await readCounters(join(folder, "counters"));
      for (const key of keys) if (!reached.has(key)) reached.set(key, false);
      for (const point of readFileSync(record, "utf8").split("\n").filter(Boolean)) {
        reached.set(keys[Number(point)], true);
      }
      return reached;
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runTest(runtime, test, cwd) {
  const [command, args] = runtime === "deno"
    ? [DENO, ["test", "-A", "--no-check", test]]
    : [BUN, ["test", "--timeout", "600000", `./${test}`]];
  const env = { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", DENO_NO_PROMPT: "1" };
  const started = performance.now();
  const { code, output } = await run(command, args, { cwd, env, minutesMax: MINUTES_MAX });
  const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6);
  console.error(`${seconds} s  ${runtime} ${test}${code === 0 ? "" : ": fails in the copy"}`);
  if (code === 0) return;
  const failures = output.match(/^(?:\(fail\).*|.* \.\.\. FAILED.*|error: .*)$/gm) ?? [];
  for (const line of failures.slice(0, 3)) console.error(`            ${line}`);
}

async function runC() {
  const folder = mkdtempSync(join(tmpdir(), "coverage-"));
  try {
    await runCTests(folder, (line) => console.error(line));
    return await readCounters(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function save(name, reached) {
  mkdirSync(KEPT, { recursive: true });
  writeFileSync(join(KEPT, `${name}.json`), JSON.stringify(Object.fromEntries(reached), null, 0));
}

/** What was found by each run, those that there were: `Map<run, Map<key, boolean>>`. */
function load() {
  const files = RUNS.map((name) => [name, join(KEPT, `${name}.json`)]).filter(([, path]) => existsSync(path));
  return new Map(
    files.map(([name, path]) => [name, new Map(Object.entries(JSON.parse(readFileSync(path, "utf8"))))]),
  );
}

/** What any run reached. */
function merged(runs) {
  const all = new Map();
  for (const reached of runs.values()) {
    for (const [key, isReached] of reached) all.set(key, all.get(key) || isReached);
  }
  return all;
}

/** Prints a table by folder, C apart: of each run and of all, shares of lines, functions and branches. */
function printTable(runs) {
  const columns = [...runs, ["all", merged(runs)]];
  console.log(`${"".padEnd(24)}${columns.map(([name]) => `  ${name.padEnd(22)}`).join("")}`);
  const shares = columns.map(() => "  lines  funct.  branch ").join(" ");
  console.log(`${"".padEnd(24)}${shares}`);
  const folders = new Map();
  for (const key of columns.at(-1)[1].keys()) {
    const folder = folderOf(key);
    if (!folders.has(folder)) folders.set(folder, folder);
  }
  for (const folder of [...folders.keys()].sort().concat("TypeScript", "C")) {
    const cells = columns.map(([, reached]) => KINDS.map((kind) => share(reached, folder, kind)).join(" "));
    console.log(`${folder.padEnd(24)}${cells.map((cell) => ` ${cell} `).join("")}`);
  }
}

function folderOf(key) {
  const path = key.slice(0, key.indexOf(" "));
  if (/\.[ch]$/.test(path)) return path;
  return path.startsWith("src/") ? path.split("/").slice(0, -1).join("/") : dirname(path);
}

function share(reached, folder, kind) {
  let [all, some] = [0, 0];
  for (const [key, isReached] of reached) {
    if (key.split(" ", 2)[1] !== kind) continue;
    const isC = /^\S+\.[ch] /.test(key);
    const isIn = folder === "C" ? isC : folder === "TypeScript" ? !isC : folderOf(key) === folder;
    if (!isIn) continue;
    all++;
    if (isReached) some++;
  }
  return all === 0 ? "      -" : `${(some / all * 100).toFixed(1).padStart(5)} %`;
}

/** Names what nothing reaches of some sources. */
function printMissed(reached, starts) {
  for (const [key, isReached] of reached) {
    if (isReached || !starts.some((start) => key.startsWith(start))) continue;
    const [path, kind, line, ...rest] = key.split(" ");
    console.log(`missed  ${path}:${line}  ${kind} ${rest.join(" ")}`.trimEnd());
  }
}

const given = process.argv.slice(2);
const jobsAt = given.indexOf("--jobs");
const jobs = jobsAt < 0 ? 2 : Number(given.splice(jobsAt, 2)[1]);
const missedAt = given.indexOf("--missed");
const missed = missedAt < 0 ? [] : given.splice(missedAt).slice(1);
const words = given.filter((word) => !word.startsWith("--") && !RUNS.includes(word));
const chosen = RUNS.filter((name) => given.includes(name));
const isTable = given.includes("--table") || (missed.length > 0 && chosen.length === 0);
for (const name of isTable ? [] : chosen.length > 0 ? chosen : RUNS) {
  save(name, name === "c" ? await runC() : await runTests(name, { words, jobs }));
}
const runs = load();
if (missed.length > 0) printMissed(merged(runs), missed);
else printTable(runs);
