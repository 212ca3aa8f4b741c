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

/** Pages without an object, one after the other. */
export const EMPTY_PAGES_MAX = 1_000;

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
