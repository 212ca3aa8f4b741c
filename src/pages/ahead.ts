/** What is loaded before it is asked for. */
export interface Ahead {
  /** Pages to load, in the order in which they will be wanted; some may be in memory already, or past the end. */
  readonly pgnos: readonly number[];
  /** The page whose reaching is to be told even when it is in memory; 0 for none beside those told before. */
  readonly mark: number;
  /** Another such page. */
  readonly otherMark?: number;
  /**
   * Where it is not 0: the pages are scattered over a tree that is read from one end, and will all be wanted. So many pages
   * in all may come, those with them that lie near; pages further on in the list are left where that is used up.
   */
  readonly spread?: number;
  /** Interior pages of the way that are to come, too: without them nobody will know what follows. */
  readonly above?: readonly number[];
}

/** No page. */
export const NOTHING_AHEAD: Ahead = { pgnos: [], mark: 0 };
