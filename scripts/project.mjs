/**
 * Where things are, and how a command is run. Plain Node, no dependency: it has to work before anything is installed.
 *
 * @module
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's folder. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** What setup puts here: the real parts that tests use. */
export const TOOLS = join(ROOT, ".tools");
/** Programs that npm installs. */
export const DENO = join(ROOT, "node_modules", ".bin", "deno");
export const BUN = join(ROOT, "node_modules", ".bin", "bun");

/** The real parts and their versions. tests/support/real.ts looks for them under the same names. */
export const LITESTREAM_VERSION = "0.5.17";
/** The last release that writes pages as LZ4 frames. */
export const LITESTREAM_FRAME_VERSION = "0.5.15";
export const S3_SERVER_VERSION = "1.8.0";
/** Of the wheel; the fake-gcs-server in it is 1.54.0. */
export const GCS_SERVER_WHEEL_VERSION = "0.1.1";
export const AZURITE_VERSION = "3.37.0";
/** What Deno Deploy says that it runs. */
export const DENO_OLD_VERSION = "2.5.0";
/** A WebDAV server. */
export const RCLONE_VERSION = "1.75.2";
export const NATS_SERVER_VERSION = "2.15.1";
/** The last minor release whose direct gets give one message each. */
export const NATS_SERVER_OLD_VERSION = "2.10.26";
export const MOTO_VERSION = "5.2.5";
export const GO_VERSION = "1.27.3";
/** Of other platforms, to try the shims there. */
export const FOREIGN_BUN_VERSION = "1.4.5";
/** What the prebuilt shims are made with and of; npm packages. */
export const ZIG_VERSION = "0.11.0";
/** It carries LZ4 1.9.4's source. */
export const LZ4_PACKAGE_VERSION = "3.6.1";
/** It carries SQLite 3.54.1's source. */
export const SQLITE_PACKAGE_VERSION = "13.2.0";
/** Parses the sources for scripts/mutate.mjs and scripts/coverage.mjs. */
export const TYPESCRIPT_VERSION = "5.9.3";

/**
 * Runs a command and returns `{ code, output }`, both streams in one string.
 *
 * It gets a process group of its own, which ends with it, with this process, or after `minutesMax`.
 */
export function run(command, args, { env = {}, cwd = ROOT, minutesMax = 60 } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      detached: true,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const chunks = [];
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    child.stderr.on("data", (chunk) => chunks.push(chunk));
    const endGroup = () => endProcessGroup(child.pid);
    process.once("exit", endGroup);
    const timer = setTimeout(() => {
      chunks.push(Buffer.from(`\nended after ${minutesMax} minutes\n`));
      endGroup();
    }, minutesMax * 60_000);
    const settle = (code, last) => {
      clearTimeout(timer);
      process.off("exit", endGroup);
      resolve({ code, output: Buffer.concat(chunks).toString() + last });
    };
    child.on("exit", endGroup);
    child.on("error", (error) => settle(127, `${error.message}\n`));
    child.on("close", (code, signal) => settle(code ?? 128, signal ? `ended by ${signal}\n` : ""));
  });
}

function endProcessGroup(pid) {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // nobody is left in it
  }
}

/** Whether a command runs and exits with 0. */
export function works(command, args, options = {}) {
  return spawnSync(command, args, { stdio: "ignore", ...options }).status === 0;
}

/** Files under `folder` (relative to the repository) whose path matches, in order; none where there is no such folder. */
export function filesUnder(folder, pattern, root = ROOT) {
  const start = join(root, folder);
  if (!existsSync(start)) return [];
  return readdirSync(start, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .filter((path) => pattern.test(path) && !path.includes("node_modules"))
    .sort();
}

/** The C compiler: `CC`, else whichever of cc, gcc, clang there is. */
export function compiler() {
  if (process.env.CC) return process.env.CC;
  return ["cc", "gcc", "clang"].find((name) => works(name, ["--version"]));
}
