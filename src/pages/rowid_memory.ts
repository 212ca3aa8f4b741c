import type { RowidList } from "./rowid_list.ts";

/** Pages whose rowids are kept in mind, and how many rowids of them all. */
const PAGES_MAX = 16;
const ROWIDS_MAX = 8192;

/** Leaves reached since one of a page's rows, after which a step along its rowids is chance. */
const AGE_MAX = 16;

/** The rowids of one page. */
interface KnownPage {
  readonly lists: readonly RowidList[];
  readonly rowidCount: number;
  /** When one of its rows was reached last, in leaves reached. */
  usedAt: number;
}

/** The rowids of the pages that one connection came to last. */
export class RowidMemory {
  readonly #pages = new Map<number, KnownPage>();
  #rowidCount = 0;
  #reachedCount = 0;

  get isEmpty(): boolean {
    return this.#pages.size === 0;
  }

  /** The lists of pages some of whose rows were reached just before, or might have been. */
  *recent(): Generator<RowidList> {
    for (const { lists, usedAt } of this.#pages.values()) {
      if (this.#reachedCount - usedAt <= AGE_MAX) yield* lists;
    }
  }

  /** The only list of a page of an index; undefined where that is not known. */
  list(pgno: number): RowidList | undefined {
    return this.#pages.get(pgno)?.lists[0];
  }

  /** Takes a page's lists, in place of what it had before; the oldest pages may have to go. */
  put(pgno: number, lists: readonly RowidList[]): void {
    this.forget(pgno);
    const rowidCount = lists.reduce((count, { rowids }) => count + rowids.length, 0);
    this.#pages.set(pgno, { lists, rowidCount, usedAt: this.#reachedCount });
    this.#rowidCount += rowidCount;
    for (const oldest of this.#pages.keys()) {
      if (oldest === pgno || (this.#pages.size <= PAGES_MAX && this.#rowidCount <= ROWIDS_MAX)) break;
      this.forget(oldest);
    }
  }

  forget(pgno: number): void {
    this.#rowidCount -= this.#pages.get(pgno)?.rowidCount ?? 0;
    this.#pages.delete(pgno);
  }

  /** A leaf of a table was reached. */
  reached(): void {
    this.#reachedCount++;
  }

  /** The leaf reached last has a row of a page's lists. */
  used(pgno: number): void {
    const page = this.#pages.get(pgno);
    if (page) page.usedAt = this.#reachedCount;
  }
}
