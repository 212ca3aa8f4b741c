/**
 * What the shim tells of an object's frames.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { checkShim, type PlanFile } from "../view/plan_file.ts";

/** One frame of an object. */
export interface FrameState {
  readonly pgno: number;
  /** Bytes as stored. */
  readonly size: number;
  /** Its page is in the pool. */
  readonly cached: boolean;
  /** The view has the page here; a frame that is not current holds an older version. */
  readonly current: boolean;
}

/** Frames `first` … `first + count - 1` of an object. */
export interface FrameRange {
  readonly first: number;
  readonly count: number;
}

/** In place of a view: the newest one. */
export const NEWEST = 0;

/** Words of one frame as the shim tells it. */
const FRAME_WORDS = 4;

/** The frames `first` … of a file as a view sees them, `count` unless the file ends before. */
export function frameStates(
  native: Native,
  file: PlanFile,
  { first, count }: FrameRange,
  viewId: number,
): FrameState[] {
  const words = new Uint32Array(count * FRAME_WORDS);
  const bytes = new Uint8Array(words.buffer);
  const result = native.calls.ls_object_frames(file.objectId, viewId, first, count, bytes);
  const found = checkShim(native, result, "look up frames of", file.file.key);
  return Array.from({ length: found }, (_, i) => ({
    pgno: words[i * FRAME_WORDS]!,
    size: words[i * FRAME_WORDS + 1]!,
    cached: words[i * FRAME_WORDS + 2] === 1,
    current: words[i * FRAME_WORDS + 3] === 1,
  }));
}

/** Where a frame begins in its file; for the frame behind the last one, where that ends. */
export function frameOffset(native: Native, file: PlanFile, frame: number): number {
  const out = new Uint8Array(8);
  const result = native.calls.ls_object_offset(file.objectId, frame, out);
  checkShim(native, result, "look up frames of", file.file.key);
  return Number(new DataView(out.buffer).getBigUint64(0, true));
}
