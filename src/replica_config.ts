/**
 * Options and environment → one frozen configuration.
 *
 * @module
 */
import {
  CACHE_BYTES_LEAST,
  CACHE_DIR_BYTES_LEAST,
  DEFAULTS,
  POLL_INTERVAL_LEAST_MS,
  PREFETCH_BYTES_LEAST,
  PREFETCH_SHARE,
} from "./defaults.ts";
import { resolvePath } from "./drivers/host.ts";
import { type Environment, environmentUrl } from "./environment.ts";
import { completeUrl, moduleLocation, plainFetch } from "./location_option.ts";
import { checkObserver } from "./observe/observer.ts";
import {
  checkSwitch,
  checkText,
  filePath,
  isOn,
  oneOf,
  shownKind,
  shownValue,
  wholeNumber,
} from "./option_value.ts";
import type { OpenOptions, StaticCredentials } from "./options.ts";
import type { FetchModule } from "./storage/fetch_function.ts";
import { parseReplicaUrl, type ReplicaLocation } from "./storage/replica_url.ts";
import { type WriteConfig, writeConfig } from "./write_config.ts";

/** A replica's configuration, complete; structured-cloneable. */
export interface ReplicaConfig {
  readonly location: ReplicaLocation;
  /** Undefined: the chain of the environment. */
  readonly credentials:
    | Omit<StaticCredentials, "expiration"> & { expirationMs?: number }
    | "anonymous"
    | undefined;
  readonly fetch: FetchModule | undefined;
  readonly cacheBytesMax: number;
  /** Absolute. Undefined: nothing is kept on disk. */
  readonly cacheDir: string | undefined;
  readonly cacheDirBytesMax: number;
  readonly offline: "error" | "serve-stale";
  readonly openTimeoutMs: number;
  /** Of these, what went by before the core is asked. */
  readonly openSpentMs?: number;
  readonly readTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly waitForReplicaMs: number;
  readonly pollIntervalMs: number;
  readonly maxStaleMs: number;
  readonly onReplaced: "error" | "follow";
  readonly prefetch: "auto" | "off";
  readonly prefetchBytesMax: number;
  readonly maxRequests: number;
  readonly maxBytes: number;
  /** Undefined: it is open for reading. */
  readonly write: WriteConfig | undefined;
  /** Undefined: no local copy; a copy without a path ends with the process. */
  readonly hydrate: { readonly path: string | undefined } | undefined;
}

/**
 * Makes the configuration of a replica. `url` undefined: `LITESTREAM_REPLICA_URL`, else the `LITESTREAM_S3_…`
 * variables.
 *
 * @throws {TypeError} no URL, or one that cannot be understood
 * @throws {RangeError} a number out of its range
 */
export function makeConfig(
  url: string | undefined,
  options: OpenOptions,
  environment: Environment,
): ReplicaConfig {
  checkKinds(options);
  const location = options.storage !== undefined
    ? moduleLocation(url ?? "", options.storage)
    : parseReplicaUrl(completeUrl(url ?? environmentUrl(environment), options), {
      endpoint: environment.LITESTREAM_S3_ENDPOINT,
    });
  const pollIntervalMs = options.pollIntervalMs === 0 ? 0 : wholeNumber(
    "pollIntervalMs",
    options.pollIntervalMs,
    DEFAULTS.pollIntervalMs,
    POLL_INTERVAL_LEAST_MS,
  );
  if (options.observe !== undefined) checkObserver(options.observe);
  const hydrate = hydrateConfig(options.hydrate, environment);
  const cacheBytesMax = wholeNumber(
    "cacheBytesMax",
    options.cacheBytesMax,
    DEFAULTS.cacheBytesMax,
    CACHE_BYTES_LEAST,
  );
  return Object.freeze({
    location,
    credentials: typeof options.credentials === "function"
      ? undefined
      : plainCredentials(options.credentials),
    fetch: plainFetch(options.fetch),
    cacheBytesMax,
    ...diskConfig(options, hydrate),
    openTimeoutMs: wholeNumber("openTimeoutMs", options.openTimeoutMs, DEFAULTS.openTimeoutMs, 1),
    readTimeoutMs: wholeNumber("readTimeoutMs", options.readTimeoutMs, DEFAULTS.readTimeoutMs, 1),
    requestTimeoutMs: wholeNumber("requestTimeoutMs", options.requestTimeoutMs, DEFAULTS.requestTimeoutMs, 1),
    waitForReplicaMs: wholeNumber("waitForReplicaMs", options.waitForReplicaMs, DEFAULTS.waitForReplicaMs, 0),
    pollIntervalMs,
    maxStaleMs: staleness(options.maxStaleMs, pollIntervalMs),
    onReplaced: oneOf("onReplaced", options.onReplaced, ["error", "follow"], DEFAULTS.onReplaced),
    prefetch: oneOf("prefetch", options.prefetch, ["auto", "off"], DEFAULTS.prefetch),
    prefetchBytesMax: wholeNumber(
      "prefetchBytesMax",
      options.prefetchBytesMax,
      Math.floor(cacheBytesMax * PREFETCH_SHARE),
      PREFETCH_BYTES_LEAST,
      cacheBytesMax,
    ),
    maxRequests: wholeNumber("maxRequests", options.maxRequests, DEFAULTS.maxRequests, 0),
    maxBytes: wholeNumber("maxBytes", options.maxBytes, DEFAULTS.maxBytes, 0, Number.MAX_SAFE_INTEGER),
    write: options.write ?? isOn(environment.LITESTREAM_WRITE_ENABLED)
      ? writeConfig(location, options, environment)
      : undefined,
    hydrate,
  });
}

