/**
 * Errors → SQLite result codes: the one place.
 *
 * @module
 */
import { LtxFormatError, RestorePlanError } from "../errors.ts";

/** Result codes of SQLite that readers get; the words go beside them. */
export const SQLITE = { IOERR: 10, CORRUPT: 11, CANTOPEN: 14, IOERR_READ: 266 } as const;

/** The code that tells SQLite of an error: damage is corruption, a failed opening is one, all else is I/O. */
export function sqliteCode(error: unknown): number {
  if (error instanceof LtxFormatError) return SQLITE.CORRUPT;
  if (error instanceof RestorePlanError || error instanceof TypeError || error instanceof RangeError) {
    return SQLITE.CANTOPEN;
  }
  return SQLITE.IOERR_READ;
}
