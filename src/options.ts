/**
 * What {@link openReplica} may be told.
 *
 * @module
 */
import type { LogSink } from "./log.ts";
import type { ReplicaObserver } from "./observe/span.ts";

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
  /** Longest wait for the opening as a whole, less that for what a killed writer left to be stored. Default 60 s. */
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
   * `LITESTREAM_BUFFER_PATH`, else in `$XDG_STATE_HOME/litestream-vfs` (`~/.local/state/litestream-vfs`), by the replica's name
   * and what else tells its place from others.
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
   * until it expires. Where objects are replaced on condition: in S3, Google Cloud Storage, Azure, NATS, and a storage of your own
   * that says so. Default false.
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
   * goes on with it (beside it lie `…-sums` and `…-state`, until it is whole `…-check`). `true`: a private file that ends with the process. Default:
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
