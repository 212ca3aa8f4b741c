/**
 * A wanted frame with what is useful around it: one range of a tree that lies scattered over a file.
 *
 * @module
 */
import type { FrameRange, FrameState } from "./frames.ts";

/** How many islands what may be fetched becomes: several come at once, each is large enough to be worth it. */
const ISLANDS = 16;
const BYTES_MIN = 64 * 1024;
const BYTES_MAX = 1024 * 1024;

/** Share of an island's bytes that nobody wants, at most. */
const WASTE_MAX = 1 / 3;

/** What is asked of the frames around. */
export interface IslandOptions {
  /** Frames as they stand now. */
  readonly states: (range: FrameRange) => FrameState[];
  /** Whether a frame will be wanted, and has to be fetched. */
  readonly isUseful: (state: FrameState, frame: number) => boolean;
}

/** Bytes of one island, as stored, where `bytesMax` may be fetched in all. */
export function islandSize(bytesMax: number): number {
  return Math.min(Math.max(bytesMax / ISLANDS, BYTES_MIN), BYTES_MAX);
}

/** The range around a frame, of `bytesMax` at most: it ends with frames that are useful, as most of it is. */
export function islandAround(frame: number, bytesMax: number, options: IslandOptions): FrameRange {
  // Most frames take more; where many take less, the island is smaller.
  const reach = Math.ceil(bytesMax / 1024);
  const from = Math.max(0, frame - reach);
  const before = options.states({ first: from, count: frame - from }).reverse();
  const after = options.states({ first: frame, count: reach });
  const half = bytesMax / 2;
  const ahead = usefulCount(after.slice(1), half, options, (k) => frame + 1 + k);
  const behind = usefulCount(before, half, options, (k) => frame - 1 - k);
  return { first: frame - behind, count: behind + 1 + ahead };
}

/** How many of some frames, one after the other, are worth having. */
function usefulCount(
  states: readonly FrameState[],
  bytesMax: number,
  { isUseful }: IslandOptions,
  frameOf: (index: number) => number,
): number {
  let [bytes, waste, count] = [0, 0, 0];
  for (const [k, state] of states.entries()) {
    bytes += state.size;
    if (bytes > bytesMax) break;
    if (!isUseful(state, frameOf(k))) waste += state.size;
    else if (waste <= bytes * WASTE_MAX) count = k + 1;
  }
  return count;
}
