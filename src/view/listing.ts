/**
 * A replica's listing: all its files on all levels, and what to say when there are none.
 *
 * @module
 */
import { RestorePlanError } from "../errors.ts";
import { GENERATIONS_PREFIX, levelPrefix } from "../storage/layout.ts";
import type {
  LayoutName,
  ListedObject,
  ListOptions,
  ObjectStore,
  RequestOptions,
} from "../storage/object_store.ts";
import { type ReplicaFile, replicaFiles } from "./restore_plan.ts";

/** Levels 0–9. */
export const LEVELS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** What one look at the whole replica found. */
export interface Listing {
  readonly files: ReplicaFile[];
  /** The longest chain of listing requests, each of which waited for the one before. */
  readonly depth: number;
}

/** Lists one level, or what of it sorts after a key. */
export async function listLevel(
  store: ObjectStore,
  layout: LayoutName,
  level: number,
  options: ListOptions = {},
): Promise<Listing> {
  const objects: ListedObject[] = [];
  let depth = 0;
  for await (const page of store.list(levelPrefix(layout, level), options)) {
    objects.push(...page);
    depth++;
  }
  return { files: replicaFiles(objects, layout, level), depth: Math.max(depth, 1) };
}

/** Lists all levels at once. */
export async function listReplica(
  store: ObjectStore,
  layout: LayoutName,
  options: RequestOptions = {},
): Promise<Listing> {
  const levels = await Promise.all(LEVELS.map((level) => listLevel(store, layout, level, options)));
  return {
    files: levels.flatMap(({ files }) => files),
    depth: Math.max(...levels.map(({ depth }) => depth)),
  };
}

/** Why a replica without LTX files has none: nothing there, or written by Litestream 0.3.x. */
export async function explainEmpty(
  store: ObjectStore,
  options: RequestOptions = {},
): Promise<RestorePlanError> {
  for await (const page of store.list(GENERATIONS_PREFIX, options)) {
    if (page.length === 0) continue;
    return new RestorePlanError(
      `Cannot open replica ${store.name}: it was written by Litestream 0.3.x ("${page[0]!.key}"), ` +
        "expected LTX files of Litestream 0.5 or later; `litestream restore` reads it",
      "v0.3",
    );
  }
  return new RestorePlanError(
    `Cannot open replica ${store.name}: no LTX files there, expected what \`litestream replicate\` writes; ` +
      "check bucket and path, or give waitForReplicaMs to wait for the first files",
    "empty",
  );
}
