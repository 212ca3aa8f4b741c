/**
 * `node:sqlite`, in Deno and in Bun.
 *
 * @module
 */
import { type DatabaseClass, type Driver, hasMembers } from "./driver.ts";

interface NodeDatabase {
  loadExtension(path: string, entryPoint: string): void;
  close(): void;
}

/** How `node:sqlite` is used. */
export const nodeSqlite: Driver = {
  name: "node:sqlite",
  recognises: (Database) => hasMembers(Database, "createSession", "loadExtension", "prepare"),
  loadExtension(Database, path, entryPoint) {
    const database = new (Database as DatabaseClass<NodeDatabase>)(":memory:", { allowExtension: true });
    try {
      database.loadExtension(path, entryPoint);
    } finally {
      database.close();
    }
  },
  open: (Database, path, options) => new Database(path, options),
};
