/**
 * Compiles the shim, with SQLite, to WASM, and writes it into ffi/prebuilt/wasm.ts.
 *
 *   node scripts/prebuild_wasm.mjs             sizes are told
 *   node scripts/prebuild_wasm.mjs --check     compiles, and compares with what is there: exit code 1 where it differs
 *
 * The same sources give the same bytes; see scripts/prebuild.mjs, whose compiler and sources these are, too.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { shimSources } from "./build_shim.mjs";
import { toolFolders, zigEnv } from "./prebuild.mjs";
import {
  filesUnder,
  LZ4_PACKAGE_VERSION,
  ROOT,
  run,
  SQLITE_PACKAGE_VERSION,
  ZIG_VERSION,
} from "./project.mjs";
import { setup } from "./setup.mjs";

const MODULE = join("ffi", "prebuilt", "wasm.ts");

/** What both runtimes have had for years; threads need the first two. */
const FEATURES = "generic+atomics+bulk_memory+mutable_globals+sign_ext+nontrapping_fptoint";

// The memory is of one size: see ffi/wasm.ts.
const MEMORY = 1 << 30;
const LINK = [
  ...["-mexec-model=reactor", "--shared-memory", "--import-memory"],
  ...[`--initial-memory=${MEMORY}`, `--max-memory=${MEMORY}`],
];

const OPTIMIZE = [
  "-O2",
  "-fvisibility=hidden",
  "-fno-stack-protector",
  "-ffunction-sections",
  "-fdata-sections",
];

/** The C library's own are for one thread: ffi/platform_wasm.c has these. */
const HEAP = [
  ...["-Dmalloc=lsHeapAlloc", "-Dcalloc=lsHeapZeroed", "-Drealloc=lsHeapResize", "-Dfree=lsHeapFree"],
  "-Dstrdup=lsHeapText",
];

const SHIM = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", ...OPTIMIZE, ...HEAP, "-Wall", "-Wextra"];
const LZ4 = [
  "-w",
  ...OPTIMIZE,
  ...HEAP,
  "-DLZ4LIB_VISIBILITY=",
  "-DLZ4FLIB_VISIBILITY=",
  "-DXXH_NAMESPACE=LZ4_",
];

/** What the runtimes' own SQLite has, as far as it is of use without files. */
const SQLITE = [
  ...["OS_OTHER=1", "MUTEX_APPDEF=1", "THREADSAFE=2", "TEMP_STORE=3", "DEFAULT_MEMSTATUS=0", "CORE=1"],
  ...[
    "ENABLE_COLUMN_METADATA",
    "ENABLE_DBSTAT_VTAB",
    "ENABLE_FTS3",
    "ENABLE_FTS3_PARENTHESIS",
    "ENABLE_FTS4",
  ],
  ...["ENABLE_FTS5", "ENABLE_MATH_FUNCTIONS", "ENABLE_RTREE", "ENABLE_STAT4", "OMIT_SHARED_CACHE"],
].map((option) => `-DSQLITE_${option}`).concat("-DHAVE_LOCALTIME_R=1");

/** What ffi/wasm.ts and src/drivers/wasm_*.ts call beside the ABI. */
const EXPORTS = [
  ...["__stack_pointer", "__tls_size", "__wasm_init_tls", "lsHeapAlloc", "lsHeapFree", "ls_core_bell"],
  "ls_sqlite_load",
  ...[
    ...[
      "bind_blob64",
      "bind_double",
      "bind_int",
      "bind_int64",
      "bind_null",
      "bind_parameter_index",
      "bind_text",
    ],
    ...[
      "changes64",
      "clear_bindings",
      "close_v2",
      "column_blob",
      "column_bytes",
      "column_count",
      "column_double",
    ],
    ...["column_int64", "column_name", "column_text", "column_type", "errmsg", "errstr", "exec"],
    ...["extended_result_codes", "finalize", "get_autocommit", "last_insert_rowid", "open_v2", "prepare_v3"],
    ...["reset", "step"],
  ].map((name) => `sqlite3_${name}`),
];

