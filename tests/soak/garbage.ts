/**
 * Garbage collection on demand; Deno must have been started with `--v8-flags=--expose-gc`.
 *
 * @module
 */

import process from "node:process";

interface Trimming {
  readonly symbols: { malloc_trim(pad: bigint): number };
}

/** Whichever runtime this is. */
interface Collecting {
  readonly gc?: (options?: { type: "major"; execution: "sync"; flavor: "last-resort" }) => void;
  readonly Bun?: { gc(force: boolean): void; shrink(): void };
  readonly Deno?: { dlopen(path: string, symbols: typeof DENO_SYMBOLS): Trimming };
}

/** Bun's `bun:ffi`. */
interface BunFfi {
  dlopen(path: string, symbols: typeof BUN_SYMBOLS): Trimming;
}

const LIBRARY = "libc.so.6";
const DENO_SYMBOLS = { malloc_trim: { parameters: ["usize"], result: "i32" } };
const BUN_SYMBOLS = { malloc_trim: { args: ["u64"], returns: "i32" } };

const CANNOT = "Cannot force garbage collection: expected --v8-flags=--expose-gc";

let trim: ((pad: bigint) => number) | undefined;

/**
 * Collects this thread's garbage.
 *
 * @throws {Error} the runtime does not let it
 */
export function collectGarbage(): void {
  const { gc, Bun } = globalThis as unknown as Collecting;
  if (Bun) Bun.gc(true);
  else if (gc) gc();
  else throw new Error(CANNOT);
}

/**
 * Has this thread give back all that it holds and does not need: garbage, compiled code that can be compiled again, free
 * memory that V8 or the C library keeps for later. The shim's is the C library's in both runtimes.
 *
 * @throws {Error} the runtime does not let it
 */
export function releaseMemory(): void {
  const { gc, Bun, Deno } = globalThis as unknown as Collecting;
  if (Bun) {
    Bun.gc(true);
    Bun.shrink();
    const { dlopen } = process.getBuiltinModule("bun:ffi") as unknown as BunFfi;
    trim ??= dlopen(LIBRARY, BUN_SYMBOLS).symbols.malloc_trim;
  } else if (gc && Deno) {
    gc({ type: "major", execution: "sync", flavor: "last-resort" });
    trim ??= Deno.dlopen(LIBRARY, DENO_SYMBOLS).symbols.malloc_trim;
  } else throw new Error(CANNOT);
  trim(0n);
}
