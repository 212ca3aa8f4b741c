/**
 * Options, URI parameters and environment → one frozen configuration. The only table of defaults.
 *
 * @module
 */
import { parseReplicaUrl, type ReplicaLocation } from "./storage/replica_url.ts";

/** Keys of an S3 account, or of a role for a while. */
export interface StaticCredentials {
  /** Names the key; no secret. */
  accessKeyId: string;
  /** The secret part. */
  secretAccessKey: string;
  /** Of temporary credentials. */
  sessionToken?: string;
  /** When they end; {@link OpenOptions.credentials} as a function is called again before. */
  expiration?: Date;
}

/** What {@link openReplica} may be told. Every time is in ms. */
export interface OpenOptions {
  /** Region of the bucket. Default: what the URL says, else discovered. */
  region?: string;
  /** Endpoint of an S3-compatible store, such as `http://localhost:9000`. Default: what the URL says. */
  endpoint?: string;
  /**
   * Keys; `"anonymous"` sends unsigned requests; a function is called on this thread, again before what it gave
   * expires. Default: environment, shared config files, web identity, container and instance metadata.
   */
  credentials?: StaticCredentials | "anonymous" | (() => StaticCredentials | Promise<StaticCredentials>);
  /** Bound on decoded pages in memory, in bytes. Default 64 MiB. */
  cacheBytesMax?: number;
  /** Longest wait for the opening as a whole. Default 60 s. */
  openTimeoutMs?: number;
  /** Longest wait of one read of a query. Default 60 s; `connect({ timeoutMs })` sets another one. */
  readTimeoutMs?: number;
  /** Longest wait for one request to storage, its retries included. Default 30 s. */
  requestTimeoutMs?: number;
  /** How long to wait for the first files of an empty replica; 0 fails at once. Default 0. */
  waitForReplicaMs?: number;
  /** Cancels the opening. */
  signal?: AbortSignal;
  /** Another file in place of the shim that belongs to this package. */
  shimPath?: string;
}

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A replica's configuration, complete; structured-cloneable. */
export interface ReplicaConfig {
  readonly location: ReplicaLocation;
  /** Undefined: the chain of the environment. */
  readonly credentials:
    | Omit<StaticCredentials, "expiration"> & { expirationMs?: number }
    | "anonymous"
    | undefined;
  readonly cacheBytesMax: number;
  readonly openTimeoutMs: number;
  readonly readTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly waitForReplicaMs: number;
}

/** Longest wait for an opening where nothing is said, in ms. */
export const OPEN_TIMEOUT_MS = 60_000;

const DEFAULTS = {
  cacheBytesMax: 64 * 1024 * 1024,
  openTimeoutMs: OPEN_TIMEOUT_MS,
  readTimeoutMs: 60_000,
  requestTimeoutMs: 30_000,
  waitForReplicaMs: 0,
};

/** Least buffer pool: one page of the largest size and what a query holds beside it. */
const CACHE_BYTES_LEAST = 1024 * 1024;

/** The longest time in ms that timers and the shim can keep. */
export const MS_MAX: number = 2 ** 31 - 1;

/**
 * A number option, or `fallback` where none is given.
 *
 * @throws {RangeError} it is no whole number, or out of its range
 */
export function wholeNumber(
  name: string,
  value: number | undefined,
  fallback: number,
  least: number,
): number {
  if (value === undefined) return fallback;
  if (Number.isSafeInteger(value) && value >= least && value <= MS_MAX) return value;
  throw new RangeError(
    `Cannot use option ${name}: ${value}, expected a whole number from ${least} to 2^31 - 1`,
  );
}

