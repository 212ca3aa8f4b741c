/**
 * Which points of the sources were reached: in tests, on workers' threads and in processes of their own. Put into a copy of the
 * sources by scripts/coverage.mjs.
 *
 * @module
 */
import { openSync, writeSync } from "node:fs";

/** Where it is written down; in the copy, a path. */
const RECORD = "";
const known = new Uint8Array(1 << 16);
let file: number | undefined;

/** Writes a point down when it is reached for the first time: who was ended before the end has told all the same. */
export function reached(point: number): void {
  if (known[point] === 1) return;
  known[point] = 1;
  try {
    file ??= openSync(RECORD, "a");
    writeSync(file, `${point}\n`);
  } catch {
    // who may write nowhere tells nothing
  }
}
