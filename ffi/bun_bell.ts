/**
 * The worker that waits for a core's bell in Bun: blocks in C, passes each change on through shared memory.
 *
 * @module
 */
import { workerData } from "node:worker_threads";
import { symbols } from "./symbols.ts";

interface BellData {
  path: string;
  core: number;
  bell: Int32Array<SharedArrayBuffer>;
}

const { path, core, bell } = workerData as BellData;
const name = "bun:ffi";
const { dlopen } = await import(name);
const { ls_core_wait: wait } = dlopen(path, {
  ls_core_wait: { args: [...symbols.ls_core_wait.parameters], returns: "i32" },
}).symbols;

/** How long one wait lasts: a thread that waits in C can only be terminated between two of them. */
const WAIT_MS = 1_000;

for (let seen = 0; seen >= 0;) {
  const count = wait(core, seen, WAIT_MS);
  if (count === seen) continue;
  seen = count;
  Atomics.store(bell, 0, seen);
  Atomics.notify(bell, 0);
}
