/**
 * `bun:sqlite`.
 *
 * @module
 */
import { type DatabaseClass, type Driver, hasMembers } from "./driver.ts";

interface BunDatabase {
  loadExtension(path: string, entryPoint: string): void;
  close(): void;
}

/** How `bun:sqlite` is used. */
export const bunSqlite: Driver = {
  name: "bun:sqlite",
  recognises: (Database) => hasMembers(Database, "fileControl", "loadExtension", "query"),
  loadExtension(Database, path, entryPoint) {
    const database = new (Database as DatabaseClass<BunDatabase>)(":memory:");
    try {
      database.loadExtension(path, entryPoint);
    } catch (cause) {
      const found = cause instanceof Error ? cause.message : String(cause);
      if (!/does not support dynamic extension/i.test(found)) throw cause;
      throw new Error(
        `${found}; call Database.setCustomSQLite() with a libsqlite3 that does before the first open`,
        {
          cause,
        },
      );
    } finally {
      database.close();
    }
  },
  open: (Database, path, options) =>
    Object.keys(options).length === 0 ? new Database(path) : new Database(path, options),
};
