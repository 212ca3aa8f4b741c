/**
 * A store made from a configuration, in a temporary form.
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import type { Environment, ReplicaConfig } from "../options.ts";
import type { ObjectStore } from "../storage/object_store.ts";
import { FolderStore } from "../storage/folder.ts";

export async function openConfiguredStore(
  config: ReplicaConfig,
  _e: Environment,
  _n: Native,
  _s: AbortSignal,
): Promise<{ store: ObjectStore; setCredentials(c: ReplicaConfig["credentials"]): void }> {
  if (config.location.scheme !== "file") throw new TypeError("not yet");
  return { store: new FolderStore(config.location), setCredentials() {} };
}
