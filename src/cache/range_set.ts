/**
 * Which ranges of an object are on disk.
 *
 * @module
 */
import type { ByteRange } from "../storage/object_store.ts";

/** Whether two ranges share bytes. */
export function areOverlapping(a: ByteRange, b: ByteRange): boolean {
  return a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

/** Ranges that may overlap, each by itself. */
export class RangeSet {
  /** By offset, then by size. */
  readonly #ranges: ByteRange[] = [];
  #sizeMax = 0;

  /** How many there are. */
  get count(): number {
    return this.#ranges.length;
  }

  /** Adds a range; one that is there stays. */
  add(range: ByteRange): void {
    const at = this.#countBefore(range.offset, range.size);
    const next = this.#ranges[at];
    if (next?.offset === range.offset && next.size === range.size) return;
    this.#ranges.splice(at, 0, range);
    this.#sizeMax = Math.max(this.#sizeMax, range.size);
  }

  /** Removes a range; only where there is just this one. */
  remove({ offset, size }: ByteRange): void {
    const at = this.#countBefore(offset, size);
    const found = this.#ranges[at];
    if (found?.offset === offset && found.size === size) this.#ranges.splice(at, 1);
  }

  /** Removes all. */
  clear(): void {
    this.#ranges.length = 0;
    this.#sizeMax = 0;
  }

  /** The fewest ranges that hold all of one, in order; undefined where a byte is in none. */
  cover({ offset, size }: ByteRange): ByteRange[] | undefined {
    const pieces: ByteRange[] = [];
    for (let at = offset; at < offset + size;) {
      const furthest = this.#furthest(at);
      if (furthest === undefined) return undefined;
      pieces.push(furthest);
      at = furthest.offset + furthest.size;
    }
    return pieces;
  }

  /** The ranges that share bytes with one. */
  overlapping(range: ByteRange): ByteRange[] {
    return this.#ranges.filter((other) => areOverlapping(other, range));
  }

  /** Of the ranges that hold a byte, the one that reaches furthest. */
  #furthest(at: number): ByteRange | undefined {
    let best: ByteRange | undefined;
    let end = at;
    for (let i = this.#countBefore(at + 1, 0) - 1; i >= 0; i--) {
      const range = this.#ranges[i]!;
      if (range.offset + this.#sizeMax <= end) break;
      if (range.offset + range.size <= end) continue;
      [best, end] = [range, range.offset + range.size];
    }
    return best;
  }

  /** How many come before one of this offset and size. */
  #countBefore(offset: number, size: number): number {
    let [low, high] = [0, this.#ranges.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = this.#ranges[middle]!;
      if (range.offset < offset || (range.offset === offset && range.size < size)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
