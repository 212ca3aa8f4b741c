/**
 * What {@link openReplica} returns; lives on the user's thread.
 *
 * @module
 */
import { tmpdir } from "node:os";
import process from "node:process";
import { cString, type Native, readText } from "../ffi/native.ts";
import { loadNative } from "../ffi/mod.ts";
import { type CoreClient, threadCore } from "./bridge/core_client.ts";
import { decodeError } from "./bridge/error_text.ts";
import { defaultDatabase, driverOf, Hosts } from "./drivers/mod.ts";
import type { DatabaseClass } from "./drivers/driver.ts";
import { DeadlineError, ReplicaClosedError, ReplicaError, ShimError } from "./errors.ts";
import {
  makeConfig,
  OPEN_TIMEOUT_MS,
  type OpenOptions,
  plainCredentials,
  type StaticCredentials,
  wholeNumber,
} from "./options.ts";
import { type Counters, readCounters } from "./pages/counters.ts";
import { findShim } from "./shim_path.ts";

/** The most that a database opened by `connect()` without a class is known to have; `bun:sqlite` and `node:sqlite` do. */
export interface ReplicaDatabase {
  /** Prepares a statement. */
  prepare(sql: string): ReplicaStatement;
  /** Runs statements that give no rows. */
  exec(sql: string): unknown;
  /** Closes the connection. */
  close(): void;
}

/** A prepared statement, as far as both drivers agree. */
export interface ReplicaStatement {
  /** All rows, each an object by column name. */
  // deno-lint-ignore no-explicit-any
  all(...parameters: any[]): any[];
  /** The first row; `undefined` or `null` when there is none. */
  // deno-lint-ignore no-explicit-any
  get(...parameters: any[]): any;
}

/** How a connection is opened. */
export interface ConnectOptions {
  /** Longest wait of one read, in ms, in place of the replica's `readTimeoutMs`. */
  timeoutMs?: number;
  /** Options in the driver's own terms, such as `{ strict: true }` for `bun:sqlite`. */
  database?: object;
}

/** How a replica is closed. */
export interface CloseOptions {
  /** End waiting reads at once and do not wait for the core. Default false. */
  force?: boolean;
}

/**
 * Counts since the replica was opened, or since a mark, over all its connections.
 *
 * SQLite keeps pages of its own beside the replica's: what it has there is counted nowhere.
 */
export interface ReplicaStats extends Counters {
  /** Bytes of all decoded pages in this process right now. */
  readonly poolBytes: number;
}

/** Names an open replica to other threads of the process; structured-cloneable. */
export interface SharedReplica {
  /** Absolute path of the shim; every thread loads this very file. */
  readonly shimPath: string;
  /** The replica's number in this process. */
  readonly replicaId: number;
  /** The place the replica lies, without secrets. */
  readonly name: string;
}

/** Words of a view as the shim tells it: TXID, commit, page size, time, stamp, handle. */
const VIEW_WORDS = 6;

/** When a credentials function is called again before its keys expire, in ms. */
const CREDENTIALS_MARGIN_MS = 5 * 60_000;

/** What a Replica is made of; ours only. */
interface Parts {
  native: Native;
  shared: SharedReplica;
  core: CoreClient | undefined;
  Database: DatabaseClass;
}

/** An open replica: databases connect to it. */
export class Replica implements AsyncDisposable {
  readonly #native: Native;
  readonly #shared: SharedReplica;
  readonly #core: CoreClient | undefined;
  readonly #Database: DatabaseClass;
  readonly #hosts: Hosts;
  readonly #sentinel: string;
  #closing: Promise<void> | undefined;
  #last: ReplicaStats | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** For this package; users call {@link openReplica} or {@link joinReplica}. */
  constructor({ native, shared, core, Database }: Parts) {
    this.#native = native;
    this.#shared = shared;
    this.#core = core;
    this.#Database = Database;
    this.#hosts = new Hosts(native);
    this.#sentinel = sentinelFolder(native);
  }

  /** The place the replica lies, without secrets. */
  get name(): string {
    return this.#shared.name;
  }

