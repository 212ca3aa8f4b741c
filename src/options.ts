/**
 * Options, URI parameters and environment → one frozen configuration. The only table of defaults.
 *
 * @module
 */
import { join, resolve } from "node:path";
import process from "node:process";
import { MS_MAX } from "./deadline.ts";
import { orAllowed } from "./drivers/permissions.ts";
import type { LogSink } from "./log.ts";
import { checkObserver } from "./observe/observer.ts";
import type { ReplicaObserver } from "./observe/span.ts";
import type { FetchModule } from "./storage/fetch_function.ts";
import type { LayoutName } from "./storage/object_store.ts";
import { type ModuleLocation, parseReplicaUrl, type ReplicaLocation } from "./storage/replica_url.ts";

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

/** A function in place of `fetch`, named rather than given: it runs on the core's thread. */
export interface FetchOption {
  /** Absolute URL of the module, such as `new URL("./proxy.ts", import.meta.url)`. */
  module: string | URL;
  /** Name of the export. Default `"default"`. */
  export?: string;
}

/** A place of your own where the replica lies, named rather than given: it is made on the core's thread. */
export interface StorageOption {
  /** Absolute URL of the module, such as `new URL("./my_storage.ts", import.meta.url)`. */
  module: string | URL;
  /** Name of the export: a {@link StorageFactory}. Default `"default"`. */
  export?: string;
  /** Handed to it as they are; structured-cloneable. */
  options?: unknown;
  /**
   * How keys begin: `"folder"` as `ltx/0/`, which Litestream uses everywhere but in S3 and OSS, or `"s3"` as `0000/`.
   * Default `"folder"`.
   */
  layout?: "folder" | "s3";
  /**
   * What messages call the place, and what `cacheDir` knows it by: another one for each replica. Default: the URL, else
   * the module's, which messages show without what may be secret; `cacheDir` tells options apart, too.
   */
  name?: string;
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
  /**
   * In place of the global `fetch`, for requests to the bucket and to services that give credentials: proxies, rewritten
   * URLs, other TLS. Called with the signed URL and a `RequestInit`; must give the `Response` as it came.
   */
  fetch?: FetchOption;
  /** Where the replica lies, in place of what is built in. The URL is handed to it, and may be left out. */
  storage?: StorageOption;
  /**
   * Takes what there is to tell beside results and errors, on this thread. Default: one line each to stderr. From the
   * level on that the environment names as `LITESTREAM_LOG_LEVEL` (`debug`, `info`, `warn` or `error`; default `warn`).
   */
  log?: LogSink;
  /**
   * Hears of each request to storage and of each transaction, as spans with times, for tracing and metrics. Where it is
   * absent nothing is gathered. See {@link requestAttributes} for what OpenTelemetry calls their parts.
   */
  observe?: ReplicaObserver;
  /** Bound on decoded pages in memory, in bytes. Default 64 MiB. */
  cacheBytesMax?: number;
  /**
   * Folder where what was fetched is kept, so that the next process fetches it no more; it is made if need
   * be, and several processes and replicas may share it. None unless given.
   */
  cacheDir?: string;
  /**
   * Bound on what is kept in `cacheDir`, by all who share it together, in bytes. At least 1 MiB. Default 1
   * GiB.
   */
  cacheDirBytesMax?: number;
  /**
   * What an opening does when the replica cannot be reached: `"serve-stale"` shows the last state that is in
   * `cacheDir`, as old as `lagMs` and `litestream_lag` tell, and follows it again once it can be reached.
   * Default `"error"`.
   */
  offline?: "error" | "serve-stale";
  /** Longest wait for the opening as a whole. Default 60 s. */
  openTimeoutMs?: number;
  /** Longest wait of one read of a query. Default 60 s; `connect({ timeoutMs })` sets another one. */
  readTimeoutMs?: number;
  /** Longest wait for one request to storage, its retries included; a second more for each 256 KiB. Default 9 s. */
  requestTimeoutMs?: number;
  /** How long to wait for the first files of an empty replica; 0 fails at once. Default 0. */
  waitForReplicaMs?: number;
  /** Pause between looks for new transactions, at least 10; 0: only `refresh()` and `waitFor()` look. Default 1 s. */
  pollIntervalMs?: number;
  /**
   * No transaction begins on the newest state when the replica was last seen longer ago than this: its statements fail
   * with a {@link StaleError}. At least twice `pollIntervalMs`, or looks that succeed would be too old. 0: any age will
   * do. Default 0.
   */
  maxStaleMs?: number;
  /**
   * What to do when another database has taken the replica's place, such as one that is made anew each day: `"error"`
   * fails further transactions with a {@link ReplacedError}, `"follow"` goes on with what is there. Default `"error"`.
   */
  onReplaced?: "error" | "follow";
  /**
   * Whether pages are loaded before a query asks for them, as far as its way can be foreseen: `"off"` loads a missing page
   * with its neighbours only. Default `"auto"`.
   */
  prefetch?: "auto" | "off";
  /**
   * Bound on pages loaded ahead for one connection, in bytes: so much may be loaded in vain where a long read ends early.
   * At least 64 KiB, at most `cacheBytesMax`. Default a quarter of `cacheBytesMax`.
   */
  prefetchBytesMax?: number;
  /**
   * Requests that one read transaction may make for its pages, those ahead of it included. A read that would need
   * another one fails with a {@link BudgetError}. 0: any number. Default 0; `connect({ maxRequests })` sets another one.
   */
  maxRequests?: number;
  /**
   * Bytes that one read transaction may move; the request that reaches it still ends. 0: any number. Default 0;
   * `connect({ maxBytes })` sets another one.
   */
  maxBytes?: number;
  /**
   * Opens the replica for writing: by this process alone. What is committed is kept in a local log and stored about every
   * `syncIntervalMs`; an empty replica becomes a new database. Default: whether `LITESTREAM_WRITE_ENABLED` is `true`.
   */
  write?: boolean;
  /** Pause between uploads of what was committed; 0: only `sync()` and `close()` store it. Default: `LITESTREAM_SYNC_INTERVAL`, else 1 s. */
  syncIntervalMs?: number;
  /**
   * Path of the files that the write log is made of, less their endings; its folder is made if need be. Default:
   * `LITESTREAM_BUFFER_PATH`, else in `$XDG_STATE_HOME/litestream-vfs` (`~/.local/state/litestream-vfs`), by the replica's name.
   */
  bufferPath?: string;
  /**
   * Bound on what is committed and not stored, in bytes: while there is more, transactions that would write find the
   * database busy. At least 1 MiB. Default 256 MiB.
   */
  unsyncedBytesMax?: number;
  /**
   * Writes to a store that does not keep to `If-None-Match`, where nothing keeps two writers from overwriting each other's
   * transactions. Default false: such a store is refused, by a probe at the opening.
   */
  allowUnconditional?: boolean;
  /**
   * Takes a lease before anything is written (`lock.json` in the bucket, as Litestream's leaser makes it; 30 s, renewed): a
   * second writer is refused at its opening, in place of being told at its first upload. A writer that was killed holds it
   * until it expires. For S3 only. Default false.
   */
  lease?: boolean;
  /**
   * Whether a writer compacts the replica, makes snapshots and deletes what they cover, as a Litestream daemon does with its
   * defaults. `false` where another process does. Default true.
   */
  compact?: boolean;
  /**
   * Whether a writer stores what was committed when SIGINT, SIGTERM or SIGHUP asks the process to end, for at most 10 s;
   * then the process ends, unless the application listens to the signal itself. On the main thread. Without it the next
   * writer stores what is left in the write log. Default true.
   */
  flushOnSignals?: boolean;
  /**
   * Brings the newest state to a local file in the background, and keeps it up there: reading then asks storage for nothing
   * but news. A path: the file stays there, a plain SQLite database that others may open after `close()`, and the next process
   * goes on with it (beside it lie `…-sums` and `…-state`). `true`: a private file that ends with the process. Default:
   * `LITESTREAM_HYDRATION_PATH`, or `true` where `LITESTREAM_HYDRATION_ENABLED` is.
   */
  hydrate?: boolean | string;
  /** Cancels the opening. */
  signal?: AbortSignal;
  /** Another file in place of the shim that belongs to this package. */
  shimPath?: string;
  /**
   * Which SQLite `connect()` opens: `"native"` that of a driver, with the shim in it; `"wasm"` one of our own, which reads only and
   * needs no permission for native code; `"auto"` the first, or, where native code is refused or there is none for the
   * machine, the second, with a warning in the log. Default: `LITESTREAM_VFS_SQLITE`, else `"auto"`.
   */
  sqlite?: "auto" | "native" | "wasm";
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
  readonly fetch: FetchModule | undefined;
  readonly cacheBytesMax: number;
  /** Absolute. Undefined: nothing is kept on disk. */
  readonly cacheDir: string | undefined;
  readonly cacheDirBytesMax: number;
  readonly offline: "error" | "serve-stale";
  readonly openTimeoutMs: number;
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

/** How a replica is written to. */
export interface WriteConfig {
  readonly path: string;
  readonly syncIntervalMs: number;
  readonly unsyncedBytesMax: number;
  readonly isUnconditional: boolean;
  readonly isCompacting: boolean;
  readonly isLeased: boolean;
}

/** Longest wait for an opening where nothing is said, in ms. */
export const OPEN_TIMEOUT_MS = 60_000;

const DEFAULTS = {
  cacheBytesMax: 64 * 1024 * 1024,
  cacheDirBytesMax: 1024 * 1024 * 1024,
  offline: "error",
  openTimeoutMs: OPEN_TIMEOUT_MS,
  readTimeoutMs: 60_000,
  requestTimeoutMs: 9_000,
  waitForReplicaMs: 0,
  pollIntervalMs: 1_000,
  maxStaleMs: 0,
  onReplaced: "error",
  prefetch: "auto",
  maxRequests: 0,
  maxBytes: 0,
  syncIntervalMs: 1_000,
  unsyncedBytesMax: 256 * 1024 * 1024,
} as const;

/** Least bound on what is committed and not stored. */
const UNSYNCED_BYTES_LEAST = 1024 * 1024;

/** Share of the buffer pool that pages loaded ahead for one connection may take where nothing is said. */
const PREFETCH_SHARE = 1 / 4;

/** Least bound on them. */
const PREFETCH_BYTES_LEAST = 64 * 1024;

/** Least pause between looks, in ms. */
const POLL_INTERVAL_LEAST_MS = 10;

/** Least buffer pool: one page of the largest size and what a query holds beside it. */
const CACHE_BYTES_LEAST = 1024 * 1024;

/** Least bound on what is kept on disk. */
const CACHE_DIR_BYTES_LEAST = 1024 * 1024;

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
  most: number = MS_MAX,
): number {
  if (value === undefined) return fallback;
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(
    `Cannot use option ${name}: ${value}, expected a whole number from ${least} to 2^${
      Math.log2(most + 1)
    } - 1`,
  );
}

