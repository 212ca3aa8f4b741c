/**
 * A plain local database through the runtime's own SQLite, in the few calls that tests need.
 *
 * @module
 */

/** What both runtimes' databases have. */
export interface LocalDatabase {
  exec(sql: string): unknown;
  // deno-lint-ignore no-explicit-any
  prepare(sql: string): { all(...parameters: any[]): any[]; get(...parameters: any[]): any };
  close(): void;
}

/** Opens a database file, made when it is not there. */
export async function openLocal(path: string): Promise<LocalDatabase> {
  const name = "Bun" in globalThis ? "bun:sqlite" : "node:sqlite";
  const module = await import(name);
  return new (module.DatabaseSync ?? module.Database)(path);
}
