/**
 * Compiles the shim for every platform, from this machine, and writes the libraries into ffi/prebuilt/, as TypeScript.
 *
 *   node scripts/prebuild.mjs                  all targets, WASM among them (scripts/prebuild_wasm.mjs); sizes are told
 *   node scripts/prebuild.mjs --check          compiles, one in another folder as well, and compares with what is there:
 *                                              exit code 1 where they differ
 *   node scripts/prebuild.mjs --into FOLDER    the libraries themselves, into a folder
 *   …  --check|--into … --only linux_x64,…     these targets alone, without WASM
 *
 * The same sources give the same bytes, wherever the checkout lies: compiler, LZ4 and SQLite's headers are pinned by
 * checksum (scripts/setup.mjs), and nothing in a library names a folder or a time.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { shimSources } from "./build_shim.mjs";
import {
  filesUnder,
  LZ4_PACKAGE_VERSION,
  ROOT,
  run,
  SQLITE_PACKAGE_VERSION,
  TOOLS,
  ZIG_VERSION,
} from "./project.mjs";
import { setup } from "./setup.mjs";

const ELF = ["-z", "nodelete", "-z", "defs", "-Bsymbolic", "-fno-soname"];
const MACH_O = ["-install_name", "@rpath/litestream_vfs.dylib", "-dead_strip"];

/** glibc 2.17 is the oldest that Bun runs on; a library for it runs on musl, too. No target but Windows wants compiler-rt. */
export const TARGETS = [
  {
    name: "linux_x64",
    zig: "x86_64-linux-gnu.2.17",
    file: "litestream_vfs.so",
    flags: [...ELF, "-fno-compiler-rt"],
    define: ["-DLS_OLD_GLIBC"],
  },
  {
    name: "linux_arm64",
    zig: "aarch64-linux-gnu.2.17",
    file: "litestream_vfs.so",
    flags: [...ELF, "-fno-compiler-rt"],
    define: ["-DLS_OLD_GLIBC"],
  },
  {
    name: "macos_x64",
    zig: "x86_64-macos.11.0",
    file: "litestream_vfs.dylib",
    flags: [...MACH_O, "-fno-compiler-rt"],
  },
  {
    name: "macos_arm64",
    zig: "aarch64-macos.11.0",
    file: "litestream_vfs.dylib",
    flags: [...MACH_O, "-fno-compiler-rt"],
  },
  {
    name: "windows_x64",
    zig: "x86_64-windows-gnu",
    file: "litestream_vfs.dll",
    flags: ["-lbcrypt", "-fno-emit-implib"],
  },
];

/** Compilers at once. */
const AT_ONCE = 2;

const FOLDER = join("ffi", "prebuilt");

