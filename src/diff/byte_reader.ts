import { databaseFault } from "./fault.ts";
import { type SqlInteger, sqlInteger } from "./sql_value.ts";

/** SQLite's own limit of a payload, in bytes. */
const SIZE_MAX = 0x7fff_ffff;

/** Reads the numbers of pages and records, each byte checked to be there. */
export class ByteReader {
  /** Where the next byte is read, from the start of the bytes. */
  offset = 0;
  readonly #bytes: Uint8Array;
  readonly #end: number;
  readonly #place: string;

  /** Reads `bytes` up to `end`; `place` names them in errors. */
  constructor(bytes: Uint8Array, end: number, place: string) {
    this.#bytes = bytes;
    this.#end = end;
    this.#place = place;
  }

  /** Reads an unsigned byte. */
  uint8(): number {
    if (this.offset >= this.#end) {
      throw databaseFault(`read ${this.#place}`, `bytes end at ${this.#end}`, `a byte at ${this.offset}`);
    }
    return this.#bytes[this.offset++]!;
  }

  /** Reads an unsigned 16-bit number. */
  uint16(): number {
    return this.uint8() * 0x100 + this.uint8();
  }

  /** Reads an unsigned 32-bit number. */
  uint32(): number {
    return this.uint16() * 0x1_0000 + this.uint16();
  }

  /**
   * Reads a varint: 1 to 9 bytes, a signed 64-bit integer.
   *
   * @see SQLite's file format, "A variable-length integer"
   */
  varint(): SqlInteger {
    let value = 0;
    for (let i = 0; i < 7; i++) {
      const byte = this.uint8();
      value = value * 128 + (byte & 0x7f);
      if (byte < 0x80) return value;
    }
    const eighth = this.uint8();
    const high = BigInt(value) << 7n | BigInt(eighth & 0x7f);
    if (eighth < 0x80) return sqlInteger(high);
    return sqlInteger(BigInt.asIntN(64, high << 8n | BigInt(this.uint8())));
  }

  /** Reads a varint that is a size in bytes. */
  size(): number {
    const size = this.varint();
    if (typeof size === "number" && size >= 0 && size <= SIZE_MAX) return size;
    throw databaseFault(`read ${this.#place}`, `a size is ${size}`, `0 to ${SIZE_MAX}`);
  }

  /** Gives the next `size` bytes, not copied. */
  take(size: number): Uint8Array {
    const start = this.offset;
    if (start + size > this.#end) {
      throw databaseFault(
        `read ${this.#place}`,
        `bytes end at ${this.#end}`,
        `${size} bytes from ${start}`,
      );
    }
    this.offset += size;
    return this.#bytes.subarray(start, this.offset);
  }
}
