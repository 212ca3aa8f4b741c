/**
 * Picks the runtime's way to the shim: the only question about the runtime outside `src/drivers/`.
 *
 * @module
 */
import { ShimError } from "../src/errors.ts";
import type { Native } from "./native.ts";
import { ABI_VERSION } from "./symbols.ts";

/**
 * Loads the shim into this thread.
 *
 * @throws {ShimError} the file cannot be loaded, or is of another version
 */
export async function loadNative(path: string): Promise<Native> {
  let native: Native;
  try {
    native = "Deno" in globalThis
      ? (await import("./deno.ts")).openNative(path)
      : await (await import("./bun.ts")).openNative(path);
  } catch (cause) {
    throw new ShimError(
      `Cannot load shim "${path}": ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        cause,
      },
    );
  }
  const abi = native.calls.ls_abi();
  if (abi !== ABI_VERSION) {
    throw new ShimError(`Cannot use shim "${path}": its ABI version is ${abi}, expected ${ABI_VERSION}`);
  }
  return native;
}
