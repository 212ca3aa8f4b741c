/**
 * `fetch` as it is, in a module that the core's thread loads: from then on that thread collects its garbage every few
 * seconds, and writes its JavaScript heap into the file that `CORE_HEAP_PATH` names in the environment, as a number of bytes.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { collectGarbage } from "./garbage.ts";

const WRITE_MS = 5_000;

const { CORE_HEAP_PATH: path } = process.env;
if (path === undefined) throw new Error("Cannot tell the heap: no CORE_HEAP_PATH in the environment");

/** Bytes of live JavaScript of this thread, with what it holds outside its heap. */
function heapBytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const timer = setInterval(() => writeFileSync(path, `${heapBytes()}`), WRITE_MS);
(timer as unknown as { unref?(): void }).unref?.();

/** The runtime's own. */
export const coreFetch = (url: string, init: RequestInit): Promise<Response> => fetch(url, init);
