/**
 * Pages that came with a file's index → the pool.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { LtxFormatError } from "../errors.ts";
import type { PlanFile } from "../view/plan_file.ts";
import { frameOffset, frameStates, NEWEST } from "./frames.ts";
import type { PageIntake } from "./page_intake.ts";

/** Frames entered together. */
const STRETCH_FRAMES = 16;

/** Takes over what of a file's frames was fetched with its index; returns bytes of the decoded pages. */
export function preload(native: Native, intake: PageIntake, file: PlanFile, bytesMax: number): number {
  const { offset, bytes } = file.fetched;
  if (offset !== frameOffset(native, file, 0)) return 0;
  let [loaded, at] = [0, 0];
  for (let first = 0; loaded < bytesMax;) {
    const states = frameStates(native, file, { first, count: STRETCH_FRAMES }, NEWEST);
    let [count, end] = [0, at];
    while (count < states.length && end + states[count]!.size <= bytes.length) end += states[count++]!.size;
    if (count === 0) break;
    try {
      intake.enter(file, { first, count }, bytes.subarray(at, end), { viewId: NEWEST });
    } catch (error) {
      if (!(error instanceof LtxFormatError)) throw error;
      break; // nobody asked for these pages yet; who does will fetch them again and be told
    }
    loaded += states.slice(0, count).filter(({ current, cached }) => current && !cached).length *
      file.header.pageSize;
    at = end;
    first += count;
  }
  return loaded;
}
