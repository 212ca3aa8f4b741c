/**
 * Values between JavaScript and a statement of SQLite in WASM.
 *
 * @module
 */
import type { SqliteCalls } from "../../ffi/wasm.ts";
import type { WasmHeap } from "../../ffi/wasm_heap.ts";

/** A value of a column: an integer that no number has exactly is a `bigint`. */
export type ColumnValue = null | number | bigint | string | Uint8Array<ArrayBuffer>;

/** SQLite's types of values. */
const TYPE = { integer: 1, float: 2, text: 3, blob: 4 } as const;

/** Tells SQLite to copy what is bound. */
const TRANSIENT = -1;

const INT32_MAX = 2 ** 31 - 1;

/** The functions of SQLite, and the memory that they work in. */
export interface SqliteParts {
  readonly sqlite: SqliteCalls;
  readonly heap: WasmHeap;
}

/** The value of a column of the current row; every integer as a `bigint` where `bigInts`. */
export function readColumn(
  { sqlite, heap }: SqliteParts,
  statement: number,
  column: number,
  bigInts: boolean,
): ColumnValue {
  switch (sqlite.column_type!(statement, column)) {
    case TYPE.integer: {
      if (bigInts) return sqlite.column_int64!(statement, column);
      const number: number = sqlite.column_double!(statement, column);
      return Number.isSafeInteger(number) ? number : sqlite.column_int64!(statement, column);
    }
    case TYPE.float:
      return sqlite.column_double!(statement, column);
    case TYPE.text: {
      const address = sqlite.column_text!(statement, column) >>> 0; // before its size, which is another in UTF-16
      return heap.text(address, sqlite.column_bytes!(statement, column));
    }
    case TYPE.blob: {
      const address = sqlite.column_blob!(statement, column) >>> 0;
      return heap.copy(address, sqlite.column_bytes!(statement, column));
    }
    default:
      return null;
  }
}

/**
 * Binds a value to parameter `index`, from 1; an SQLite result code.
 *
 * @throws {TypeError} SQLite has no such value
 * @throws {RangeError} a `bigint` of more than 64 bits
 */
export function bindValue(parts: SqliteParts, statement: number, index: number, value: unknown): number {
  const { sqlite } = parts;
  if (value === null || value === undefined) return sqlite.bind_null!(statement, index);
  switch (typeof value) {
    case "number":
      return bindNumber(sqlite, statement, index, value);
    case "boolean":
      return sqlite.bind_int!(statement, index, value ? 1 : 0);
    case "bigint":
      if (BigInt.asIntN(64, value) === value) return sqlite.bind_int64!(statement, index, value);
      throw new RangeError(`Cannot bind parameter ${index}: ${value}, expected an integer of 64 bits`);
    case "string":
      return bindText(parts, statement, index, value);
  }
  if (ArrayBuffer.isView(value)) {
    return bindBlob(
      parts,
      statement,
      index,
      new Uint8Array(value.buffer, value.byteOffset, value.byteLength),
    );
  }
  throw new TypeError(
    `Cannot bind parameter ${index}: ${typeof value}, expected null, a number, bigint, boolean, string or bytes`,
  );
}

function bindNumber(sqlite: SqliteCalls, statement: number, index: number, value: number): number {
  if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
    return sqlite.bind_double!(statement, index, value);
  }
  if (Math.abs(value) <= INT32_MAX) return sqlite.bind_int!(statement, index, value);
  return sqlite.bind_int64!(statement, index, BigInt(value));
}

function bindText({ sqlite, heap }: SqliteParts, statement: number, index: number, text: string): number {
  const { address, size } = heap.placeText(text);
  try {
    return sqlite.bind_text!(statement, index, address, size, TRANSIENT);
  } finally {
    heap.free(address);
  }
}

function bindBlob(
  { sqlite, heap }: SqliteParts,
  statement: number,
  index: number,
  bytes: Uint8Array,
): number {
  const address = heap.place(bytes);
  try {
    return sqlite.bind_blob64!(statement, index, address, BigInt(bytes.length), TRANSIENT);
  } finally {
    heap.free(address);
  }
}
