/**
 * A configuration → the store of its replica, with the runtime's own ways of asking.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { BRIEFLY, isOutage, lastStatesOf } from "../cache/offline.ts";
import { fetchSkipsVerify } from "../drivers/fetch.ts";
import { StorageError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Environment } from "../environment.ts";
import type { ReplicaConfig } from "../replica_config.ts";
import { type Credentials, CredentialsSource } from "../storage/credentials.ts";
import { loadFetch } from "../storage/fetch_function.ts";
import { GENERATIONS_PREFIX, levelPrefix } from "../storage/layout.ts";
import type { ObjectStore, RequestOptions, WritableStore } from "../storage/object_store.ts";
import { openStore, type OpenStoreOptions } from "../storage/open_store.ts";
import { placeOf } from "../storage/place.ts";
import type { TellRequest } from "../storage/observed_store.ts";
import type { ReplicaLocation } from "../storage/replica_url.ts";

/** Takes keys that the user's thread renewed. */
export type PushCredentials = (credentials: ReplicaConfig["credentials"]) => void;

/** A configuration's store. */
export interface ConfiguredStore {
  readonly store: WritableStore;
  /** What tells its place from all others. */
  readonly place: string;
}

/** What a store says to those around it. */
export interface StoreHooks {
  readonly log?: Log;
  /** Given at once how newer keys are pushed: the opening itself may need them. */
  onPush?(push: PushCredentials): void;
  /** Somebody pushes: the keys in use have expired, or the server refuses them. Absent: nobody does. */
  onExpired?(): void;
  /** Hears of each request. */
  readonly observe?: TellRequest | undefined;
}

function toCredentials(given: Exclude<ReplicaConfig["credentials"], "anonymous" | undefined>): Credentials {
  const { accessKeyId, secretAccessKey, sessionToken, expirationMs } = given;
  return { accessKeyId, secretAccessKey, sessionToken, expiresMs: expirationMs };
}

function fetchInit(location: ReplicaLocation): OpenStoreOptions["fetchInit"] {
  const isUnverified = location.scheme === "s3"
    ? location.skipVerify
    : "parameters" in location && /^(true|1|t|yes)$/i.test(location.parameters.skipVerify ?? "");
  if (!isUnverified) return undefined;
  if (fetchSkipsVerify()) return { tls: { rejectUnauthorized: false } };
  throw new StorageError(
    `Cannot open replica ${location.name}: skipVerify is set, and this runtime's fetch always verifies TLS ` +
      "certificates, expected the process to be started with --unsafely-ignore-certificate-errors instead",
    { key: "", status: 0, retryable: false },
  );
}

async function holdsFiles(
  store: ObjectStore,
  location: ReplicaLocation,
  options: RequestOptions,
): Promise<boolean> {
  const places = [levelPrefix(location.layout, 0), levelPrefix(location.layout, 9), GENERATIONS_PREFIX];
  const found = await Promise.all(places.map(async (place) => {
    for await (const page of store.list(place, options)) {
      if (page.length > 0) return true;
    }
    return false;
  }));
  return found.includes(true);
}

/** The same where a last state would do: in an outage, whether there is one. */
async function heldFiles(
  store: WritableStore,
  { location, offline }: ReplicaConfig,
  signal: AbortSignal,
): Promise<boolean> {
  if (offline === "error") return await holdsFiles(store, location, { signal });
  try {
    return await holdsFiles(store, location, { ...BRIEFLY, signal });
  } catch (error) {
    if (!isOutage(error)) throw error;
    return await lastStatesOf(store)?.load() !== undefined;
  }
}

/**
 * Opens the store that a configuration names. At a bucket's root, where keys may begin in several ways, it looks for
 * the one under which files lie; where there are none yet, they are awaited under the likeliest.
 *
 * @throws {StorageError} the bucket cannot be asked, or the runtime cannot do what is asked
 */
