/**
 * Object tags: what tells one object from another that took its place.
 *
 * @module
 */

import { createHash } from "node:crypto";

/**
 * Bytes at an object's end that its tag is made of. The protocol tells size and time alone, and that in
 * whole seconds; an LTX file ends with a checksum of all its bytes, so that its end tells what they are.
 */
export const TAIL_BYTES = 64;
/** An object this old, in ms, cannot have been replaced by another in the second that its time names. */
const SETTLED_MS = 60_000;
const REMEMBERED_MAX = 50_000;

/** What is known of an object. */
export interface ObjectFacts {
  readonly size: number;
  /** In seconds since the Unix epoch. */
  readonly mtime: number;
}

/** The tag of an object that ends with `tail`: time, size and what the end says. */
export function tagOf({ size, mtime }: ObjectFacts, tail: Uint8Array): string {
  const end = createHash("sha256").update(tail).digest("base64url").slice(0, 12);
  return `${mtime.toString(36)}.${size.toString(36)}.${end}`;
}

/** The size that a tag tells; undefined where it is none. */
export function sizeIn(tag: string | undefined): number | undefined {
  const [, size] = /^[0-9a-z]+\.([0-9a-z]+)\./.exec(tag ?? "") ?? [];
  return size === undefined ? undefined : Number.parseInt(size, 36);
}

/** Tags of objects that are settled: their ends need not be read again to list them. */
export class KnownTags {
  readonly #now: () => number;
  readonly #tags = new Map<string, ObjectFacts & { readonly tag: string }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The tag of the object with that size and time; undefined where it is not known for sure. */
  find(key: string, { size, mtime }: ObjectFacts): string | undefined {
    const known = this.#tags.get(key);
    return known?.size === size && known.mtime === mtime ? known.tag : undefined;
  }

  /** Takes a tag that was made just now. */
  learn(key: string, { size, mtime }: ObjectFacts, tag: string): void {
    this.#tags.delete(key);
    if (this.#now() - mtime * 1000 < SETTLED_MS) return;
    this.#tags.set(key, { size, mtime, tag });
    if (this.#tags.size > REMEMBERED_MAX) this.#tags.delete(this.#tags.keys().next().value as string);
  }

  forget(key: string): void {
    this.#tags.delete(key);
  }
}
