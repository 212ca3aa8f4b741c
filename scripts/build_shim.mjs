/**
 * Compiles ffi/*.c into ffi/build/litestream_vfs.so, when the sources, flags or compiler have changed.
 *
 *   node scripts/build_shim.mjs            CC=clang chooses the compiler
 *
 * The file appears whole (written beside, then renamed), so a process that has the old one open keeps it.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { compiler, filesUnder, ROOT, run } from "./project.mjs";

/** Every warning the C sources must pass; the C tests use the same. */
export const WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"];

/** The language the C sources are written in: C11 and POSIX 2008, nothing else of the platform. */
export const LANGUAGE = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-pthread"];

const COMPILE = [...LANGUAGE, "-O2", "-fPIC", "-fvisibility=hidden", ...WARNINGS];
// nodelete: SQLite may unload an extension while threads still run in it. Bsymbolic: SQLite makes an extension's symbols
// global, and another copy of the shim must not call into this one. LZ4 is ours alone: its symbols stay inside.
const LINK = [
  "-shared",
  "-Wl,-z,nodelete",
  "-Wl,-z,defs",
  "-Wl,-Bsymbolic",
  "-Wl,--exclude-libs,ALL",
  "-l:liblz4.a",
];

/** The C sources that make the shim. */
export function shimSources(root = ROOT) {
  return filesUnder("ffi", /^ffi[\\/][^\\/]+\.c$/, root);
}

/** Builds when needed; returns `{ path, built }`. */
export async function buildShim({ root = ROOT, cc = compiler() } = {}) {
  if (process.platform !== "linux") {
    throw new Error(`Cannot build the shim on ${process.platform}: this script links with GNU ld`);
  }
  if (cc === undefined) {
    throw new Error("Cannot build the shim: no C compiler found, expected cc, gcc or clang");
  }
  const sources = shimSources(root);
  if (sources.length === 0) throw new Error("Cannot build the shim: no C source in ffi/");
  const folder = join(root, "ffi", "build");
  const path = join(folder, "litestream_vfs.so");
  const stamp = `${path}.sha256`;
  const wanted = fingerprint(root, cc);
  if (existsSync(path) && existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) {
    return { path, built: false };
  }
  mkdirSync(folder, { recursive: true });
  const unfinished = `${path}.${process.pid}.tmp`;
  const { code, output } = await run(cc, [...COMPILE, "-o", unfinished, ...sources, ...LINK], { cwd: root });
  if (code !== 0) {
    rmSync(unfinished, { force: true });
    throw new Error(`Cannot build the shim: ${cc} exited with ${code}\n${output}`);
  }
  renameSync(unfinished, path);
  writeFileSync(`${stamp}.${process.pid}.tmp`, wanted);
  renameSync(`${stamp}.${process.pid}.tmp`, stamp);
  return { path, built: true };
}

function fingerprint(root, cc) {
  const hash = createHash("sha256");
  hash.update(spawnSync(cc, ["--version"]).stdout ?? "").update([cc, ...COMPILE, ...LINK].join("\n"));
  for (const path of filesUnder("ffi", /^ffi[\\/][^\\/]+\.[ch]$/, root)) {
    hash.update(`\n${path}\n`).update(readFileSync(join(root, path)));
  }
  return hash.digest("hex");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildShim().then(
    ({ path, built }) => console.error(`${built ? "built" : "up to date"}: ${path}`),
    (error) => {
      console.error(error.message);
      process.exit(1);
    },
  );
}
