/**
 * `fetch` as it is, in a module that the core's thread loads: from then on that thread collects its garbage every few
 * seconds, and writes its JavaScript heap into the file that `CORE_HEAP_PATH` names in the environment, as a number of bytes.
 * Once there is a file of that name and `.release` beside it, the thread gives back what it can, and deletes that file.
 *
 * @module
 */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import { collectGarbage, releaseMemory } from "./garbage.ts";

const WRITE_MS = 5_000;
const LOOK_MS = 100;

const { CORE_HEAP_PATH: path } = process.env;
if (path === undefined) throw new Error("Cannot tell the heap: no CORE_HEAP_PATH in the environment");
const release = `${path}.release`;

/** Writes the bytes of live JavaScript of this thread, with what it holds outside its heap. */
function writeHeap(collect: () => void): void {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  writeFileSync(path!, `${heapUsed + external}`);
}

function releaseIfAsked(): void {
  if (!existsSync(release)) return;
  writeHeap(releaseMemory);
  rmSync(release, { force: true });
}

for (
  const timer of [
    setInterval(() => writeHeap(collectGarbage), WRITE_MS),
    setInterval(releaseIfAsked, LOOK_MS),
  ]
) (timer as unknown as { unref?(): void }).unref?.();

/** The runtime's own. */
export const coreFetch = (url: string, init: RequestInit): Promise<Response> => fetch(url, init);
