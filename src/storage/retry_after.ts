/**
 * Retry-After: when a server asks to be asked again.
 *
 * @module
 */

import { StorageError, type StorageErrorDetails } from "../errors.ts";

/** A {@link StorageError} whose server said when to come again. */
export class RetryAfterError extends StorageError {
  override name = "StorageError";
  /** How long to wait in ms. */
  readonly retryAfterMs: number;

  constructor(message: string, details: StorageErrorDetails & { retryAfterMs: number }) {
    super(message, details);
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** `Retry-After` in ms: seconds, or a date; undefined where it is neither. */
export function parseRetryAfter(value: string | null, nowMs: number): number | undefined {
  if (value === null || value.trim() === "") return undefined;
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000;
  const dateMs = Date.parse(value);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - nowMs);
}