/** An option that is one of a few words, or `fallback` where none is given. */
function oneOf<T extends string>(name: string, value: T | undefined, words: readonly T[], fallback: T): T {
  if (value === undefined) return fallback;
  if (words.includes(value)) return value;
  throw new RangeError(
    `Cannot use option ${name}: "${value}", expected ${words.map((w) => `"${w}"`).join(" or ")}`,
  );
}

/**
 * Which SQLite is wanted.
 *
 * @throws {RangeError} it is none of the three
 * @throws {TypeError} it is the one in WASM, and the replica is to be written, or copied to a file
 */
export function wantedSqlite(
  { sqlite }: OpenOptions,
  config: ReplicaConfig,
  environment: Environment,
): "auto" | "native" | "wasm" {
  const words = ["auto", "native", "wasm"] as const;
  const named = environment.LITESTREAM_VFS_SQLITE as typeof words[number] | "" | undefined;
  const wanted = oneOf("sqlite", sqlite ?? (named || undefined), words, "auto");
  const fault = wasmFault(config);
  if (wanted === "wasm" && fault) throw new TypeError(`Cannot use option sqlite: "wasm", and ${fault}`);
  return wanted;
}

/** Most of WASM's memory, which is of one size, that decoded pages may take. */
const WASM_CACHE_BYTES_MOST = 512 * 1024 * 1024;

