/**
 * One transaction over an {@link InvariantWriter}'s database, whole.
 *
 * @module
 */
import {
  type CheckDepth,
  checkState,
  digestOf,
  type SeenState,
  seenState,
} from "../support/invariant_writer_check.ts";
import type { PlainDatabase } from "../support/sqlite.ts";

/** Runs something in a read transaction of its own. */
function inTransaction<T>(database: PlainDatabase, act: () => T): T {
  database.exec("BEGIN");
  try {
    return act();
  } finally {
    try {
      database.exec("COMMIT");
    } catch {
      // the error ended it
    }
  }
}

/**
 * Checks what is seen in a transaction of its own.
 *
 * @throws {InvariantViolation} it is no state of the database
 * @throws what the driver throws
 */
export function checkOnce(database: PlainDatabase, depth: CheckDepth): SeenState {
  return inTransaction(database, () => {
    const state = seenState((sql) => database.all(sql));
    checkState((sql) => database.all(sql), state, depth);
    return state;
  });
}

/** Everything that a transaction of its own sees: its generation, and all rows as one hash. */
export function digestOnce(database: PlainDatabase): { generation: number; digest: string } {
  return inTransaction(database, () => ({
    generation: Number(database.all("SELECT generation FROM head")[0]!.generation),
    digest: digestOf((sql) => database.all(sql)),
  }));
}
