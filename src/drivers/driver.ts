/**
 * What a driver of SQLite must give: its copy of SQLite with the shim loaded, and a database at a path.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { ShimError } from "../errors.ts";

/** The extension's entry point; SQLite versions differ in the name they derive from a file's. */
export const ENTRY_POINT = "sqlite3_litestreamvfs_init";

/** A class whose instances are databases. */
// deno-lint-ignore no-explicit-any
export type DatabaseClass<T = unknown> = new (...args: any[]) => T;

/** How one kind of driver is used. */
export interface Driver {
  /** Its name, as in an import. */
  readonly name: string;
  /** Whether a class is of this driver. */
  recognises(Database: DatabaseClass): boolean;
  /** Whether a database of it is opened with the shim's VFS by name, which then need not be the default meanwhile. */
  readonly choosesVfs?: boolean;
  /** Loads an extension into the driver's copy of SQLite, for good. */
  loadExtension(Database: DatabaseClass, path: string, entryPoint: string): void;
  /** Opens a database, with options in the driver's own terms; `writes`: for more than reading. */
  open<T>(Database: DatabaseClass<T>, path: string, options: object, writes: boolean): T;
}

/** Under this key a class brings a driver that only its own instances have. */
export const OWN_DRIVER = Symbol("driver");

/** Whether a class's instances have all these members. */
export function hasMembers(Database: DatabaseClass, ...names: string[]): boolean {
  const { prototype } = typeof Database === "function" ? Database : { prototype: undefined };
  return prototype !== undefined && names.every((name) => name in prototype);
}

/** The driver's own class: the given one, or the one that it extends. */
export function driverClass(driver: Driver, Database: DatabaseClass): DatabaseClass {
  const parent = Object.getPrototypeOf(Database);
  return driver.recognises(parent) ? driverClass(driver, parent) : Database;
}

/** Loads the shim through a driver; returns the handle of its copy of SQLite. */
export function loadShim(driver: Driver, Database: DatabaseClass, native: Native): number {
  try {
    driver.loadExtension(Database, native.path, ENTRY_POINT);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new ShimError(`Cannot load shim "${native.path}" into ${driver.name}: ${found}`, { cause });
  }
  const host = native.calls.ls_host_last();
  if (host > 0) return host;
  throw new ShimError(
    `Cannot load shim "${native.path}" into ${driver.name}: it was loaded from another file, expected this very path`,
  );
}
