/**
 * Replica: what {@link openReplica} returns; lives on the user's thread.
 *
 * @module
 */
import { type Native, readText } from "../ffi/native.ts";
import { type AsOf, momentText } from "./as_of.ts";
import type { CoreClient } from "./bridge/core_client.ts";
import { decodeError } from "./bridge/error_text.ts";
import type {
  CloseOptions,
  CompareOptions,
  ListPointsOptions,
  RestoreOptions,
  WaitOptions,
} from "./call_options.ts";
import { Connections, type ConnectOptions } from "./connections.ts";
import { Deadline } from "./deadline.ts";
import type { Change } from "./diff/change.ts";
import { callDiff } from "./diff_call.ts";
import type { DatabaseClass } from "./drivers/driver.ts";
import { resolvePath } from "./drivers/host.ts";
import { DeadlineError, ReplicaError } from "./errors.ts";
import { type HydrationState, readHydration, waitHydrated } from "./hydration_state.ts";
import { refreshFromAfar, waitCommitted, waitFromAfar } from "./joined_replica.ts";
import { readPins } from "./live/pin_watch.ts";
import { readLagMs } from "./live/stale_watch.ts";
import { formatTxid } from "./ltx/txid.ts";
import { checkFunction, checkSignal, checkSwitch, wholeNumber } from "./option_value.ts";
import { type ConnectionStats, readConnection, readCounters, transactionOf } from "./pages/counters.ts";
import type { ReplicaDatabase } from "./replica_database.ts";
import type { ReplicaEvent, ReplicaEvents } from "./replica_events.ts";
import { type ReplicaStats, StatsMark, statsSince } from "./replica_stats.ts";
import { callRestore, type RestoredState } from "./restore_call.ts";
import type { SharedReplica } from "./shared_replica.ts";
import type { Point } from "./time/points.ts";
import type { LevelSummary } from "./view/level_summary.ts";
import { decodeViewInfo, VIEW_INFO_SIZE, type ViewInfo } from "./view/view_info.ts";

