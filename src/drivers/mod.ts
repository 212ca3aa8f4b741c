/**
 * Which driver a class belongs to, and the runtime's own one.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { bunSqlite } from "./bun_sqlite.ts";
import { dbSqlite } from "./db_sqlite.ts";
import { type DatabaseClass, type Driver, driverClass, loadShim, OWN_DRIVER } from "./driver.ts";
import { nodeSqlite } from "./node_sqlite.ts";

const drivers: readonly Driver[] = [bunSqlite, nodeSqlite, dbSqlite];

/**
 * The driver of a class.
 *
 * @throws {TypeError} it belongs to none
 */
export function driverOf(Database: DatabaseClass): Driver {
  const own = (Database as { readonly [OWN_DRIVER]?: Driver } | undefined)?.[OWN_DRIVER];
  const driver = own ?? drivers.find((driver) => driver.recognises(Database));
  if (driver) return driver;
  throw new TypeError(
    `Cannot use ${
      typeof Database === "function" ? `class ${Database.name}` : typeof Database
    } as a database: ` +
      `expected the class of ${drivers.map(({ name }) => name).join(", ")}`,
  );
}

/** The runtime's own database class: `bun:sqlite`'s in Bun, `node:sqlite`'s in Deno. */
export async function defaultDatabase(): Promise<DatabaseClass> {
  const name = "Bun" in globalThis ? "bun:sqlite" : "node:sqlite"; // not literals: each runtime has only its own
  const module = await import(name);
  return module.DatabaseSync ?? module.Database;
}

/** Loads the shim into the SQLite of a class, once; gives the handle of that SQLite. */
export class Hosts {
  readonly #native: Native;
  readonly #hosts = new Map<DatabaseClass, number>();

  constructor(native: Native) {
    this.#native = native;
  }

  /** The handle of the class's SQLite. */
  of(Database: DatabaseClass): number {
    const known = this.#hosts.get(Database);
    if (known !== undefined) return known;
    const driver = driverOf(Database);
    // A subclass may take other arguments than its driver, which are nothing to the extension.
    const host = loadShim(driver, driverClass(driver, Database), this.#native);
    this.#hosts.set(Database, host);
    return host;
  }
}
