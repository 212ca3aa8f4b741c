/**
 * Rowids in the order in which a reader may want their rows: those of an index's page, or of a word's
 * occurrences.
 *
 * @module
 */
import type { RowidRange } from "./tree_map.ts";

/** Records by which two places are taken for neighbours: the row between may have been in memory. */
const NEIGHBOUR_MAX = 2;

/** Rowids that were read together. */
export interface RowidList {
  /** The page that they are from. */
  readonly pgno: number;
  /** Root page of the table that has the rows; 0 when that is not known. */
  readonly tableRoot: number;
  /** NaN where a record has none. */
  readonly rowids: Float64Array;
  /** 1 where a key begins as the one before it; empty where there are no keys. */
  readonly isEqual: Uint8Array;
  /** Whether the next page of its tree goes on with it. */
  readonly goesOn: boolean;
  /** Gives it anew, where it is known as far only as its pages had come. */
  readonly more?: () => MoreRowids;
}

/** A list that was known in part, and what would tell of more of it. */
export interface MoreRowids {
  readonly list: RowidList;
  readonly pgnos: readonly number[];
}

/** A record of a list. */
export interface Position {
  readonly list: RowidList;
  readonly index: number;
}

/** Where a reader may have begun. */
export interface Beginning {
  readonly position: Position;
  /** 1 or -1. */
  readonly direction: number;
  /** Records that follow with the same key; 0 too where the reader began amid them. */
  readonly equalCount: number;
}

/** Index of the first record from `start` on whose row lies in a range; -1 for none. */
export function recordIn(
  { rowids }: RowidList,
  { low, high }: RowidRange,
  start: number,
  direction: number,
): number {
  for (let index = start; index >= 0 && index < rowids.length; index += direction) {
    const rowid = rowids[index]!;
    if (rowid > low && rowid <= high) return index;
  }
  return -1;
}

/**
 * How a reader began that came to a range first: by the first of equal keys, else by the last, else by any
 * record, along `direction`.
 */
export function beginningIn(list: RowidList, range: RowidRange, direction: number): Beginning | undefined {
  let last: Beginning | undefined;
  let any: Beginning | undefined;
  const start = direction > 0 ? 0 : list.rowids.length - 1;
  for (let index = start; (index = recordIn(list, range, index, direction)) >= 0; index += direction) {
    const position = { list, index };
    const [before, after] = [equalCount(position, -1), equalCount(position, 1)];
    const [ahead, behind] = direction > 0 ? [after, before] : [before, after];
    if (behind === 0 && ahead > 0) return { position, direction, equalCount: ahead };
    if (behind > 0 && ahead === 0) last ??= { position, direction: -direction, equalCount: behind };
    any ??= { position, direction, equalCount: 0 };
  }
  return last ?? any;
}

/** How a reader goes that came from one range to another; undefined where that is no step along the list. */
export function stepIn(list: RowidList, from: RowidRange, to: RowidRange): Beginning | undefined {
  const { rowids } = list;
  for (let index = -1; (index = recordIn(list, to, index + 1, 1)) >= 0;) {
    for (let distance = 1; distance <= NEIGHBOUR_MAX; distance++) {
      for (const direction of [1, -1]) {
        const rowid = rowids[index - distance * direction];
        if (rowid === undefined || !(rowid > from.low && rowid <= from.high)) continue;
        return { position: { list, index }, direction, equalCount: 0 };
      }
    }
  }
  return undefined;
}

/** Records that follow one with the same key. */
function equalCount({ list: { isEqual }, index }: Position, direction: number): number {
  let count = 0;
  for (let at = direction > 0 ? index + 1 : index; isEqual[at] === 1; at += direction) count++;
  return count;
}

/** Whether the key at one place is that at another; taken for the same where they lie in two lists. */
export function isSameKey(one: Position, other: Position): boolean {
  if (one.list !== other.list) return true;
  const [first, last] = [Math.min(one.index, other.index), Math.max(one.index, other.index)];
  return one.list.isEqual.subarray(first + 1, last + 1).every((isEqual) => isEqual === 1);
}
