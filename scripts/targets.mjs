/**
 * Tries the prebuilt shims on every platform that this machine can be, and prints the matrix: what was built, what was run.
 *
 *   node scripts/targets.mjs                      all of them
 *   node scripts/targets.mjs linux_arm64          these targets alone
 *
 * What it uses where it is there (Debian names): `musl-tools`; `qemu-user-static` with `libc6-arm64-cross`; `wine64`. What
 * cannot be run is told so, with the reason. Exit code 1 where something that ran has failed.
 *
 * @module
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { libraryOf, TARGETS, toolFolders, zigEnv } from "./prebuild.mjs";
import { BUN, DENO, FOREIGN_BUN_VERSION, ROOT, run, TOOLS, works } from "./project.mjs";
import { installForeign, setup } from "./setup.mjs";

const ROUND_TRIP = join("tests", "targets", "round_trip.ts");
const ARM64_SYSTEM = "/usr/aarch64-linux-gnu";
const MINUTES_MAX = 5;

/** Wine 8 has no bcryptprimitives.dll, of which Bun wants one function. */
const RANDOM_C = `
#include <stddef.h>
__declspec(dllimport) unsigned char SystemFunction036(void*, unsigned long);
__declspec(dllexport) int ProcessPrng(unsigned char *p, size_t n){ return SystemFunction036(p, (unsigned long)n); }
`;

const home = mkdtempSync(join(tmpdir(), "targets-"));

function wine() {
  return ["/usr/lib/wine/wine64", "wine64", "wine"].find((name) => works(name, ["--version"]));
}

function foreign(name, override, file) {
  return join(process.env[override] ?? join(TOOLS, `${name}-${FOREIGN_BUN_VERSION}`), "bin", file);
}

/** A target's library in a file. */
function unpacked({ name, file }) {
  const path = join(home, name, file);
  mkdirSync(join(home, name), { recursive: true });
  writeFileSync(path, libraryOf(join(ROOT, "ffi", "prebuilt", `${name}.ts`)), { mode: 0o700 });
  return path;
}

async function zig(args) {
  return await run(toolFolders().zig, args, { env: zigEnv(), minutesMax: MINUTES_MAX });
}

/** Every program is told which shim to take, or a checkout's own would be taken. */
function tryOut(command, args, target, env = {}) {
  const LITESTREAM_VFS_SHIM = target.file.endsWith(".dll") ? `Z:${unpacked(target)}` : unpacked(target);
  return run(command, args, { env: { LITESTREAM_VFS_SHIM, NO_COLOR: "1", ...env }, minutesMax: MINUTES_MAX });
}

async function onMusl(target) {
  const { sqlite } = toolFolders();
  const program = join(home, "load_shim");
  const sources = [join("tests", "targets", "load_shim.c"), join(sqlite, "sqlite3.c")];
  const built = await run("musl-gcc", [
    "-O1",
    "-w",
    `-I${sqlite}`,
    "-o",
    program,
    ...sources,
    "-lpthread",
    "-ldl",
  ]);
  return built.code === 0 ? await run(program, [unpacked(target)]) : built;
}

async function platformTestOn(target) {
  const program = join(home, `platform_test.exe`);
  const sources = [join("tests", "c", "platform_test.c"), join("ffi", "platform_windows.c")];
  const flags = ["-O", "ReleaseFast", "-lc", "-lbcrypt", "-Iffi", `-femit-bin=${program}`];
  const built = await zig([
    "build-exe",
    "-target",
    target.zig,
    ...flags,
    "-cflags",
    "-std=c11",
    "--",
    ...sources,
  ]);
  return built.code === 0 ? await run(wine(), [program], { env: wineEnv(), minutesMax: MINUTES_MAX }) : built;
}

function wineEnv() {
  return { WINEPREFIX: join(home, "wine"), WINEDEBUG: "-all" };
}

