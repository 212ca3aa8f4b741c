/** SQLite without a replica. */
import { DatabaseSync } from "node:sqlite";
import type { CellValue } from "../../src/cli/cell_text.ts";

/** Runs one statement on nothing. */
export class PlainDatabase {
  /** The first value of the first row. */
  static value(sql: string): CellValue {
    const database = new DatabaseSync(":memory:", { readBigInts: true });
    try {
      return Object.values(database.prepare(sql).get()!)[0] as CellValue;
    } finally {
      database.close();
    }
  }
}
