/**
 * Connections: how databases of a driver come to see a replica.
 *
 * @module
 */
import { cString, type Native, readText } from "../ffi/native.ts";
import { LS } from "../ffi/symbols.ts";
import { type AsOf, momentText } from "./as_of.ts";
import { decodeError, reworded } from "./bridge/error_text.ts";
import type { DatabaseClass, Driver } from "./drivers/driver.ts";
import { builtin, ownProcess } from "./drivers/host.ts";
import { driverOf, Hosts } from "./drivers/mod.ts";
import { ReplicaClosedError, ReplicaError, ShimError } from "./errors.ts";
import { wholeNumber } from "./option_value.ts";
import { COUNTER } from "./pages/counters.ts";
import type { SharedReplica } from "./shared_replica.ts";
import { thrownText } from "./thrown_text.ts";

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

/** In place of a bound where nothing is said. */
const UNSET = -1;

/** Those of one replica on one thread. */
export class Connections {
  readonly #native: Native;
  readonly #shared: SharedReplica;
  readonly #Database: DatabaseClass;
  readonly #hosts: Hosts;
  readonly #sentinel: string;
  /** Databases by the number that the shim gave their connection; holds none of them alive. */
  readonly #numbers = new WeakMap<object, number>();
  #isEnded = false;

  /** `Database`: the class of those that are opened without one. */
  constructor(native: Native, shared: SharedReplica, Database: DatabaseClass) {
    this.#native = native;
    this.#shared = shared;
    this.#Database = Database;
    this.#hosts = new Hosts(native);
    this.#sentinel = sentinelFolder(native);
  }

  /** Opens one; see `Replica.connect()`. */
  open(Database: DatabaseClass = this.#Database, options: ConnectOptions): object {
    if (this.#native.wasm && Database !== this.#Database) throw this.#foreign(Database);
    const driver = driverOf(Database);
    const host = this.#hosts.of(Database);
    const number = this.#ticket(options);
    try {
      const database = this.#inWindow(
        driver,
        host,
        () => driver.open(Database, this.#pathOf(number), options.database ?? {}, this.#shared.writes),
      ) as object;
      this.#numbers.set(database, number);
      return database;
    } catch (error) {
      this.#native.calls.ls_ticket_drop(number); // else it would hold the moment until the replica is closed
      throw error;
    }
  }

  /** What `open` gives; it opens a connection of ours. */
  #inWindow<T>(driver: Driver, host: number, open: () => T): T {
    const endWindow = driver.choosesVfs ? undefined : this.#beginWindow(host);
    try {
      return open();
    } catch (cause) {
      throw this.#unconnected(this.#openError() ?? cause);
    } finally {
      endWindow?.();
    }
  }

  /** Has the driver's SQLite take our VFS for its default, until what this returns is called. */
  #beginWindow(host: number): () => void {
    const { calls } = this.#native;
    const begun = calls.ls_host_begin(host);
    if (begun < 0) throw new ShimError(`Cannot connect: ${windowFault(begun)}`);
    return () => void calls.ls_host_end(host);
  }

  /** A path that one connection may open, once; see `Replica.path()`. */
  path(options: Omit<ConnectOptions, "database">): string {
    return this.#pathOf(this.#ticket(options));
  }

  /** The number of a database that {@link open} gave; undefined where it gave no such database. */
  numberOf(database: object): number | undefined {
    return this.#numbers.get(database);
  }

  /** From now on none is opened. */
  end(): void {
    this.#isEnded = true;
  }

  #foreign(Database: DatabaseClass): TypeError {
    return new TypeError(
      `Cannot connect to ${this.#shared.name} by class ${Database.name}: its SQLite runs in WASM, expected connect() without a class`,
    );
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
    const ticket = this.#isEnded ? -1 : this.#native.calls.ls_replica_ticket(replicaId, timeoutMs, moment);
    if (ticket >= 0) {
      this.#bind(ticket, COUNTER.getRequests, maxRequests);
      this.#bind(ticket, COUNTER.bytes, maxBytes);
      return ticket;
    }
    const reason = ticket === LS.REFUSED ? this.#openError() : undefined;
    if (reason) throw this.#unconnected(reason);
    throw new ReplicaClosedError(`Cannot connect to ${this.#shared.name}: the replica was closed`);
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

  /** The same error with what failed; a driver's own is a {@link ReplicaError}. */
  #unconnected(cause: unknown): Error {
    const found = thrownText(cause);
    const message = `Cannot connect to ${this.#shared.name}: ${found}`;
    const isTold = cause instanceof ReplicaError || cause instanceof TypeError || cause instanceof RangeError;
    return isTold ? reworded(cause, message) : new ReplicaError(message, { cause });
  }
}

/** Why no connection can be opened on this thread now. */
function windowFault(code: number): string {
  if (code === LS.BUSY) return "another thread is still opening a connection after 30 s";
  if (code === LS.MISUSE) return "this thread is opening a connection already, expected one after the other";
  return `out of memory or threads' keys (${code})`;
}

/**
 * The folder whose paths name replicas to SQLite; nothing is ever created there. One a process. It lies beside the shim, which
 * a runtime with permissions must be allowed to read anyway.
 */
function sentinelFolder(native: Native): string {
  const { dirname, join, sep } = builtin("node:path");
  const folder = join(dirname(native.path), `.litestream-replica-${ownProcess().pid}`) + sep;
  if (native.calls.ls_sentinel(cString(folder)) === 1) return folder;
  throw new ShimError(`Cannot use "${folder}" for connections: the process uses another folder already`);
}
