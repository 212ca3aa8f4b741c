/**
 * RetryPolicy: how long and how often is tried, and by which clock.
 *
 * @module
 */
import { sleep } from "../sleep.ts";

/** How long and how often is tried. */
export interface RetryPolicy {
  /** An attempt that brings nothing for this long has failed, in ms. */
  readonly attemptTimeoutMs: number;
  /** All attempts and the pauses between them, in ms. */
  readonly totalTimeoutMs: number;
  /** Upper bound of the first pause in ms; each further one doubles it, and the pause is drawn from 0 to the bound. */
  readonly baseDelayMs: number;
  /** What the bound never exceeds, in ms. */
  readonly maxDelayMs: number;
  /** Attempts at most; the first alone where it is 1. */
  readonly attemptsMax: number;
}

/** Time and chance, so that tests can own them. */
export interface RetryClock {
  /** Milliseconds since whenever, by a clock that nobody sets. */
  now(): number;
  /** From 0 up to 1. */
  random(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** Defaults of {@link RetryPolicy}. */
export const RETRY_DEFAULTS: RetryPolicy = Object.freeze({
  attemptTimeoutMs: 4_000,
  totalTimeoutMs: 9_000,
  baseDelayMs: 50,
  maxDelayMs: 1_000,
  attemptsMax: Infinity,
});

/** The runtime's own time and chance. */
const SYSTEM_CLOCK: RetryClock = { now: () => performance.now(), random: Math.random, sleep };

/** What is given, and the defaults for all that is not. */
export function withDefaults(given: Partial<RetryPolicy & RetryClock>): RetryPolicy & RetryClock {
  return {
    attemptTimeoutMs: given.attemptTimeoutMs ?? RETRY_DEFAULTS.attemptTimeoutMs,
    totalTimeoutMs: given.totalTimeoutMs ?? RETRY_DEFAULTS.totalTimeoutMs,
    baseDelayMs: given.baseDelayMs ?? RETRY_DEFAULTS.baseDelayMs,
    maxDelayMs: given.maxDelayMs ?? RETRY_DEFAULTS.maxDelayMs,
    attemptsMax: given.attemptsMax ?? RETRY_DEFAULTS.attemptsMax,
    now: given.now ?? SYSTEM_CLOCK.now,
    random: given.random ?? SYSTEM_CLOCK.random,
    sleep: given.sleep ?? SYSTEM_CLOCK.sleep,
  };
}
