/**
 * How a replica is written to, and where its write log lies.
 *
 * @module
 */
import { DEFAULTS, UNSYNCED_BYTES_LEAST } from "./defaults.ts";
import { builtin } from "./drivers/host.ts";
import { orAllowed } from "./drivers/permissions.ts";
import type { Environment } from "./environment.ts";
import { filePath, parseDuration, wholeNumber } from "./option_value.ts";
import type { OpenOptions } from "./options.ts";
import { type PlaceContext, placeOf } from "./storage/place.ts";
import type { ReplicaLocation } from "./storage/replica_url.ts";

/** How a replica is written to. */
export interface WriteConfig {
  readonly path: string;
  /** Where an earlier version kept the log, under a name that other places may have as well; absent where it is the same. */
  readonly earlierPath?: string;
  readonly syncIntervalMs: number;
  readonly unsyncedBytesMax: number;
  readonly isUnconditional: boolean;
  readonly isCompacting: boolean;
  readonly isLeased: boolean;
}

export function writeConfig(
  location: ReplicaLocation,
  options: OpenOptions,
  environment: Environment,
): WriteConfig {
  if (options.lease && location.scheme === "file") throw noLease(location.name);
  const { LITESTREAM_SYNC_INTERVAL: interval, LITESTREAM_BUFFER_PATH: path } = environment;
  const syncIntervalMs = interval
    ? parseDuration("LITESTREAM_SYNC_INTERVAL", interval) || DEFAULTS.syncIntervalMs
    : DEFAULTS.syncIntervalMs;
  return {
    ...logPaths(location, filePath("a write log", options.bufferPath ?? (path || undefined)), {
      env: environment,
      accessKeyId: typeof options.credentials === "object" ? options.credentials.accessKeyId : undefined,
    }),
    syncIntervalMs: wholeNumber("syncIntervalMs", options.syncIntervalMs, syncIntervalMs, 0),
    unsyncedBytesMax: wholeNumber(
      "unsyncedBytesMax",
      options.unsyncedBytesMax,
      DEFAULTS.unsyncedBytesMax,
      UNSYNCED_BYTES_LEAST,
      Number.MAX_SAFE_INTEGER,
    ),
    isUnconditional: options.allowUnconditional ?? false,
    isCompacting: options.compact ?? true,
    isLeased: options.lease ?? false,
  };
}

/** The error of a place where a lease cannot be kept. */
export function noLease(name: string): TypeError {
  return new TypeError(
    `Cannot use option lease with ${name}: expected a bucket, where objects are replaced on condition`,
  );
}

/** Where write logs are kept that outlive the process, and a restart of the machine. */
function stateFolder({ XDG_STATE_HOME, HOME }: Environment): string {
  const state = XDG_STATE_HOME || (HOME && builtin("node:path").join(HOME, ".local", "state"));
  if (state) return builtin("node:path").join(state, "litestream-vfs");
  throw new TypeError(
    "Cannot keep a write log: neither XDG_STATE_HOME nor HOME is set, expected option bufferPath" +
      orAllowed("XDG_STATE_HOME", "HOME"),
  );
}

/** Where a log is kept: where the user says, or under a name that tells its replica's place from all others. */
function logPaths(
  location: ReplicaLocation,
  given: string | undefined,
  { env, accessKeyId }: PlaceContext,
): Pick<WriteConfig, "path" | "earlierPath"> {
  if (given !== undefined) return { path: given };
  const { join } = builtin("node:path");
  const folder = stateFolder(env);
  const [path, earlierPath] = [placeOf(location, { env, accessKeyId }), location.name]
    .map((place) => join(folder, fileNameOf(location.name, place))) as [string, string];
  return path === earlierPath ? { path } : { path, earlierPath };
}

/** A file's name for a replica: what can be read of its own, and what tells its place from all others. */
function fileNameOf(name: string, place: string): string {
  const readable = name.replaceAll(/[^A-Za-z0-9.-]+/g, "-").slice(-60);
  const { createHash } = builtin("node:crypto");
  return `${readable}-${createHash("sha256").update(place).digest("hex").slice(0, 16)}`;
}