const SMALL = ["-O2", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"];
const SHIM = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", ...SMALL, "-Wall", "-Wextra", "-Wno-sign-conversion"];
// LZ4 as a library shows its symbols; as a part of one that has another copy beside it, it must not.
const LZ4 = [
  ...["-w", ...SMALL, "-DLZ4LIB_VISIBILITY=", "-DLZ4FLIB_VISIBILITY=", "-DXXH_NAMESPACE=LZ4_"],
  ...["-DLZ4_USER_MEMORY_FUNCTIONS", "-DLZ4_malloc=malloc", "-DLZ4_calloc=calloc", "-DLZ4_free=free"],
];

/** Where an installed compiler or source lies. */
export function toolFolders() {
  const { ZIG_FOLDER, LZ4_SOURCE_FOLDER, SQLITE_SOURCE_FOLDER } = process.env;
  const lz4 = LZ4_SOURCE_FOLDER ?? join(TOOLS, `lz4-source-${LZ4_PACKAGE_VERSION}`);
  const sqlite = SQLITE_SOURCE_FOLDER ?? join(TOOLS, `sqlite-source-${SQLITE_PACKAGE_VERSION}`);
  return {
    zig: join(ZIG_FOLDER ?? join(TOOLS, `zig-${ZIG_VERSION}`), "zig"),
    lz4: join(lz4, "deps", "librdkafka", "src"),
    sqlite: join(sqlite, "deps", "sqlite3"),
  };
}

/** Zig keeps here what it has compiled, of its own and of others; `cache` for what is to be compiled anew. */
export function zigEnv(cache = join(TOOLS, "zig-cache")) {
  return {
    ZIG_GLOBAL_CACHE_DIR: join(TOOLS, "zig-cache"),
    ZIG_LOCAL_CACHE_DIR: cache,
    SOURCE_DATE_EPOCH: "0",
  };
}

/** Compiles the shim whose sources are under `root` for one of {@link TARGETS}, into a file. */
export async function compile(target, into, { root = ROOT, cache } = {}) {
  const { zig, lz4, sqlite } = toolFolders();
  const args = [
    ...["build-lib", "-dynamic", "-target", target.zig, "--name", "litestream_vfs", `-femit-bin=${into}`],
    ...["-fstrip", "-O", "ReleaseFast", "-fno-stack-protector", "-lc", "--gc-sections", ...target.flags],
    ...["-isystem", lz4, "-isystem", sqlite],
    ...["-cflags", ...SHIM, ...target.define ?? [], "--", ...shimSources(root)],
    ...["-cflags", ...LZ4, "--"],
    ...["lz4.c", "lz4frame.c", "lz4hc.c", "rdxxhash.c"].map((name) => join(lz4, name)),
  ];
  const { code, output } = await run(zig, args, { cwd: root, env: zigEnv(cache), minutesMax: 10 });
  if (code !== 0) throw new Error(`Cannot compile ${target.name}: zig exited with ${code}\n${output}`);
  if (target.file.endsWith(".dll")) forgetTime(into);
}

/** Linkers of Windows note when they ran, 8 bytes into the header that the DOS header points to. */
function forgetTime(path) {
  const bytes = readFileSync(path);
  bytes.writeUInt32LE(0, bytes.readUInt32LE(0x3c) + 8);
  writeFileSync(path, bytes);
}

/** Compiles some targets into a folder, `<name>/<file>` each, a few at once. */
async function compileAll(targets, folder) {
  const left = [...targets];
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let target = left.shift(); target !== undefined; target = left.shift()) {
      mkdirSync(join(folder, target.name), { recursive: true });
      await compile(target, join(folder, target.name, target.file));
    }
  }));
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

const GENERATED = "// Generated by scripts/prebuild.mjs: do not edit.\n// deno-fmt-ignore-file\n";

/** A library as a module; lines go on, so that nobody has to read one of 100 kB. */
function libraryModule(bytes) {
  const lines = gzipSync(bytes, { level: 9 }).toString("base64").match(/.{1,106}/g);
  return `${GENERATED}export const base64: string = "\\\n${lines.join("\\\n")}";\n`;
}

/** What {@link libraryModule} was made of. */
export function libraryOf(path) {
  const [, text] = /"([^"]*)"/.exec(readFileSync(path, "utf8"));
  return gunzipSync(Buffer.from(text.replaceAll("\\\n", ""), "base64"));
}

/** A checksum of all that the libraries are made of, so that a test can tell stale ones without a compiler. */
export function fingerprint(root = ROOT) {
  const hash = createHash("sha256").update(JSON.stringify([TARGETS, SHIM, LZ4]));
  hash.update([ZIG_VERSION, LZ4_PACKAGE_VERSION, SQLITE_PACKAGE_VERSION].join("\n"));
  for (const path of filesUnder("ffi", /^ffi[\\/][^\\/]+\.[ch]$/, root)) {
    if (!/_wasm\.[ch]$/.test(path)) hash.update(`\n${path}\n`).update(readFileSync(join(root, path)));
  }
  return hash.digest("hex");
}

function indexLine({ name, file, size, hash }) {
  return `  ${name}: { file: "${file}", size: ${size}, sha256: "${hash}" },\n`;
}

