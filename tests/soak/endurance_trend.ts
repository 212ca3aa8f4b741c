/**
 * Whether something grows: a robust slope over medians, and levels that must be come back to.
 *
 * @module
 */

/** A measurement, at a time in ms. */
export type Point = readonly [atMs: number, value: number];

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** The middle of some numbers; 0 where there are none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  if (sorted.length === 0) return 0;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** The median of each minute, at the minute's middle. */
export function minuteMedians(points: readonly Point[]): Point[] {
  const minutes = new Map<number, number[]>();
  for (const [atMs, value] of points) {
    const minute = Math.floor(atMs / MINUTE_MS);
    if (!minutes.has(minute)) minutes.set(minute, []);
    minutes.get(minute)!.push(value);
  }
  return [...minutes].map(([minute, values]) => [(minute + 0.5) * MINUTE_MS, median(values)]);
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * The mean of each cycle of the weather, from one storm's beginning to the next one's: what one weather needs more than the
 * other is in each alike.
 */
export function cycleMeans(points: readonly Point[], beginningsMs: readonly number[]): Point[] {
  return beginningsMs.slice(1).flatMap((untilMs, i): Point[] => {
    const cycle = points.filter(([atMs]) => atMs >= beginningsMs[i]! && atMs < untilMs);
    if (cycle.length === 0) return [];
    return [[mean(cycle.map(([atMs]) => atMs)), mean(cycle.map(([, value]) => value))]];
  });
}

/** How something changes, relative to its level. */
export interface Trend {
  /** The median of all. */
  readonly level: number;
  /** Change in an hour as a part of the level, by Theil and Sen, with the bounds between which it lies at 95 %. */
  readonly slope: number;
  readonly low: number;
  readonly high: number;
}

/** The trend of some points: the median of the slopes of all pairs. */
export function trendOf(points: readonly Point[]): Trend {
  const slopes: number[] = [];
  for (const [i, [atMs, value]] of points.entries()) {
    for (const [laterMs, later] of points.slice(i + 1)) slopes.push((later - value) / (laterMs - atMs));
  }
  slopes.sort((a, b) => a - b);
  const level = median(points.map(([, value]) => value));
  const n = points.length;
  // Sen's interval: so many pairs to either side as Kendall's test allows
  const spread = 1.96 * Math.sqrt(n * (n - 1) * (2 * n + 5) / 18);
  const at = (index: number) => slopes[Math.max(0, Math.min(slopes.length - 1, Math.round(index)))] ?? 0;
  const relative = (slope: number) => level === 0 ? 0 : slope * HOUR_MS / level;
  return {
    level,
    slope: relative(median(slopes)),
    low: relative(at((slopes.length - spread) / 2 - 1)),
    high: relative(at((slopes.length + spread) / 2)),
  };
}
