/**
 * Mutation testing: changes the sources in small ways, one at a time, and expects some test to fail each time.
 *
 *   node scripts/mutate.mjs                   src/ltx, src/view and the write log, in Bun: hours
 *   node scripts/mutate.mjs ltx               one of them: ltx, view, log; ffi/writer.c: scripts/mutate_c.mjs
 *   node scripts/mutate.mjs ltx --survivors   those that no test noticed the last time, and what is new
 *   node scripts/mutate.mjs ltx txid          only in sources whose path has this word
 *   --short                                   only with tests that need no thread or process of their own: minutes
 *   --deno                                    in Deno
 *   --jobs 1                                  test processes at once; 2 unless given
 *
 * All mutants are in one copy of the sources, which asks which of them is active. Tests that need neither threads nor
 * processes are collected in one process, run once to tell what each comes by and how long it takes, and then called for one
 * mutant after the other, the quickest first, until one fails. What they do not notice, and what matters when a module is
 * loaded, is tried with a process for each mutant and test file. A loop that never ends is known by how often it comes by the
 * mutant; a failure of a file that takes long must repeat itself, for it may have had other causes. What no test notices is
 * listed, but for what makes no difference by tests/mutants/equivalent.json, which says why. Results are kept in
 * build/mutation/.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { readArgued } from "./instrument/argued.mjs";
import { mutantsOf } from "./instrument/mutants_of.mjs";
import { rewritten } from "./instrument/rewritten.mjs";
import { BUN, DENO, filesUnder, ROOT, run } from "./project.mjs";
import { installParser } from "./setup.mjs";
import { withCopy } from "./source_copy.mjs";

/**
 * What is mutated, and the tests that may notice it: `tests` need no thread and no process, so that one process can try many
 * mutants; those that they do not notice meet `others`, a process each.
 */
const TARGETS = {
  ltx: {
    sources: ["src/ltx"],
    tests: ["tests/ltx", "tests/write/logged_file_test.ts"],
    others: ["page_index", "frame", "file", "encoder", "fuzz"].map((name) => `tests/ltx/${name}_test.ts`),
  },
  view: {
    sources: ["src/view"],
    tests: ["tests/view"],
    others: ["view/restore_plan", "view/plan_file", "follow/follower", "live/live_replica"].map((name) =>
      `tests/${name}_test.ts`
    ),
  },
  log: {
    sources: ["write_log", "log_base", "logged_file", "recovery"].map((name) => `src/write/${name}.ts`),
    tests: ["log_frames", "log_base", "logged_file", "recover_log"].map((name) =>
      `tests/write/${name}_test.ts`
    ),
    others: ["write_log", "recovery", "log_damage", "w_bugs", "several_files", "disk"].map((name) =>
      `tests/write/${name}_test.ts`
    ),
  },
};

const INSTRUMENTS = ["active_mutant", "collected", "mutant_loop"];
const IMPORTED = "active as __active, pass as __pass, turn as __turn";
/** Where results are kept. */
const KEPT = join(ROOT, "build", "mutation");

/** A mutant that has not ended after so many seconds of CPU never does: the process that tries it is ended. */
const STUCK_CPU_SECONDS = 60;
/** The same where it waits, by the clock: the machine may be busy. */
const STUCK_MS = 240_000;
/** A test file that takes longer than this must fail twice, for it may depend on other things than the mutant. */
const QUICK_MS = 2000;
/** What chance finds it finds soon, or another test does. */
const FEW_ROUNDS = { FUZZ_ROUNDS: "1000" };
/** Comes by a mutant in an endless loop, as a multiple of those without it. */
const TURNS_FACTOR = 100;
const TURNS_MIN = 1_000_000;

/** Less than this share of a target's mutants killed is a failure. */
const SCORE_MIN = 0.8;

/** All mutants of the sources, numbered, in order: `{ id, path, key, line, from, … }`. */
function findMutants(ts, paths) {
  const mutants = [];
  for (const path of paths) {
    const source = readFileSync(join(ROOT, path), "utf8");
    for (const mutant of mutantsOf(ts, path, source)) {
      const from = source.slice(mutant.start, mutant.end);
      const within = source.split("\n")[mutant.line - 1].trim();
      mutants.push({
        ...mutant,
        id: mutants.length,
        path,
        from,
        within,
        key: `${path} ${within} ${from} ${mutant.text}`,
      });
    }
  }
  // the same change on equal lines of one file
  const times = new Map();
  for (const mutant of mutants) {
    const count = (times.get(mutant.key) ?? 0) + 1;
    times.set(mutant.key, count);
    if (count > 1) mutant.key += ` #${count}`;
  }
  return mutants;
}

