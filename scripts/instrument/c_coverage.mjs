/**
 * The shim compiled with counters, as C tests link it and as runtimes load it, and what the counters say.
 *
 * @module
 */
import { mkdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { LANGUAGE, shimSources } from "../build_shim.mjs";
import { compiler, filesUnder, run } from "../project.mjs";

const COUNTED = [...LANGUAGE, "-O0", "-g", "-fPIC", "--coverage", "-fprofile-update=atomic", "-Iffi"];
/** What a runtime loads; see scripts/build_shim.mjs. */
const SHARED = [
  "-shared",
  "-pthread",
  "-Wl,-z,nodelete",
  "-Wl,-Bsymbolic",
  "-Wl,--exclude-libs,ALL",
  "--coverage",
];

async function must(command, args, options) {
  const { code, output } = await run(command, args, options);
  if (code !== 0) {
    throw new Error(`Cannot run ${command} ${args.join(" ")}: it ended with ${code}\n${output}`);
  }
  return output;
}

async function compile(path, folder, flags = []) {
  const object = join(folder, `${basename(path, ".c")}.o`);
  await must(compiler(), [...COUNTED, ...flags, "-c", "-o", object, path]);
  return object;
}

/** Compiles a shim for runtimes to `path`; its counters are kept in `folder`. */
export async function buildCountedShim(path, folder) {
  mkdirSync(folder, { recursive: true });
  const objects = [];
  for (const source of shimSources()) objects.push(await compile(source, folder, ["-fvisibility=hidden"]));
  const dump = join(folder, "..", "coverage_dump.o");
  await must(compiler(), [...LANGUAGE, "-fPIC", "-c", "-o", dump, "scripts/instrument/coverage_dump.c"]);
  await must(compiler(), [...SHARED, "-o", path, ...objects, dump, "-l:liblz4.a"]);
}

/** Runs all C tests; their counters are kept in `folder`. Throws when one fails. */
export async function runCTests(folder, say) {
  mkdirSync(folder, { recursive: true });
  const sources = shimSources();
  const objects = new Map();
  for (const source of sources) {
    objects.set(basename(source), await compile(source, folder, ["-DSQLITE_CORE"]));
  }
  for (const test of filesUnder("tests/c", /_test\.c$/)) {
    const object = await compile(test, folder, ["-DSQLITE_CORE"]);
    const text = readFileSync(test, "utf8");
    const included = new Set([...text.matchAll(/#include "[^"]*ffi\/(\w+\.c)"/g)].map(([, name]) => name));
    const linked = [...objects].filter(([name]) => !included.has(name)).map(([, path]) => path);
    const program = join(folder, basename(test, ".c"));
    const libraries = ["-lsqlite3", "-l:liblz4.a", "-lm"];
    await must(compiler(), ["-pthread", "--coverage", "-o", program, object, ...linked, ...libraries]);
    const { code, output } = await run(program, []);
    if (code !== 0) say(`fails: ${test}\n${output.slice(-2000)}`);
  }
}

/** What the counters in `folder` say of ffi/: points by their key, and whether they were reached. */
export async function readCounters(folder) {
  const reached = new Map();
  const tell = (key, isReached) => reached.set(key, reached.get(key) || isReached);
  for (const notes of filesUnder(".", /\.gcno$/, folder)) {
    const output = await must("gcov", ["--json-format", "--stdout", "--branch-probabilities", notes], {
      cwd: folder,
    });
    const [json] = output.split("\n").filter((line) => line.startsWith("{")); // beside words for a person
    for (const { file, lines, functions } of json ? JSON.parse(json).files : []) {
      if (!/^ffi\/\w+\.[ch]$/.test(file)) continue;
      for (const { start_line, name, execution_count } of functions) {
        tell(`${file} function ${start_line} ${name}`, execution_count > 0);
      }
      for (const { line_number, count, branches } of lines) {
        tell(`${file} line ${line_number}`, count > 0);
        branches.forEach(({ count }, i) => tell(`${file} branch ${line_number} ${i}`, count > 0));
      }
    }
  }
  return reached;
}
