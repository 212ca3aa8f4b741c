/**
 * Which of some names somebody meant who mistyped one.
 *
 * @module
 */

/** A mistyped name differs by so many characters at most. */
const DISTANCE_MAX = 2;

/** The name that takes the fewest changes to come to; undefined where that is too many. */
export function nearestName(wanted: string, names: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.min(DISTANCE_MAX, Math.max(1, wanted.length - 2)) + 1;
  for (const name of names) {
    const distance = editDistance(wanted.toLowerCase(), name.toLowerCase());
    if (distance < least) [best, least] = [name, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > DISTANCE_MAX) return Infinity;
  let above = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      row.push(Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + change));
    }
    above = row;
  }
  return above[b.length]!;
}
