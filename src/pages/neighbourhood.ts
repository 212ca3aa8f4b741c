/**
 * What to fetch with a missed page: its neighbours in the file, whose bytes lie beside its own.
 *
 * @module
 */

/** One frame of an object, as the shim tells it. */
export interface FrameState {
  readonly pgno: number;
  /** Bytes as stored. */
  readonly size: number;
  /** Its page is in the pool. */
  readonly cached: boolean;
  /** The newest view has the page here; a frame that is not current holds an older version. */
  readonly current: boolean;
}

/** Frames `first` … `first + count - 1` of an object. */
export interface FrameRange {
  readonly first: number;
  readonly count: number;
}

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
