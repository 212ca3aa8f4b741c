import type { Row } from "./btree_page.ts";
import { DatabaseState, KeptPages } from "./database_state.ts";
import { overflowPages } from "./overflow_chain.ts";
import { Pace } from "../pace.ts";
import { type PageSet, pageSetOf } from "./page_set.ts";
import type { PageSource } from "./page_source.ts";

/** Two states of one database. */
export interface DiffInput {
  /** The earlier state. */
  readonly from: PageSource;
  /** The later state. */
  readonly to: PageSource;
  /**
   * Pages whose content may differ between the two, ascending. A page of either state that is not among them is the same
   * in both.
   */
  readonly changed: Uint32Array | ReadonlySet<number>;
}

/** Both states, and which pages differ between them. */
export class Comparison {
  /** The earlier state. */
  readonly from: DatabaseState;
  /** The later state. */
  readonly to: DatabaseState;
  /** Gives way between pieces of work. */
  readonly pace: Pace;
  /** Pages that may differ, in the order given; those of one state only may be missing. */
  readonly changed: Iterable<number>;
  /** Tells whether unchanged pages mean the same in both states: one page size, one encoding. */
  readonly comparable: boolean;
  /**
   * First pages of those chains that begin with an unchanged page and go on over a changed one. Null while they are not
   * known: then every chain is read.
   */
  changedChains: ReadonlySet<number> | null = null;
  readonly #changed: PageSet;

  /** Reads both headers. */
  static async open(input: DiffInput, signal?: AbortSignal): Promise<Comparison> {
    const pace = new Pace(signal);
    const from = await DatabaseState.open(input.from, pace);
    const to = await DatabaseState.open(input.to, pace);
    return new Comparison(from, to, input.changed, await pageSetOf(input.changed, pace));
  }

  private constructor(
    from: DatabaseState,
    to: DatabaseState,
    changed: Iterable<number>,
    changedSet: PageSet,
  ) {
    this.from = from;
    this.to = to;
    this.pace = to.pace;
    this.changed = changed;
    this.#changed = changedSet;
    this.comparable = from.pageSize === to.pageSize && from.usableSize === to.usableSize &&
      from.encoding === to.encoding;
    const kept = new KeptPages();
    from.share(kept, this.isChanged);
    to.share(kept, this.isChanged);
  }

  /** Tells whether a page may differ; a page that only one state has does. */
  readonly isChanged = (pgno: number): boolean =>
    !this.comparable || this.#changed.has(pgno) || pgno > this.from.commit || pgno > this.to.commit;

  /** Tells whether two rows, each of its state and compared only once, have the same record, byte by byte. */
  async isSameRecord(from: Row, to: Row): Promise<boolean> {
    if (from.payloadSize !== to.payloadSize) return false;
    if (this.comparable && !isSameBytes(from.local, to.local)) return false;
    if (from.overflow === 0 && to.overflow === 0) return isSameBytes(from.local, to.local);
    return this.#isUnchangedChain(from, to) || await this.#isSamePayload(from, to);
  }

  #isUnchangedChain(from: Row, to: Row): boolean {
    const begin = to.overflow;
    return from.overflow === begin && !this.isChanged(begin) && this.changedChains?.has(begin) === false;
  }

  /** Compares part by part; the parts have other sizes where the page sizes differ. */
  async #isSamePayload(from: Row, to: Row): Promise<boolean> {
    const fromParts = payloadParts(this.from, from);
    const toParts = payloadParts(this.to, to);
    let left: Uint8Array = new Uint8Array(0);
    let right = left;
    for (let offset = 0; offset < to.payloadSize;) {
      if (left.length === 0) left = (await fromParts.next()).value!;
      if (right.length === 0) right = (await toParts.next()).value!;
      const size = Math.min(left.length, right.length);
      if (!isSameBytes(left.subarray(0, size), right.subarray(0, size))) return false;
      left = left.subarray(size);
      right = right.subarray(size);
      offset += size;
    }
    return true;
  }
}

async function* payloadParts(state: DatabaseState, row: Row): AsyncGenerator<Uint8Array, undefined> {
  yield row.local;
  for await (const { content } of overflowPages(state, row, state.chainPages.records)) yield content;
}

function isSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