/** Why a replica cannot be opened in WASM. */
export function wasmFault({ write, hydrate, cacheBytesMax }: ReplicaConfig): string | undefined {
  if (cacheBytesMax > WASM_CACHE_BYTES_MOST) {
    return `cacheBytesMax is ${cacheBytesMax}, expected at most ${WASM_CACHE_BYTES_MOST} without native code`;
  }
  if (write) return "the replica is to be written, expected native code";
  if (hydrate) return "the replica is to be copied to a file, expected native code";
  return undefined;
}

const DURATION_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "µs": 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * A duration as upstream writes them, such as `1s`, `500ms` or `1m30s`, in ms; a part of one counts as one.
 *
 * @throws {RangeError} it is none, or longer than timers can keep
 */
export function parseDuration(name: string, text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/gy)];
  const length = parts.reduce((sum, [part]) => sum + part.length, 0);
  const ms = Math.ceil(parts.reduce((sum, [, count, unit]) => sum + Number(count) * DURATION_MS[unit!]!, 0));
  if (text === "0") return 0;
  if (length > 0 && length === text.length && ms <= MS_MAX) return ms;
  throw new RangeError(`Cannot use ${name}: "${text}", expected a duration such as 1s, 500ms or 1m30s`);
}

/** Schemes of URLs for which an option means something. */
const SCHEMES_WITH = { region: ["s3", "oss"], endpoint: ["s3", "gs", "abs", "oss"] };

