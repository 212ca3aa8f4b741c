/**
 * Pages that are in the pool as frames of one file → the same as frames of another, or as they came with an index.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { nextTurn, type PlanFile } from "../view/plan_file.ts";
import { locate } from "../view/view_map.ts";
import { frameStates } from "./frames.ts";
import type { CachedRun, PageCache } from "./page_cache.ts";

/** Runs taken over to other files before the loop may turn: about 2 ms. */
const CARRIED_A_SLICE = 500;

/**
 * Takes the pages of files that a view no longer lies in over to those it lies in now: the same content at other
 * places, so that nothing in memory is fetched again.
 */
export async function carryOver(
  native: Native,
  cache: PageCache,
  files: readonly PlanFile[],
  { fromViewId, toViewId }: { readonly fromViewId: number; readonly toViewId: number },
): Promise<void> {
  let count = 0;
  for (const file of files) {
    for (const [runId, run] of cache.runsOf(file.objectId)) {
      // Other states may be read from it, and it may be gone from storage: what they have, they keep.
      if (file.closed || native.calls.ls_object_refs(file.objectId) > 2) break;
      const to = cache.has(runId, run) ? placeOf(native, file, run, fromViewId, toViewId) : undefined;
      if (to) cache.move(runId, to);
      if (++count % CARRIED_A_SLICE === 0) await nextTurn();
    }
  }
}

/** Where the other view has the whole run. Frames that are not current hold other versions, which others may want to see. */
function placeOf(
  native: Native,
  file: PlanFile,
  { frame, pageCount }: CachedRun,
  fromViewId: number,
  toViewId: number,
): { objectId: number; frame: number } | undefined {
  const frames = frameStates(native, file, { first: frame, count: pageCount }, fromViewId);
  if (!frames.every(({ current }) => current)) return undefined;
  const places = frames.map(({ pgno }) => locate(native, toViewId, pgno));
  const to = places[0];
  if (to === undefined || to.objectId === file.objectId) return undefined;
  const isRun = places.every((place, i) => place?.objectId === to.objectId && place.frame === to.frame + i);
  return isRun ? to : undefined;
}
