/**
 * Where the shim lies.
 *
 * @module
 */
import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ShimError } from "./errors.ts";

/** Names another file than the one that belongs to this package. */
const VARIABLE = "LITESTREAM_VFS_SHIM";

/**
 * The absolute path of the shared library: `given`, else what the environment names, else the one built beside the
 * sources.
 *
 * @throws {ShimError} there is none
 */
export function findShim(given?: string): string {
  const path = given ?? process.env[VARIABLE] ??
    fileURLToPath(new URL("../ffi/build/litestream_vfs.so", import.meta.url));
  if (existsSync(path)) return path;
  throw new ShimError(
    `Cannot find shim: no file "${path}", expected the shared library; build it with \`npm run shim\`, or name ` +
      `another one by the option shimPath or the environment variable ${VARIABLE}`,
  );
}
