/**
 * What tells the content of a file on a web server: its ETag, or, where there is none, its time and size.
 *
 * @module
 */

import { bareEtag } from "./etag.ts";

const TIME_TAG = /^t\d+-\d+$/;

/** What listings or answers say of a file. */
export interface FileFacts {
  /** As the server spells it; empty for none. */
  readonly etag: string;
  /** In ms since the Unix epoch; NaN where nothing is said. */
  readonly modifiedMs: number;
  readonly size: number;
}

/** The facts in an answer's headers. */
export function factsOf(headers: Headers, size: number): FileFacts {
  return {
    etag: headers.get("etag") ?? "",
    modifiedMs: Date.parse(headers.get("last-modified") ?? ""),
    size,
  };
}

/** The file's ETag, bare; without one its time in seconds, which is all that HTTP tells, and its size. */
export function tagOf(facts: FileFacts): string {
  return bareEtag(facts.etag) || timeTagOf(facts);
}

/** Time and size alone. */
export function timeTagOf({ modifiedMs, size }: FileFacts): string {
  return `t${Number.isNaN(modifiedMs) ? 0 : Math.floor(modifiedMs / 1000)}-${size}`;
}

/** Whether a tag is of time and size. */
export function isTimeTag(tag: string): boolean {
  return TIME_TAG.test(tag);
}
