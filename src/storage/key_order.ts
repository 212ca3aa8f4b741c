/**
 * The order of object keys.
 *
 * @module
 */

/** Without these the order of UTF-16 units is that of the bytes. */
const SURROGATE = /[\ud800-\udfff]/;

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

/** Sorts keys by their UTF-8 bytes, in place: many times as fast as with {@link compareKeys} where no surrogate is in them. */
export function sortKeys(keys: string[]): string[] {
  return keys.some((key) => SURROGATE.test(key)) ? keys.sort(compareKeys) : keys.sort();
}

/** Moves the surrogates (code points past U+FFFF) behind every other unit. */
function byteRank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
