/**
 * What to fetch with a missed page: its neighbours in the file, whose bytes lie beside its own.
 *
 * @module
 */

import type { FrameRange, FrameState } from "./frames.ts";

/**
 * The range to fetch around frame `wanted`: as many frames as fit into `bytesMax`, those behind it before those ahead
 * of it, since scans go forward. It ends at a frame that need not be fetched.
 *
 * `frames[0]` is frame `first` of the object; `wanted` must lie among them. `busy` tells frames that another request
 * is fetching.
 */
export function neighbourhood(
  frames: readonly FrameState[],
  first: number,
  wanted: number,
  bytesMax: number,
  busy: (frame: number) => boolean,
): FrameRange {
  const want = (frame: number): FrameState | undefined => {
    const state = frames[frame - first];
    return state && state.current && !state.cached && !busy(frame) ? state : undefined;
  };
  let bytes = frames[wanted - first]!.size;
  let end = wanted + 1;
  for (let state = want(end); state && bytes + state.size <= bytesMax; state = want(end)) {
    bytes += state.size;
    end++;
  }
  let start = wanted;
  for (let state = want(start - 1); state && bytes + state.size <= bytesMax; state = want(start - 1)) {
    bytes += state.size;
    start--;
  }
  return { first: start, count: end - start };
}
