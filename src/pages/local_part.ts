/**
 * Of a range of frames, the part that is all on this machine's disk, or has to be fetched.
 *
 * @module
 */
import type { ByteRange } from "../storage/object_store.ts";
import type { FrameRange, FrameState } from "./frames.ts";

/** Bytes on disk that are fetched again, at most, where what is on both sides of them has to be fetched. */
const HOLE_BYTES = 8 * 1024;

/** Frames of a file, where they begin there, and what is on disk of it. */
export interface PlacedFrames {
  readonly first: number;
  readonly frames: readonly FrameState[];
  /** Of the first one, in bytes. */
  readonly offset: number;
  readonly holds: (range: ByteRange) => boolean;
}

/** A part of a range. */
export interface LocalPart extends FrameRange {
  readonly isLocal: boolean;
}

/** The part around frame `wanted`: all of it is on disk, or it begins and ends with frames that are not. */
export function localPart({ first, frames, offset, holds }: PlacedFrames, wanted: number): LocalPart {
  let at = offset;
  const isHeld = frames.map(({ size }) => {
    at += size;
    return holds({ offset: at - size, size });
  });
  const isLocal = isHeld[wanted - first]!;
  const reach = (step: number) => {
    let [last, hole] = [wanted - first, 0];
    for (let i = last + step; i >= 0 && i < frames.length; i += step) {
      if (isHeld[i] === isLocal) [last, hole] = [i, 0];
      else if (isLocal || (hole += frames[i]!.size) > HOLE_BYTES) break;
    }
    return last;
  };
  const [start, end] = [reach(-1), reach(1)];
  return { first: first + start, count: end - start + 1, isLocal };
}
