/**
 * A file's frames, cut to pieces that one request each brings.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { checkShim, type PlanFile } from "../view/plan_file.ts";
import { frameOffset, type FrameRange } from "../pages/frames.ts";

/** Bytes of a piece, as stored, at most, where that is more than one frame. */
export const PIECE_BYTES: number = 1024 * 1024;

/** Neighbouring frames of a file. */
export interface Piece extends FrameRange {
  readonly file: PlanFile;
  /** Where they lie in the file, in bytes. */
  readonly offset: number;
  readonly size: number;
}

/** A piece and the one right behind it. */
export function join(a: Piece, b: Piece): Piece {
  return { ...a, count: a.count + b.count, size: a.size + b.size };
}

/** How many frames a file has. */
export function frameCount(native: Native, file: PlanFile): number {
  return checkShim(native, native.calls.ls_object_count(file.objectId), "look up frames of", file.file.key);
}

/** Frames of a file in pieces of at most so many bytes, in their order; all of them unless `within` says which. */
export function* piecesOf(
  native: Native,
  file: PlanFile,
  bytesMax: number = PIECE_BYTES,
  within: FrameRange = { first: 0, count: frameCount(native, file) },
): Generator<Piece> {
  const total = within.first + within.count;
  for (let { first } = within, offset = frameOffset(native, file, first); first < total;) {
    const end = lastWithin(
      first + 1,
      total,
      (frame) => frameOffset(native, file, frame) - offset <= bytesMax,
    );
    const next = frameOffset(native, file, end);
    yield { file, first, count: end - first, offset, size: next - offset };
    [first, offset] = [end, next];
  }
}

/** The last number from `low` to `high` that is within bounds, `low` at least; all below it are, too. */
function lastWithin(low: number, high: number, isWithin: (n: number) => boolean): number {
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (isWithin(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}