function byPath(mutants) {
  const paths = [...new Set(mutants.map(({ path }) => path))];
  return paths.map((path) => [path, mutants.filter((mutant) => mutant.path === path)]);
}

/** Puts all mutants into a copy; `isRecording`: none is ever active, and what is come by is written down. */
function putMutants(copy, mutants, isRecording) {
  for (const [path, own] of byPath(mutants)) {
    const chosen = (id) => isRecording ? `__pass(${id})` : `__active===${id}&&__turn()`;
    const edits = own.map(({ id, start, end, kind, text }) => ({
      start,
      end,
      wrap: (inner) =>
        kind === "statement" ? `{if(!(${chosen(id)})){${inner}}}` : `(${chosen(id)}?(${text}):${inner})`,
    }));
    const from = relative(dirname(path), "src/active_mutant.ts").replace(/^(?!\.)/, "./");
    const text = rewritten(readFileSync(join(ROOT, path), "utf8"), edits);
    writeFileSync(join(copy, path), `import { ${IMPORTED} } from "${from}"; ${text}`);
  }
  for (const name of INSTRUMENTS) {
    writeFileSync(
      join(copy, "src", `${name}.ts`),
      readFileSync(join(ROOT, "scripts", "instrument", `${name}.ts`)),
    );
  }
}

/** Has test files in a copy collect their tests. */
function putCollector(copy, files) {
  for (const path of files) {
    const from = relative(dirname(path), "src/collected.ts");
    writeFileSync(
      join(copy, path),
      readFileSync(join(ROOT, path), "utf8").replace('"node:test"', JSON.stringify(from)),
    );
  }
}

/** Runs the loop in a copy, which is ended when nothing has come for long; returns all lines that it told. */
async function runLoop(copy, isDeno, args, env = {}) {
  const out = join(copy, "told");
  rmSync(out, { force: true });
  const [how, ...rest] = args;
  const command = isDeno ? [DENO, ["run", "-A", "--no-check"]] : [BUN, ["run"]];
  const child = spawn(command[0], [...command[1], "src/mutant_loop.ts", how, out, ...rest], {
    cwd: copy,
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, NO_COLOR: "1", ...FEW_ROUNDS, ...env },
  });
  let said = "";
  child.stderr.on("data", (chunk) => said = (said + chunk).slice(-2000));
  let size = 0;
  let heard = { ms: Date.now(), cpu: 0 };
  const timer = setInterval(() => {
    const now = existsSync(out) ? statSync(out).size : 0;
    const cpu = cpuSeconds(child.pid);
    if (now !== size) [size, heard] = [now, { ms: Date.now(), cpu }];
    else if (cpu - heard.cpu > STUCK_CPU_SECONDS || Date.now() - heard.ms > STUCK_MS) child.kill("SIGKILL");
  }, 1000);
  const code = await new Promise((resolve) => child.on("close", resolve));
  clearInterval(timer);
  const lines = existsSync(out)
    ? readFileSync(out, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line))
    : [];
  return { code, lines, said };
}

/** CPU that a process has used; 0 where the system does not tell. */
function cpuSeconds(pid) {
  try {
    const [user, system] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ").slice(11, 13);
    return (Number(user) + Number(system)) / 100;
  } catch {
    return 0; // it has ended, or this is no Linux
  }
}

/** What each collected test comes by, and how long it takes, and what modules come by when they are loaded. */
async function recordCollected(copy, files, isDeno) {
  const { code, lines, said } = await runLoop(copy, isDeno, ["record", ...files]);
  if (code !== 0) throw new Error(`Cannot record the tests: ended with ${code}\n${said}`);
  const [{ atOnce }, ...tests] = lines;
  for (const { file, name, failure } of tests.filter(({ failure }) => failure !== undefined)) {
    console.error(`left out: ${file}: ${name} fails by itself: ${failure}`);
  }
  return { atOnce: new Set(atOnce), tests: tests.filter(({ failure }) => failure === undefined) };
}

