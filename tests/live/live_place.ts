/**
 * A replica held on this very thread, without a core that serves: for what small files bring with their indexes.
 *
 * @module
 */
import { loadNative } from "../../ffi/mod.ts";
import type { Native } from "../../ffi/native.ts";
import { cString } from "../../ffi/native.ts";
import { encodeError } from "../../src/bridge/error_text.ts";
import type { FollowEvent } from "../../src/follow/follow_event.ts";
import type { LiveReplicaOptions } from "../../src/live/live_parts.ts";
import { LiveReplica } from "../../src/live/live_replica.ts";
import { Replica } from "../../src/replica.ts";
import { findShim } from "../../src/shim_path.ts";
import { FolderStore } from "../../src/storage/folder.ts";
import { type FolderLocation, parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { drivers } from "../replica/drivers.ts";
import { until } from "../replica/following.ts";
import type { ReplicaFolder } from "../support/replica_folder.ts";

export interface LivePlace {
  readonly native: Native;
  readonly live: LiveReplica;
  /** For connections to it. */
  readonly replica: Replica;
  readonly store: FolderStore;
  readonly events: FollowEvent[];
}

/** Opens a folder's replica, gives it to `use`, and closes it in any case. */
export async function withLive(
  folder: ReplicaFolder,
  options: Partial<LiveReplicaOptions>,
  use: (place: LivePlace) => Promise<void>,
): Promise<void> {
  const shimPath = findShim();
  const native = await loadNative(shimPath);
  const coreId = native.calls.ls_core_start();
  const store = new FolderStore(parseReplicaUrl(folder.url) as FolderLocation);
  const events: FollowEvent[] = [];
  const onEvent = (event: FollowEvent) => void events.push(event);
  const onNotice = () => {};
  const source = { native, coreId, store, layout: "folder", onEvent, onNotice, textOf: encodeError } as const;
  const live = await LiveReplica.open(source, {
    cacheBytesMax: 64 * 1024 * 1024,
    readTimeoutMs: 2_000,
    waitForReplicaMs: 0,
    pollIntervalMs: 0,
    maxStaleMs: 0,
    onReplaced: "error",
    prefetch: "auto",
    prefetchBytesMax: 16 * 1024 * 1024,
    ...options,
  }, {});
  const shared = { shimPath, replicaId: live.id, name: "live", writes: false };
  try {
    const replica = new Replica({ native, shared, core: undefined, Database: drivers[0]!.Database });
    // what came with the opening is decoded behind it, and nobody serves a reader that comes before
    await until("page 1 is in the pool", () => canConnect(replica));
    await use({ native, live, replica, store, events });
  } finally {
    await live.close();
    native.calls.ls_core_stop(coreId, cString("the test has ended"));
  }
}

function canConnect(replica: Replica): boolean {
  try {
    replica.connect().close();
    return true;
  } catch (error) {
    if (/the core's own thread/.test(String((error as Error).cause))) return false;
    throw error;
  }
}