function indexModule(entries) {
  const lines = entries.map(indexLine);
  return `${GENERATED}
/** A library of this folder: its file's name, bytes, and SHA-256 in hex. */
export interface Prebuilt {
  readonly file: string;
  readonly size: number;
  readonly sha256: string;
}

/** A checksum of what they were made of. */
export const sources: string = "${fingerprint()}";

/** What there is a library for. */
export type Target = ${entries.map(({ name }) => `"${name}"`).join(" | ")};

/** The libraries, by target. */
export const prebuilt: Readonly<Record<Target, Prebuilt>> = {
${lines.join("")}};
`;
}

/** What there is to tell of the libraries in a folder. */
function describe(targets, folder) {
  return targets.map((target) => {
    const bytes = readFileSync(join(folder, target.name, target.file));
    return { ...target, bytes, size: bytes.length, hash: sha256(bytes) };
  });
}

function writeModules(entries) {
  mkdirSync(join(ROOT, FOLDER), { recursive: true });
  for (const { name, bytes, size } of entries) {
    const module = libraryModule(bytes);
    writeFileSync(join(ROOT, FOLDER, `${name}.ts`), module);
    console.log(
      `${name.padEnd(12)} ${size} bytes, ${
        gzipSync(bytes, { level: 9 }).length
      } by gzip, ${module.length} as a module`,
    );
  }
  writeFileSync(join(ROOT, FOLDER, "index.ts"), indexModule(entries));
}

/** Whether the modules are what the sources give; compressed bytes may differ, as between releases of zlib. */
function isUpToDate(entries) {
  const stale = [];
  for (const { name, hash } of entries) {
    const path = join(ROOT, FOLDER, `${name}.ts`);
    if (!existsSync(path) || sha256(libraryOf(path)) !== hash) stale.push(`${FOLDER}/${name}.ts`);
  }
  const index = readFileSync(join(ROOT, FOLDER, "index.ts"), "utf8");
  const lines = [...entries.map(indexLine), `"${fingerprint()}";\n`];
  if (!lines.every((line) => index.includes(line))) stale.push(`${FOLDER}/index.ts`);
  for (const path of stale) {
    console.error(
      `Cannot use ${path}: it is not what the sources give, expected \`npm run shims\` after each change`,
    );
  }
  return stale.length === 0;
}

/** Whether a checkout elsewhere, of which nothing is known yet, gives the same library. */
async function isSameElsewhere(entries, folder) {
  const root = join(folder, "a folder of another name");
  mkdirSync(join(root, "ffi"), { recursive: true });
  for (const path of filesUnder("ffi", /^ffi[\\/][^\\/]+\.[ch]$/)) cpSync(join(ROOT, path), join(root, path));
  const [{ name, file, hash }] = entries;
  await compile(TARGETS.find((target) => target.name === name), join(root, file), {
    root,
    cache: join(root, "cache"),
  });
  const found = sha256(readFileSync(join(root, file)));
  if (found === hash) return true;
  console.error(`Cannot reproduce ${name}: its SHA-256 is ${found} in "${root}", expected ${hash}`);
  return false;
}

async function main(args) {
  const option = (name) => args.includes(name) ? args[args.indexOf(name) + 1] : undefined;
  const only = option("--only")?.split(",");
  const targets = TARGETS.filter(({ name }) => only === undefined || only.includes(name));
  await setup("prebuild");
  if (option("--into") !== undefined) {
    await compileAll(targets, resolve(option("--into")));
    return true;
  }
  const folder = mkdtempSync(join(tmpdir(), "prebuild-"));
  try {
    const isAll = targets.length === TARGETS.length;
    const check = args.includes("--check");
    if (!check && !isAll) {
      throw new Error("Cannot write some libraries: they lie there with the others or not at all");
    }
    await compileAll(targets, folder);
    const entries = describe(targets, folder);
    if (check && !(isUpToDate(entries) && await isSameElsewhere(entries, folder))) return false;
    if (!check) writeModules(entries);
    if (!isAll) return true;
    const { prebuildWasm } = await import("./prebuild_wasm.mjs"); // which needs this module
    return await prebuildWasm({ check });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // Not awaited: what main() imports waits for this module's end.
  main(process.argv.slice(2)).then((ok) => ok ? 0 : 1, (error) => {
    console.error(error.message);
    return 1;
  }).then((code) => process.exitCode = code);
}