/** The URL with what options say more exactly. */
function completeUrl(url: string, { region, endpoint }: OpenOptions): string {
  const given = { region, endpoint };
  const names = (["region", "endpoint"] as const).filter((name) => given[name] !== undefined);
  if (names.length === 0) return url;
  for (const name of names) {
    const scheme = (/^[A-Za-z][A-Za-z0-9+.-]*(?=:)/.exec(url)?.[0] ?? "").toLowerCase();
    if (SCHEMES_WITH[name].includes(scheme)) continue;
    const wanted = SCHEMES_WITH[name].map((each) => `${each}://`).join(", ");
    throw new TypeError(
      `Cannot use option ${name}: the URL begins with "${scheme}:", expected one of ${wanted}`,
    );
  }
  const extra = names.map((name) => `${name}=${encodeURIComponent(given[name]!)}`);
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
  const location = options.storage
    ? moduleLocation(url ?? "", options.storage)
    : parseReplicaUrl(completeUrl(url ?? environmentUrl(environment), options), {
      endpoint: environment.LITESTREAM_S3_ENDPOINT,
    });
  checkStaleness(options);
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
    pollIntervalMs: options.pollIntervalMs === 0 ? 0 : wholeNumber(
      "pollIntervalMs",
      options.pollIntervalMs,
      DEFAULTS.pollIntervalMs,
      POLL_INTERVAL_LEAST_MS,
    ),
    maxStaleMs: wholeNumber("maxStaleMs", options.maxStaleMs, DEFAULTS.maxStaleMs, 0),
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
    cacheDir: cacheDir === undefined ? undefined : resolve(cacheDir),
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
    throw new TypeError(`Cannot use option hydrate: "${given}", expected true, false or the path of a file`);
  }
  if (given === false || (given === undefined && enabled && !isOn(enabled))) return undefined;
  if (given === undefined && !enabled && !path) return undefined;
  return { path: filePath("a local copy", typeof given === "string" ? given : path || undefined) };
}

