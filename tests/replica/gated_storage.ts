/**
 * A folder whose listings of everything, or whose reads, wait while a file of that name stands beside it; that one waits is
 * told by another file.
 *
 * @module
 */
import { existsSync, writeFileSync } from "node:fs";
import type { Storage, StorageArguments } from "../../mod.ts";
import makeStorage from "../places/own_storage.ts";
import { sleep } from "../../src/sleep.ts";

/** What waits. */
export type Gated = "list" | "read";

/** Where the gate's files stand. */
export const gateOf = (folder: string, what: Gated): string => `${folder}.${what}`;
export const waitingOf = (folder: string, what: Gated): string => `${gateOf(folder, what)}.waiting`;

/** Makes it of the folder that option `folder` names. */
export default function makeGated(given: StorageArguments): Storage {
  const { folder } = given.options as { folder: string };
  const inner = makeStorage(given);
  const pass = async (what: Gated, signal: AbortSignal | undefined) => {
    if (existsSync(gateOf(folder, what))) writeFileSync(waitingOf(folder, what), "");
    while (existsSync(gateOf(folder, what))) await sleep(10, signal);
  };
  return {
    traits: inner.traits,
    async *list(prefix, request) {
      if (prefix === "ltx/") await pass("list", request.signal);
      yield* inner.list(prefix, request);
    },
    async read(key, range, request) {
      await pass("read", request.signal);
      return await inner.read(key, range, request);
    },
  };
}
