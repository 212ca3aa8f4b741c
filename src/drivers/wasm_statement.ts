/**
 * A prepared statement of SQLite in WASM.
 *
 * @module
 */
import { bindValue, type ColumnValue, readColumn, type SqliteParts } from "./wasm_values.ts";

/** A row: values by column name. */
export type WasmRow = Record<string, ColumnValue>;

/** What a statement that writes has done. */
export interface RunResult {
  /** Rows that it inserted, updated or deleted. */
  readonly changes: number;
  /** The row id that was inserted last. */
  readonly lastInsertRowid: number | bigint;
}

/** What a statement needs of its connection. */
export interface StatementHost extends SqliteParts {
  /** SQLite's pointer. */
  readonly handle: number;
  /** Whether integers are read as `bigint`. */
  readonly readBigInts: boolean;
  /** What a result code says, with SQLite's words. */
  fault(code: number): Error;
  /** Gives a statement up, and what was to do so once nobody has it any more. */
  finalize(pointer: number, statement: WasmStatement): void;
}

/** SQLite's result codes of a step that did not fail. */
const ROW = 100;
const DONE = 101;

/** What a parameter's name may begin with in SQL; callers may leave it out. */
const PREFIXES = [":", "$", "@"];

/** A prepared statement: its rows are read when they are asked for. */
export class WasmStatement implements Disposable {
  readonly #host: StatementHost;
  #statement: number;
  #names: readonly string[] | undefined;
  #readBigInts: boolean;

  /** For this package; users call `prepare()`. */
  constructor(host: StatementHost, statement: number) {
    this.#host = host;
    this.#statement = statement;
    this.#readBigInts = host.readBigInts;
  }

  /** All rows. */
  all(...parameters: unknown[]): WasmRow[] {
    return [...this.#rows(parameters, (statement) => this.#row(statement))];
  }

  /** The first row; `undefined` when there is none. */
  get(...parameters: unknown[]): WasmRow | undefined {
    for (const row of this.#rows(parameters, (statement) => this.#row(statement))) return row;
    return undefined;
  }

  /** The rows one by one, each read when it is asked for. */
  iterate(...parameters: unknown[]): IterableIterator<WasmRow> {
    return this.#rows(parameters, (statement) => this.#row(statement));
  }

  /** All rows, each an array in the order of the columns. */
  values(...parameters: unknown[]): ColumnValue[][] {
    return [...this.#rows(parameters, (statement) => this.#columns(statement))];
  }

  /** Runs it for what it does. */
  run(...parameters: unknown[]): RunResult {
    for (const _ of this.#rows(parameters, () => null));
    const { sqlite, handle } = this.#host;
    const rowid: bigint = sqlite.last_insert_rowid!(handle);
    const isSafe = BigInt(Number(rowid)) === rowid && Number.isSafeInteger(Number(rowid));
    return {
      changes: Number(sqlite.changes64!(handle)),
      lastInsertRowid: isSafe && !this.#readBigInts ? Number(rowid) : rowid,
    };
  }

  /** The names of its columns. */
  get columnNames(): readonly string[] {
    return this.#named(this.#open());
  }

  /** Reads every integer as a `bigint`, or only those that no number has. */
  setReadBigInts(on: boolean): void {
    this.#readBigInts = on;
  }

  /** Gives it up; a connection that is closed does so for its own. */
  finalize(): void {
    if (this.#statement !== 0) this.#host.finalize(this.#statement, this);
    this.#statement = 0;
  }

  /** Gives it up. */
  [Symbol.dispose](): void {
    this.finalize();
  }

  #open(): number {
    if (this.#statement !== 0 && this.#host.handle !== 0) return this.#statement;
    throw new TypeError("Cannot use statement: it was finalized, or its database closed");
  }

  *#rows<T>(parameters: unknown[], read: (statement: number) => T): IterableIterator<T> {
    const { sqlite } = this.#host;
    const statement = this.#open();
    sqlite.reset!(statement);
    this.#bind(statement, parameters);
    try {
      for (let step = 0;; step++) {
        const code: number = sqlite.step!(this.#open());
        if (step === 0) this.#names = undefined; // it may have been compiled anew, for another schema
        if (code === DONE) return;
        if (code !== ROW) throw this.#host.fault(code);
        yield read(statement);
      }
    } finally {
      if (this.#statement !== 0 && this.#host.handle !== 0) sqlite.reset!(statement);
    }
  }

  #bind(statement: number, parameters: unknown[]): void {
    this.#host.sqlite.clear_bindings!(statement);
    const [first, ...rest] = parameters;
    const named = isNamed(first) ? first : undefined;
    const positional = named ? rest : rest.length === 0 && Array.isArray(first) ? first : parameters;
    for (const [name, value] of Object.entries(named ?? {})) {
      this.#set(statement, this.#indexOf(statement, name), value);
    }
    positional.forEach((value, i) => this.#set(statement, i + 1, value));
  }

  #set(statement: number, index: number, value: unknown): void {
    const code = bindValue(this.#host, statement, index, value);
    if (code !== 0) throw this.#host.fault(code);
  }

  #indexOf(statement: number, name: string): number {
    const { sqlite, heap } = this.#host;
    const names = /^[:$@?]/.test(name) ? [name] : PREFIXES.map((prefix) => prefix + name);
    for (const each of names) {
      const { address } = heap.placeText(each);
      const index: number = sqlite.bind_parameter_index!(statement, address);
      heap.free(address);
      if (index > 0) return index;
    }
    throw new TypeError(`Cannot bind parameter "${name}": the statement has none of that name`);
  }

  /** A schema that changes meanwhile changes the columns of `SELECT *` with the statement's first step. */
  #named(statement: number): readonly string[] {
    const { sqlite, heap } = this.#host;
    const count: number = sqlite.column_count!(statement);
    if (this.#names?.length === count) return this.#names;
    this.#names = Array.from(
      { length: count },
      (_, i) => heap.cText(sqlite.column_name!(statement, i) >>> 0),
    );
    return this.#names;
  }

  #row(statement: number): WasmRow {
    const row: WasmRow = {};
    const names = this.#named(statement);
    for (let i = 0; i < names.length; i++) {
      const value = readColumn(this.#host, statement, i, this.#readBigInts);
      if (names[i] === "__proto__") Object.defineProperty(row, "__proto__", { value, enumerable: true });
      else row[names[i]!] = value;
    }
    return row;
  }

  #columns(statement: number): ColumnValue[] {
    const count = this.#named(statement).length;
    return Array.from({ length: count }, (_, i) => readColumn(this.#host, statement, i, this.#readBigInts));
  }
}

/** Whether the first of the parameters names values. */
function isNamed(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !ArrayBuffer.isView(value) && !Array.isArray(value);
}
