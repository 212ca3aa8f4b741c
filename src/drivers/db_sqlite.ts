/**
 * `@db/sqlite`.
 *
 * @module
 */
import { type DatabaseClass, type Driver, hasMembers } from "./driver.ts";

interface DbDatabase {
  enableLoadExtension: boolean;
  loadExtension(path: string, entryPoint: string): void;
  close(): void;
}

/** How `@db/sqlite` is used. */
export const dbSqlite: Driver = {
  name: "@db/sqlite",
  recognises: (Database) => hasMembers(Database, "unsafeHandle", "enableLoadExtension", "loadExtension"),
  loadExtension(Database, path, entryPoint) {
    const database = new (Database as DatabaseClass<DbDatabase>)(":memory:");
    try {
      database.enableLoadExtension = true;
      database.loadExtension(path, entryPoint);
    } finally {
      database.close();
    }
  },
  open: (Database, path, options) => new Database(path, options),
};
