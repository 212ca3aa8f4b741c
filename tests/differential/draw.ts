/**
 * Choices drawn by a seed.
 *
 * @module
 */
import { Random } from "../support/random.ts";

/** Draws choices; the same seed gives the same ones. */
export class Draw extends Random {
  /** One of these. */
  one<T>(items: readonly T[]): T {
    return items[this.next(items.length)]!;
  }

  /** True that many times in a hundred. */
  chance(percent: number): boolean {
    return this.next(100) < percent;
  }

  /** A whole number from `low` up to and including `high`. */
  between(low: number, high: number): number {
    return low + this.next(high - low + 1);
  }

  /** That many things. */
  many<T>(count: number, make: (i: number) => T): T[] {
    return Array.from({ length: count }, (_, i) => make(i));
  }
}
