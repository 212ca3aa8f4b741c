/**
 * Whether a replica is still the one that is followed: names are reused when a database is made anew in its place.
 *
 * @module
 */
import type { LtxHeader } from "../ltx/header.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";

/** A file under a known key that is another object now. */
export interface ChangedFile {
  readonly known: ReplicaFile;
  readonly listed: ReplicaFile;
}

/** What a listing says of the files that were known before it. */
export interface Comparison {
  /** Whether one of them is still there as it was: then the replica is the same. */
  readonly isSame: boolean;
  /** Those that are another object now: the same content written again, or another replica. */
  readonly changed: ChangedFile[];
}

/** Compares files known from before with a listing, by key. */
export function compareFiles(known: Iterable<ReplicaFile>, listed: readonly ReplicaFile[]): Comparison {
  const byKey = new Map(listed.map((file) => [file.key, file]));
  const changed: ChangedFile[] = [];
  let isSame = false;
  for (const file of known) {
    const now = byKey.get(file.key);
    if (now === undefined) continue;
    if (isSameObject(file, now)) isSame = true;
    else changed.push({ known: file, listed: now });
  }
  return { isSame, changed };
}

/** Whether two mentions of a key mean one object. */
export function isSameObject(a: ReplicaFile, b: ReplicaFile): boolean {
  return a.key === b.key && a.etag === b.etag && a.size === b.size;
}

/**
 * Whether a level-0 file begins in the source's WAL right where another one ended. The salts are drawn at random, so
 * this cannot happen between two databases. False says nothing: a checkpoint begins the WAL anew.
 */
export function continuesWal(last: LtxHeader, next: LtxHeader): boolean {
  return last.walSalt1 !== 0 && last.walSalt1 === next.walSalt1 && last.walSalt2 === next.walSalt2 &&
    last.walOffset + last.walSize === next.walOffset;
}
