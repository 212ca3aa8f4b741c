/**
 * Where a replica's files lie below its path.
 *
 * @see LTX format reference, section 14 "Object layout in a replica"
 * @module
 */

import type { LayoutName } from "./object_store.ts";

/** The highest level: snapshots. */
export const LEVEL_MAX = 9;

/** What replicas written by Litestream 0.3.x begin with, in either layout. */
export const GENERATIONS_PREFIX = "generations/";

/**
 * The prefix of one level's files, with its trailing slash: `0009/` in the "s3" layout (4 hex digits), `ltx/9/` in
 * the "folder" layout (decimal).
 *
 * @throws {RangeError} `level` is not an integer from 0 to 9
 */
export function levelPrefix(layout: LayoutName, level: number): string {
  if (!Number.isInteger(level) || level < 0 || level > LEVEL_MAX) {
    throw new RangeError(`Cannot name level: ${level}, expected an integer from 0 to ${LEVEL_MAX}`);
  }
  return layout === "s3" ? `${level.toString(16).padStart(4, "0")}/` : `ltx/${level}/`;
}

/** What the keys of all levels' files begin with: one listing gives them, in the order of their levels. */
export function levelsPrefix(layout: LayoutName): string {
  return layout === "s3" ? "000" : "ltx/";
}

/** The key of the LTX file `name` on `level`, relative to the replica's path. */
export function ltxKey(layout: LayoutName, level: number, name: string): string {
  return levelPrefix(layout, level) + name;
}
