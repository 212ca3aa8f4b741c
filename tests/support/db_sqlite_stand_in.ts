/**
 * The shape of `@db/sqlite` over the system's libsqlite3, where that package cannot be resolved: a second copy of SQLite
 * in a Deno process, through `Deno.dlopen`.
 *
 * Only what a driver needs is here: opening by path and flags, extensions, rows as objects, errors by message.
 *
 * @module
 */

// deno-lint-ignore no-explicit-any
type Any = any;

const OPEN_READWRITE_CREATE = 0x6;
const ROW = 100;
const DONE = 101;
const encode = (text: string) => new TextEncoder().encode(`${text}\0`);

/** Names of the library on Debian, with and without its development package. */
const LIBRARIES = ["libsqlite3.so.0", "libsqlite3.so"];

function openLibrary(): Any {
  const { Deno } = globalThis as Any;
  const table = {
    sqlite3_open_v2: { parameters: ["buffer", "buffer", "i32", "pointer"], result: "i32" },
    sqlite3_close_v2: { parameters: ["pointer"], result: "i32" },
    sqlite3_errmsg: { parameters: ["pointer"], result: "pointer" },
    sqlite3_enable_load_extension: { parameters: ["pointer", "i32"], result: "i32" },
    sqlite3_load_extension: { parameters: ["pointer", "buffer", "buffer", "buffer"], result: "i32" },
    sqlite3_prepare_v2: { parameters: ["pointer", "buffer", "i32", "buffer", "pointer"], result: "i32" },
    sqlite3_step: { parameters: ["pointer"], result: "i32" },
    sqlite3_reset: { parameters: ["pointer"], result: "i32" },
    sqlite3_finalize: { parameters: ["pointer"], result: "i32" },
    sqlite3_column_count: { parameters: ["pointer"], result: "i32" },
    sqlite3_column_name: { parameters: ["pointer", "i32"], result: "pointer" },
    sqlite3_column_type: { parameters: ["pointer", "i32"], result: "i32" },
    sqlite3_column_int64: { parameters: ["pointer", "i32"], result: "i64" },
    sqlite3_column_double: { parameters: ["pointer", "i32"], result: "f64" },
    sqlite3_column_text: { parameters: ["pointer", "i32"], result: "pointer" },
    sqlite3_column_blob: { parameters: ["pointer", "i32"], result: "pointer" },
    sqlite3_column_bytes: { parameters: ["pointer", "i32"], result: "i32" },
    sqlite3_blob_open: {
      parameters: ["pointer", "buffer", "buffer", "buffer", "i64", "i32", "buffer"],
      result: "i32",
    },
    sqlite3_blob_bytes: { parameters: ["pointer"], result: "i32" },
    sqlite3_blob_read: { parameters: ["pointer", "buffer", "i32", "i32"], result: "i32" },
    sqlite3_blob_write: { parameters: ["pointer", "buffer", "i32", "i32"], result: "i32" },
    sqlite3_blob_close: { parameters: ["pointer"], result: "i32" },
  } as const;
  for (const name of LIBRARIES) {
    try {
      return Deno.dlopen(name, table).symbols;
    } catch {
      // the next name
    }
  }
  throw new Error(`Cannot load SQLite: none of ${LIBRARIES.join(", ")} is installed`);
}

let library: Any;

function text(pointer: unknown): string {
  return pointer === null ? "" : (globalThis as Any).Deno.UnsafePointerView.getCString(pointer);
}

/** A copy of bytes in C memory. */
function bytesAt(pointer: unknown, size: number): Uint8Array<ArrayBuffer> {
  if (pointer === null || size === 0) return new Uint8Array();
  return new Uint8Array((globalThis as Any).Deno.UnsafePointerView.getArrayBuffer(pointer, size)).slice();
}

/** A prepared statement. */
export class StandInStatement {
  readonly #database: Database;
  readonly #handle: unknown;
  #finalized = false;

  constructor(database: Database, handle: unknown) {
    this.#database = database;
    this.#handle = handle;
  }