export async function openConfiguredStore(
  config: ReplicaConfig,
  environment: Environment,
  native: Promise<Native>,
  signal: AbortSignal,
  hooks: StoreHooks = {},
): Promise<ConfiguredStore> {
  const { location, credentials } = config;
  const source = credentials === undefined || credentials === "anonymous"
    ? undefined
    : CredentialsSource.of(toCredentials(credentials), { onExpired: hooks.onExpired?.bind(hooks) });
  hooks.onPush?.((next) => {
    if (next !== undefined && next !== "anonymous") source?.push(toCredentials(next));
  });
  const fetch = config.fetch && await loadFetch(config.fetch, signal);
  const open = async (prefix: string | undefined) => {
    const store = await openStore(location, {
      credentials: source ?? (credentials as "anonymous" | undefined),
      env: environment,
      prefix,
      fetch,
      fetchInit: fetch ? undefined : fetchInit(location), // a function of the user's sees to TLS itself
      totalTimeoutMs: config.requestTimeoutMs,
      log: hooks.log,
      observe: hooks.observe,
      signal,
    });
    return await orClose(store, async () => {
      checkAbilities(store, config);
      const accessKeyId = typeof credentials === "object" ? credentials.accessKeyId : undefined;
      const place = placeOf(location, { env: environment, accessKeyId, prefix });
      return { store: await withCache(store, config, place, native, hooks), place };
    });
  };
  for (const prefix of location.prefixes.length > 1 ? location.prefixes : []) {
    const opened = await open(prefix);
    if (await orClose(opened.store, () => heldFiles(opened.store, config, signal))) return opened;
    await opened.store.close();
  }
  return await open(location.prefixes[0]);
}

/** What `act` gives; the store is closed when it fails. */
async function orClose<T>(store: WritableStore, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    await store.close().catch(() => {}); // why it is closed says more
    throw error;
  }
}

/**
 * Whether a store can do what the configuration wants of it.
 *
 * @throws {StorageError} code `NotImplemented`: it cannot
 */
function checkAbilities(store: WritableStore, { write }: ReplicaConfig): void {
  const { name, traits } = store;
  const found = write === undefined
    ? ""
    : traits.isReadOnly
    ? "it can only be read"
    : !traits.conditionalPut && !write.isUnconditional
    ? "nothing there keeps two writers from overwriting each other's transactions"
    : !traits.conditionalReplace && write.isLeased
    ? "a lease cannot be kept there, since objects are not replaced on condition"
    : "";
  if (found === "") return;
  const wanted = traits.isReadOnly
    ? "no option write"
    : traits.conditionalPut
    ? "no option lease"
    : "reading only, or option allowUnconditional";
  const details = { key: "", status: 0, code: "NotImplemented", retryable: false };
  throw new StorageError(`Cannot write to ${name}: ${found}, expected ${wanted}`, details);
}

/** The store with a disk cache in front, where there is to be one. */
async function withCache(
  store: WritableStore,
  { cacheDir, cacheDirBytesMax: bytesMax }: ReplicaConfig,
  place: string,
  native: Promise<Native>,
  { log, observe }: StoreHooks,
): Promise<WritableStore> {
  if (cacheDir === undefined) return store;
  const [{ assertPrivate, CacheFolder }, { CachingStore }, { LastStates }, { RangeCache }, { shimChecksum }] =
    await Promise
      .all([
        import("../cache/cache_folder.ts"),
        import("../cache/caching_store.ts"),
        import("../cache/last_states.ts"),
        import("../cache/range_cache.ts"),
        import("../cache/range_file.ts"),
      ]);
  await assertPrivate(cacheDir);
  const folder = new CacheFolder(cacheDir);
  const onNotice = (text: string) => log?.warn(text);
  const cache = new RangeCache({ folder, place, bytesMax, checksum: shimChecksum(await native), onNotice });
  const { diskReads } = observe ? await import("../observe/disk_reads.ts") : {};
  const tellRead = observe && diskReads?.(store.name, observe);
  return new CachingStore(store, cache, new LastStates(folder, place, onNotice), tellRead);
}
