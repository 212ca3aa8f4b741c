/**
 * What {@link openReplica} returns; lives on the user's thread.
 *
 * @module
 */
import { dirname, join, resolve, sep } from "node:path";
import process from "node:process";
import { cString, type Native, readText } from "../ffi/native.ts";
import { LS } from "../ffi/symbols.ts";
import { loadNative } from "../ffi/mod.ts";
import type { WasmShim } from "../ffi/wasm.ts";
import type { CoreClient } from "./bridge/core_client.ts";
import { askCredentials, CredentialsRenewal } from "./bridge/credentials_renewal.ts";
import { decodeError, encodeError } from "./bridge/error_text.ts";
import { driverOf, Hosts } from "./drivers/mod.ts";
import type { DatabaseClass } from "./drivers/driver.ts";
import { readableEnvironment } from "./drivers/permissions.ts";
import { DeadlineError, ReplicaClosedError, ReplicaError, ShimError } from "./errors.ts";
import { joinedDatabase, startFrontEnd } from "./front_end.ts";
import { Log, toStderr } from "./log.ts";
import {
  environmentWarnings,
  makeConfig,
  OPEN_TIMEOUT_MS,
  type OpenOptions,
  wholeNumber,
} from "./options.ts";
import { formatTxid } from "./ltx/txid.ts";
import { Deadline } from "./deadline.ts";
import { SpanInbox } from "./observe/observer.ts";
import { onExitSignal } from "./exit_signals.ts";
import type { Change } from "./diff/change.ts";
import { readPins } from "./live/pin_watch.ts";
import { readLagMs } from "./live/stale_watch.ts";
import { type HydrationState, readHydration, waitHydrated } from "./hydration_state.ts";
import { refreshFromAfar, waitFromAfar } from "./joined_replica.ts";
import { type ReplicaEvent, ReplicaEvents } from "./replica_events.ts";
import type { Point } from "./time/points.ts";
import {
  type ConnectionStats,
  COUNTER,
  readConnection,
  readCounters,
  transactionOf,
} from "./pages/counters.ts";
import type { LevelSummary } from "./view/level_summary.ts";
import { type ReplicaStats, StatsMark, statsSince } from "./replica_stats.ts";
import { shimPath as shimPathOf } from "./shim_path.ts";
import type { RestoreProgress } from "./restore/progress.ts";
import { callRestore, type RestoredState } from "./restore_call.ts";
import { decodeViewInfo, VIEW_INFO_SIZE, type ViewInfo } from "./view/view_info.ts";

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

/**
 * A moment: a time (the newest state all of whose files were written before it), a TXID, or text as
 * `PRAGMA litestream_time` takes it, such as `"5 minutes ago"`.
 */
export type AsOf = Date | bigint | string;

/** How a connection is opened. */
export interface ConnectOptions {
  /** The moment that the connection sees, for good; the newest state, and on, unless given. */
  asOf?: AsOf;
  /** Longest wait of one read, in ms, in place of the replica's `readTimeoutMs`. */
  timeoutMs?: number;
  /** Requests that one read transaction may make, in place of the replica's `maxRequests`; 0: any number. */
  maxRequests?: number;
  /** Bytes that one read transaction may move, in place of the replica's `maxBytes`; 0: any number. */
  maxBytes?: number;
  /** Options in the driver's own terms, such as `{ strict: true }` for `bun:sqlite`. */
  database?: object;
}

/** Why a statement failed. */
export interface StatementFault {
  /** SQLite's extended result code. */
  readonly code: number;
  /** Its words. */
  readonly message: string;
}

/** How long is waited for a transaction. */
export interface WaitOptions {
  /** Ends the wait. */
  signal?: AbortSignal;
  /** Longest wait in ms. Default 60 s. */
  timeoutMs?: number;
}

/** Which states are listed, and how exactly. */
export interface ListPointsOptions {
  /**
   * Read each file's own time, a request a file, in place of the listing's: that of the upload, up to a compaction
   * interval later. Default false.
   */
  exact?: boolean;
  /** Only states from this time on. */
  from?: Date;
  /** Only states before this time. */
  to?: Date;
  /** Ends it. */
  signal?: AbortSignal;
}

