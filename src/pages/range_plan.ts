/**
 * Wanted frames of one file → few ranges.
 *
 * @module
 */
import type { FrameRange } from "./frames.ts";

/** Bytes between two wanted frames of one range, at most. */
const HOLE_BYTES = 8 * 1024;

/** How many ranges a request for many pages becomes: several come at once, each is large enough to be worth it. */
const RANGES_A_WINDOW = 16;
const RANGE_BYTES_MIN = 64 * 1024;
const RANGE_BYTES_MAX = 1024 * 1024;

/** A frame that is wanted. */
export interface WantedFrame {
  readonly frame: number;
  /** In its file. */
  readonly offset: number;
  /** Bytes as stored. */
  readonly size: number;
  /** How soon it is wanted, among the others. */
  readonly order: number;
}

interface Range {
  first: number;
  end: number;
  /** Bytes through the last wanted frame, and where that ends in the file. */
  size: number;
  offset: number;
  order: number;
}

/**
 * Ranges that hold all wanted frames, those first that are wanted first. What lies between two of them comes along where it
 * is little; `isBusy` tells frames that are on their way.
 */
export function planRanges(
  wanted: readonly WantedFrame[],
  isBusy: (frame: number) => boolean,
): FrameRange[] {
  const sorted = [...wanted].sort((a, b) => a.frame - b.frame);
  const total = sorted.reduce((sum, { size }) => sum + size, 0);
  const sizeMax = Math.min(Math.max(total / RANGES_A_WINDOW, RANGE_BYTES_MIN), RANGE_BYTES_MAX);
  const ranges: Range[] = [];
  for (const { frame, offset, size, order } of sorted) {
    const last = ranges.at(-1);
    const hole = last ? offset - last.offset : 0;
    if (last && last.size + hole + size <= sizeMax && isWorthJoining(last, frame, hole, isBusy)) {
      last.end = frame + 1;
      last.size += hole + size;
      last.offset = offset + size;
      last.order = Math.min(last.order, order);
    } else {
      ranges.push({ first: frame, end: frame + 1, size, offset: offset + size, order });
    }
  }
  ranges.sort((a, b) => a.order - b.order);
  return ranges.map(({ first, end }) => ({ first, count: end - first }));
}

function isWorthJoining(
  last: Range,
  frame: number,
  hole: number,
  isBusy: (frame: number) => boolean,
): boolean {
  if (hole > HOLE_BYTES) return false;
  for (let between = last.end; between < frame; between++) if (isBusy(between)) return false;
  return true;
}