function writeConfig(
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
    path: filePath("a write log", options.bufferPath ?? (path || undefined)) ??
      join(stateFolder(environment), fileNameOf(location.name)),
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

/** A file's path wherever the process goes; others are beside it. */
function filePath(what: string, path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  if (path !== "" && !/[/\\]$/.test(path)) return resolve(path);
  throw new TypeError(
    `Cannot keep ${what} at "${path}": expected the name of a file, whose endings are added`,
  );
}

/** Where write logs are kept that outlive the process, and a restart of the machine. */
function stateFolder({ XDG_STATE_HOME, HOME }: Environment): string {
  const state = XDG_STATE_HOME || (HOME && join(HOME, ".local", "state"));
  if (state) return join(state, "litestream-vfs");
  throw new TypeError(
    "Cannot keep a write log: neither XDG_STATE_HOME nor HOME is set, expected option bufferPath" +
      orAllowed("XDG_STATE_HOME", "HOME"),
  );
}

/** A file's name for a replica: what can be read of its own, and what tells it from all others. */
function fileNameOf(name: string): string {
  const readable = name.replaceAll(/[^A-Za-z0-9.-]+/g, "-").slice(-60);
  const { createHash } = process.getBuiltinModule("node:crypto"); // takes milliseconds to load
  return `${readable}-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
}

/** A bound below the pause between looks would fail transactions while all is well. */
function checkStaleness({ maxStaleMs = 0, pollIntervalMs = DEFAULTS.pollIntervalMs }: OpenOptions): void {
  if (maxStaleMs === 0 || maxStaleMs >= 2 * pollIntervalMs) return;
  throw new RangeError(
    `Cannot use option maxStaleMs: ${maxStaleMs}, expected 0 or at least twice pollIntervalMs (${pollIntervalMs})`,
  );
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

function plainFetch(given: FetchOption | undefined): FetchModule | undefined {
  return given === undefined ? undefined : plainModule("fetch", given);
}

/** Where a function of the user's stands, as plain data. */
function plainModule(option: string, given: FetchOption): FetchModule {
  const { module, export: name = "default" } = given;
  const wanted = `an absolute URL, such as new URL("./${option}.ts", import.meta.url)`;
  if (typeof given !== "object" || given === null) {
    const found = typeof given === "function" ? "a function" : "an object of another form";
    throw new TypeError(
      `Cannot use option ${option}: ${found}, expected { module, export }, since it runs on another thread`,
    );
  }
  if (!(module instanceof URL) && (typeof module !== "string" || !URL.canParse(module))) {
    throw new TypeError(`Cannot use option ${option}: module is "${module}", expected ${wanted}`);
  }
  if (typeof name !== "string" || name === "") {
    throw new TypeError(`Cannot use option ${option}: export is "${name}", expected the name of an export`);
  }
  return { module: String(module), export: name };
}

function moduleLocation(url: string, given: StorageOption): ModuleLocation {
  const at = plainModule("storage", given);
  const layout: LayoutName = oneOf("storage.layout", given.layout, ["folder", "s3"], "folder");
  try {
    structuredClone(given.options);
  } catch (cause) {
    throw new TypeError("Cannot use option storage: its options cannot be cloned, expected plain data", {
      cause,
    });
  }
  const { name = "", options } = given;
  if (typeof name !== "string" || (name === "" && given.name !== undefined)) {
    throw new TypeError(`Cannot use option storage: name is "${name}", expected what the place is called`);
  }
  const shown = shownUrl(url) || `${shownUrl(at.module)}#${at.export}`;
  const isWhole = name !== "" ||
    (options === undefined && shown === (url || `${at.module}#${at.export}`));
  return { scheme: "module", ...at, name: name || shown, isWhole, layout, prefixes: [""], url, options };
}

/** A URL without what may be secret: its user, its parameters. Who wrote it may not have minded its rules. */
function shownUrl(url: string): string {
  if (url.startsWith("data:")) return "data:";
  const [, scheme = "", rest = ""] = /^([a-z][a-z0-9+.-]*:\/*)?(.*)$/is.exec(url) ?? [];
  return scheme + rest.slice(rest.lastIndexOf("@") + 1).replace(/[?#].*$/s, "");
}

/**
 * Variables of the environment that contradict each other, in words; `url` is the one that was given, which stands over
 * the environment's.
 */
export function environmentWarnings(url: string | undefined, environment: Environment): string[] {
  const warnings: string[] = [];
  const replicaUrl = environment.LITESTREAM_REPLICA_URL;
  if (url === undefined && replicaUrl) {
    const others = ["BUCKET", "PATH", "REGION", "FORCE_PATH_STYLE", "SKIP_VERIFY"]
      .map((name) => `LITESTREAM_S3_${name}`).filter((name) => environment[name]);
    if (others.length > 0) {
      warnings.push(
        `${
          others.join(", ")
        } and LITESTREAM_REPLICA_URL are set: only the URL is used, expected one of both ways`,
      );
    }
  }
  const [aws, own] = ["AWS", "LITESTREAM"].map((prefix) => environment[`${prefix}_ACCESS_KEY_ID`]);
  if (aws && own && aws !== own && environment.AWS_SECRET_ACCESS_KEY) {
    warnings.push(
      "AWS_ACCESS_KEY_ID and LITESTREAM_ACCESS_KEY_ID name different keys: AWS_… is used, expected one of both",
    );
  }
  return warnings;
}

/** The replica that the environment names. */
function environmentUrl(environment: Environment): string {
  if (environment.LITESTREAM_REPLICA_URL) return environment.LITESTREAM_REPLICA_URL;
  const bucket = environment.LITESTREAM_S3_BUCKET;
  if (!bucket) {
    throw new TypeError(
      "Cannot open replica: no URL given, expected one as argument, as replica_url in the database URI, or in the " +
        "environment as LITESTREAM_REPLICA_URL (or LITESTREAM_S3_BUCKET and LITESTREAM_S3_PATH)" +
        orAllowed("LITESTREAM_REPLICA_URL", "LITESTREAM_S3_BUCKET", "LITESTREAM_S3_PATH"),
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

/** Whether a switch is on, as upstream reads it. */
function isOn(text: string | undefined): boolean {
  return text === "1" || text?.toLowerCase() === "true";
}

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
