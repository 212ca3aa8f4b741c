/**
 * Mutation testing of the write log's C side, ffi/writer.c: as scripts/mutate.mjs, one compilation a mutant.
 *
 *   node scripts/mutate_c.mjs                  all of them, with the C tests: an hour
 *   node scripts/mutate_c.mjs --survivors      those that no test noticed the last time
 *   node scripts/mutate_c.mjs --runtime        those then meet tests of src/write in Bun as well: hours
 *   --lines 300-400                            only of these lines
 *   --jobs 1                                   at once; 2 unless given
 *
 * @module
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { LANGUAGE, shimSources } from "./build_shim.mjs";
import { readArgued } from "./instrument/argued.mjs";
import { cMutantsOf } from "./instrument/c_mutants_of.mjs";
import { BUN, compiler, ROOT, run } from "./project.mjs";
import { withCopy } from "./source_copy.mjs";

const SOURCE = "ffi/writer.c";
const TESTS = ["tests/c/writer_test.c", "tests/c/writer_sqlite_test.c"];
const RUNTIME_TESTS = [
  ...["write_log", "log_damage", "several_files", "states", "w_bugs", "recovery", "attached", "conflict"],
].map((name) => `tests/write/${name}_test.ts`);
const COMPILE = [...LANGUAGE, "-O1", "-w", "-fPIC", "-Iffi", "-c"];
const SHARED = ["-shared", "-pthread", "-Wl,-z,nodelete", "-Wl,-Bsymbolic", "-Wl,--exclude-libs,ALL"];
const KEPT = join(ROOT, "build", "mutation", "writer_c.json");

/** A test that takes this many times as long as without a mutant, and a minute, has failed. */
const PATIENCE = 20;

async function compile(source, object, flags = []) {
  return await run(compiler(), [...COMPILE, ...flags, "-o", object, source]);
}

async function must(result, what) {
  const { code, output } = await result;
  if (code !== 0) throw new Error(`Cannot ${what}: ${output}`);
}

/** What a mutant is linked with: `{ objects, shared, tests }`. */
async function compileOthers(folder) {
  const kinds = { objects: ["-DSQLITE_CORE"], shared: ["-fvisibility=hidden"] };
  const made = { objects: [], shared: [], tests: [] };
  for (const [kind, flags] of Object.entries(kinds)) {
    for (const source of shimSources().filter((path) => path !== SOURCE)) {
      const object = join(folder, `${kind}-${basename(source, ".c")}.o`);
      await must(compile(source, object, flags), `compile ${source}`);
      made[kind].push(object);
    }
  }
  for (const test of TESTS) {
    const object = join(folder, `${basename(test, ".c")}.o`);
    await must(compile(test, object, ["-DSQLITE_CORE"]), `compile ${test}`);
    made.tests.push({ test, object, ms: 0 });
  }
  return made;
}

/** Links a test with a mutant's object and runs it: whether it passes. */
async function passes({ test, object, ms }, writer, { objects }, folder) {
  const program = join(folder, basename(test, ".c"));
  const libraries = ["-lsqlite3", "-l:liblz4.a", "-lm"];
  await must(
    run(compiler(), ["-pthread", "-o", program, object, writer, ...objects, ...libraries]),
    `link ${test}`,
  );
  const { code } = await run(program, [], { cwd: ROOT, minutesMax: 1 + ms * PATIENCE / 60_000 });
  return code === 0;
}

/** Whether tests of the runtime pass with a mutant's shim. */
async function passesInRuntime(source, { shared }, folder, copy, test) {
  const object = join(folder, "shared-writer.o");
  await must(compile(source, object, ["-fvisibility=hidden"]), "compile a mutant");
  const shim = join(copy, "ffi", "build", "litestream_vfs.so");
  await must(run(compiler(), [...SHARED, "-o", shim, object, ...shared, "-l:liblz4.a"]), "link a shim");
  const env = { NO_COLOR: "1" };
  const { code } = await run(BUN, ["test", "--bail", "--timeout", "120000", `./${test}`], {
    cwd: copy,
    env,
    minutesMax: 5,
  });
  return code === 0;
}

/** Has a mutant meet the tests. */
async function tryMutant(mutant, source, made, folder) {
  const path = join(folder, "writer.c");
  writeFileSync(path, source.slice(0, mutant.start) + mutant.text + source.slice(mutant.end));
  const writer = join(folder, "writer.o");
  const { code } = await compile(path, writer, ["-DSQLITE_CORE"]);
  if (code !== 0) return { state: "invalid" };
  for (const test of made.tests) {
    if (!await passes(test, writer, made, folder)) return { state: "killed", by: test.test };
  }
  return { state: "survived" };
}

