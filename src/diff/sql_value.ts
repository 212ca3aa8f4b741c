/** A value as SQLite stores it; integers are numbers where 53 bits hold them, and bigints beyond. */
export type SqlValue = null | bigint | number | string | Uint8Array;

/** An integer: a number where 53 bits hold it, a bigint beyond, so `===` compares two of them. */
export type SqlInteger = number | bigint;

/** How a database stores text. */
export type TextEncoding = "utf-8" | "utf-16le" | "utf-16be";

const UTF_8 = new TextDecoder("utf-8", { ignoreBOM: true });
const UTF_16LE = new TextDecoder("utf-16le", { ignoreBOM: true });

/** Gives the one form a 64-bit integer has here. */
export function sqlInteger(value: bigint): SqlInteger {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Orders values as SQLite does: NULL, numbers, text (here by UTF-16 unit), blobs. */
export function compareSqlValues(a: SqlValue, b: SqlValue): number {
  const byClass = storageClass(a) - storageClass(b);
  if (byClass !== 0) return byClass;
  if (a instanceof Uint8Array && b instanceof Uint8Array) return compareBytes(a, b);
  if (a === null || b === null) return 0;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Decodes stored text; what is not well-formed becomes U+FFFD. */
export function decodeText(bytes: Uint8Array, encoding: TextEncoding): string {
  if (encoding === "utf-8") return UTF_8.decode(bytes);
  if (encoding === "utf-16le") return UTF_16LE.decode(bytes);
  const swapped = new Uint8Array(bytes.length & ~1);
  for (let i = 0; i < swapped.length; i += 2) {
    swapped[i] = bytes[i + 1]!;
    swapped[i + 1] = bytes[i]!;
  }
  return UTF_16LE.decode(swapped);
}

function storageClass(value: SqlValue): number {
  if (value === null) return 0;
  if (typeof value === "string") return 2;
  return value instanceof Uint8Array ? 3 : 1;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const size = Math.min(a.length, b.length);
  for (let i = 0; i < size; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}
