/**
 * What an open replica is made of, as its parts share it.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import type { LastStates } from "../cache/last_states.ts";
import { lastStatesOf } from "../cache/offline.ts";
import { ObjectGoneError, RestorePlanError } from "../errors.ts";
import type { FollowEvent } from "../follow/follow_event.ts";
import type { HydrationOptions } from "../hydrate/hydration.ts";
import type { RequestPurpose } from "../observe/span.ts";
import { RequestMeter } from "../pages/counters.ts";
import { Pages, PRELOAD_SHARE } from "../pages/pages.ts";
import type { LayoutName, RequestOptions, WritableStore } from "../storage/object_store.ts";
import { checkShim, type PlanFile } from "../view/plan_file.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";
import { FileSet } from "./file_set.ts";
import { States } from "./states.ts";

/** How often a plan is made anew because files of it were deleted meanwhile. */
const PLAN_ATTEMPTS_MAX = 5;

/** How a replica is opened. */
export interface LiveReplicaOptions {
  /** Bound on decoded pages in memory, in bytes. */
  readonly cacheBytesMax: number;
  /** Longest wait of a read in ms, unless its connection says otherwise. */
  readonly readTimeoutMs: number;
  /** How long to wait for the first files of an empty replica, in ms; 0 fails at once. */
  readonly waitForReplicaMs: number;
  /** Pause between looks for new transactions, in ms; 0: only when asked to. */
  readonly pollIntervalMs: number;
  /** No transaction begins when the replica was last seen longer ago, in ms; 0: any age will do. */
  readonly maxStaleMs: number;
  /** What to do when another database has taken the replica's place. */
  readonly onReplaced: "error" | "follow";
  /** Whether pages are loaded before they are asked for. */
  readonly prefetch: "auto" | "off";
  /** Bound on pages loaded ahead for one reader, in bytes. */
  readonly prefetchBytesMax: number;
  /**
   * Whether the last state that was seen will do where the replica cannot be reached; it will not unless
   * given.
   */
  readonly offline?: "error" | "serve-stale" | undefined;
  /** How it is written to; read only unless given. */
  readonly write?: WriteOptions | undefined;
  /** How it is brought to a local file; not at all unless given. */
  readonly hydrate?: HydrationOptions | undefined;
  /** How long a transaction may see a state that is not the newest before it is told of, in ms; a minute unless given. */
  readonly stalePinMs?: number | undefined;
}

/** How a replica is written to. */
export interface WriteOptions {
  /** Path of the write log's files, less their endings. */
  readonly path: string;
  /** Where an earlier version kept it. */
  readonly earlierPath?: string;
  /** Pause between uploads, in ms; 0: only when asked to. */
  readonly syncIntervalMs: number;
  /** Bound on what waits to be stored, in bytes. */
  readonly unsyncedBytesMax: number;
  /** Writes even where another writer's transactions could be overwritten. */
  readonly isUnconditional: boolean;
  /** Whether it is compacted, too. */
  readonly isCompacting: boolean;
  /** Whether a lease is taken first. */
  readonly isLeased: boolean;
}

/** Where a replica lies, and who hears of it. */
export interface LiveReplicaSource {
  readonly native: Native;
  /** The shim's handle of the core. */
  readonly coreId: number;
  readonly store: WritableStore;
  /** What tells its place from all others; the store's name unless given. */
  readonly place?: string;
  readonly layout: LayoutName;
  /** The folder that it is, where it is one. */
  readonly folder?: string;
  readonly onEvent: (event: FollowEvent) => void;
  /** Takes sentences for a person. */
  readonly onNotice: (text: string) => void;
  /** An error as the shim keeps it. */
  readonly textOf: (error: Error) => string;
  /** Whether requests are observed; they are not unless given. */
  readonly isObserved?: boolean;
  /** Does a part of the opening that bounds its own time, which does not count as the opening's; it does unless given. */
  readonly uncounted?: <T>(act: () => Promise<T>) => Promise<T>;
}

/** What belongs to one open replica. */
export interface LiveParts {
  /** The shim's handle. */
  readonly id: number;
  readonly source: LiveReplicaSource;
  readonly options: LiveReplicaOptions;
  readonly pages: Pages;
  readonly files: FileSet;
  readonly states: States;
  readonly meter: RequestMeter;
  readonly lastStates: LastStates | undefined;
}

/** Begins a replica in the shim. */
export function makeParts(source: LiveReplicaSource, options: LiveReplicaOptions): LiveParts {
  const { native, store, coreId } = source;
  const { calls } = native;
  const id = checkShim(
    native,
    calls.ls_replica_new(coreId, options.readTimeoutMs),
    "open replica",
    store.name,
  );
  calls.ls_replica_limit(id, options.maxStaleMs);
  const pages: Pages = new Pages({
    native,
    store,
    replicaId: id,
    cacheBytesMax: options.cacheBytesMax,
    aheadBytesMax: options.prefetch === "off" ? 0 : options.prefetchBytesMax,
    areAllWanted: options.hydrate !== undefined,
    fileOf: (objectId) => files.get(objectId),
    onNotice: source.onNotice,
    isObserved: source.isObserved,
  });
  const files = new FileSet({
    native,
    store,
    replicaId: id,
    heldBytesMax: options.cacheBytesMax * PRELOAD_SHARE,
    onRelease: (file) => pages.dropObject(file.objectId),
  });
  const states = new States(native, id, { name: store.name, isWritten: options.write !== undefined });
  const meter = new RequestMeter(native, store.counts);
  return { id, source, options, pages, files, states, meter, lastStates: lastStatesOf(store) };
}

/** What tells its place from all others, without secrets. */
export function placeOfSource({ place, store }: LiveReplicaSource): string {
  return place ?? store.name;
}

/** Requests that end with the replica. */
export function requestOf({ pages }: LiveParts, purpose: RequestPurpose): RequestOptions {
  return { signal: pages.signal, purpose };
}

/** Runs what plans by listings again when files vanish meanwhile, or when the listings were not of one moment. */
export async function planning<T>(act: (attempt: number) => Promise<T>): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await act(attempt);
    } catch (error) {
      // Ten listings are not one moment: what compaction moved between two of them stands in neither.
      const isTorn = error instanceof RestorePlanError && error.fault !== "empty" && error.fault !== "v0.3";
      if (attempt >= (isTorn ? 2 : error instanceof ObjectGoneError ? PLAN_ATTEMPTS_MAX : 0)) throw error;
    }
  }
}

/** Opens a plan's files, and has `act` use them with a view that nobody else sees. */
export async function openApart<T>(
  parts: LiveParts,
  plan: readonly ReplicaFile[],
  act: (viewId: number, files: PlanFile[]) => Promise<T>,
): Promise<T> {
  const { files, states } = parts;
  return await files.use(plan, requestOf(parts, "past"), async (opened) => {
    const state = await states.make(opened, states.newStamp());
    try {
      return await act(state.viewId, opened);
    } finally {
      states.release(state);
    }
  });
}