/** What is compared. */
export interface CompareOptions {
  /** Tables to compare; all but SQLite's own unless given. */
  tables?: readonly string[];
  /** Ends it. */
  signal?: AbortSignal;
}

/** What is restored, and how. */
export interface RestoreOptions {
  /** The moment; the newest state that is stored unless given. */
  asOf?: AsOf;
  /** Replaces a file that is there, once the new one is whole, and removes SQLite's own files beside it. Default false. */
  force?: boolean;
  /** Ends it; what has come is kept for the next call. */
  signal?: AbortSignal;
  /** Hears how far it is, some ten times a second at most, and at the end. */
  onProgress?: (progress: RestoreProgress) => void;
}

/** How a replica is closed. */
export interface CloseOptions {
  /** End waiting reads at once and do not wait for the core. Default false. */
  force?: boolean;
}

/** Names an open replica to other threads of the process; structured-cloneable. */
export interface SharedReplica {
  /** Absolute path of the shim; every thread loads this very file. In WASM its name. */
  readonly shimPath: string;
  /** Of a replica whose SQLite runs in WASM: its code, and the memory that threads share. */
  readonly wasm?: WasmShim;
  /** The replica's number in this process. */
  readonly replicaId: number;
  /** The place the replica lies, without secrets. */
  readonly name: string;
  /** Whether it is open for writing. */
  readonly writes: boolean;
}

/** The longest text that names a moment, in bytes of UTF-8; the shim takes 255. */
const MOMENT_BYTES_MAX = 200;

/** In place of a bound where nothing is said. */
const UNSET = -1;

/** How long is waited for a transaction where nothing is said, in ms. */
const WAIT_MS = 60_000;

/** What a Replica is made of; ours only. */
interface Parts {
  native: Native;
  shared: SharedReplica;
  core: CoreClient | undefined;
  Database: DatabaseClass;
  events?: ReplicaEvents;
  /** Ends what goes on on this thread for the replica. */
  onClose?: () => void;
  /** The core has closed it, and has told all that there was to tell, or it has ended. */
  onClosed?: () => void;
}

/** An open replica: databases connect to it. */
export class Replica implements AsyncDisposable {
  readonly #native: Native;
  readonly #shared: SharedReplica;
  readonly #core: CoreClient | undefined;
  readonly #Database: DatabaseClass;
  readonly #hosts: Hosts;
  readonly #sentinel: string;
  readonly #events: ReplicaEvents | undefined;
  readonly #onClose: (() => void) | undefined;
  readonly #onClosed: (() => void) | undefined;
  /** Databases by the number that the shim gave their connection; holds none of them alive. */
  readonly #connections = new WeakMap<object, number>();
  #closing: Promise<void> | undefined;
  #last: ReplicaStats | undefined;

