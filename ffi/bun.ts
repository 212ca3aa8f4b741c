/**
 * The shim on Bun: `bun:ffi`, and a small worker that waits for the bell, since Bun has no non-blocking call.
 *
 * A callback from C would need no second worker, but C calling into a worker that has ended is a crash, and corrupts
 * the heap on the threadsafe path in some versions (https://github.com/oven-sh/bun/issues/41857).
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import { type BoundLibrary, lateCalls } from "./late_calls.ts";
import type { Native } from "./native.ts";
import { type AbiSymbol, type AbiType, symbols } from "./symbols.ts";

interface BunFfi {
  dlopen(path: string, table: unknown): BoundLibrary;
}

const types: Record<AbiType, string> = { i32: "i32", u32: "u32", u64: "u64", buffer: "ptr", bytes: "ptr" };

/**
 * The worker that waits for a core's bell: blocks in C, passes each change on through shared memory. As text, since a file
 * of its own would not be there in a program that was bundled to one file.
 *
 * A wait is short, since a thread that waits in C can only be terminated between two of them.
 */
const BELL_WORKER = `
import { workerData } from "node:worker_threads";
import { dlopen } from "bun:ffi";
const { path, core, bell, parameters } = workerData;
const library = dlopen(path, { ls_core_wait: { args: parameters, returns: "i32" } });
const { ls_core_wait } = library.symbols;
for (let seen = 0; seen >= 0;) {
  const count = ls_core_wait(core, seen, 1_000);
  if (count === seen) continue;
  seen = count;
  Atomics.store(bell, 0, seen);
  Atomics.notify(bell, 0);
}
library.close();`;

/** Opens the shim at an absolute path. */
export async function openNative(path: string): Promise<Native> {
  const name = "bun:ffi"; // not a literal: Deno must not try to resolve it
  const { dlopen } = await import(name) as BunFfi;
  const bind = (name: string, { parameters }: AbiSymbol) => {
    const args = parameters.map((type) => types[type]);
    return dlopen(path, { [name]: { args, returns: "i32" } });
  };
  return {
    path,
    ...lateCalls(bind),
    listen(core, onRing) {
      const bell = new Int32Array(new SharedArrayBuffer(4));
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(BELL_WORKER)}`), {
        workerData: { path, core, bell, parameters: symbols.ls_core_wait.parameters },
      });
      return waitForBell(worker, bell, onRing);
    },
  };
}

/** Calls `onRing` for each change of the count that the bell worker keeps; ends when that worker does. */
async function waitForBell(
  worker: Worker,
  bell: Int32Array<SharedArrayBuffer>,
  onRing: () => void,
): Promise<void> {
  const end = new Promise<void>((resolve, reject) => {
    worker.on("exit", () => {
      // Wakes the loop below. (Racing each wait against this promise would leave a reaction on it each time.)
      Atomics.store(bell, 0, -1);
      Atomics.notify(bell, 0);
      resolve();
    });
    worker.on("error", reject);
  });
  for (let seen = 0; seen >= 0;) {
    const wait = Atomics.waitAsync(bell, 0, seen);
    if (wait.async) await wait.value;
    const count = Atomics.load(bell, 0);
    if (count >= 0 && count !== seen) onRing();
    seen = count;
  }
  await end;
}
