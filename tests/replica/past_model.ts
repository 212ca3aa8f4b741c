/**
 * Which state a moment shows, by the definition and nothing else: every file's time is known, every path is tried.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { decodeHeader } from "../../src/ltx/header.ts";
import { levelPrefix } from "../../src/storage/layout.ts";
import type { LayoutName } from "../../src/storage/object_store.ts";
import { LEVELS } from "../../src/view/listing.ts";

/** A file of a replica, and when its header says that it was created. */
export interface TimedFile {
  /** 9 for snapshots. */
  readonly level: number;
  readonly minTxid: number;
  readonly maxTxid: number;
  readonly createdMs: number;
}

/** The files of a replica that lies in a folder, each with the time in its header. */
export async function timedFiles(folder: string, layout: LayoutName = "folder"): Promise<TimedFile[]> {
  const files: TimedFile[] = [];
  for (const level of LEVELS) {
    const path = join(folder, levelPrefix(layout, level));
    const names = await readdir(path).catch(() => []); // no file has come to this level
    for (const name of names.filter((name) => name.endsWith(".ltx"))) {
      const bytes = await readFile(join(path, name)).catch(() => undefined); // deleted meanwhile
      if (bytes === undefined) continue;
      const { minTxid, maxTxid, timestampMs } = decodeHeader(bytes.subarray(0, 100));
      files.push({ level, minTxid: Number(minTxid), maxTxid: Number(maxTxid), createdMs: timestampMs });
    }
  }
  return files;
}

/** All TXIDs at which files can end a restore, ascending. */
export function reachable(files: readonly TimedFile[]): number[] {
  const ends = new Set<number>([0]);
  for (let before = 0; before !== ends.size;) {
    before = ends.size;
    for (const { level, minTxid, maxTxid } of files) {
      const leads = level === 9 || [...ends].some((end) => end >= minTxid - 1 && end < maxTxid);
      if (leads) ends.add(maxTxid);
    }
  }
  ends.delete(0);
  return [...ends].sort((a, b) => a - b);
}

/** The newest state all of whose files were created before a moment; undefined where there is none. */
export function modelTxid(files: readonly TimedFile[], momentMs: number): number | undefined {
  return reachable(files.filter(({ createdMs }) => createdMs < momentMs)).at(-1);
}
