/**
 * Picks the runtime's way to the shim: the only question about the runtime outside `src/drivers/`.
 *
 * @module
 */
import { ShimError } from "../src/errors.ts";
import type { Native } from "./native.ts";
import { ABI_VERSION } from "./symbols.ts";
import type { WasmShim } from "./wasm.ts";

/** What this thread has loaded, by path: each loading makes its functions anew, and they are never given back. */
const loaded = new Map<string, Promise<Native>>();

/** The shim in WASM that this thread has made. */
let made: Promise<WasmShim> | undefined;

/**
 * Loads the shim into this thread, once: a file, or one in WASM that some thread has made.
 *
 * @throws {ShimError} the file cannot be loaded, or is of another version
 */
export function loadNative(path: string, wasm?: WasmShim): Promise<Native> {
  const known = loaded.get(path);
  if (known) return known;
  const loading = load(path, wasm);
  loaded.set(path, loading);
  loading.catch(() => loaded.delete(path));
  return loading;
}

/**
 * The shim in WASM of this thread, made when there is none.
 *
 * @throws {ShimError} this runtime refuses it
 */
export function wasmShim(): Promise<WasmShim> {
  made ??= import("./wasm.ts").then(({ makeShim }) => makeShim()).catch((cause) => {
    made = undefined;
    throw new ShimError(`Cannot make shim in WASM: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  });
  return made;
}

interface DenoPermissions {
  readonly permissions: {
    querySync(descriptor: { name: "ffi" }): { readonly state: "granted" | "prompt" | "denied" };
  };
}

/** Whether this process may run native code: `"prompt"` where a part of it may, or somebody is to be asked. */
export function nativePermission(): "granted" | "prompt" | "denied" {
  const { Deno } = globalThis as { Deno?: DenoPermissions };
  return Deno ? Deno.permissions.querySync({ name: "ffi" }).state : "granted";
}

async function load(path: string, wasm: WasmShim | undefined): Promise<Native> {
  let native: Native;
  try {
    if (wasm) native = await (await import("./wasm.ts")).openNative(wasm);
    else if ("Deno" in globalThis) native = (await import("./deno.ts")).openNative(path);
    else native = await (await import("./bun.ts")).openNative(path);
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