  /** For this package; users call {@link openReplica} or {@link joinReplica}. */
  constructor({ native, shared, core, Database, events, onClose, onClosed }: Parts) {
    this.#native = native;
    this.#shared = shared;
    this.#core = core;
    this.#Database = Database;
    this.#events = events;
    this.#onClose = onClose;
    this.#onClosed = onClosed;
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
   * Each transaction sees one TXID from its first read to its end: the newest at that moment, or that of `asOf`. A page
   * that is not in memory blocks the thread until it is.
   *
   * @throws {ReplicaClosedError} the replica was closed
   * @throws {ReplicaError} it cannot be opened at the moment asked for; `cause` says why
   * @throws {ShimError} the driver cannot load the shim
   * @throws {TypeError} the class is of no driver known here, or `asOf` is no moment
   */
  connect(options?: ConnectOptions): ReplicaDatabase;
  /** Opens a connection of the runtime's own driver. */
  connect(Database: undefined, options?: ConnectOptions): ReplicaDatabase;
  /** Opens a connection of the class given. */
  connect<T>(Database: DatabaseClass<T>, options?: ConnectOptions): T;
  connect(first?: DatabaseClass | ConnectOptions, second?: ConnectOptions): unknown {
    const Database = typeof first === "function" ? first : this.#Database;
    const options = (typeof first === "function" ? second : first ?? second) ?? {};
    if (this.#native.wasm && Database !== this.#Database) throw this.#foreign(Database);
    const { calls } = this.#native;
    const host = this.#hosts.of(Database);
    const connection = this.#ticket(options);
    const begun = calls.ls_host_begin(host);
    if (begun < 0) throw new ShimError(`Cannot connect: ${windowFault(begun)}`);
    try {
      const path = this.#pathOf(connection);
      const { writes } = this.#shared;
      const database = driverOf(Database).open(Database, path, options.database ?? {}, writes) as object;
      this.#connections.set(database, connection);
      return database;
    } catch (cause) {
      throw this.#unconnected(this.#openError() ?? cause);
    } finally {
      calls.ls_host_end(host);
    }
  }

  #foreign(Database: DatabaseClass): TypeError {
    return new TypeError(
      `Cannot connect to ${this.name} by class ${Database.name}: its SQLite runs in WASM, expected connect() without a class`,
    );
  }

  /**
   * A path that a connection made by {@link connect} may `ATTACH`, once: for two moments, or two replicas, in one query.
   * It blocks the thread until that moment, or the database's first page, is there.
   *
   * ```ts ignore
   * await using replica = await openReplica("s3://bucket/sandwiches");
   * const db = replica.connect();
   * db.exec(`ATTACH '${replica.path({ asOf: 2n })}' AS before`);
   * console.log(db.prepare("SELECT * FROM ratings EXCEPT SELECT * FROM before.ratings").all());
   * ```
   *
   * @throws {ReplicaError} there is no such moment; `cause` says why
   * @throws {ReplicaClosedError} the replica was closed
   */
  path(options: Omit<ConnectOptions, "database"> = {}): string {
    return this.#pathOf(this.#ticket(options));
  }

  #pathOf(connection: number): string {
    return `${this.#sentinel}${connection}.db`;
  }

