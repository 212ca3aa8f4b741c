/**
 * A folder as storage, whose moods are files beside it: a test makes and removes them while it is in use.
 *
 * - `down`: every request fails
 * - `late`, once: so long passes while a file is put that a writer looks again, by the clock
 * - `lost`, once: a file is put, its answer is lost, and the storage is down from then on
 * - `falling`, once: a file is put, and the storage is down from then on
 * - `absent`, once: a file that is there is answered as gone to one that reads it
 * - `removed`, once: a file is put, and removed
 * - `misnamed`, once: of the last file that is listed, the name has another TXID
 *
 * @module
 */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Storage, StorageArguments } from "../../mod.ts";
import makeStorage from "../places/own_storage.ts";

/** More than a writer stores on without a look. */
const LATE_MS = 11_000;

/** Makes it of option `folder`; moods lie in option `moods`. */
export default function makeUnsteady(given: StorageArguments): Storage {
  const inner = makeStorage(given);
  const { moods } = given.options as { moods: string };
  const once = (mood: string) => {
    const isIt = existsSync(join(moods, mood));
    if (isIt) rmSync(join(moods, mood));
    return isIt;
  };
  const fall = () => writeFileSync(join(moods, "down"), "");
  const check = () => {
    if (existsSync(join(moods, "down"))) throw new Error("connection refused");
  };
  return {
    traits: inner.traits,
    list: async function* (...asked) {
      check();
      const listed = (await Array.fromAsync(inner.list(...asked))).flat();
      const last = listed.findLast(({ key }) => key.endsWith(".ltx"));
      const isOdd = last !== undefined && once("misnamed");
      yield listed.map((file) => isOdd && file === last ? { ...file, key: misnamed(file.key) } : file);
    },
    read: async (...asked) => {
      check();
      if (asked[0].endsWith(".ltx") && once("absent")) return undefined;
      return await inner.read(...asked);
    },
    remove: async (...asked) => await inner.remove!(...asked),
    put: async (key, bytes, request) => {
      check();
      const made = await inner.put!(key, bytes, request);
      if (!key.endsWith(".ltx")) return made;
      if (once("late")) pass(LATE_MS);
      if (once("falling")) fall();
      if (once("removed")) await inner.remove!([key], request);
      if (!once("lost")) return made;
      fall();
      throw new Error("connection reset");
    },
  };
}

/** The last digit of its last TXID is another one. */
function misnamed(key: string): string {
  return key.replace(/.(?=\.ltx$)/, (digit) => digit === "a" ? "b" : "a");
}

/** Sets this thread's clock forward, which is the core's. */
function pass(ms: number): void {
  const { now } = Date;
  Date.now = () => now() + ms;
}
