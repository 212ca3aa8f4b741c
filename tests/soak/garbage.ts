/**
 * Garbage collection on demand; Deno must have been started with `--v8-flags=--expose-gc`.
 *
 * @module
 */

/**
 * Collects this thread's garbage.
 *
 * @throws {Error} the runtime does not let it
 */
export function collectGarbage(): void {
  const { gc, Bun } = globalThis as unknown as { gc?: () => void; Bun?: { gc(force: boolean): void } };
  if (Bun) Bun.gc(true);
  else if (gc) gc();
  else throw new Error("Cannot force garbage collection: expected --v8-flags=--expose-gc");
}
