/**
 * loadStorage(): a place of the user's, made by a function of theirs.
 *
 * @module
 */

import type { ModuleLocation } from "./replica_url.ts";
import { loadFunction, settledBefore } from "./module_export.ts";
import type { Storage, StorageFactory } from "./storage.ts";

/** Of a hash, as much as tells a few thousand places apart. */
const SHOWN_BYTES = 6;

/**
 * Makes the storage that a location names.
 *
 * @throws {TypeError} the module cannot be loaded, or what its function gives is no storage
 * @throws what the function fails with; the signal's reason when it aborts first
 */
export async function loadStorage(
  location: ModuleLocation,
  env: Readonly<Record<string, string | undefined>>,
  signal?: AbortSignal,
): Promise<Storage> {
  const make = await loadFunction("storage", location, signal) as StorageFactory;
  const { url, options } = location;
  const making = (async () => await make({ url, options, env }))();
  try {
    const made = await settledBefore(signal, making);
    return checkStorage(made, `export "${location.export}" of ${location.module}`);
  } catch (error) {
    making.then((late) => late?.close?.()).catch(() => {}); // nobody takes it
    throw error;
  }
}

/** What tells a place from others: what its name leaves out may be another place, or a secret. */
export async function placeName(location: ModuleLocation): Promise<string> {
  const { module, export: name, url, options } = location;
  if (location.isWhole) return location.name;
  const { inspect } = await import("node:util");
  const all = { depth: Infinity, maxArrayLength: Infinity, maxStringLength: Infinity, sorted: true };
  const text = new TextEncoder().encode(inspect([module, name, url, options], all));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  const shown = [...hash.subarray(0, SHOWN_BYTES)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${location.name} (${shown})`;
}

/** @throws {TypeError} it lacks what every storage has */
function checkStorage(given: unknown, from: string): Storage {
  const { traits, list, read } = (given ?? {}) as Partial<Storage>;
  const lacks = [
    typeof traits?.conditionalPut === "boolean" ? "" : "traits.conditionalPut",
    typeof list === "function" ? "" : "list()",
    typeof read === "function" ? "" : "read()",
  ].filter(Boolean);
  if (lacks.length === 0) return given as Storage;
  throw new TypeError(
    `Cannot use option storage: what ${from} gives lacks ${lacks.join(", ")}, expected a Storage`,
  );
}
