/**
 * File facts: what a system's facts about a file say of an object.
 *
 * @module
 */

import type { BigIntStats } from "node:fs";

/**
 * What stands for an ETag: a file renamed into place has another inode, one written in place another time or size. In whole
 * milliseconds, as not every runtime tells more.
 */
export function etagOf(facts: BigIntStats): string {
  return `${modifiedMsOf(facts).toString(36)}-${facts.size.toString(36)}-${facts.ino.toString(36)}`;
}

/** When it was last modified, in ms since the Unix epoch. */
export function modifiedMsOf(facts: BigIntStats): number {
  return Number(facts.mtimeNs / 1_000_000n);
}
