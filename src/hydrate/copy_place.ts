/**
 * Where a local copy is kept: what may be there already, and what may not.
 *
 * @module
 */
import type { Stats } from "node:fs";
import { lstat, mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { LocalFileError } from "../errors.ts";
import { CheckedMark, markPath } from "./checked_mark.ts";
import { readRecord, recordPath } from "./hydration_record.ts";
import { sumsPath } from "./local_file.ts";

/** Endings of files that SQLite takes for a database's own, and applies to it. */
const APPLIED_ENDINGS = ["-wal", "-journal"] as const;

/**
 * Asserts that a copy may be kept at a path: there is one, or nothing that is needed. Makes its folder.
 *
 * @throws {LocalFileError} something else is there
 */
export async function assertOwn(path: string): Promise<void> {
  let found: string | undefined;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    found = await foreignAt(path);
  } catch (cause) {
    throw new LocalFileError(`Cannot keep a local copy at "${path}": ${(cause as Error).message}`, { cause });
  }
  if (found) throw new LocalFileError(`Cannot keep a local copy at "${path}": ${found}`);
}

/** What of a path is none of ours. */
async function foreignAt(path: string): Promise<string | undefined> {
  const wanted = "expected none, or one of its own";
  const own = [path, sumsPath(path), recordPath(path), markPath(path)] as const;
  const [copy, sums, record, mark] = await Promise.all(own.map(stats));
  if (copy && !(copy.isFile() && sums)) return `there is another file, ${wanted}`;
  for (const [i, there] of [copy, sums, record, mark].entries()) {
    if (there && !there.isFile()) return `there is "${own[i]}", which is no plain file, ${wanted}`;
  }
  const isOurs = copy || (!record && !sums?.size) || await readRecord(path);
  if (!isOurs) return `there is "${sums?.size ? own[1] : own[2]}" of something else, ${wanted}`;
  const isMark = copy || !mark?.size || await CheckedMark.isOne(path);
  if (!isMark) return `there is "${markPath(path)}" of something else, ${wanted}`;
  for (const ending of APPLIED_ENDINGS) {
    const there = await stats(`${path}${ending}`);
    if (there?.size) return `there is "${path}${ending}", which would be taken for its own, expected none`;
  }
  return undefined;
}

async function stats(path: string): Promise<Stats | undefined> {
  return await lstat(path).catch((error) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}
