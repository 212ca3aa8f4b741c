/**
 * URI parameters → configuration.
 *
 * @module
 */
import { CACHE_BYTES_LEAST } from "./defaults.ts";
import type { Environment } from "./environment.ts";
import { isOn, parseDuration } from "./option_value.ts";
import type { OpenOptions } from "./options.ts";
import { makeConfig, type ReplicaConfig } from "./replica_config.ts";

/**
 * The configuration that a database URI asks for: `replica_url`, `poll_interval`, `cache_size` (bytes), `write_enabled`,
 * `sync_interval`, `buffer_path`, `hydration_enabled` and `hydration_path`, named as upstream's; and, which
 * upstream has not, `cache_dir`, `cache_dir_bytes_max` and `offline`.
 *
 * @throws {TypeError} no URL, or one that cannot be understood
 * @throws {RangeError} a number out of its range
 */
export function makeUriConfig(
  parameters: ReadonlyMap<string, string>,
  environment: Environment,
): ReplicaConfig {
  const bytes = (name: string) => {
    const text = parameters.get(name);
    if (text === undefined || /^\d+$/.test(text)) return text === undefined ? undefined : Number(text);
    throw new RangeError(`Cannot use URI parameter ${name}: "${text}", expected a number of bytes`);
  };
  const cacheSize = bytes("cache_size");
  const duration = (name: string) => {
    const text = parameters.get(name);
    return text === undefined ? undefined : parseDuration(`URI parameter ${name}`, text);
  };
  const write = parameters.get("write_enabled");
  return makeConfig(parameters.get("replica_url"), {
    pollIntervalMs: duration("poll_interval"),
    write: write === undefined ? undefined : isOn(write),
    syncIntervalMs: duration("sync_interval"),
    bufferPath: parameters.get("buffer_path") || undefined,
    hydrate: uriHydrate(parameters),
    cacheBytesMax: cacheSize === undefined ? undefined : Math.max(cacheSize, CACHE_BYTES_LEAST),
    cacheDir: parameters.get("cache_dir") || undefined,
    cacheDirBytesMax: bytes("cache_dir_bytes_max"),
    offline: parameters.get("offline") as OpenOptions["offline"],
  }, environment);
}

function uriHydrate(parameters: ReadonlyMap<string, string>): boolean | string | undefined {
  const [enabled, path] = [parameters.get("hydration_enabled"), parameters.get("hydration_path")];
  if (enabled !== undefined && !isOn(enabled)) return false;
  return path || (enabled === undefined ? undefined : true);
}
