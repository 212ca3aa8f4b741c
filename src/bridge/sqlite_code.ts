/**
 * Errors → SQLite result codes: the one place.
 *
 * @module
 */
import { BudgetError, LtxFormatError, RestorePlanError } from "../errors.ts";

/** Result codes of SQLite that readers get; the words go beside them. */
export const SQLITE = { ERROR: 1, IOERR: 10, CANTOPEN: 14, IOERR_READ: 266, IOERR_DATA: 8202 } as const;

/**
 * The code that tells SQLite of an error: damage is a checksum that does not fit, what keeps an opening from succeeding is
 * that. SQLITE_CORRUPT is SQLite's own word: who hears it was given pages that make up no database. A failed read ends its
 * transaction; one that has no budget left goes on, which only a code that is no I/O error allows.
 */
export function sqliteCode(error: unknown, act: "open" | "read" | "move"): number {
  if (act === "move") return SQLITE.ERROR;
  if (error instanceof LtxFormatError) return SQLITE.IOERR_DATA;
  if (error instanceof BudgetError) return SQLITE.ERROR;
  if (act === "read") return SQLITE.IOERR_READ;
  if (error instanceof RestorePlanError || error instanceof TypeError || error instanceof RangeError) {
    return SQLITE.CANTOPEN;
  }
  return SQLITE.IOERR_READ;
}
