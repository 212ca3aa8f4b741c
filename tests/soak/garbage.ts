/**
 * Garbage collection on demand; Deno must have been started with `--v8-flags=--expose-gc`.
 *
 * @module
 */

interface Collecting {
  readonly gc?: (options?: { type: "major"; execution: "sync"; flavor: "last-resort" }) => void;
  readonly Bun?: { gc(force: boolean): void; shrink(): void };
  readonly Deno?: {
    dlopen(path: string, symbols: { malloc_trim: { parameters: ["usize"]; result: "i32" } }): {
      readonly symbols: { malloc_trim(pad: bigint): number };
    };
  };
}

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
 * memory that V8 or the C library keeps for later.
 *
 * @throws {Error} the runtime does not let it
 */
export function releaseMemory(): void {
  const { gc, Bun, Deno } = globalThis as unknown as Collecting;
  if (Bun) {
    Bun.gc(true);
    Bun.shrink();
  } else if (gc && Deno) {
    gc({ type: "major", execution: "sync", flavor: "last-resort" });
    trim ??=
      Deno.dlopen("libc.so.6", { malloc_trim: { parameters: ["usize"], result: "i32" } }).symbols.malloc_trim;
    trim(0n);
  } else throw new Error(CANNOT);
}
