/**
 * A plain local database through the runtime's own SQLite, in the few calls that tests need.
 *
 * @module
 */

import type { ReplicaDatabase } from "../../mod.ts";

/** What both runtimes' databases have. */
export type LocalDatabase = ReplicaDatabase;

/** Opens a database file, made when it is not there. */
export async function openLocal(path: string): Promise<LocalDatabase> {
  const name = "Bun" in globalThis ? "bun:sqlite" : "node:sqlite";
  const module = await import(name);
  return new (module.DatabaseSync ?? module.Database)(path);
}