/** The functions of ffi/shim.h. */
function abi(root) {
  const header = readFileSync(join(root, "ffi", "shim.h"), "utf8");
  return [...header.matchAll(/^LS_API int (\w+)\(/gm)].map(([, name]) => name);
}

function flags(root) {
  const exports = [...EXPORTS, ...abi(root)].map((name) => `--export=${name}`);
  return { link: [...LINK, ...exports], shim: SHIM, sqlite: SQLITE, lz4: LZ4, features: FEATURES };
}

/** A checksum of all that the module is made of, so that a test can tell a stale one without a compiler. */
export function fingerprint(root = ROOT) {
  const hash = createHash("sha256").update(JSON.stringify(flags(root)));
  hash.update([ZIG_VERSION, LZ4_PACKAGE_VERSION, SQLITE_PACKAGE_VERSION].join("\n"));
  for (const path of filesUnder("ffi", /^ffi[\\/][^\\/]+\.[ch]$/, root)) {
    if (/_(posix|windows)\.[ch]$/.test(path)) continue;
    hash.update(`\n${path}\n`).update(readFileSync(join(root, path)));
  }
  return hash.digest("hex");
}

/** Compiles the module into a file. */
export async function compileWasm(into, root = ROOT) {
  const { zig, lz4, sqlite } = toolFolders();
  const { link, shim } = flags(root);
  const sources = shimSources(root);
  const args = [
    ...["build-exe", "-target", "wasm32-wasi", `-mcpu=${FEATURES}`, "--name", "litestream_vfs"],
    ...[
      `-femit-bin=${into}`,
      "-fstrip",
      "-O",
      "ReleaseFast",
      "-lc",
      "-fno-stack-protector",
      "--gc-sections",
      ...link,
      "-isystem",
      lz4,
      "-isystem",
      sqlite,
    ],
    ...["-cflags", ...shim, "--", ...sources.filter((path) => !path.endsWith("sqlite_wasm.c"))],
    ...[
      "-cflags",
      ...shim,
      ...SQLITE,
      "-w",
      "--",
      ...sources.filter((path) => path.endsWith("sqlite_wasm.c")),
    ],
    ...["-cflags", ...LZ4, "--"],
    ...["lz4.c", "lz4frame.c", "lz4hc.c", "rdxxhash.c"].map((name) => join(lz4, name)),
  ];
  const { code, output } = await run(zig, args, { cwd: root, env: zigEnv(), minutesMax: 15 });
  if (code !== 0) throw new Error(`Cannot compile to WASM: zig exited with ${code}\n${output}`);
}

/** The module in TypeScript; lines go on, so that nobody has to read one of a megabyte. */
function wasmModule(bytes) {
  const lines = gzipSync(bytes, { level: 9 }).toString("base64").match(/.{1,106}/g);
  return `// Generated by scripts/prebuild_wasm.mjs: do not edit.
// deno-fmt-ignore-file
/** A checksum of what it was made of. */
export const sources: string = "${fingerprint()}";
/** The shim with SQLite: gzip of WASM. */
export const base64: string = "\\
${lines.join("\\\n")}";
`;
}

/** Compiles it, and writes the module; or, with `check`, tells whether it is what the sources give. */
export async function prebuildWasm({ check }) {
  const folder = mkdtempSync(join(tmpdir(), "prebuild-wasm-"));
  try {
    const path = join(folder, "litestream_vfs.wasm");
    await compileWasm(path);
    const bytes = readFileSync(path);
    if (check) return isUpToDate(bytes);
    const module = wasmModule(bytes);
    mkdirSync(join(ROOT, "ffi", "prebuilt"), { recursive: true });
    writeFileSync(join(ROOT, MODULE), module);
    const size = gzipSync(bytes, { level: 9 }).length;
    console.log(`wasm         ${bytes.length} bytes, ${size} by gzip, ${module.length} as a module`);
    return true;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Whether the module is what the sources give; compressed bytes may differ, as between releases of zlib. */
function isUpToDate(bytes) {
  const text = readFileSync(join(ROOT, MODULE), "utf8");
  const valueOf = (name) => new RegExp(`${name}: string = "([^"]*)"`).exec(text)[1].replaceAll("\\\n", "");
  const same = gunzipSync(Buffer.from(valueOf("base64"), "base64")).equals(bytes);
  if (same && valueOf("sources") === fingerprint()) return true;
  console.error(
    `Cannot use ${MODULE}: it is not what the sources give, expected \`npm run shims\` after each change`,
  );
  return false;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const made = setup("prebuild").then(() => prebuildWasm({ check: process.argv.includes("--check") }));
  process.exitCode = await made.then((ok) => ok ? 0 : 1, (error) => {
    console.error(error.message);
    return 1;
  });
}
