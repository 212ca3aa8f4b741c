/**
 * `index.json`: the files of a replica that is published as static files, where the server lists no folders.
 *
 * @module
 */

import { DATE_MS_MAX } from "../../ltx/header.ts";
import { hasDotSegments } from "../raw_fetch.ts";

/** The index's name, beside the folder `ltx`. */
export const INDEX_NAME = "index.json";
/** What this module writes and reads. */
export const INDEX_VERSION = 1;

/** One file of a replica. */
export interface IndexedFile {
  /** Its path below the index's folder, with slashes: `ltx/0/…`. */
  readonly key: string;
  /** In bytes. */
  readonly size: number;
  /** When it was modified: ms since the Unix epoch, or as RFC 3339 has it. */
  readonly modified: number | string;
  /** The ETag that the web server sends with it, where that is known. */
  readonly etag?: string;
}

/** The content of `index.json`. */
export interface StaticIndex {
  /** {@link INDEX_VERSION}. */
  readonly version: number;
  /** In any order. */
  readonly files: readonly IndexedFile[];
}

/** An {@link IndexedFile} that was checked. */
export interface IndexEntry {
  readonly key: string;
  readonly size: number;
  /** In ms since the Unix epoch. */
  readonly modifiedMs: number;
  /** Empty for none. */
  readonly etag: string;
}

/**
 * Checks an index.
 *
 * @throws {SyntaxError} it is no JSON: half of one, or something else
 * @throws {RangeError} it says what no index does
 */
export function parseIndex(text: string): IndexEntry[] {
  const index = JSON.parse(text) as Partial<StaticIndex> | null;
  if (index?.version !== INDEX_VERSION || !Array.isArray(index.files)) {
    const { version } = index ?? {};
    throw new RangeError(`version ${version} of ${INDEX_NAME}, expected version ${INDEX_VERSION} with files`);
  }
  return index.files.map(entryOf);
}

function entryOf(file: IndexedFile | null, i: number): IndexEntry {
  const { key, size, modified, etag = "" } = file ?? {} as Partial<IndexedFile>;
  const modifiedMs = typeof modified === "string" ? Date.parse(modified) : modified;
  const isKey = typeof key === "string" && key !== "" && !key.startsWith("/") && !hasDotSegments(key);
  const isWhole = isKey && typeof etag === "string" && Number.isSafeInteger(size) && size! >= 0 &&
    Math.abs(modifiedMs!) <= DATE_MS_MAX;
  if (!isWhole) {
    throw new RangeError(`file ${i} of ${INDEX_NAME} without key, size or time, expected each with them`);
  }
  return { key, size: size!, modifiedMs: modifiedMs!, etag };
}
