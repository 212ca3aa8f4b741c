import { ByteReader } from "./byte_reader.ts";
import { databaseFault } from "./fault.ts";
import type { PayloadReader } from "./payload_reader.ts";
import { decodeText, sqlInteger, type SqlValue, type TextEncoding } from "./sql_value.ts";

/** One value as a record holds it. */
export interface StoredValue {
  /** Says class and size. */
  readonly serialType: number;
  /** The value's bytes. */
  readonly bytes: Uint8Array;
}

/** More than SQLite's largest count of columns needs. */
const HEADER_SIZE_MAX = 9 * 32768 + 9;

/** Half of what the runtimes' strings hold. */
const VALUE_SIZE_MAX = 0x1000_0000;
const NULL_VALUE: StoredValue = { serialType: 0, bytes: new Uint8Array(0) };
const INTEGER_SIZES = [0, 1, 2, 3, 4, 6, 8, 8, 0, 0];

/**
 * Reads the values at `positions` (from 0) of a record, in the order of `positions`; those behind the record's end,
 * which a column added later has, are NULL.
 *
 * @throws {ReplicaError} the record's header or a value's size does not fit it
 * @see SQLite's file format, "Record Format"
 */
export async function readValues(
  payload: PayloadReader,
  positions: readonly number[],
): Promise<StoredValue[]> {
  const places = valuePlaces(await readHeader(payload), Math.max(...positions) + 1);
  const values = new Map<number, StoredValue>();
  for (const position of [...positions].sort((a, b) => a - b)) {
    const place = places[position];
    if (place === undefined || values.has(position)) continue;
    if (place.end - place.start > VALUE_SIZE_MAX) {
      throw databaseFault(
        "read a record",
        `a value of ${place.end - place.start} bytes`,
        `up to ${VALUE_SIZE_MAX}`,
      );
    }
    const bytes = await payload.bytes(place.start, place.end);
    values.set(position, { serialType: place.serialType, bytes });
  }
  return positions.map((position) => values.get(position) ?? NULL_VALUE);
}

/**
 * The same of a record that is in one piece.
 *
 * @throws {ReplicaError} as above
 */
export function valuesOf(record: Uint8Array, positions: readonly number[]): StoredValue[] {
  const header = record.subarray(0, headerSize(record, record.length));
  const places = valuePlaces(header, Math.max(...positions) + 1);
  return positions.map((position) => {
    const place = places[position];
    if (place === undefined) return NULL_VALUE;
    if (place.end <= record.length) {
      return { serialType: place.serialType, bytes: record.subarray(place.start, place.end) };
    }
    throw databaseFault("read a record", `a value ends at ${place.end}`, `up to ${record.length} bytes`);
  });
}

/**
 * Gives the value itself.
 *
 * @see SQLite's file format, "Serial Type Codes Of The Record Format"
 */
export function decodeValue({ serialType, bytes }: StoredValue, encoding: TextEncoding): SqlValue {
  if (serialType === 0) return null;
  if (serialType === 8) return 0;
  if (serialType === 9) return 1;
  if (serialType >= 12) return serialType % 2 === 0 ? bytes.slice() : decodeText(bytes, encoding);
  if (serialType !== 7) return decodeInteger(bytes);
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0);
}

async function readHeader(payload: PayloadReader): Promise<Uint8Array> {
  const start = await payload.bytes(0, Math.min(9, payload.size));
  return await payload.bytes(0, headerSize(start, payload.size));
}

/** Bytes of a record's header, which its first bytes say. */
function headerSize(start: Uint8Array, recordSize: number): number {
  const size = new ByteReader(start, start.length, "a record").size();
  if (size >= 1 && size <= Math.min(recordSize, HEADER_SIZE_MAX)) return size;
  throw databaseFault("read a record", `a header of ${size} bytes`, `1 to ${recordSize}`);
}

/** Where the first `count` values stand, from the record's start. */
function valuePlaces(
  header: Uint8Array,
  count: number,
): { serialType: number; start: number; end: number }[] {
  const reader = new ByteReader(header, header.length, "a record's header");
  let start = reader.size();
  const places = [];
  while (places.length < count && reader.offset < header.length) {
    const serialType = Number(reader.varint());
    const end = start + valueSize(serialType);
    places.push({ serialType, start, end });
    start = end;
  }
  return places;
}

function valueSize(serialType: number): number {
  if (serialType >= 12) return Math.floor((serialType - 12) / 2);
  const size = serialType < 0 ? undefined : INTEGER_SIZES[serialType];
  if (size !== undefined) return size;
  throw databaseFault("read a record", `serial type ${serialType}`, "0 to 9, or 12 and more");
}

function decodeInteger(bytes: Uint8Array): SqlValue {
  if (bytes.length === 8) {
    return sqlInteger(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigInt64(0));
  }
  let value = bytes[0]! << 24 >> 24;
  for (let i = 1; i < bytes.length; i++) value = value * 256 + bytes[i]!;
  return value;
}