/** Why a statement failed. */
export interface StatementFault {
  /** SQLite's extended result code. */
  readonly code: number;
  /** Its words. */
  readonly message: string;
}

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
  readonly #connections: Connections;
  readonly #events: ReplicaEvents | undefined;
  readonly #onClose: (() => void) | undefined;
  readonly #onClosed: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  #last: ReplicaStats | undefined;

  /** For this package; users call {@link openReplica} or {@link joinReplica}. */
  constructor({ native, shared, core, Database, events, onClose, onClosed }: Parts) {
    this.#native = native;
    this.#shared = shared;
    this.#core = core;
    this.#connections = new Connections(native, shared, Database);
    this.#events = events;
    this.#onClose = onClose;
    this.#onClosed = onClosed;
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
   * @throws {RestorePlanError} the replica does not reach back to the moment asked for, or not up to it
   * @throws {ReplicaError} page 1 cannot be had, or the driver fails, whose error is the `cause`
   * @throws {ShimError} the driver cannot load the shim
   * @throws {TypeError} the class is of no driver known here, `asOf` is no moment, or the driver refuses its options
   */
  connect(options?: ConnectOptions): ReplicaDatabase;
  /** Opens a connection of the runtime's own driver. */
  connect(Database: undefined, options?: ConnectOptions): ReplicaDatabase;
  /** Opens a connection of the class given. */
  connect<T>(Database: DatabaseClass<T>, options?: ConnectOptions): T;
  connect(first?: DatabaseClass | ConnectOptions, second?: ConnectOptions): unknown {
    const Database = typeof first === "function" ? first : undefined;
    return this.#connections.open(Database, (typeof first === "function" ? second : first ?? second) ?? {});
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
   * @throws {ReplicaClosedError} the replica was closed
   * @throws {RestorePlanError} the replica does not reach back to the moment asked for, or not up to it
   * @throws {ReplicaError} page 1 cannot be had
   * @throws {TypeError} `asOf` is no moment
   */
  path(options: Omit<ConnectOptions, "database"> = {}): string {
    return this.#connections.path(options);
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
   * @throws {LocalFileError} the copy was given up; the message says why, and so does `cause`, but on a thread that joined: there
   *   the log does
   * @throws {DeadlineError} it did not come in time
   * @throws {ReplicaClosedError} the replica was closed
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
      const events = this.#events;
      await waitHydrated({
        name: this.name,
        signal: deadline.signal,
        read: () => this.hydration,
        isClosed: () => this.#view() === undefined,
        fault: events && (() => events.copyFault),
      });
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
    const now = () => this.#view()?.txid;
    if (this.#core === undefined) return await refreshFromAfar(this.#native, replicaId, now);
    const stored = await this.#core.call<bigint>({ kind: "refresh", replicaId });
    return now() ?? stored;
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
      deadline.signal.throwIfAborted();
      return await this.#reached(txid, deadline.signal);
    } finally {
      deadline.clear();
    }
  }

  /** Waits until the next transaction sees `txid` or a later one; gives which it is. */
  async #reached(txid: bigint, signal: AbortSignal): Promise<bigint> {
    const { replicaId, writes } = this.#shared;
    const now = () => this.#view()?.txid;
    const seen = now();
    if (seen !== undefined && seen >= txid) return seen;
    if (this.#core === undefined) return await waitFromAfar(this.#native, { replicaId, txid, signal }, now);
    const done = new AbortController();
    const either = AbortSignal.any([signal, done.signal]);
    try {
      const stored = this.#core.call({ kind: "wait", replicaId, txid }, either);
      // The core knows what is stored; a transaction sees what is committed here, by another thread perhaps.
      await (writes ? Promise.race([stored, waitCommitted(txid, either, now)]) : stored);
      return now() ?? txid;
    } finally {
      done.abort();
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
    checkSwitch("exact", exact);
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
   * @throws {ReplicaError} a page is damaged, or cannot be had; neither state has one of `tables`
   */
  async *diff(
    from: AsOf,
    to: AsOf = "latest",
    { tables, signal }: CompareOptions = {},
  ): AsyncGenerator<Change, void, undefined> {
    const core = this.#ours("compare states");
    if (
      tables !== undefined && !(Array.isArray(tables) && tables.every((name) => typeof name === "string"))
    ) {
      throw new TypeError(`Cannot use option tables: ${String(tables)}, expected an array of names`);
    }
    const moments = { from: momentText(from), to: momentText(to) };
    const { replicaId } = this.#shared;
    yield* callDiff(core, { kind: "diff", replicaId, ...moments, tables }, signal);
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
   * @throws the signal's reason, or what `onProgress` throws
   */
  async restore(path: string, options: RestoreOptions = {}): Promise<RestoredState> {
    const { asOf = "latest", force = false, signal, onProgress } = options;
    checkSwitch("force", force);
    checkSignal(signal);
    checkFunction("onProgress", onProgress);
    if (typeof path !== "string" || path === "" || path.includes("\0")) {
      throw new TypeError(`Cannot restore to "${String(path).slice(0, 100)}": expected a file's path`);
    }
    if (/[/\\]$/.test(path)) {
      throw new TypeError(`Cannot restore to "${path}": a folder's path, expected a file's`);
    }
    const { replicaId } = this.#shared;
    const asked = { asOf: momentText(asOf), path: resolvePath(path), force };
    const call = { kind: "restore", replicaId, ...asked } as const;
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
    const connection = this.#connections.numberOf(database) ?? 0;
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
    const connection = this.#connections.numberOf(database);
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
    const number = this.#connections.numberOf(connection) ?? 0;
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
    this.#connections.end();
    this.#closing ??= this.#close(options);
    return this.#closing;
  }

  async #close({ force = false }: CloseOptions): Promise<void> {
    this.#onClose?.();
    if (this.#core === undefined) return this.#native.release?.();
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
