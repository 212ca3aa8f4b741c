/**
 * Where the shim lies.
 *
 * @module
 */
import { resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ShimError } from "./errors.ts";

/** Names another file than the one that belongs to this package. */
const VARIABLE = "LITESTREAM_VFS_SHIM";

/**
 * The absolute path where the shared library is to be: `given`, else what the environment names, else the one built beside
 * the sources.
 */
export function shimPath(given?: string): string {
  const named = given ?? (process.env[VARIABLE] || undefined);
  return named === undefined
    ? fileURLToPath(new URL("../ffi/build/litestream_vfs.so", import.meta.url))
    : resolve(named);
}

/**
 * The same, of a file that is there.
 *
 * @throws {ShimError} there is none
 */
export function findShim(given?: string): string {
  const path = shimPath(given);
  const { existsSync } = process.getBuiltinModule("node:fs"); // takes milliseconds to load
  if (existsSync(path)) return path;
  throw new ShimError(
    `Cannot find shim: no file "${path}", expected the shared library; build it with \`npm run shim\`, or name ` +
      `another one by the option shimPath or the environment variable ${VARIABLE}`,
  );
}
