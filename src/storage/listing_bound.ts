/**
 * ListingBound: where a listing is given up that does not end.
 *
 * A server that makes up keys for ever would have each opening pay for as many requests as its time allows, and hold what
 * they gave.
 *
 * @module
 */

/** Objects of one listing. A replica that keeps each half minute of a year has as many; 450 bytes each are held. */
export const OBJECTS_MAX = 1_000_000;

/** Elements, objects and arrays in one listing that comes as text: a terse one of as many objects has fewer. */
export const ITEMS_MAX = 5 * OBJECTS_MAX;

/** Pages without an object, one after the other. */
export const EMPTY_PAGES_MAX = 1_000;

/** Whether HTML or JSON has more in it than is parsed: two bytes of an answer can be an object of a hundred in memory. */
export function hasTooManyItems(text: string): boolean {
  let count = 0;
  for (let i = 0; i < text.length && count <= ITEMS_MAX; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x3c || code === 0x5b || code === 0x7b) count++; // < [ {
  }
  return count > ITEMS_MAX;
}

/** Counts one listing's pages. */
export class ListingBound {
  #objectCount = 0;
  #emptyCount = 0;

  /** Counts a page; gives what is too much about the listing by now, and what would do. */
  add(objectCount: number): { found: string; wanted: string } | undefined {
    this.#objectCount += objectCount;
    this.#emptyCount = objectCount > 0 ? 0 : this.#emptyCount + 1;
    if (this.#objectCount > OBJECTS_MAX) {
      return { found: `more than ${OBJECTS_MAX} objects`, wanted: "as many as a replica has" };
    }
    if (this.#emptyCount > EMPTY_PAGES_MAX) {
      return { found: `${this.#emptyCount} pages without an object`, wanted: "pages that end" };
    }
    return undefined;
  }
}