/** Options that are text, or on or off; one of another kind would be taken for something that was not said. */
function checkKinds(options: OpenOptions): void {
  for (const name of ["write", "allowUnconditional", "lease", "compact", "flushOnSignals"] as const) {
    checkSwitch(name, options[name]);
  }
  for (const name of ["region", "endpoint", "bufferPath", "shimPath"] as const) {
    checkText(name, options[name]);
  }
}

function diskConfig(
  options: OpenOptions,
  hydrate: ReplicaConfig["hydrate"],
): Pick<ReplicaConfig, "cacheDir" | "cacheDirBytesMax" | "offline"> {
  const { cacheDir } = options;
  if (cacheDir !== undefined && (typeof cacheDir !== "string" || cacheDir === "")) {
    throw new TypeError(`Cannot use option cacheDir: "${cacheDir}", expected the path of a folder`);
  }
  const offline = oneOf("offline", options.offline, ["error", "serve-stale"], DEFAULTS.offline);
  if (offline === "serve-stale" && cacheDir === undefined && hydrate?.path === undefined) {
    throw new TypeError(
      `Cannot use option offline: "serve-stale" without a last state, expected option cacheDir, or a path in hydrate`,
    );
  }
  return {
    cacheDir: cacheDir === undefined ? undefined : resolvePath(cacheDir),
    cacheDirBytesMax: wholeNumber(
      "cacheDirBytesMax",
      options.cacheDirBytesMax,
      DEFAULTS.cacheDirBytesMax,
      CACHE_DIR_BYTES_LEAST,
      Number.MAX_SAFE_INTEGER,
    ),
    offline,
  };
}

function hydrateConfig(
  given: boolean | string | undefined,
  environment: Environment,
): ReplicaConfig["hydrate"] {
  const { LITESTREAM_HYDRATION_ENABLED: enabled, LITESTREAM_HYDRATION_PATH: path } = environment;
  if (given !== undefined && typeof given !== "boolean" && (typeof given !== "string" || given === "")) {
    throw new TypeError(
      `Cannot use option hydrate: ${shownValue(given)}, expected true, false or the path of a file`,
    );
  }
  if (given === false || (given === undefined && enabled && !isOn(enabled))) return undefined;
  if (given === undefined && !enabled && !path) return undefined;
  return { path: filePath("a local copy", typeof given === "string" ? given : path || undefined) };
}

/** A bound below the pause between looks would fail transactions while all is well. */
function staleness(given: number | undefined, pollIntervalMs: number): number {
  const maxStaleMs = wholeNumber("maxStaleMs", given, DEFAULTS.maxStaleMs, 0);
  if (maxStaleMs === 0 || maxStaleMs >= 2 * pollIntervalMs) return maxStaleMs;
  throw new RangeError(
    `Cannot use option maxStaleMs: ${maxStaleMs}, expected 0 or at least twice pollIntervalMs (${pollIntervalMs})`,
  );
}

/** Credentials as plain data. */
export function plainCredentials(
  given: StaticCredentials | "anonymous" | undefined,
): ReplicaConfig["credentials"] {
  if (given === undefined || given === "anonymous") return given;
  if (typeof given !== "object" || given === null) {
    throw new TypeError(
      `Cannot use credentials: found ${
        shownKind(given)
      }, expected { accessKeyId, secretAccessKey }, "anonymous" or a function`,
    );
  }
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = given;
  if (expiration !== undefined && !Number.isFinite(expiration.getTime?.())) {
    throw new TypeError(`Cannot use credentials: expiration is "${expiration}", expected a valid Date`);
  }
  if (!accessKeyId || !secretAccessKey) {
    throw new TypeError("Cannot use credentials: accessKeyId or secretAccessKey is missing, expected both");
  }
  return { accessKeyId, secretAccessKey, sessionToken, expirationMs: expiration?.getTime() };
}