async function timeTests(source, made, folder) {
  const path = join(folder, "writer.c");
  writeFileSync(path, source);
  await must(compile(path, join(folder, "writer.o"), ["-DSQLITE_CORE"]), "compile the source");
  for (const test of made.tests) {
    const started = performance.now();
    if (!await passes(test, join(folder, "writer.o"), made, folder)) {
      throw new Error(`${test.test} fails by itself`);
    }
    test.ms = performance.now() - started;
    console.error(`${(test.ms / 1000).toFixed(1).padStart(6)} s  ${test.test}`);
  }
  made.tests.sort((a, b) => a.ms - b.ms);
}

/** All mutants, each with the key that it is known by: `{ start, end, text, line, from, within, key }`. */
function findMutants(source) {
  const lines = source.split("\n");
  const times = new Map();
  return cMutantsOf(source).map((mutant) => {
    const from = source.slice(mutant.start, mutant.end);
    const within = lines[mutant.line - 1].trim();
    const lineStart = source.lastIndexOf("\n", mutant.start - 1) + 1;
    const key = `${within} ${mutant.start - lineStart} ${from} ${mutant.text}`;
    times.set(key, (times.get(key) ?? 0) + 1);
    return {
      ...mutant,
      path: SOURCE,
      from,
      within,
      key: times.get(key) > 1 ? `${key} #${times.get(key)}` : key,
    };
  });
}

async function tryAll(left, source, results, { jobs, isRuntime }) {
  const folder = mkdtempSync(join(tmpdir(), "mutate-c-"));
  const save = () => {
    mkdirSync(join(ROOT, "build", "mutation"), { recursive: true });
    writeFileSync(KEPT, JSON.stringify(results, null, 1));
  };
  try {
    const made = await compileOthers(folder);
    await timeTests(source, made, folder);
    const queue = left.values();
    let done = 0;
    const work = (act) =>
      Promise.all(Array.from({ length: jobs }, async (_, i) => {
        const own = join(folder, String(i));
        mkdirSync(own, { recursive: true });
        for (const mutant of queue) {
          results[mutant.key] = await act(mutant, own);
          if (++done % 25 === 0) {
            save();
            console.error(`${done} of ${left.length}`);
          }
        }
      }));
    if (!isRuntime) await work((mutant, own) => tryMutant(mutant, source, made, own));
    else {
      await withCopies(jobs, (copies) =>
        work(async (mutant, own) => {
          const path = join(own, "writer.c");
          writeFileSync(path, source.slice(0, mutant.start) + mutant.text + source.slice(mutant.end));
          for (const test of RUNTIME_TESTS) {
            const fails = async () =>
              !await passesInRuntime(path, made, own, copies[Number(basename(own))], test);
            if (await fails() && await fails()) return { state: "killed", by: test };
          }
          return { state: "survived" };
        }));
    }
  } finally {
    save();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** So many copies of the sources at once. */
async function withCopies(count, use, copies = []) {
  if (copies.length === count) return await use(copies);
  return await withCopy((copy) => {
    mkdirSync(join(copy, "ffi", "build"), { recursive: true });
    return withCopies(count, use, [...copies, copy]);
  });
}

/** Prints what survived and the score. */
function report(mutants, results) {
  const isArgued = readArgued();
  const counts = { killed: 0, argued: 0, survived: 0, invalid: 0, untried: 0 };
  for (const mutant of mutants) {
    const { state } = results[mutant.key] ?? { state: "untried" };
    const counted = state === "survived" && isArgued(mutant) ? "argued" : state;
    counts[counted]++;
    if (counted === "survived") {
      console.log(
        `survived  ${SOURCE}:${mutant.line}  ${mutant.within}\n            \`${mutant.from}\` is \`${mutant.text}\``,
      );
    }
  }
  const total = counts.killed + counts.argued + counts.survived;
  const score = (counts.killed / total * 100).toFixed(1);
  console.log(
    `\n${SOURCE}: ${total} mutants, ${counts.killed} killed, ${counts.argued} argued, ${score} %; ` +
      `${counts.invalid} do not compile, ${counts.untried} untried`,
  );
}

const given = process.argv.slice(2);
const valueOf = (name, otherwise) => given.includes(name) ? given[given.indexOf(name) + 1] : otherwise;
const [from, to] = valueOf("--lines", "0-99999").split("-").map(Number);
const isRuntime = given.includes("--runtime");
const source = readFileSync(join(ROOT, SOURCE), "utf8");
const mutants = findMutants(source).filter(({ line }) => line >= from && line <= to);
const results = existsSync(KEPT) ? JSON.parse(readFileSync(KEPT, "utf8")) : {};
const left = mutants.filter(({ key }) => {
  if (isRuntime) return results[key]?.state === "survived";
  return !given.includes("--survivors") || !["killed", "invalid"].includes(results[key]?.state);
});
await tryAll(left, source, results, { jobs: Number(valueOf("--jobs", "2")), isRuntime });
report(mutants, results);
