/**
 * withRetries(): an operation, tried until it succeeds, fails for good, or its time is over.
 *
 * @module
 */

import { DeadlineError, StorageError } from "../errors.ts";
import { Alarm } from "./alarm.ts";
import { type Attempt, CutShortError, type Limits, RunningAttempt, seconds } from "./attempt.ts";
import { RetryAfterError } from "./retry_after.ts";
import { type RetryClock, type RetryPolicy, withDefaults } from "./retry_policy.ts";

/** What {@link withRetries} is told beside the operation. */
export interface RetryOptions extends Partial<RetryPolicy>, Partial<RetryClock> {
  /** Ends attempts and pauses at once. */
  readonly signal?: AbortSignal | undefined;
  /** Called before each further attempt with the failure of the last. */
  readonly onRetry?: ((error: StorageError) => void) | undefined;
}

/**
 * Runs `operation` until it succeeds, fails for good, or its time is over. `what` completes "Cannot …".
 *
 * Only a {@link StorageError} that says `retryable`, and an attempt that brought nothing in its time, are tried again.
 *
 * @throws {DeadlineError} the total time is over, or would be before the next attempt; the last failure is its cause
 * @throws {StorageError} the failure of the last attempt that `attemptsMax` allows
 * @throws the signal's reason when it aborts, a {@link DeadlineError} with the last failure; whatever else `operation` throws
 */
export async function withRetries<T>(
  what: string,
  operation: (attempt: Attempt) => Promise<T>,
  options: RetryOptions = {},
): Promise<T> {
  const basis = withDefaults(options);
  const signals = options.signal === undefined ? [] : [options.signal];
  return await tryUntil(what, operation, {
    ...basis,
    alarm: new Alarm(basis),
    signals,
    onRetry: options.onRetry,
  });
}

/** As {@link withRetries}, within limits that are complete. */
export async function tryUntil<T>(
  what: string,
  operation: (attempt: Attempt) => Promise<T>,
  limits: Limits,
): Promise<T> {
  const startMs = limits.now();
  const endMs = startMs + limits.totalTimeoutMs;
  let reason: StorageError | undefined;
  for (let number = 1;; number++) {
    throwIfEnded(limits, reason);
    try {
      return await new RunningAttempt({ what, operation, number, endMs, limits }).outcome;
    } catch (error) {
      throwIfEnded(limits, reason);
      if (!(error instanceof StorageError) || !error.retryable) throw error;
      if (!(error instanceof CutShortError)) reason = error; // That one says nothing: the one before it does.
      if (number >= limits.attemptsMax && limits.now() < endMs) throw error;
      const delayMs = delayAfter(error, number, limits);
      if (limits.now() + delayMs >= endMs) {
        throw deadlineError(
          what,
          { number, tookMs: limits.now() - startMs, delayMs, limits },
          reason ?? error,
        );
      }
      await limits.sleep(delayMs, AbortSignal.any([...limits.signals])).catch((error) => {
        throwIfEnded(limits, reason);
        throw error;
      });
      limits.onRetry?.(error);
    }
  }
}

/** Where a caller's own time is over, what failed meanwhile is why: his words do not have it. */
function throwIfEnded({ signals }: Limits, failure: StorageError | undefined): void {
  const ended = signals.find(({ aborted }) => aborted);
  if (ended === undefined) return;
  const { reason } = ended;
  if (!(reason instanceof DeadlineError) || failure === undefined) throw reason;
  throw new DeadlineError(`${reason.message}; the last failure: ${failure.message}`, { cause: failure });
}

/** Full jitter: between nothing and the doubled bound; what the server asked for comes first. */
function delayAfter(error: StorageError, number: number, limits: Limits): number {
  const bound = Math.min(limits.maxDelayMs, limits.baseDelayMs * 2 ** (number - 1));
  const askedMs = error instanceof RetryAfterError ? error.retryAfterMs : 0;
  return Math.max(askedMs, limits.random() * bound);
}

function deadlineError(
  what: string,
  tried: { number: number; tookMs: number; delayMs: number; limits: Limits },
  cause: StorageError,
): DeadlineError {
  const { number, tookMs, delayMs, limits } = tried;
  const asked = cause instanceof RetryAfterError && delayMs === cause.retryAfterMs
    ? `, the server asks to wait ${seconds(delayMs)}`
    : "";
  const attempts = number === 1 ? "1 attempt" : `${number} attempts`;
  return new DeadlineError(
    `Cannot ${what}: no success in ${attempts} and ${seconds(tookMs)}${asked}, expected one within ` +
      `${seconds(limits.totalTimeoutMs)}; the last failure: ${cause.message}`,
    { cause },
  );
}
