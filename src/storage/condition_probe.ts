/**
 * probeConditions(): whether a store makes an object only where there is none, when it is asked to.
 *
 * @module
 */

import { ObjectExistsError, ReplicaError, StorageError } from "../errors.ts";
import type { PutOptions, RequestOptions, WritableStore } from "./object_store.ts";

/** Beside the levels' folders, where nobody looks for LTX files. */
const NAME_PREFIX = "condition-probe-";

/** What a probe found. */
export interface ConditionProbe {
  /** Whether an object is made only where there is none, also when it is put in parts. */
  readonly isHonored: boolean;
  /** What the store does instead, for a message; empty where it does as asked. */
  readonly found: string;
  /** Why the probe's own object is still there, where it could not be removed. */
  readonly leftover: ReplicaError | undefined;
}

/**
 * Puts a few bytes under a name of their own, then others under the same name, whole and in parts. Removes them.
 *
 * @throws {StorageError} the store cannot be written to at all
 */
export async function probeConditions(
  store: WritableStore,
  options: RequestOptions = {},
): Promise<ConditionProbe> {
  const key = NAME_PREFIX + crypto.randomUUID();
  let found: string;
  let leftover: ReplicaError | undefined;
  try {
    found = await faultOf(store, key, options);
  } finally {
    leftover = await removed(store, key, options);
  }
  return { isHonored: found === "", found, leftover };
}

async function faultOf(store: WritableStore, key: string, options: RequestOptions): Promise<string> {
  try {
    await store.put(key, contentOf("first"), options);
    if (await isOverwritten(store, key, options)) return "it overwrites an object";
    if (await isOverwritten(store, key, { ...options, inParts: true })) {
      return "it overwrites an object by one that is put in parts";
    }
    return "";
  } catch (error) {
    // Some services know no such condition and say so.
    if (error instanceof StorageError && error.code === "NotImplemented") return error.message;
    throw error;
  }
}

async function isOverwritten(store: WritableStore, key: string, options: PutOptions): Promise<boolean> {
  try {
    await store.put(key, contentOf(options.inParts ? "third" : "second"), options);
    return true;
  } catch (error) {
    if (error instanceof ObjectExistsError) return false;
    throw error;
  }
}

/** Each of another content: equal bytes would be taken for our own. */
function contentOf(which: string): Uint8Array {
  return new TextEncoder().encode(`${which}: whether an object is made only where there is none\n`);
}

/** A store that lets nobody remove can be written to all the same. */
async function removed(
  store: WritableStore,
  key: string,
  options: RequestOptions,
): Promise<ReplicaError | undefined> {
  try {
    await store.remove([key], options);
    return undefined;
  } catch (error) {
    if (error instanceof ReplicaError) return error;
    throw error;
  }
}
