/**
 * Where the shim lies.
 *
 * @module
 */
import { builtin, resolvePath } from "./drivers/host.ts";
import { readableEnvironment } from "./drivers/permissions.ts";
import { ShimError } from "./errors.ts";

/** Names another file than the one that belongs to this package. */
const VARIABLE = "LITESTREAM_VFS_SHIM";

/**
 * The absolute path of the shared library: `given`, else what the environment names, else the one built beside the sources
 * of a checkout, else the one that this package carries, unpacked.
 *
 * @throws {ShimError} the one that is named is not there; or none is, and there is none for this platform
 */
export async function shimPath(given?: string): Promise<string> {
  const path = knownPath(given);
  if (path !== undefined) return path;
  const { embeddedShim } = await import("../ffi/embedded.ts");
  return await embeddedShim();
}

/** Whether somebody names the file. */
export function isNamed(given?: string): boolean {
  return given !== undefined || !!readableEnvironment()[VARIABLE];
}

/**
 * The same without anything unpacked, for what runs from a checkout.
 *
 * @throws {ShimError} there is none
 */
export function findShim(given?: string): string {
  const path = knownPath(given);
  if (path !== undefined) return path;
  throw new ShimError(
    "Cannot find shim: it is not built in this checkout, expected ffi/build/; build it with `npm run shim`",
  );
}

function knownPath(given: string | undefined): string | undefined {
  const { existsSync } = builtin("node:fs");
  const named = given ?? (readableEnvironment()[VARIABLE] || undefined);
  if (named === undefined) {
    const built = builtPath();
    return built !== undefined && existsSync(built) ? built : undefined;
  }
  const path = resolvePath(named);
  if (existsSync(path)) return path;
  throw new ShimError(
    `Cannot find shim: no file "${path}", expected the shared library; leave option shimPath and environment variable ` +
      `${VARIABLE} out for the one of this package, in a checkout after \`npm run shim\``,
  );
}

/** Where a checkout has it: beside this very file. What was packed, served or bundled has none, and looks for none. */
function builtPath(): string | undefined {
  if (!/^file:.*\/src\/shim_path\.ts$/.test(import.meta.url)) return undefined;
  return builtin("node:url").fileURLToPath(new URL("../ffi/build/litestream_vfs.so", import.meta.url));
}
