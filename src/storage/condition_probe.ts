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
  /** What the store does in place of making an object only where there is none; empty where it does as asked. */
  readonly found: string;
  /** The same of objects that are put in parts, which takes longer to find out. */
  readonly foundOfParts: Promise<string>;
  /** Once the probe's own object is removed: why it is still there, where that could not be done. */
  readonly leftover: Promise<ReplicaError | undefined>;
}

/**
 * Puts a few bytes under a name of their own, then others under the same name; others again in parts, at the same time. Of all
 * these one may succeed. Removes what it has put, after it has told what it found.
 *
 * @throws {StorageError} the store cannot be written to at all
 */
export async function probeConditions(
  store: WritableStore,
  options: RequestOptions = {},
): Promise<ConditionProbe> {
  const key = NAME_PREFIX + crypto.randomUUID();
  const first = isMade(store, key, options);
  // a refusal is all there is to know: who has made what is there is not asked, which would be two round trips
  const second = first.then(() => isMade(store, key, { ...options, isBlind: true }, "second"));
  const third = isMade(store, key, { ...options, inParts: true }, "third");
  const leftover = Promise.allSettled([second, third]).then(() => removed(store, key, options));
  const foundOfParts = explained(async () =>
    await first && await third ? "it overwrites an object by one that is put in parts" : ""
  );
  // Whoever waits for them is told.
  for (const promise of [second, third, leftover, foundOfParts]) promise.catch(() => {});
  try {
    const found = await explained(async () => await second ? "it overwrites an object" : "");
    return { found, foundOfParts, leftover };
  } catch (error) {
    await leftover;
    throw error;
  }
}

/** Some services know no such condition and say so. */
async function explained(find: () => Promise<string>): Promise<string> {
  try {
    return await find();
  } catch (error) {
    if (isUnknown(error)) return error.message;
    throw error;
  }
}

/** Whether an object was made, because there was none, or in its place. */
async function isMade(
  store: WritableStore,
  key: string,
  options: PutOptions,
  which = "first",
): Promise<boolean> {
  const put = () => store.put(key, contentOf(which), options);
  try {
    // One such answer may be a proxy's that is unwell: what a service does not know, it does not know twice.
    await put().catch((error) => isUnknown(error) ? put() : Promise.reject(error));
    return true;
  } catch (error) {
    if (error instanceof ObjectExistsError) return false;
    throw error;
  }
}

function isUnknown(error: unknown): error is StorageError {
  return error instanceof StorageError && error.code === "NotImplemented";
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
