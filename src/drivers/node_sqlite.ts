/**
 * `node:sqlite`, in Deno and in Bun.
 *
 * @module
 */
import { type DatabaseClass, type Driver, hasMembers } from "./driver.ts";
import { builtin } from "./host.ts";
import { mayWrite } from "./permissions.ts";

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
  open(Database, path, options, writes) {
    // Deno asks for the permission to write wherever a database is not opened for reading only. The folder has it for all:
    // Deno 2.9 remembers each path that it was asked about for ever, and no two connections have the same.
    const readOnly = writes || mayWrite(builtin("node:path").dirname(path)) ? {} : { readOnly: true };
    return new Database(path, { ...readOnly, ...options });
  },
};
