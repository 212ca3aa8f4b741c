/**
 * RemovalError: which of many objects could not be removed.
 *
 * @module
 */

import { StorageError } from "../errors.ts";

const NAMED_MAX = 3;

/** Some objects could not be removed; the others were. */
export class RemovalError extends StorageError {
  override name = "StorageError";
  /** One for each that could not. */
  readonly failures: readonly StorageError[];

  /** Of `count` objects in the store `place`; may be retried where each of the failures may. */
  constructor(place: string, count: number, failures: readonly StorageError[]) {
    const first = failures[0];
    const named = failures.slice(0, NAMED_MAX).map(({ message }) => message).join("; ");
    const more = failures.length > NAMED_MAX ? "; and others" : "";
    super(`Cannot remove ${failures.length} of ${count} objects from ${place}: ${named}${more}`, {
      key: first?.key ?? "",
      status: first?.status ?? 0,
      code: first?.code ?? "",
      retryable: failures.every(({ retryable }) => retryable),
      cause: new AggregateError(failures),
    });
    this.failures = failures;
  }
}
