/**
 * Which state a moment shows, by the definition and nothing else: every file's time is known, every path is tried.
 *
 * @module
 */

/** A file of a replica, and when its header says that it was created. */
export interface TimedFile {
  /** 9 for snapshots. */
  readonly level: number;
  readonly minTxid: number;
  readonly maxTxid: number;
  readonly createdMs: number;
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