/** The URL with what options say more exactly. */
function completeUrl(url: string, options: OpenOptions): string {
  const extra = Object.entries({ region: options.region, endpoint: options.endpoint })
    .filter((entry): entry is [string, string] => entry[1] !== undefined)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  if (extra.length === 0) return url;
  if (!/^s3:/i.test(url)) {
    throw new TypeError(
      `Cannot use options region and endpoint: the replica is not in S3, expected an s3:// URL`,
    );
  }
  const [before, query = ""] = url.replace(/#.*$/s, "").split("?", 2) as [string, string?];
  const kept = query.split("&").filter((part) =>
    part && !extra.some((e) => e.split("=")[0] === part.split("=")[0])
  );
  return `${before}?${[...kept, ...extra].join("&")}`;
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
  const location = parseReplicaUrl(completeUrl(url ?? environmentUrl(environment), options), {
    endpoint: environment.LITESTREAM_S3_ENDPOINT,
  });
  return Object.freeze({
    location,
    credentials: typeof options.credentials === "function"
      ? undefined
      : plainCredentials(options.credentials),
    cacheBytesMax: wholeNumber(
      "cacheBytesMax",
      options.cacheBytesMax,
      DEFAULTS.cacheBytesMax,
      CACHE_BYTES_LEAST,
    ),
    openTimeoutMs: wholeNumber("openTimeoutMs", options.openTimeoutMs, DEFAULTS.openTimeoutMs, 1),
    readTimeoutMs: wholeNumber("readTimeoutMs", options.readTimeoutMs, DEFAULTS.readTimeoutMs, 1),
    requestTimeoutMs: wholeNumber("requestTimeoutMs", options.requestTimeoutMs, DEFAULTS.requestTimeoutMs, 1),
    waitForReplicaMs: wholeNumber("waitForReplicaMs", options.waitForReplicaMs, DEFAULTS.waitForReplicaMs, 0),
  });
}

/** Credentials as plain data. */
export function plainCredentials(
  given: StaticCredentials | "anonymous" | undefined,
): ReplicaConfig["credentials"] {
  if (given === undefined || given === "anonymous") return given;
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = given;
  if (expiration !== undefined && !Number.isFinite(expiration.getTime?.())) {
    throw new TypeError(`Cannot use credentials: expiration is "${expiration}", expected a valid Date`);
  }
  if (!accessKeyId || !secretAccessKey) {
    throw new TypeError("Cannot use credentials: accessKeyId or secretAccessKey is missing, expected both");
  }
  return { accessKeyId, secretAccessKey, sessionToken, expirationMs: expiration?.getTime() };
}

/** The replica that the environment names. */
function environmentUrl(environment: Environment): string {
  if (environment.LITESTREAM_REPLICA_URL) return environment.LITESTREAM_REPLICA_URL;
  const bucket = environment.LITESTREAM_S3_BUCKET;
  if (!bucket) {
    throw new TypeError(
      "Cannot open replica: no URL given, expected one as argument, as replica_url in the database URI, or in the " +
        "environment as LITESTREAM_REPLICA_URL (or LITESTREAM_S3_BUCKET and LITESTREAM_S3_PATH)",
    );
  }
  const path = (environment.LITESTREAM_S3_PATH ?? "").replace(/^\/+/, "").split("/").map(encodeURIComponent)
    .join("/");
  const query = Object.entries({
    region: environment.LITESTREAM_S3_REGION,
    forcePathStyle: environment.LITESTREAM_S3_FORCE_PATH_STYLE,
    skipVerify: environment.LITESTREAM_S3_SKIP_VERIFY,
  }).filter((entry): entry is [string, string] => !!entry[1]).map(([k, v]) =>
    `${k}=${encodeURIComponent(v)}`
  );
  return `s3://${bucket}/${path}${query.length > 0 ? `?${query.join("&")}` : ""}`;
}

/**
 * The configuration that a database URI asks for: `replica_url` and `cache_size` (bytes), named as upstream's.
 *
 * @throws {TypeError} no URL, or one that cannot be understood
 * @throws {RangeError} a number out of its range
 */
export function makeUriConfig(
  parameters: ReadonlyMap<string, string>,
  environment: Environment,
): ReplicaConfig {
  const cacheSize = parameters.get("cache_size");
  if (cacheSize !== undefined && !/^\d+$/.test(cacheSize)) {
    throw new RangeError(`Cannot use URI parameter cache_size: "${cacheSize}", expected a number of bytes`);
  }
  return makeConfig(parameters.get("replica_url"), {
    cacheBytesMax: cacheSize === undefined ? undefined : Math.max(Number(cacheSize), CACHE_BYTES_LEAST),
  }, environment);
}