  /**
   * Opens a connection that sees the replica as a read-only database: of the runtime's own driver, or of the class
   * given (`bun:sqlite`, `node:sqlite` or `@db/sqlite`), whose instance it returns.
   *
   * Each transaction sees one TXID from its first read to its end. A page that is not in memory blocks the thread
   * until it is.
   *
   * @throws {ReplicaClosedError} the replica was closed
   * @throws {ShimError} the driver cannot load the shim
   * @throws {TypeError} the class is of no driver known here
   */
  connect(Database?: undefined, options?: ConnectOptions): ReplicaDatabase;
  /** Opens a connection of the class given. */
  connect<T>(Database: DatabaseClass<T>, options?: ConnectOptions): T;
  connect(Database: DatabaseClass = this.#Database, options: ConnectOptions = {}): unknown {
    if (this.#closing) throw new ReplicaClosedError(`Cannot connect to ${this.name}: the replica was closed`);
    const { calls } = this.#native;
    const host = this.#hosts.of(Database);
    const timeoutMs = wholeNumber("timeoutMs", options.timeoutMs, 0, 1);
    const ticket = calls.ls_replica_ticket(this.#shared.replicaId, timeoutMs);
    if (ticket < 0) throw new ReplicaClosedError(`Cannot connect to ${this.name}: the replica was closed`);
    const before = this.#errorText();
    if (calls.ls_host_begin(host) < 0) {
      throw new ShimError("Cannot connect: another thread is still opening a connection after 30 s");
    }
    try {
      return driverOf(Database).open(Database, `${this.#sentinel}${ticket}.db`, options.database ?? {});
    } catch (cause) {
      const reason = this.#errorText() === before ? cause : this.lastError;
      const found = reason instanceof Error ? reason.message : String(reason);
      throw new ReplicaError(`Cannot connect to ${this.name}: ${found}`, { cause: reason });
    } finally {
      calls.ls_host_end(host);
    }
  }

  /** The TXID that the next transaction will see. 0n after closing. */
  get txid(): bigint {
    return this.#view()[0] ?? 0n;
  }

  /** Size of the database in pages, and of a page in bytes, as the next transaction will see it. */
  get size(): { readonly commit: number; readonly pageSize: number } {
    const view = this.#view();
    return { commit: Number(view[1] ?? 0n), pageSize: Number(view[2] ?? 0n) };
  }

  #view(): bigint[] {
    if (this.#closing) return [];
    const buffer = new Uint8Array(VIEW_WORDS * 8);
    if (this.#native.calls.ls_replica_view(this.#shared.replicaId, buffer) < 0) return [];
    const view = new DataView(buffer.buffer);
    return Array.from({ length: VIEW_WORDS }, (_, i) => view.getBigUint64(i * 8, true));
  }

  /**
   * What was fetched and served since opening, or since a mark: the result of an earlier call. Counts of a
   * transaction that is still open are not in yet.
   */
  stats(since?: ReplicaStats): ReplicaStats {
    const now = this.#closing && this.#last ? this.#last : this.#count();
    if (since === undefined) return now;
    const entries = Object.entries(now).map((
      [name, value],
    ) => [name, value - since[name as keyof ReplicaStats]]);
    return { ...Object.fromEntries(entries), poolBytes: now.poolBytes } as unknown as ReplicaStats;
  }

  #count(): ReplicaStats {
    const bytes = new Uint8Array(8);
    this.#native.calls.ls_pool_bytes(bytes);
    const poolBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    return { ...readCounters(this.#native, this.#shared.replicaId), poolBytes };
  }

  /** Why the last read failed, where the driver only says "disk I/O error"; undefined when none has. */
  get lastError(): Error | undefined {
    const text = this.#errorText();
    return text === "" ? undefined : decodeError(text);
  }

  #errorText(): string {
    const { replicaId } = this.#shared;
    return readText((buffer) => this.#native.calls.ls_replica_error(replicaId, buffer, buffer.length));
  }

  /**
   * Ends all reads that wait for a page right now; their statements fail with "interrupted". For another thread than
   * the one that queries: see {@link share}.
   */
  interrupt(): void {
    this.#native.calls.ls_replica_interrupt(this.#shared.replicaId);
  }

  /** What another thread needs to {@link joinReplica}: post it there. */
  share(): SharedReplica {
    return this.#shared;
  }

  /**
   * Closes the replica. Reads that wait and later ones fail with "replica closed"; connections may be closed before
   * or after. A joined replica only leaves; the one that opened it goes on.
   */
  close(options: CloseOptions = {}): Promise<void> {
    this.#last ??= this.#count();
    if (options.force && this.#core) this.#native.calls.ls_replica_close(this.#shared.replicaId);
    this.#closing ??= this.#close(options);
    return this.#closing;
  }

  async #close({ force = false }: CloseOptions): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#core === undefined) return;
    const { replicaId } = this.#shared;
    const closed = this.#core.call({ kind: "close", replicaId }).finally(() => this.#core!.release());
    if (force) closed.catch(() => {}); // the core's end is all that could be told
    else await closed;
  }

  /** Closes the replica. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Calls a credentials function again before its keys expire; for this package. */
  renewCredentials(
    source: () => StaticCredentials | Promise<StaticCredentials>,
    current: StaticCredentials,
  ): void {
    if (!current.expiration) return;
    const inMs = Math.max(1_000, current.expiration.getTime() - Date.now() - CREDENTIALS_MARGIN_MS);
    this.#timer = setTimeout(async () => {
      try {
        const next = await source();
        const { replicaId } = this.#shared;
        await this.#core?.call({ kind: "credentials", replicaId, credentials: plainCredentials(next) });
        if (!this.#closing) this.renewCredentials(source, next);
      } catch (error) {
        const text = `ReplicaError: Cannot renew credentials: ${
          error instanceof Error ? error.message : String(error)
        }`;
        this.#native.calls.ls_replica_fail(this.#shared.replicaId, cString(text));
        const soon = { ...current, expiration: new Date(Date.now() + CREDENTIALS_MARGIN_MS + 30_000) };
        if (!this.#closing) this.renewCredentials(source, soon);
      }
    }, Math.min(inMs, 2 ** 31 - 1));
    (this.#timer as unknown as { unref?(): void }).unref?.();
  }
}

/** The folder whose paths name replicas to SQLite; nothing is ever created there. One a process. */
function sentinelFolder(native: Native): string {
  const folder = `${tmpdir()}/.litestream-replica-${process.pid}/`;
  if (native.calls.ls_sentinel(cString(folder)) === 1) return folder;
  throw new ShimError(`Cannot use "${folder}" for connections: the process uses another folder already`);
}

/**
 * Opens a replica where it lies, in an S3 bucket or a folder: lists it, reads the page indexes of the files that make
 * up its newest state, and nothing else.
 *
 * `url` is `s3://bucket/path` or `file:///folder`; without it the environment names the replica.
 *
 * @throws {RestorePlanError} nothing there, files missing, or written by Litestream 0.3.x
 * @throws {StorageError} the store refuses or cannot be reached; the message says which and why
 * @throws {DeadlineError} not done in time
 * @throws {TypeError} the URL or an option cannot be understood
 */
export async function openReplica(url?: string, options: OpenOptions = {}): Promise<Replica> {
  options.signal?.throwIfAborted();
  const source = typeof options.credentials === "function" ? options.credentials : undefined;
  makeConfig(url, options, process.env); // its faults come before anything is asked
  const first = source && await askCredentials(source, options);
  const config = makeConfig(url, first ? { ...options, credentials: first } : options, process.env);
  const shimPath = findShim(options.shimPath);
  const Database = await defaultDatabase();
  const core = await threadCore(shimPath);
  const replicaId = await core.open(config, options.signal);
  const replica = new Replica({
    native: core.native,
    shared: { shimPath, replicaId, name: config.location.name },
    core,
    Database,
  });
  if (source && first) replica.renewCredentials(source, first);
  return replica;
}

/** The first keys of a credentials function, which may take as long as the opening and is cancelled with it. */
function askCredentials(
  source: () => StaticCredentials | Promise<StaticCredentials>,
  { openTimeoutMs = OPEN_TIMEOUT_MS, signal }: OpenOptions,
): Promise<StaticCredentials> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal!.reason);
    const timer = setTimeout(
      () => reject(new DeadlineError(`Cannot open replica: no credentials after ${openTimeoutMs} ms`)),
      openTimeoutMs,
    );
    signal?.addEventListener("abort", onAbort, { once: true });
    Promise.resolve().then(source).then((keys) => {
      if (keys) resolve(keys);
      else reject(new TypeError(`Cannot use credentials: the function gave ${keys}, expected keys`));
    }, reject).finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    });
  });
}