async function bunOnWine(target) {
  const folder = join(home, "windows");
  mkdirSync(folder);
  writeFileSync(join(folder, "random.c"), RANDOM_C);
  writeFileSync(
    join(folder, "bun.exe"),
    readFileSync(foreign("bun-windows-x64", "BUN_WINDOWS_X64_FOLDER", "bun.exe")),
  );
  const into = join(folder, "bcryptprimitives.dll");
  const flags = [
    "-target",
    target.zig,
    "-O",
    "ReleaseFast",
    "-lc",
    "-ladvapi32",
    "-dynamic",
    "-fno-emit-implib",
  ];
  const built = await zig(["build-lib", ...flags, `-femit-bin=${into}`, join(folder, "random.c")]);
  return built.code === 0
    ? await tryOut(wine(), [join(folder, "bun.exe"), ROUND_TRIP], target, wineEnv())
    : built;
}

/** Ways to run a target; `missing` names what a machine needs for it that has not got it. */
const WAYS = [
  {
    target: "linux_x64",
    on: "glibc, Deno",
    missing: () => isHere("linux", "x64"),
    run: (target) => tryOut(DENO, ["run", "-A", "--no-check", ROUND_TRIP], target),
  },
  {
    target: "linux_x64",
    on: "glibc, Bun",
    missing: () => isHere("linux", "x64"),
    run: (target) => tryOut(BUN, [ROUND_TRIP], target),
  },
  {
    target: "linux_x64",
    on: "musl, SQLite in C",
    missing: () => isHere("linux", "x64") ?? (works("musl-gcc", ["--version"]) ? undefined : "musl-tools"),
    run: onMusl,
  },
  {
    target: "linux_arm64",
    on: "glibc, Bun by QEMU",
    missing: () => {
      if (!works("qemu-aarch64-static", ["--version"])) return "qemu-user-static";
      return existsSync(join(ARM64_SYSTEM, "lib")) ? undefined : "libc6-arm64-cross";
    },
    run: (target) => {
      const bun = foreign("bun-linux-arm64", "BUN_LINUX_ARM64_FOLDER", "bun");
      return tryOut("qemu-aarch64-static", ["-L", ARM64_SYSTEM, bun, ROUND_TRIP], target);
    },
  },
  { target: "macos_x64", on: "macOS", missing: () => "a Mac" },
  { target: "macos_arm64", on: "macOS", missing: () => "a Mac" },
  {
    target: "windows_x64",
    on: "Wine, C",
    missing: () => wine() ? undefined : "wine64",
    run: platformTestOn,
  },
  {
    target: "windows_x64",
    on: "Wine, Bun",
    missing: () => wine() ? undefined : "wine64",
    run: bunOnWine,
  },
];

function isHere(platform, arch) {
  return process.platform === platform && process.arch === arch ? undefined : `${platform} on ${arch}`;
}

async function main(chosen) {
  await setup("prebuild");
  await installForeign();
  let failed = 0;
  for (const way of WAYS) {
    if (chosen.length > 0 && !chosen.includes(way.target)) continue;
    const target = TARGETS.find(({ name }) => name === way.target);
    const missing = way.missing();
    let told = `built only: it needs ${missing}`;
    if (missing === undefined) {
      const started = performance.now();
      const { code, output } = await way.run(target);
      const oks = output.match(/^ok /gm)?.length ?? 0;
      const isOk = code === 0 && oks > 0 && !/^not ok/m.test(output);
      if (!isOk) failed++;
      if (!isOk) console.log(output);
      told = `${isOk ? "ran" : "FAILED"}: ${oks} checks, ${
        ((performance.now() - started) / 1000).toFixed(1)
      } s`;
    }
    console.log(`${way.target.padEnd(12)} ${way.on.padEnd(20)} ${told}`);
  }
  return failed;
}

try {
  process.exitCode = await main(process.argv.slice(2)) > 0 ? 1 : 0;
} finally {
  rmSync(home, { recursive: true, force: true });
}
