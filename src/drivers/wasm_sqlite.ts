/**
 * SQLite in WASM, as the drivers of the runtimes are used: a class whose instances are databases.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { ShimError } from "../errors.ts";
import { type DatabaseClass, type Driver, OWN_DRIVER } from "./driver.ts";
import { type StatementHost, WasmStatement } from "./wasm_statement.ts";
import type { SqliteParts } from "./wasm_values.ts";

/** What a database is opened with; what other drivers know beside it is of no use here. */
export interface WasmDatabaseOptions {
  /** Reads every integer as a `bigint`, not only those that no number has. Default false. */
  readBigInts?: boolean;
  /** The same, as `bun:sqlite` calls it. */
  safeIntegers?: boolean;
}

const OPEN_READWRITE_CREATE = 0x6;

/** The shim's name for itself; `VFS_NAME` in `ffi/shim.c`. */
const VFS_NAME = "litestream";

/** What SQLite says of a failure; `errcode` is its extended result code. */
class WasmSqliteError extends Error {
  override readonly name = "SqliteError";
  /** As `node:sqlite` has it. */
  readonly code = "ERR_SQLITE_ERROR";
  readonly errcode: number;
  readonly errstr: string;

  constructor(message: string, { errcode, errstr }: { errcode: number; errstr: string }) {
    super(message);
    this.errcode = errcode;
    this.errstr = errstr;
  }
}

/** A connection of SQLite in WASM. */
export class WasmDatabase implements Disposable {
  readonly #parts: SqliteParts;
  readonly #statements = new Set<number>();
  readonly #dropped: FinalizationRegistry<number>;
  readonly #readBigInts: boolean;
  #handle: number;

  /** For this package; users call `connect()`. */
  constructor(parts: SqliteParts, path: string, options: WasmDatabaseOptions) {
    this.#parts = parts;
    this.#readBigInts = options.readBigInts ?? options.safeIntegers ?? false;
    this.#dropped = new FinalizationRegistry((statement) => this.#forget(statement));
    this.#handle = this.#open(path);
  }

  #open(path: string): number {
    const { sqlite, heap } = this.#parts;
    const out = heap.alloc(8);
    const [name, vfs] = [heap.placeText(path).address, heap.placeText(VFS_NAME).address];
    const code: number = sqlite.open_v2!(name, out, OPEN_READWRITE_CREATE, vfs);
    const handle = heap.word(out);
    heap.free(name);
    heap.free(vfs);
    heap.free(out);
    if (code === 0) {
      sqlite.extended_result_codes!(handle, 1);
      return handle;
    }
    const error = this.#fault(handle, code);
    sqlite.close_v2!(handle);
    throw error;
  }

  #fault(handle: number, code: number): Error {
    const { sqlite, heap } = this.#parts;
    const errstr = heap.cText(sqlite.errstr!(code) >>> 0);
    const found = handle === 0 ? "" : heap.cText(sqlite.errmsg!(handle) >>> 0);
    return new WasmSqliteError(found || errstr, { errcode: code, errstr });
  }

  /** Whether it can be used. */
  get isOpen(): boolean {
    return this.#handle !== 0;
  }

  /** Whether a transaction is open. */
  get isTransaction(): boolean {
    return this.#parts.sqlite.get_autocommit!(this.#connection()) === 0;
  }

  #connection(): number {
    if (this.#handle !== 0) return this.#handle;
    throw new TypeError("Cannot use database: it was closed");
  }

  /**
   * Prepares the first statement of `sql`.
   *
   * @throws SQLite's error
   */
  prepare(sql: string): WasmStatement {
    const { sqlite, heap } = this.#parts;
    const handle = this.#connection();
    const out = heap.alloc(8);
    const text = heap.placeText(sql);
    const code: number = sqlite.prepare_v3!(handle, text.address, text.size + 1, 0, out, 0);
    const pointer = heap.word(out);
    heap.free(text.address);
    heap.free(out);
    if (code !== 0) throw this.#fault(handle, code);
    if (pointer === 0) throw new TypeError("Cannot prepare statement: the text has none");
    const statement = new WasmStatement(this.#host(), pointer);
    this.#statements.add(pointer);
    this.#dropped.register(statement, pointer, statement);
    return statement;
  }

  /** The same. */
  query(sql: string): WasmStatement {
    return this.prepare(sql);
  }

  #host(): StatementHost {
    const handle = () => this.#handle;
    return {
      ...this.#parts,
      get handle() {
        return handle();
      },
      readBigInts: this.#readBigInts,
      fault: (code) => this.#fault(this.#handle, code),
      finalize: (pointer, statement) => {
        this.#dropped.unregister(statement); // the next one may have the same address
        this.#forget(pointer);
      },
    };
  }

  #forget(statement: number): void {
    if (this.#statements.delete(statement)) this.#parts.sqlite.finalize!(statement);
  }

  /**
   * Runs statements one after the other, whatever rows they give.
   *
   * @throws SQLite's error
   */
  exec(sql: string): void {
    const { sqlite, heap } = this.#parts;
    const handle = this.#connection();
    const { address } = heap.placeText(sql);
    const code: number = sqlite.exec!(handle, address, 0, 0, 0);
    heap.free(address);
    if (code !== 0) throw this.#fault(handle, code);
  }

  /** Closes the connection, and gives up its statements; a second time is nothing. */
  close(): void {
    if (this.#handle === 0) return;
    for (const statement of [...this.#statements]) this.#forget(statement);
    this.#parts.sqlite.close_v2!(this.#handle);
    this.#handle = 0;
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** How it is used. */
const wasmSqlite: Driver = {
  name: "SQLite in WASM",
  choosesVfs: true, // a window would stay open for ever where its thread is terminated
  recognises: (Database) => OWN_DRIVER in Database,
  loadExtension(Database) {
    const { load } = (Database as unknown as { readonly native: Native }).native.wasm!;
    const code = load();
    if (code !== 0) throw new Error(`SQLite cannot be started: ${code}`);
  },
  open: (Database, path, options) => new Database(path, options),
};

/**
 * The class of databases of a shim in WASM.
 *
 * @throws {ShimError} the shim is none in WASM
 */
export function wasmDatabase(native: Native): DatabaseClass<WasmDatabase> {
  if (!native.wasm) throw new ShimError(`Cannot use shim "${native.path}": native code, expected WASM`);
  const parts: SqliteParts = native.wasm;
  return class Database extends WasmDatabase {
    static readonly native = native;
    static readonly [OWN_DRIVER] = wasmSqlite;
    constructor(path: string, options: WasmDatabaseOptions = {}) {
      super(parts, path, options);
    }
  };
}