  /** All rows, by column name. */
  all(): Record<string, Any>[] {
    const rows = this.values(); // first: a changed schema may give other columns
    const names = Array.from(
      { length: library.sqlite3_column_count(this.#handle) },
      (_, i) => text(library.sqlite3_column_name(this.#handle, i)),
    );
    return rows.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i]])));
  }

  /** All rows, as arrays. */
  values(): Any[][] {
    const rows: Any[][] = [];
    for (;;) {
      const code = library.sqlite3_step(this.#handle);
      if (code === ROW) rows.push(this.#row());
      else if (code === DONE) break;
      else {
        const error = this.#database.error(code);
        library.sqlite3_reset(this.#handle);
        throw error;
      }
    }
    library.sqlite3_reset(this.#handle);
    return rows;
  }

  /** The first row. */
  get(): Record<string, Any> | undefined {
    return this.all()[0];
  }

  #row(): Any[] {
    return Array.from({ length: library.sqlite3_column_count(this.#handle) }, (_, i) => this.#cell(i));
  }

  #cell(i: number): Any {
    const type = library.sqlite3_column_type(this.#handle, i);
    if (type === 1) {
      const value = library.sqlite3_column_int64(this.#handle, i);
      return this.#database.int64 ? value : Number(value);
    }
    if (type === 2) return library.sqlite3_column_double(this.#handle, i);
    if (type === 5) return null;
    if (type === 3) return text(library.sqlite3_column_text(this.#handle, i));
    const blob = library.sqlite3_column_blob(this.#handle, i);
    return bytesAt(blob, library.sqlite3_column_bytes(this.#handle, i));
  }

  /** Frees the statement; a second time does nothing. */
  finalize(): void {
    if (this.#finalized) return;
    this.#finalized = true;
    library.sqlite3_finalize(this.#handle);
  }
}

/** Which value {@link Database.openBlob} opens. */
export interface BlobPlace {
  readonly table: string;
  readonly column: string;
  readonly row: number;
  /** True unless given. */
  readonly readonly?: boolean;
}

/** A value that is read and written in parts. */
export class StandInBlob {
  readonly #database: Database;
  readonly #handle: unknown;

  constructor(database: Database, handle: unknown) {
    this.#database = database;
    this.#handle = handle;
  }

  /** Its size. */
  get byteLength(): number {
    return library.sqlite3_blob_bytes(this.#handle);
  }

  /** Fills `p` with bytes from `offset` on. */
  readSync(offset: number, p: Uint8Array): void {
    this.#must(library.sqlite3_blob_read(this.#handle, p, p.length, offset));
  }

  /** Puts `b` in the place of the bytes from `offset` on. */
  writeSync(offset: number, b: Uint8Array): void {
    this.#must(library.sqlite3_blob_write(this.#handle, b, b.length, offset));
  }

  /** Ends it; a change of it may fail now. */
  close(): void {
    this.#must(library.sqlite3_blob_close(this.#handle));
  }

  #must(code: number): void {
    if (code !== 0) throw this.#database.error(code);
  }
}

/** A database, with the members by which `@db/sqlite`'s is recognised. */
export class Database {
  readonly #handle: unknown;
  readonly #statements: StandInStatement[] = [];
  /** Whether integers are given whole, as BigInt. */
  readonly int64: boolean;

  constructor(path: string, options: { readonly?: boolean; flags?: number; int64?: boolean } = {}) {
    this.int64 = options.int64 ?? false;
    library ??= openLibrary();
    const out = new BigUint64Array(1);
    const flags = options.flags ?? (options.readonly ? 1 : OPEN_READWRITE_CREATE);
    const code = library.sqlite3_open_v2(encode(path), new Uint8Array(out.buffer), flags, null);
    this.#handle = (globalThis as Any).Deno.UnsafePointer.create(out[0]);
    if (code !== 0) {
      library.sqlite3_close_v2(this.unsafeHandle);
      throw new Error(`${code}: SQL logic error`);
    }
  }

  /** The `sqlite3*`. */
  get unsafeHandle(): unknown {
    return this.#handle;
  }

  set enableLoadExtension(on: boolean) {
    library.sqlite3_enable_load_extension(this.unsafeHandle, on ? 1 : 0);
  }

  /** Loads an extension. */
  loadExtension(path: string, entryPoint: string): void {
    const out = new BigUint64Array(1);
    const buffer = new Uint8Array(out.buffer);
    const code = library.sqlite3_load_extension(this.unsafeHandle, encode(path), encode(entryPoint), buffer);
    if (code !== 0) throw new Error(text((globalThis as Any).Deno.UnsafePointer.create(out[0])));
  }

  /** The message of the last failure. */
  error(code: number): Error {
    return new Error(`${code}: ${text(library.sqlite3_errmsg(this.unsafeHandle))}`);
  }

  /** Prepares one statement. */
  prepare(sql: string): StandInStatement {
    const out = new BigUint64Array(1);
    const code = library.sqlite3_prepare_v2(
      this.unsafeHandle,
      encode(sql),
      -1,
      new Uint8Array(out.buffer),
      null,
    );
    if (code !== 0) throw this.error(code);
    const statement = new StandInStatement(this, (globalThis as Any).Deno.UnsafePointer.create(out[0]));
    this.#statements.push(statement);
    return statement;
  }

  /** Opens one value for reading and writing in parts. */
  openBlob({ table, column, row, readonly = true }: BlobPlace): StandInBlob {
    const out = new BigUint64Array(1);
    const code = library.sqlite3_blob_open(
      this.unsafeHandle,
      ...["main", table, column].map(encode),
      BigInt(row),
      readonly ? 0 : 1,
      new Uint8Array(out.buffer),
    );
    if (code !== 0) throw this.error(code);
    return new StandInBlob(this, (globalThis as Any).Deno.UnsafePointer.create(out[0]));
  }

  /** Runs one statement. */
  exec(sql: string): void {
    this.prepare(sql).all();
  }

  /** Closes the connection and its statements. */
  close(): void {
    for (const statement of this.#statements) statement.finalize();
    library.sqlite3_close_v2(this.unsafeHandle);
  }
}
