/**
 * Picks the runtime's way to the shim: the only question about the runtime outside `src/drivers/`.
 *
 * @module
 */
import { ShimError } from "../src/errors.ts";
import type { Native } from "./native.ts";
import { ABI_VERSION } from "./symbols.ts";

/** What this thread has loaded, by path: each loading makes its functions anew, and they are never given back. */
const loaded = new Map<string, Promise<Native>>();

/**
 * Loads the shim into this thread, once.
 *
 * @throws {ShimError} the file cannot be loaded, or is of another version
 */
export function loadNative(path: string): Promise<Native> {
  const known = loaded.get(path);
  if (known) return known;
  const loading = load(path);
  loaded.set(path, loading);
  loading.catch(() => loaded.delete(path));
  return loading;
}

async function load(path: string): Promise<Native> {
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
