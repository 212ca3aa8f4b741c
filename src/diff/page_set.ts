import type { Pace } from "../pace.ts";

const CHUNK_PAGES = 4096;

/**
 * A set of pgnos, a bit each, in chunks made when first needed: its memory follows what is in it, not what the database
 * claims to hold.
 */
export class PageSet {
  readonly #chunks = new Map<number, Uint8Array>();

  /** Puts a pgno in; false where it was in before. */
  add(pgno: number): boolean {
    const number = Math.floor(pgno / CHUNK_PAGES);
    let chunk = this.#chunks.get(number);
    if (chunk === undefined) this.#chunks.set(number, chunk = new Uint8Array(CHUNK_PAGES / 8));
    const place = (pgno % CHUNK_PAGES) >>> 3;
    const bit = 1 << (pgno & 7);
    if ((chunk[place]! & bit) !== 0) return false;
    chunk[place]! |= bit;
    return true;
  }

  /** Tells whether a pgno is in. */
  has(pgno: number): boolean {
    const chunk = this.#chunks.get(Math.floor(pgno / CHUNK_PAGES));
    return chunk !== undefined && (chunk[(pgno % CHUNK_PAGES) >>> 3]! & (1 << (pgno & 7))) !== 0;
  }
}

/** Makes a set of many pgnos, giving way meanwhile. */
export async function pageSetOf(pgnos: Iterable<number>, pace: Pace): Promise<PageSet> {
  const set = new PageSet();
  await pace.each(pgnos, (pgno) => void set.add(pgno));
  return set;
}
