/**
 * What listings have told about a replica's files.
 *
 * @module
 */
import { compareKeys } from "../storage/key_order.ts";
import { LEVELS } from "../view/listing.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";

const EXTENSION = ".ltx";

/** Compares two files of one level by their keys, which is by MinTXID, then by MaxTXID. */
function byKey(a: ReplicaFile, b: ReplicaFile): number {
  return compareKeys(a.key, b.key);
}

/**
 * The key right before a file's: the name without its extension. It sorts behind every LTX file that precedes this one,
 * and is itself none.
 */
function keyBefore(file: ReplicaFile): string {
  return file.key.slice(0, -EXTENSION.length);
}

/** How many of the files, which are in the order of their keys, come at or before `key`. */
function countUpTo(files: readonly ReplicaFile[], key: string): number {
  let low = 0;
  let high = files.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareKeys(files[middle]!.key, key) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The known files of a replica, by level and in the order of their keys. A level holds a key once. */
export class Catalog {
  readonly #levels: ReplicaFile[][] = LEVELS.map(() => []);

  /** Takes a listing of a whole level for all there is on it. */
  replace(level: number, files: readonly ReplicaFile[]): void {
    this.#files(level);
    this.#levels[level] = [...files].sort(byKey);
  }

  /**
   * Takes a listing of a level's keys after `after`: it stands for everything known after that key, files that were
   * added while it was under way too.
   */
  extend(level: number, after: string, files: readonly ReplicaFile[]): void {
    const known = this.#files(level);
    const kept = known.slice(0, countUpTo(known, after));
    const listed = files.filter(({ key }) => compareKeys(key, after) > 0);
    this.#levels[level] = kept.concat(listed.sort(byKey));
  }

  /** Adds a file that was met outside a listing, in place of one with its key. */
  add(file: ReplicaFile): void {
    const files = this.#files(file.level);
    const at = countUpTo(files, file.key);
    if (at > 0 && files[at - 1]!.key === file.key) files[at - 1] = file;
    else files.splice(at, 0, file);
  }

  /** Removes the file that has this key, if it is known: it turned out to be gone. */
  forget(key: string): void {
    for (const files of this.#levels) {
      const at = files.findIndex((file) => file.key === key);
      if (at >= 0) files.splice(at, 1);
    }
  }

  /** All known files, level by level. */
  files(): ReplicaFile[] {
    return this.#levels.flat();
  }

  /** The known files of one level, in the order of their keys. */
  level(level: number): ReplicaFile[] {
    return [...this.#files(level)];
  }

  /**
   * The key after which to list a level such that its last known file is told again with all that is new; `""` where
   * none is known.
   */
  mark(level: number): string {
    const last = this.#files(level).at(-1);
    return last === undefined ? "" : keyBefore(last);
  }

  /**
   * The key after which to list a level such that its known files that hold `txid` are told again, and all behind
   * them; where none holds it, the last known one that begins below it is told too; and so many before that. `""` where all
   * begin beyond it.
   */
  markBelow(level: number, txid: bigint, before = 0): string {
    const below = this.#files(level).filter(({ minTxid }) => minTxid <= txid);
    const holding = below.findIndex(({ maxTxid }) => maxTxid >= txid);
    const first = below[Math.max(0, (holding < 0 ? below.length - 1 : holding) - before)];
    return first === undefined ? "" : keyBefore(first);
  }

  #files(level: number): ReplicaFile[] {
    const files = this.#levels[level];
    if (files === undefined) {
      throw new RangeError(`Cannot list level: ${level}, expected an integer from 0 to ${LEVELS.length - 1}`);
    }
    return files;
  }
}
