/**
 * When a replica is compacted, and how long its files stay.
 *
 * @module
 */

/** Times in ms; intervals begin at their multiples since the Unix epoch, as Litestream's do. */
export interface CompactionSchedule {
  /** Interval of level 1, 2, 3 …; at most 8. */
  readonly levelsMs: readonly number[];
  readonly snapshotMs: number;
  /** How far back moments stay reachable: the newest snapshot that is older is what they begin from. */
  readonly snapshotRetentionMs: number;
  /** How long a file stays in level 0 at least; it stays until level 1 covers it, too. */
  readonly l0RetentionMs: number;
}

/** Litestream's defaults. */
export const COMPACTION_SCHEDULE: CompactionSchedule = Object.freeze({
  levelsMs: Object.freeze([30_000, 5 * 60_000, 60 * 60_000]),
  snapshotMs: 24 * 60 * 60_000,
  snapshotRetentionMs: 24 * 60 * 60_000,
  l0RetentionMs: 5 * 60_000,
});

/** When the interval began that `nowMs` lies in. */
export function intervalStart(nowMs: number, intervalMs: number): number {
  return Math.floor(nowMs / intervalMs) * intervalMs;
}

/** When something may be due again: the next beginning of any interval. */
export function nextBoundaryMs(schedule: CompactionSchedule, nowMs: number): number {
  const intervals = [...schedule.levelsMs, schedule.snapshotMs];
  return Math.min(...intervals.map((ms) => intervalStart(nowMs, ms) + ms));
}

/**
 * Checks a schedule.
 *
 * @throws {RangeError} more than 8 levels, an interval below 1 ms, a retention below 0
 */
export function checkSchedule({ levelsMs, ...times }: CompactionSchedule): void {
  if (levelsMs.length > 8) throw scheduleFault("levelsMs", `${levelsMs.length} levels`, "at most 8");
  for (const [name, ms] of [...levelsMs.map((ms) => ["levelsMs", ms] as const), ...Object.entries(times)]) {
    const least = name.endsWith("RetentionMs") ? 0 : 1;
    if (!Number.isSafeInteger(ms) || ms < least) {
      throw scheduleFault(name, `${ms}`, `a whole number from ${least}`);
    }
  }
}

function scheduleFault(name: string, found: string, expected: string): RangeError {
  return new RangeError(`Cannot set compaction schedule: ${name} is ${found}, expected ${expected}`);
}
