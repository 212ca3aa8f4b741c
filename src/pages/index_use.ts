/** Leaves asked for at first where nothing is known of an index's readers, and at most. */
export const WINDOW_FIRST = 8;
export const WINDOW_MAX = 64;

/** At first, where more keys are equal than are asked for at once. */
const WINDOW_LONG = 16;

/** Steps in order that are waited for, at most, where nothing is asked for at first. */
const PATIENCE_MAX = 3;

/** How one reader went on. */
export interface IndexWay {
  /** 1 or -1. */
  readonly direction: number;
  /** Whether it began by equal keys. */
  readonly beganEqual: boolean;
  /** Whether leaves were asked for only after some steps in order. */
  readonly wasAwaited: boolean;
  /** Leaves that were asked for at first. */
  readonly first: number;
  /** Leaves asked for, at first or later, that the reader came to or past. */
  readonly passed: number;
}

/** What became of the leaves that an index made readers ask for: how many to ask for next time. */
export class IndexUse {
  #single = WINDOW_FIRST;
  #equal = WINDOW_MAX;
  #patience = 1;
  #direction = 1;

  /** Steps in order to wait for where nothing is asked for at first. */
  get patience(): number {
    return this.#patience;
  }

  /** The direction in which a reader went the last time. */
  get direction(): number {
    return this.#direction;
  }

  /**
   * Leaves to ask for at first by a reader at the first of some equal keys, `equalCount` of which follow; 0
   * for none.
   */
  firstWindow(equalCount: number): number {
    if (equalCount === 0) return this.#single;
    // One more: where equal keys reach the end of a page, the next one may have others.
    return Math.min(this.#equal, equalCount > WINDOW_MAX ? WINDOW_LONG : equalCount + 1);
  }

  /** A way has ended. */
  judge(way: IndexWay): void {
    const { direction, beganEqual, wasAwaited, first, passed } = way;
    if (first === 0) return;
    if (passed > 0) this.#direction = direction;
    if (wasAwaited) {
      const patience = this.#patience + (passed > 0 ? -1 : 1);
      this.#patience = Math.min(PATIENCE_MAX, Math.max(1, patience));
    }
    if (beganEqual) this.#equal = nextWindow(this.#equal, way);
    else this.#single = nextWindow(this.#single, way);
  }
}

/**
 * Grows where all was used, and more than that where the keys did not tell where to end; shrinks where half
 * was not.
 */
function nextWindow(window: number, { beganEqual, wasAwaited, first, passed }: IndexWay): number {
  if (passed * 2 < first) return wasAwaited ? window : first >>> 1;
  const isGrowing = beganEqual || wasAwaited || passed >= first * 2;
  return isGrowing ? Math.min(WINDOW_MAX, Math.max(1, window * 2)) : window;
}
