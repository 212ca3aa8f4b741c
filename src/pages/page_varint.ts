/**
 * Varints of pages, read for hints: never a fault, and beyond 2^53 near enough.
 *
 * @module
 */

/** The signed number at an offset; bytes past the end count as zero. */
export function varintAt(bytes: Uint8Array, offset: number): number {
  let value = 0;
  for (let i = 0; i < 8; i++) {
    const byte = bytes[offset + i] ?? 0;
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return value;
  }
  value = value * 256 + (bytes[offset + 8] ?? 0);
  return value >= 2 ** 63 ? value - 2 ** 64 : value;
}

/** The offset behind the varint at an offset. */
export function varintEnd(bytes: Uint8Array, offset: number): number {
  let end = offset;
  while (end < offset + 8 && (bytes[end] ?? 0) >= 0x80) end++;
  return end + 1;
}