/**
 * Joins a replica that another thread of this process opened: connections of this thread share its views, buffers and
 * requests. It must stay open over there for as long.
 *
 * @throws {ReplicaClosedError} it was closed
 */
export async function joinReplica(shared: SharedReplica): Promise<Replica> {
  const native = await loadNative(shared.shimPath);
  const replica = new Replica({ native, shared, core: undefined, Database: await defaultDatabase() });
  if (replica.txid === 0n) throw new ReplicaClosedError(`Cannot join replica ${shared.name}: it was closed`);
  return replica;
}

/** What `register()` may be told. */
export interface RegisterOptions {
  /**
   * Stay the default VFS of that SQLite, so that even drivers which interpret no URI open
   * `file:x.db?vfs=litestream` as a replica. Other paths are passed on untouched. Default false.
   */
  default?: boolean;
  /** The class whose SQLite is meant. Default: the runtime's own. */
  Database?: DatabaseClass;
  /** Another file in place of the shim that belongs to this package. */
  shimPath?: string;
}

/** A registration; ends with {@link Registration.close}. */
export interface Registration extends AsyncDisposable {
  /** Ends the registration: databases opened by URI fail from now on. */
  close(): Promise<void>;
}

/**
 * Makes `file:NAME?vfs=litestream` open replicas in any connection of this process, configured by the environment or
 * by the parameters `replica_url` and `cache_size`. NAME is only a name.
 */
export async function register(options: RegisterOptions = {}): Promise<Registration> {
  const Database = options.Database ?? await defaultDatabase();
  const core = await threadCore(findShim(options.shimPath));
  const host = new Hosts(core.native).of(Database);
  core.use();
  await core.call({ kind: "register" });
  if (options.default) core.native.calls.ls_host_default(host, 1);
  let closed = false;
  const close = async () => {
    if (closed) return;
    closed = true;
    if (options.default) core.native.calls.ls_host_default(host, 0);
    if (core.alive) await core.call({ kind: "unregister" });
    core.release();
  };
  return { close, [Symbol.asyncDispose]: close };
}

/** The shim's path, for a driver's own `loadExtension()`. */
export function loadablePath(): string {
  return findShim();
}
