/**
 * loadStorage(): a place of the user's, made by a function of theirs.
 *
 * @module
 */

import type { ModuleLocation } from "./replica_url.ts";
import { loadFunction, settledBefore } from "./module_export.ts";
import type { Storage, StorageFactory } from "./storage.ts";

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