  /** The number of a connection that is going to be opened. */
  #ticket(options: ConnectOptions): number {
    const maxRequests = wholeNumber("maxRequests", options.maxRequests, UNSET, 0);
    const maxBytes = wholeNumber("maxBytes", options.maxBytes, UNSET, 0, Number.MAX_SAFE_INTEGER);
    const timeoutMs = wholeNumber("timeoutMs", options.timeoutMs, 0, 1);
    const moment = cString(options.asOf === undefined ? "" : momentText(options.asOf));
    const { replicaId } = this.#shared;
    const ticket = this.#closing ? -1 : this.#native.calls.ls_replica_ticket(replicaId, timeoutMs, moment);
    if (ticket >= 0) {
      this.#bind(ticket, COUNTER.getRequests, maxRequests);
      this.#bind(ticket, COUNTER.bytes, maxBytes);
      return ticket;
    }
    const reason = ticket === LS.REFUSED ? this.#openError() : undefined;
    if (reason) throw this.#unconnected(reason);
    throw new ReplicaClosedError(`Cannot connect to ${this.name}: the replica was closed`);
  }

  #bind(connection: number, counter: number, most: number): void {
    if (most === UNSET) return;
    this.#native.calls.ls_connection_bound(this.#shared.replicaId, connection, counter, BigInt(most));
  }

  /** Why what this thread has just tried to open failed; undefined when the shim had no part in it. */
  #openError(): Error | undefined {
    const text = readText((buffer) => this.#native.calls.ls_open_error(buffer, buffer.length));
    return text === "" ? undefined : decodeError(text);
  }

  #unconnected(cause: unknown): ReplicaError {
    const found = cause instanceof Error ? cause.message : String(cause);
    const Class = cause instanceof ReplicaClosedError ? ReplicaClosedError : ReplicaError;
    return new Class(`Cannot connect to ${this.name}: ${found}`, { cause });
  }

  /** The TXID that the next transaction will see. 0n after closing. */
  get txid(): bigint {
    return this.#view()?.txid ?? 0n;
  }

  /** Size of the database in pages, and of a page in bytes, as the next transaction will see it. */
  get size(): { readonly commit: number; readonly pageSize: number } {
    const { commit = 0, pageSize = 0 } = this.#view() ?? {};
    return { commit, pageSize };
  }

  /** When the newest transaction was written, by its writer's clock; undefined after closing. */
  get time(): Date | undefined {
    const view = this.#view();
    return view && new Date(view.timeMs);
  }

  /** Time since the replica was last seen, in ms: what is newer than that may be missing. Infinity after closing. */
  get lagMs(): number {
    return this.#closing ? Infinity : readLagMs(this.#native, this.#shared.replicaId) ?? Infinity;
  }

  /** How far the local copy is; undefined where there is none. */
  get hydration(): HydrationState | undefined {
    return this.#closing ? undefined : readHydration(this.#native, this.#shared.replicaId);
  }

  /**
   * Waits until the newest state is read from the local copy alone.
   *
   * @throws {LocalFileError} the copy was given up; the message says why
   * @throws {DeadlineError} it did not come in time
   * @throws {ReplicaError} there is no local copy
   * @throws the signal's reason
   */
  async hydrated({ signal, timeoutMs = WAIT_MS }: WaitOptions = {}): Promise<void> {
    const deadline = new Deadline(wholeNumber("timeoutMs", timeoutMs, WAIT_MS, 1), signal, () => {
      const { pages = 0, pagesTotal = 0 } = this.hydration ?? {};
      return new DeadlineError(
        `Cannot wait for the local copy of ${this.name}: not whole after ${timeoutMs} ms, ${pages} of ` +
          `${pagesTotal} pages are there`,
      );
    });
    try {
      await waitHydrated(() => this.hydration, this.name, deadline.signal);
    } finally {
      deadline.clear();
    }
  }

  /**
   * Looks at the replica now and applies all there is; gives the TXID that the next transaction sees.
   *
   * @throws {ReplicaError} the replica cannot be seen; the message says why
   */
  async refresh(): Promise<bigint> {
    const { replicaId } = this.#shared;
    if (this.#core) return await this.#core.call<bigint>({ kind: "refresh", replicaId });
    return await refreshFromAfar(this.#native, replicaId, () => this.txid);
  }

  /**
   * Stores what is committed by now; gives the TXID that is stored then. Of a replica that was opened with `write`.
   *
   * @throws {ConflictError} another writer has written; what was committed since is kept in the write log
   * @throws {StorageError} it cannot be stored right now, and is tried again
   * @throws {ReplicaError} the replica is open for reading, or was opened by another thread
   */
  async sync(): Promise<bigint> {
    const { replicaId } = this.#shared;
    if (this.#core) return await this.#core.call<bigint>({ kind: "sync", replicaId });
    throw new ReplicaError(`Cannot sync ${this.name}: another thread has opened it, expected a call there`);
  }

  /**
   * Waits until the next transaction sees `txid` or a later one, looking often meanwhile: to read what another process
   * has just written. Gives the TXID that is seen then.
   *
   * @throws {DeadlineError} it did not come in time
   * @throws {ReplicaClosedError} the replica was closed
   * @throws {RangeError} it is no TXID
   * @throws the signal's reason
   */
  async waitFor(txid: bigint, { signal, timeoutMs = WAIT_MS }: WaitOptions = {}): Promise<bigint> {
    if (typeof txid !== "bigint") throw new TypeError(`Cannot wait for TXID ${txid}: expected a bigint`);
    const name = formatTxid(txid); // RangeError where it is none
    const deadline = new Deadline(wholeNumber("timeoutMs", timeoutMs, WAIT_MS, 1), signal, () => {
      const cause = this.lastError;
      return new DeadlineError(
        `Cannot wait for TXID ${name} of ${this.name}: not there after ${timeoutMs} ms, the newest is ` +
          formatTxid(this.txid),
        cause === undefined ? {} : { cause },
      );
    });
    try {
      const { replicaId } = this.#shared;
      if (this.#core) {
        return await this.#core.call<bigint>({ kind: "wait", replicaId, txid }, deadline.signal);
      }
      return await waitFromAfar(this.#native, { replicaId, txid, signal: deadline.signal }, () => this.txid);
    } finally {
      deadline.clear();
    }
  }

  /**
   * Hears what happens to the replica; gives a function that ends it. Only on the thread that opened the replica, while
   * its loop turns; listening keeps no process alive.
   *
   * `"commit"` a newer state can be seen · `"gap"` transactions are missing, the state stays · `"stale"` not seen for
   * `maxStaleMs` (10 s without) · `"stale-pin"` a transaction is open on a state that is not the newest for a minute ·
   * `"replaced"` another database has taken its place · `"hydration"` the local copy has come so far · `"error"` a look failed, once for each different reason.
   *
   * @throws {ReplicaError} the replica was joined, not opened, on this thread
   */
  on<T extends ReplicaEvent["type"]>(
    type: T,
    listener: (event: Extract<ReplicaEvent, { type: T }>) => void,
  ): () => void {
    if (this.#events) return this.#events.on(type, listener);
    throw new ReplicaError(
      `Cannot listen to ${this.name}: it was opened on another thread, expected a call there`,
    );
  }

  /**
   * Lists the states that can be reached, oldest first: their TXIDs and times.
   *
   * @throws {StorageError} the replica cannot be listed
   */
  async points({ exact, from, to, signal }: ListPointsOptions = {}): Promise<Point[]> {
    const options = {
      ...(exact !== undefined && { exact }),
      ...(from !== undefined && { fromMs: from.getTime() }),
      ...(to !== undefined && { toMs: to.getTime() }),
    };
    const { replicaId } = this.#shared;
    return await this.#ours("list states").call<Point[]>({ kind: "points", replicaId, options }, signal);
  }

  /**
   * Tells what lies on each level of the replica, lowest first: how many files, their bytes, TXIDs and times.
   *
   * @throws {StorageError} the replica cannot be listed
   */
  async levels({ signal }: { readonly signal?: AbortSignal } = {}): Promise<LevelSummary[]> {
    const { replicaId } = this.#shared;
    return await this.#ours("list files").call<LevelSummary[]>({ kind: "levels", replicaId }, signal);
  }

  /**
   * Tells which tables and rows differ between two moments, rows by their primary key; reads only pages that differ,
   * and those that lead there.
   *
   * ```ts ignore
   * await using replica = await openReplica("s3://bucket/sandwiches");
   * for await (const change of replica.diff(2n)) console.log(change); // { kind: "update", table: "ratings", … }
   * ```
   *
   * @throws {TypeError} a moment cannot be understood
   * @throws {RestorePlanError} the replica does not reach back to it
   * @throws {ReplicaError} a page is damaged, or cannot be had
   */
  async *diff(
    from: AsOf,
    to: AsOf = "latest",
    { tables, signal }: CompareOptions = {},
  ): AsyncGenerator<Change, void, undefined> {
    const core = this.#ours("compare states");
    const of = core.newId();
    const { replicaId } = this.#shared;
    await core.call(
      { kind: "diff", replicaId, from: momentText(from), to: momentText(to), tables },
      signal,
      of,
    );
    try {
      for (;;) {
        const changes = await core.call<Change[] | null>({ kind: "diff-next", of }, signal);
        if (changes === null) return;
        yield* changes;
      }
    } finally {
      core.call({ kind: "diff-end", of }).catch(() => {}); // the core is gone, and the comparison with it
    }
  }

  /**
   * Makes a plain SQLite file of a state, byte for byte as `litestream restore` does; gives which it is.
   *
   * It is written to `<path>.partial`, with helpers beside it, and takes its place when it is whole and on the disk. Every
   * page is checked, and every file of the replica of which at least half is needed by its checksum. Where a call ended
   * early, even by a kill, the next one for the same state goes on with what is there.
   *
   * ```ts ignore
   * await using replica = await openReplica("s3://bucket/sandwiches");
   * const onProgress = ({ pages, pagesTotal }: RestoreProgress) => console.log(pages, pagesTotal);
   * const { txid } = await replica.restore("/tmp/sandwiches.db", { force: true, onProgress });
   * ```
   *
   * @throws {LocalFileError} there is a file already, the disk refuses, or another process restores to the same path
   *   (`isTaken`)
   * @throws {RestorePlanError} the replica does not reach back to the moment, or nothing is stored yet
   * @throws {LtxFormatError} a file of the replica is damaged; nothing is left
   * @throws {StateGoneError} the state's files were deleted meanwhile, and no others make it up
   * @throws {StorageError} the replica cannot be read
   * @throws {TypeError} the path or the moment cannot be understood
   * @throws the signal's reason
   */
  async restore(path: string, options: RestoreOptions = {}): Promise<RestoredState> {
    const { asOf = "latest", force = false, signal, onProgress } = options;
    if (typeof path !== "string" || path === "" || path.includes("\0")) {
      throw new TypeError(`Cannot restore to "${String(path).slice(0, 100)}": expected a file's path`);
    }
    const { replicaId } = this.#shared;
    const call = { kind: "restore", replicaId, asOf: momentText(asOf), path: resolve(path), force } as const;
    return await callRestore(this.#ours("restore"), call, { signal, onProgress });
  }

  #ours(act: string): CoreClient {
    if (this.#core) return this.#core;
    throw new ReplicaError(
      `Cannot ${act} of ${this.name}: it was opened on another thread, expected a call there`,
    );
  }

  #view(): ViewInfo | undefined {
    if (this.#closing) return undefined;
    const bytes = new Uint8Array(VIEW_INFO_SIZE);
    if (this.#native.calls.ls_replica_view(this.#shared.replicaId, bytes) < 0) return undefined;
    return decodeViewInfo(bytes);
  }

  /** This moment, for {@link stats}. */
  mark(): StatsMark {
    return new StatsMark(this.stats());
  }

  /**
   * What was fetched and served since opening, or since a mark or an earlier result. Of a transaction that is still
   * open, what it took from memory is not in yet.
   */
  stats(since?: StatsMark | ReplicaStats): ReplicaStats;
  /**
   * What was fetched for one connection and served to it, its open transaction included. For others than those that
   * {@link connect} gave on this thread: `PRAGMA litestream_stats`.
   *
   * @throws {ReplicaError} {@link connect} of this replica gave no such database, or it was closed
   */
  stats(of: { readonly connection: object }): ConnectionStats;
  stats(first?: StatsMark | ReplicaStats | { readonly connection: object }): ReplicaStats | ConnectionStats {
    if (first && "connection" in first) return this.#statsOf(first.connection);
    const now = this.#closing && this.#last ? this.#last : this.#count();
    if (first === undefined) return now;
    return first instanceof StatsMark ? first.to(now) : statsSince(first, now);
  }

  #statsOf(database: object): ConnectionStats {
    const connection = this.#connections.get(database) ?? 0;
    const stats = readConnection(this.#native, this.#shared.replicaId, connection);
    if (stats) return stats;
    throw new ReplicaError(
      `Cannot count what a connection to ${this.name} took: ` +
        (connection === 0 ? "connect() of this replica gave no such database" : "it was closed"),
    );
  }

  #count(): ReplicaStats {
    const bytes = new Uint8Array(8);
    this.#native.calls.ls_pool_bytes(bytes);
    const poolBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const { replicaId } = this.#shared;
    const pinned = readPins(this.#native, replicaId).reduce((sum, { count }) => sum + count, 0);
    return { ...readCounters(this.#native, replicaId), poolBytes, pinned };
  }

  /**
   * Names the current or last transaction of a connection as spans name it: so a span of yours is found to be the parent of
   * requests that were made for it. Undefined before the first, and after the connection was closed.
   *
   * @throws {ReplicaError} {@link connect} of this replica gave no such database
   */
  transactionOf(database: object): string | undefined {
    const connection = this.#connections.get(database);
    if (connection !== undefined) return transactionOf(this.#native, this.#shared.replicaId, connection);
    throw new ReplicaError(
      `Cannot name a transaction of ${this.name}: connect() of this replica gave no such database`,
    );
  }

  /** Why the last read failed, where the driver only says "disk I/O error"; undefined when none has. */
  get lastError(): Error | undefined {
    const { replicaId } = this.#shared;
    const text = readText((buffer) => this.#native.calls.ls_replica_error(replicaId, buffer, buffer.length));
    return text === "" ? undefined : decodeError(text);
  }

  /**
   * What SQLite says of the last call of a connection that {@link connect} gave on this thread; undefined when that went
   * well. For what a driver does not say: `iterate()` of Deno's `node:sqlite` (2.9.6) ends without a word where a step
   * fails, as if there were no more rows.
   */
  faultOf(connection: object): StatementFault | undefined {
    const { replicaId } = this.#shared;
    const number = this.#connections.get(connection) ?? 0;
    const text = readText((bytes) =>
      this.#native.calls.ls_connection_fault(replicaId, number, bytes, bytes.length)
    );
    const [, code, message] = /^(\d+) ([^]*)$/.exec(text) ?? [];
    return code === undefined ? undefined : { code: Number(code), message: message! };
  }

  /**
   * Ends all statements that run right now on connections of {@link connect}, whether they wait for a page or compute; they
   * fail with "interrupted", and a transaction that was writing is rolled back. For another thread than the one that
   * queries: see {@link share}.
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
    this.#onClose?.();
    if (this.#core === undefined) return;
    const { replicaId } = this.#shared;
    const closed = this.#core.call({ kind: "close", replicaId }).finally(() => {
      this.#onClosed?.();
      this.#core!.release();
    });
    if (force) closed.catch(() => {}); // the core's end is all that could be told
    else await closed;
  }

  /** Closes the replica. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Why no connection can be opened on this thread now. */
function windowFault(code: number): string {
  if (code === LS.BUSY) return "another thread is still opening a connection after 30 s";
  if (code === LS.MISUSE) return "this thread is opening a connection already, expected one after the other";
  return `out of memory or threads' keys (${code})`;
}

/** A moment as the core reads it. */
function momentText(asOf: AsOf): string {
  if (asOf === 0n) throw new RangeError("Cannot use asOf: TXID 0, expected one from 1 on");
  if (typeof asOf === "bigint") return `txid:${formatTxid(asOf)}`;
  const text = asOf instanceof Date && Number.isFinite(asOf.getTime()) ? asOf.toISOString() : asOf;
  if (typeof text === "string" && text !== "" && new TextEncoder().encode(text).length <= MOMENT_BYTES_MAX) {
    return text;
  }
  throw new TypeError(
    `Cannot use asOf: "${String(asOf).slice(0, 100)}", expected a valid Date, a TXID or a time as text`,
  );
}

/**
 * The folder whose paths name replicas to SQLite; nothing is ever created there. One a process. It lies beside the shim, which
 * a runtime with permissions must be allowed to read anyway.
 */
function sentinelFolder(native: Native): string {
  const folder = join(dirname(native.path), `.litestream-replica-${process.pid}`) + sep;
  if (native.calls.ls_sentinel(cString(folder)) === 1) return folder;
  throw new ShimError(`Cannot use "${folder}" for connections: the process uses another folder already`);
}

/**
 * Opens a replica where it lies: lists it, reads the page indexes of the files that make up its newest state, and
 * nothing else.
 *
 * `url` is `s3://bucket/path`, `file:///folder`, or of scheme `gs`, `abs`, `oss`, `sftp`, `webdav`, `webdavs`, `nats`,
 * `http` or `https`; without it the environment names the replica, or `storage` is a place of your own.
 *
 * ```ts ignore
 * await using replica = await openReplica("s3://bucket/sandwiches", { cacheBytesMax: 16_000_000 });
 * console.log(replica.connect().prepare("SELECT count(*) AS n FROM ratings").get(), replica.txid);
 * ```
 *
 * @throws {RestorePlanError} nothing there, files missing, or written by Litestream 0.3.x
 * @throws {StorageError} the store refuses or cannot be reached; the message says which and why
 * @throws {DeadlineError} not done in time
 * @throws {TypeError} the URL or an option cannot be understood
 */
export function openReplica(url?: string, options?: OpenOptions): Promise<Replica>;
/** Opens a replica that the options, or the environment, name. */
export function openReplica(options: OpenOptions): Promise<Replica>;
export async function openReplica(place?: string | OpenOptions, more?: OpenOptions): Promise<Replica> {
  const url = typeof place === "string" ? place : undefined;
  const options = (typeof place === "object" ? place : more) ?? {};
  options.signal?.throwIfAborted();
  const source = typeof options.credentials === "function" ? options.credentials : undefined;
  const environment = readableEnvironment();
  makeConfig(url, options, environment); // its faults come before anything is asked
  const log = Log.of(options.log, environment);
  for (const warning of environmentWarnings(url, environment)) log.warn(warning);
  const { openTimeoutMs: timeoutMs = OPEN_TIMEOUT_MS, signal } = options;
  const first = source && await askCredentials(source, { timeoutMs, signal });
  const config = makeConfig(url, first ? { ...options, credentials: first } : options, environment);
  const { core, Database, shim } = await startFrontEnd(options, config, log);
  const openId = core.newId();
  let replicaId = 0;
  const renewal = source && first && new CredentialsRenewal(source, first, {
    push: (credentials) => core.call({ kind: "credentials", of: openId, credentials }),
    fail: (error) => {
      log.warn(error.message);
      if (replicaId > 0) core.native.calls.ls_replica_fail(replicaId, cString(encodeError(error)));
    },
  });
  const events = new ReplicaEvents();
  let unsignal = () => {};
  const spans = options.observe && new SpanInbox(options.observe);
  const heard = { log: options.log ?? toStderr, spans };
  const onClose = () => {
    unsignal();
    renewal?.stop();
    core.listen(openId, heard); // what goes wrong at the end is told, too
  };
  const onClosed = () => core.unlisten(openId);
  core.listen(openId, {
    ...heard,
    onEvent: (event) => events.tell(event),
    ...(renewal ? { onExpired: () => renewal.renew() } : {}),
  });
  try {
    replicaId = await core.open(config, signal, openId);
  } catch (error) {
    onClose();
    onClosed();
    throw error;
  }
  const shared = { ...shim, replicaId, name: config.location.name, writes: config.write !== undefined };
  const replica = new Replica({ native: core.native, shared, core, Database, events, onClose, onClosed });
  if (config.write && (options.flushOnSignals ?? true)) {
    unsignal = onExitSignal(() =>
      replica.sync().catch((error) => log.warn(`Cannot store before the end: ${error.message}`))
    );
  }
  return replica;
}

/**
 * Joins a replica that another thread of this process opened: connections of this thread share its views, buffers and
 * requests. It must stay open over there for as long.
 *
 * @throws {ReplicaClosedError} it was closed
 */
export async function joinReplica(shared: SharedReplica): Promise<Replica> {
  const native = await loadNative(shared.shimPath, shared.wasm);
  const Database = await joinedDatabase(native);
  const replica = new Replica({ native, shared, core: undefined, Database });
  if (replica.time === undefined) {
    throw new ReplicaClosedError(`Cannot join replica ${shared.name}: it was closed`);
  }
  return replica;
}

/** The shim's absolute path, for a driver's own `loadExtension()`; it is unpacked if need be. */
export function loadablePath(): Promise<string> {
  return shimPathOf();
}