/** Has mutants meet the collected tests, one after the other; those that never end have their process ended. */
async function tryMany(copy, files, mutants, { atOnce, tests, isDeno, onResult }) {
  const quickest = tests.toSorted((a, b) => a.ms - b.ms).map(({ test, counts }) => ({
    test,
    counts: new Map(counts),
  }));
  const meetsOf = (id) =>
    quickest.filter(({ counts }) => counts.has(id)).map(({ test, counts }) => [test, counts.get(id)]);
  const jobs = join(copy, "jobs");
  let left = mutants.map(({ id }) => ({ id, meets: meetsOf(id) }));
  const survivors = [];
  const take = (id, result) => {
    if (result.state === "survived" && atOnce.has(id)) survivors.push(id);
    else onResult(id, result);
  };
  while (left.length > 0) {
    writeFileSync(jobs, JSON.stringify(left));
    const { lines, said } = await runLoop(copy, isDeno, ["try", jobs, ...files]);
    const last = lines.at(-1);
    if (last === undefined) throw new Error(`Cannot try mutants: the process told nothing\n${said}`);
    for (const { id, state, by } of lines) if (state !== "begun") take(id, { state, by });
    if (last.state === "begun") {
      take(last.id, { state: "killed", by: "it never ends, or ends the process" });
    }
    left = left.slice(left.findIndex(({ id }) => id === last.id) + 1);
  }
  // what modules come by when they are loaded: any test may come by what it leads to
  const all = quickest.map(({ test }) => [test, TURNS_MIN]);
  for (const id of survivors) {
    writeFileSync(jobs, JSON.stringify([{ id, meets: all }]));
    const env = { ACTIVE_MUTANT: String(id), ACTIVE_MUTANT_TURNS: String(TURNS_MIN) };
    const { lines } = await runLoop(copy, isDeno, ["one", jobs, ...files], env);
    const { state, by } = lines.find(({ state }) => state !== "begun") ??
      { state: "killed", by: "nothing works" };
    onResult(id, { state, by });
  }
}

/** Runs a test file in a copy: `{ passed, ms, output }`. */
async function runTest(copy, test, { isDeno, env = {}, minutesMax = 10 }) {
  const [command, args] = isDeno
    ? [DENO, ["test", "-A", "--no-check", "--fail-fast", test]]
    : [BUN, ["test", "--bail", "--timeout", "300000", `./${test}`]];
  const started = performance.now();
  const { code, output } = await run(command, args, {
    cwd: copy,
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...FEW_ROUNDS, ...env },
    minutesMax,
  });
  return { passed: code === 0, ms: performance.now() - started, output };
}

/** Which mutants each test file comes by, how often, and how long it takes; those that fail by themselves are told. */
async function recordTests(copy, tests, isDeno) {
  const recorded = [];
  for (const test of tests) {
    const record = join(copy, "record");
    const { passed, output } = await runTest(copy, test, { isDeno, env: { MUTANT_RECORD: record } });
    const counts = new Map();
    const lines = existsSync(record) ? readFileSync(record, "utf8").split("\n") : [];
    for (const line of lines.filter(Boolean)) {
      const [id, count] = line.split(" ").map(Number);
      counts.set(id, Math.max(counts.get(id) ?? 0, count));
    }
    rmSync(record, { force: true });
    if (!passed) console.error(`left out: ${test} fails by itself\n${output.slice(-2000)}`);
    else recorded.push({ test, counts });
  }
  return recorded;
}

/** How long each test file takes with mutants that are not active. */
async function timeTests(copy, recorded, isDeno) {
  for (const each of recorded) each.ms = (await runTest(copy, each.test, { isDeno })).ms;
  recorded.sort((a, b) => a.ms - b.ms);
}

/** Has a mutant meet the tests: `{ state: "killed" | "survived" | "unreached", by? }`. */
async function tryMutant(copy, mutant, recorded, isDeno) {
  const meeting = recorded.filter(({ counts }) => counts.has(mutant.id));
  if (meeting.length === 0) return { state: "unreached" };
  for (const { test, counts, ms } of meeting) {
    const turns = Math.max(TURNS_MIN, counts.get(mutant.id) * 10 * TURNS_FACTOR);
    const env = { ACTIVE_MUTANT: String(mutant.id), ACTIVE_MUTANT_TURNS: String(turns) };
    const minutesMax = 1 + ms * 20 / 60_000;
    const fails = async () => !(await runTest(copy, test, { isDeno, env, minutesMax })).passed;
    if (await fails() && (ms < QUICK_MS || await fails())) return { state: "killed", by: test };
  }
  return { state: "survived" };
}

