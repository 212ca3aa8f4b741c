/** Bit 63: set in every checksum an LTX file stores, so that a stored zero means "none". */
export const CHECKSUM_FLAG = 0x8000_0000_0000_0000n;

/**
 * CRC-64/GO-ISO over bytes that arrive in pieces; where the pieces are cut does not matter.
 *
 * The polynomial has four terms (0x1B: x^4 + x^3 + x + 1), so multiplying by it is four shifts: eight bytes are
 * folded at once without a table, in two 32-bit halves. The CRC is reflected: a shift to the right is a multiplication
 * by x, and bit 31 of the upper half is the term x^0.
 *
 * @see LTX format version 3, §7.1
 */
export class Crc64 {
  #upper = -1;
  #lower = -1;

  /** Goes on from a CRC that {@link digest} gave. */
  static from(digest: bigint): Crc64 {
    const crc = new Crc64();
    crc.#upper = ~Number(digest >> 32n) | 0;
    crc.#lower = ~Number(digest & 0xffff_ffffn) | 0;
    return crc;
  }

  /** Takes the next bytes; they are read, not kept. */
  update(bytes: Uint8Array): this {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const foldedSize = bytes.length & ~7;
    let upper = this.#upper;
    let lower = this.#lower;
    for (let at = 0; at < foldedSize; at += 8) {
      const x = lower ^ view.getInt32(at, true);
      const y = upper ^ view.getInt32(at + 4, true);
      // The terms x^64 to x^67 that the shifts push out below; folding them once more leaves no rest.
      const over = (x << 31) ^ (x << 29) ^ (x << 28);
      lower = x ^ (x >>> 1) ^ (x >>> 3) ^ (x >>> 4) ^ (y << 31) ^ (y << 29) ^ (y << 28);
      upper = y ^ (y >>> 1) ^ (y >>> 3) ^ (y >>> 4) ^ over ^ (over >>> 1) ^ (over >>> 3) ^ (over >>> 4);
    }
    for (let at = foldedSize; at < bytes.length; at++) {
      const x = (lower ^ bytes[at]!) << 24;
      lower = (lower >>> 8) | (upper << 24);
      upper = (upper >>> 8) ^ x ^ (x >>> 1) ^ (x >>> 3) ^ (x >>> 4);
    }
    this.#upper = upper;
    this.#lower = lower;
    return this;
  }

  /** Gives the CRC of all bytes so far; more may follow. */
  digest(): bigint {
    return (BigInt(~this.#upper >>> 0) << 32n) | BigInt(~this.#lower >>> 0);
  }

  /** Gives the CRC as LTX files store it: with {@link CHECKSUM_FLAG} in place of its top bit. */
  checksum(): bigint {
    return this.digest() | CHECKSUM_FLAG;
  }
}

/** Tells whether a value has the form of a stored checksum: bit 63 set, 64 bits. */
export function isChecksum(value: bigint): boolean {
  return value >> 63n === 1n;
}

/** Writes a checksum as 16 lower-case hex digits. */
export function formatChecksum(checksum: bigint): string {
  return checksum.toString(16).padStart(16, "0");
}

/**
 * Gives the checksum of one page; `page` is the whole uncompressed page.
 *
 * @see LTX format version 3, §7.3
 */
export function pageChecksum(pgno: number, page: Uint8Array): bigint {
  const prefix = new Uint8Array(4);
  new DataView(prefix.buffer).setUint32(0, pgno);
  return new Crc64().update(prefix).update(page).checksum();
}

/**
 * Adds a page to a database's rolling checksum, or takes it out again; the order of pages does not matter. An empty
 * database has {@link CHECKSUM_FLAG}. The lock page is never added.
 *
 * @see LTX format version 3, §7.4
 */
export function rollChecksum(rolling: bigint, page: bigint): bigint {
  return (rolling ^ page) | CHECKSUM_FLAG;
}
