/**
 * removeLeftUploads(): files that a process was making in a replica's folder when it was killed.
 *
 * @module
 */

import { lstat, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { parseLtxFileName } from "../ltx/txid.ts";
import { LEVEL_MAX, levelPrefix } from "./layout.ts";

/** Nobody makes a file for so long, in ms. */
const LEFT_MS = 24 * 3_600_000;

/** What {@link UnfinishedFile} names its files: what they are to be, a UUID, and an ending. */
const UNFINISHED = /^(.+)\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/;

/**
 * Removes those that nobody has written to for a day; whatever has another name is somebody else's and stays.
 *
 * @throws what the system fails with, but where a file is gone by now
 */
export async function removeLeftUploads(folder: string): Promise<void> {
  for (let level = 0; level <= LEVEL_MAX; level++) {
    const path = join(folder, levelPrefix("folder", level));
    for (const name of await readdir(path).catch(unlessAbsent) ?? []) {
      if (isUnfinished(name)) await removeLeft(join(path, name)).catch(unlessAbsent);
    }
  }
}

function isUnfinished(name: string): boolean {
  const [, wanted = ""] = UNFINISHED.exec(name) ?? [];
  return parseLtxFileName(wanted) !== null;
}

/** A file that is just being named has the time of its transactions already, and was accessed just now. */
async function removeLeft(path: string): Promise<void> {
  const facts = await lstat(path);
  const usedMs = Math.max(facts.mtimeMs, facts.atimeMs);
  if (facts.isFile() && usedMs < Date.now() - LEFT_MS) await unlink(path);
}

function unlessAbsent(error: { code?: string }): undefined {
  if (error.code !== "ENOENT") throw error;
}
