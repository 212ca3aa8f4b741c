/**
 * What came of comparing: counts, and what differed.
 *
 * @module
 */

/**
 * A difference: `"answer"` a query's rows · `"bytes"` a restored file · `"txid"` another state than asked for, or an older
 * one than before · `"reach"` one of both refuses what the other gives · `"error"` a failure that is nowhere documented.
 */
export type DifferenceKind = "answer" | "bytes" | "txid" | "reach" | "error";

/** Something that differs, by the event at which it was seen. */
export interface Difference {
  readonly kind: DifferenceKind;
  /** Its place among the scenario's events. */
  readonly event: number;
  readonly text: string;
}

/** Counts that add up over scenarios. */
export interface Counts {
  scenarios: number;
  primaries: number;
  statements: number;
  /** Comparisons of one primary, TXID, settings and runtime. */
  cases: number;
  queries: number;
  /** Of them restored files, compared byte for byte. */
  restores: number;
  /** Moments that ours refused, and Litestream's own restore as well. */
  refusals: number;
  /** Moments that ours refused once, and gave when asked again. */
  transient: number;
  /** Reads of a TXID whose files nobody could keep in time: nothing to compare with. */
  unverified: number;
  /** Cases by setting. */
  settings: Record<string, number>;
}

/** Nothing yet. */
export function noCounts(): Counts {
  return {
    scenarios: 0,
    primaries: 0,
    statements: 0,
    cases: 0,
    queries: 0,
    restores: 0,
    refusals: 0,
    transient: 0,
    unverified: 0,
    settings: {},
  };
}

/** Adds counts to others. */
export function addCounts(sum: Counts, more: Counts): void {
  for (const [name, count] of Object.entries(more)) {
    if (typeof count === "number") sum[name as "cases"] += count;
  }
  for (const [name, count] of Object.entries(more.settings)) countOf(sum.settings, name, count);
}

/** Counts one more, or several. */
export function countOf(counts: Record<string, number>, name: string, count = 1): void {
  counts[name] = (counts[name] ?? 0) + count;
}

/** What came of one scenario. */
export interface Outcome {
  readonly counts: Counts;
  readonly differences: readonly Difference[];
  /** What is worth a look and no difference. */
  readonly notes: readonly string[];
  /** Statements that primaries refused. */
  readonly refusedStatements: readonly string[];
}
