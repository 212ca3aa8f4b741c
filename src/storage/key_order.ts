/**
 * The order of object keys.
 *
 * @module
 */

/**
 * Compares two keys by their UTF-8 bytes, the order in which S3 lists: negative, 0 or positive.
 *
 * JavaScript's own order is that of UTF-16 units, which puts U+E000–U+FFFF behind the surrogate pairs.
 */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const left = a.charCodeAt(i);
    const right = b.charCodeAt(i);
    if (left !== right) return byteRank(left) - byteRank(right);
  }
  return a.length - b.length;
}

/** Moves the surrogates (code points past U+FFFF) behind every other unit. */
function byteRank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
