/**
 * RemovalError: which of many objects could not be removed.
 *
 * @module
 */

import { StorageError } from "../errors.ts";
import { mapAtOnce } from "./at_once.ts";

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

/**
 * Removes objects of the store `place` one by one, `count` of them at once; one that cannot be removed keeps none of the others.
 *
 * @throws {RemovalError} some could not be removed
 * @throws the signal's reason
 */
export async function removeEach(
  { place, keys, count, signal }: {
    place: string;
    keys: readonly string[];
    count: number;
    signal: AbortSignal;
  },
  remove: (key: string) => Promise<void>,
): Promise<void> {
  const failures: StorageError[] = [];
  await mapAtOnce(keys, count, async (key) => {
    try {
      await remove(key);
    } catch (error) {
      if (!(error instanceof StorageError) || signal.aborted) throw error;
      failures.push(error);
    }
  });
  if (failures.length > 0) throw new RemovalError(place, keys.length, failures);
}
