import type { Pace } from "../pace.ts";

const ITEMS_BETWEEN_LOOKS = 1024;

/** Gives the items in order, equal ones as they came; gives way meanwhile, which `Array.sort()` cannot. */
export async function pacedSort<T>(
  items: readonly T[],
  compare: (a: T, b: T) => number,
  pace: Pace,
): Promise<T[]> {
  let sorted = [...items];
  let merged: T[] = [];
  for (let size = 1; size < sorted.length; size *= 2) {
    for (let start = 0; start < sorted.length; start += 2 * size) {
      const middle = Math.min(start + size, sorted.length);
      const end = Math.min(middle + size, sorted.length);
      for (let left = start, right = middle; left < middle || right < end;) {
        if (merged.length % ITEMS_BETWEEN_LOOKS === 0) await pace.turn();
        const isLeft = right === end || (left < middle && compare(sorted[left]!, sorted[right]!) <= 0);
        merged.push(isLeft ? sorted[left++]! : sorted[right++]!);
      }
    }
    [sorted, merged] = [merged, []];
  }
  return sorted;
}
