/**
 * A replica's listing: all its files on all levels, and what to say when there are none.
 *
 * @module
 */
import { RestorePlanError, StorageError } from "../errors.ts";
import { compareKeys } from "../storage/key_order.ts";
import { GENERATIONS_PREFIX, levelPrefix, levelsPrefix } from "../storage/layout.ts";
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

/** Keys in one answer of S3, where there are more. */
const PAGE_FULL = 1000;

/** What one look at the whole replica found. */
export interface Listing {
  readonly files: ReplicaFile[];
  /** The longest chain of listing requests, each of which waited for the one before. */
  readonly depth: number;
  /** When it was asked for, by `performance.now()`; undefined of what is not storage's. */
  readonly beganMs?: number;
}

/** Lists one level, or what of it sorts after a key. */
export async function listLevel(
  store: ObjectStore,
  layout: LayoutName,
  level: number,
  options: ListOptions = {},
): Promise<Listing> {
  const files: ReplicaFile[] = [];
  let depth = 0;
  for await (const page of store.list(levelPrefix(layout, level), options)) {
    for (const file of replicaFiles(page, layout, level)) files.push(file); // page by page: all at once would take long
    depth++;
  }
  return { files, depth: Math.max(depth, 1) };
}

/**
 * Lists all levels: in one request where they fit into its answer; what that leaves out, level by level at once.
 *
 * Lower levels are listed no later than higher ones, so that a file that is compacted meanwhile is seen in one of them.
 */
export async function listReplica(
  store: ObjectStore,
  layout: LayoutName,
  options: RequestOptions = {},
): Promise<Listing> {
  const beganMs = performance.now();
  const begun = await beginListing(store, layout, options);
  const lists = await Promise.all(LEVELS.map(async (level) => {
    const known = replicaFiles(begun.objects, layout, level);
    const after = begun.isWhole ? null : restOf(levelPrefix(layout, level), begun.objects.at(-1)?.key);
    if (after === null) return { files: known, depth: 0 };
    const { files, depth } = await listLevel(store, layout, level, { ...options, ...after });
    return { files: [...known, ...files], depth };
  }));
  return {
    files: lists.flatMap(({ files }) => files),
    depth: begun.depth + Math.max(...lists.map(({ depth }) => depth)),
    beganMs,
  };
}

/** The first of all levels' objects. */
interface Beginning {
  readonly objects: ListedObject[];
  /** Whether there are no more. */
  readonly isWhole: boolean;
  readonly depth: number;
}

async function beginListing(
  store: ObjectStore,
  layout: LayoutName,
  options: RequestOptions,
): Promise<Beginning> {
  const objects: ListedObject[] = [];
  let depth = 0;
  try {
    for await (const page of store.list(levelsPrefix(layout), options)) {
      for (const object of page) objects.push(object);
      depth++;
      if (page.length >= PAGE_FULL || depth > 1) return { objects, isWhole: false, depth };
    }
  } catch (error) {
    // Rights may be given level by level.
    if (!(error instanceof StorageError) || error.status !== 403) throw error;
    return { objects, isWhole: false, depth: 1 };
  }
  return { objects, isWhole: true, depth: Math.max(depth, 1) };
}

/** From where on a level is to be listed when all keys up to `last` are known; null where it is known whole. */
function restOf(prefix: string, last: string | undefined): { after?: string } | null {
  if (last === undefined || compareKeys(prefix, last) > 0) return {};
  return last.startsWith(prefix) ? { after: last } : null;
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
