/**
 * The core's worker with garbage collection forced every 20 ms.
 *
 * @module
 */
const { gc, Bun } = globalThis as unknown as { gc?: () => void; Bun?: { gc(force: boolean): void } };
const collect = Bun ? () => Bun.gc(true) : gc;
if (collect === undefined) {
  throw new Error("Cannot force garbage collection: expected --v8-flags=--expose-gc");
}
setInterval(collect, 20);
await import("../../src/bridge/core_worker.ts");
