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

let seen = 0;
while (seen >= 0) {
  seen = wait(core, seen, 60_000);
  Atomics.store(bell, 0, seen);
  Atomics.notify(bell, 0);
}