/** Tests a target; returns how many mutants it has, `{ killed, argued, total }`. */
async function mutate(ts, target, { isDeno, onlySurvivors, isShort, words, jobs }) {
  const { sources, tests, others } = TARGETS[target];
  const paths = sources.flatMap((source) => source.endsWith(".ts") ? [source] : filesUnder(source, /\.ts$/));
  const all = findMutants(ts, paths);
  const mutants = all.filter(({ path }) => words.length === 0 || words.some((word) => path.includes(word)));
  const kept = join(KEPT, `${target}${isDeno ? "-deno" : ""}.json`);
  const results = existsSync(kept) ? JSON.parse(readFileSync(kept, "utf8")) : {};
  const left = mutants.filter(({ key }) => !onlySurvivors || results[key]?.state !== "killed");
  const save = () => {
    mkdirSync(KEPT, { recursive: true });
    writeFileSync(kept, JSON.stringify(results, null, 1));
  };
  const filesOf = (starts) =>
    starts.flatMap((start) => start.endsWith(".ts") ? [start] : filesUnder(start, /_test\.ts$/));
  await withCopy(async (copy) => {
    const files = filesOf(tests);
    putMutants(copy, all, true);
    putCollector(copy, files);
    const recorded = await recordCollected(copy, files, isDeno);
    putMutants(copy, all, false);
    console.error(`${target}: ${left.length} mutants, ${recorded.tests.length} tests in one process`);
    const byId = new Map(mutants.map((mutant) => [mutant.id, mutant]));
    let done = 0;
    const onResult = (id, result) => {
      results[byId.get(id).key] = result;
      if (++done % 100 === 0) save();
    };
    await tryMany(copy, files, left, { ...recorded, isDeno, onResult });
    save();
  });
  if (!isShort) {
    const alone = left.filter(({ key }) => results[key].state !== "killed");
    await withCopy((copy) =>
      tryAlone(copy, all, alone, { files: filesOf(others), results, isDeno, jobs, save })
    );
  }
  return report(target, mutants, results);
}

/** Has mutants meet test files, a process for each of both. */
async function tryAlone(copy, all, mutants, { files, results, isDeno, jobs, save }) {
  console.error(`${mutants.length} mutants meet ${files.length} files, a process each`);
  putMutants(copy, all, true);
  const recorded = await recordTests(copy, files, isDeno);
  putMutants(copy, all, false);
  await timeTests(copy, recorded, isDeno);
  let done = 0;
  const queue = mutants.values();
  await Promise.all(Array.from({ length: jobs }, async () => {
    for (const mutant of queue) {
      results[mutant.key] = await tryMutant(copy, mutant, recorded, isDeno);
      if (++done % 20 === 0) {
        save();
        console.error(`${done} of ${mutants.length}`);
      }
    }
  }));
  save();
}

/** Prints what survived, and a table by file. */
function report(target, mutants, results) {
  const isArgued = readArgued();
  const total = { killed: 0, argued: 0, total: 0 };
  const rows = [];
  for (const [path, own] of byPath(mutants)) {
    const row = { killed: 0, argued: 0, total: own.length };
    for (const mutant of own) {
      const { state } = results[mutant.key] ?? { state: "unreached" };
      if (state === "killed") row.killed++;
      else if (isArgued(mutant)) row.argued++;
      else console.log(`${state.padEnd(9)} ${path}:${mutant.line}  ${describe(mutant)}`);
    }
    rows.push([path, row]);
    for (const name of Object.keys(total)) total[name] += row[name];
  }
  console.log(`\n${"mutants".padStart(48)} killed   argued   score`);
  for (const [path, row] of [...rows, [target, total]]) {
    const score = `${(row.killed / row.total * 100).toFixed(1)} %`;
    const numbers = [row.total, row.killed, row.argued].map((number) => String(number).padStart(7)).join(
      "  ",
    );
    console.log(`${path.padEnd(40)} ${numbers}  ${score.padStart(7)}`);
  }
  return total;
}

function describe({ kind, from, text }) {
  const short = (piece) => piece.replace(/\s+/g, " ").slice(0, 100);
  return kind === "statement" ? `without \`${short(from)}\`` : `\`${short(from)}\` is \`${short(text)}\``;
}

const given = process.argv.slice(2);
const jobsAt = given.indexOf("--jobs");
const jobs = jobsAt < 0 ? 2 : Number(given.splice(jobsAt, 2)[1]);
const names = given.filter((word) => Object.hasOwn(TARGETS, word));
const words = given.filter((word) => !word.startsWith("--") && !Object.hasOwn(TARGETS, word));
const options = {
  isDeno: given.includes("--deno"),
  onlySurvivors: given.includes("--survivors"),
  words,
  jobs,
};
const ts = createRequire(import.meta.url)(await installParser());
for (const target of names.length > 0 ? names : Object.keys(TARGETS)) {
  const { killed, total } = await mutate(ts, target, options);
  if (killed < total * SCORE_MIN) process.exitCode = 1;
}
