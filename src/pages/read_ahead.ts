/**
 * What a reader will want next: pages that follow in key order, or in the file, in a window that grows while it is used.
 *
 * @module
 */
import { type Ahead, NOTHING_AHEAD } from "./ahead.ts";
import type { TreeMap } from "./tree_map.ts";

/** Places where one connection reads in order: a join reads several trees in turn. */
const STREAMS_MAX = 8;

/** Trees of which the places reached last are kept in mind, and how many of each. */
const TREES_MAX = 8;
const PLACES_MAX = 8;

/** The first window, in pages; and the least that waste leaves of it. */
const WINDOW_FIRST = 16;
const WINDOW_MIN = WINDOW_FIRST;

/** How far apart in key order pages may be that are taken for steps of one way, in pages. */
const STRIDE_MAX = 64;

/** A way so long from one end of a tree is taken for one through all of it, in pages; for each, so many may come then. */
const SPREAD_FROM = 32;
const SPREAD = 16;

/** How much longer than the last one a window is looked through for pages that are not there yet. */
const SPREAD_LOOK = 8;

/** Interior pages are loaded for so many windows more, and for so many pages at least. */
const ABOVE_WINDOWS = 8;
const ABOVE_MIN = 256;

/** Of what a stream may have ahead, so much may be interior pages. */
const ABOVE_SHARE = 1 / 8;

/** Shorter skips are not worth telling from reading each page. */
const STRIDE_MIN = 4;

/** Pages loaded ahead whose fate is known before it is judged. */
const JUDGED_AT = 64;

/** Share of them that may go unused; windows grow back below half of it. */
const WASTE_MAX = 0.3;

/** Pages of its tree that may be reached elsewhere before a stream that nobody went on along is closed. */
const STRAYS_MAX = 32;

/** Key of pages that hang below no page that was seen; they are read in the order of the file. */
const IN_FILE = 0;

/** What bounds reading ahead. */
export interface ReadAheadOptions {
  /** Pages that one stream may have ahead. */
  readonly windowMax: number;
  /** Pages that a miss may bring with it: misses of a reader that goes on page by page are as far apart. */
  readonly neighboursMax?: number;
  /** Pages that stay in memory: what comes along with others of a larger tree would be gone before it is wanted. */
  readonly treeMax?: number;
  /** Whether pages are all there, or on their way: a reader that has none of them to wait for may not have skipped them. */
  readonly areThere?: (pgnos: readonly number[]) => boolean;
}

/** A page that was reached in no known order. */
interface Candidate {
  readonly pgno: number;
  /** How far it is from the one before it; 0 for a first one, and where that is far away. */
  readonly distance: number;
}

/** One reader's way through one tree, or through the file. */
interface Stream {
  /** Root page of its tree; {@link IN_FILE} where it follows the file. */
  readonly root: number;
  /** Whether it began at the end of its tree, or near it. */
  readonly isFromEnd: boolean;
  /** Whether an expected page was reached. */
  isProven: boolean;
  /** Expected pages that were reached or passed. */
  used: number;
  /** Pages of its tree that were reached elsewhere. */
  strays: number;
  /** The page reached last. */
  last: number;
  /** Pages from one to the next; negative backward. */
  step: number;
  /** How far the reader jumped past all that was expected, the last time; 0 when it came to an expected page since. */
  jump: number;
  /** Pages that were asked for ahead and not reached yet, in order. */
  expected: number[];
  /** How many may be expected; 0 before the first. */
  window: number;
  /** An interior page, the last of those expected, without which nobody knows what comes after; 0 for none. */
  unknown: number;
}

/** The streams of one connection. */
export class ReadAhead {
  readonly #tree: TreeMap;
  readonly #windowMax: number;
  readonly #stepMax: number;
  readonly #treeMax: number;
  readonly #areThere: (pgnos: readonly number[]) => boolean;
  /** The one used last is the last. */
  readonly #streams: Stream[] = [];
  /** By tree; the one reached last is the last. */
  readonly #candidates = new Map<number, Candidate[]>();
  #limit: number;
  #widest = 0;
  #used = 0;
  #wasted = 0;

  constructor(tree: TreeMap, options: ReadAheadOptions) {
    const { windowMax, neighboursMax = 16, treeMax = 0, areThere = () => false } = options;
    this.#tree = tree;
    this.#windowMax = Math.max(windowMax, 1);
    this.#limit = this.#windowMax;
    this.#stepMax = neighboursMax + 1;
    this.#treeMax = treeMax;
    this.#areThere = areThere;
  }

  /** Pages that one stream may have ahead just now, which waste makes fewer. */
  get windowLimit(): number {
    return this.#limit;
  }

  /** Streams that are open. */
  get streamCount(): number {
    return this.#streams.length;
  }

  /** A page was reached: one that was marked, or, with `isMiss`, one that has to be waited for. */
  reached(pgno: number, isMiss: boolean = true): Ahead {
    // A page that is marked, and has to be waited for all the same, is told twice.
    if (this.#streams.some(({ last }) => last === pgno)) return NOTHING_AHEAD;
    const stream = this.#streamAt(pgno);
    if (stream !== undefined) return this.#extend(stream);
    if ((this.#tree.level(pgno) ?? 0) > 0) return NOTHING_AHEAD;
    const begun = this.#begin(pgno);
    if (begun !== undefined) return this.#extend(begun);
    // Marks that led to marks would be all over the pool, and never end.
    return isMiss ? this.#watch(pgno) : NOTHING_AHEAD;
  }

  /** A reader that goes on from a page comes to one of those beside it, which may be in memory already. */
  #watch(pgno: number): Ahead {
    if (this.#tree.parent(pgno) === undefined) return { pgnos: [], mark: pgno + 1 };
    const [after = 0] = this.#tree.following(pgno, 1);
    const [before = 0] = this.#tree.following(pgno, 1, -1);
    return { pgnos: [], mark: after, otherMark: before };
  }

  /** An interior page came that was asked for: what follows it may be known now. */
  learned(pgno: number): Ahead {
    const stream = this.#streams.find(({ unknown }) => unknown === pgno);
    if (stream === undefined) return NOTHING_AHEAD;
    passUnknown(stream);
    if (!this.#tree.isKnown(pgno)) return NOTHING_AHEAD;
    return this.#ask(stream, stream.window - stream.expected.length);
  }

  /** Pages that were loaded ahead were read. */
  used(count: number): void {
    this.#used += count;
    this.#judge();
  }

  /** Pages that were loaded ahead were dropped unread, or nobody came for them. */
  wasted(count: number): void {
    this.#wasted += count;
    this.#judge();
  }

  #judge(): void {
    if (this.#used + this.#wasted < JUDGED_AT) return;
    const waste = this.#wasted / (this.#used + this.#wasted);
    if (waste > WASTE_MAX) {
      const widest = Math.min(this.#limit, this.#widest || this.#limit);
      this.#limit = Math.min(this.#windowMax, Math.max(WINDOW_MIN, widest >>> 1));
    } else if (waste < WASTE_MAX / 2) {
      this.#limit = Math.min(this.#windowMax, this.#limit * 2);
    }
    [this.#used, this.#wasted, this.#widest] = [0, 0, 0];
  }

  /** The stream that a page lies on; it is there now. */
  #streamAt(pgno: number): Stream | undefined {
    for (let i = this.#streams.length - 1; i >= 0; i--) {
      const stream = this.#streams[i]!;
      if (!this.#isReached(stream, pgno) && !this.#isJumpedTo(stream, pgno)) continue;
      this.#streams.splice(i, 1);
      this.#streams.push(stream);
      return stream;
    }
    return undefined;
  }

  #isReached(stream: Stream, pgno: number): boolean {
    const at = stream.expected.indexOf(pgno);
    if (at < 0) return false;
    // An interior page is on the way, not a place on it.
    const place = pgno === stream.unknown ? stream.expected[at - 1] : pgno;
    if (place !== undefined) stream.last = place;
    stream.expected.splice(0, at + 1);
    stream.used += at + 1;
    this.used(at + 1);
    stream.jump = 0;
    stream.isProven = true;
    return true;
  }

  /** Whether the reader went past all that was expected, but not far. */
  #isJumpedTo(stream: Stream, pgno: number): boolean {
    const direction = Math.sign(stream.step);
    const isStrided = stream.step !== direction;
    const end = isStrided ? stream.last : this.#endOf(stream);
    const distance = this.#distance(stream.root, end, pgno, STRIDE_MAX * 2) * direction;
    const isNear = isStrided
      ? isSimilar(distance, stream.step * direction)
      : distance > 0 && distance <= this.#stepMax;
    if (!isNear) return false;
    const jump = isStrided
      ? distance
      : this.#distance(stream.root, stream.last, pgno, STRIDE_MAX) * direction;
    const isStride = isStrided || (stream.jump > STRIDE_MIN && isSimilar(jump, stream.jump));
    if (isStride) stream.step = this.#stepOf(stream.root, stream.last, jump * direction);
    stream.jump = Math.max(0, jump);
    stream.last = pgno;
    this.wasted(stream.expected.length);
    stream.expected = [];
    stream.unknown = 0;
    stream.window = Math.max(1, stream.window >>> 1); // not doubled, that is
    return true;
  }

  /** The last page that was asked for, interior ones aside. */
  #endOf({ expected, unknown, last }: Stream): number {
    return (expected.at(-1) === unknown ? expected.at(-2) : expected.at(-1)) ?? last;
  }

  /** How far one page is behind another; 0 where it is none or farther than `max`. */
  #distance(root: number, from: number, to: number, max: number): number {
    if (root !== IN_FILE) return this.#tree.distance(from, to, max) ?? 0;
    return Math.abs(to - from) <= max ? to - from : 0;
  }

  /** Begins a stream where a page goes on from one that was reached before; else keeps it in mind. */
  #begin(pgno: number): Stream | undefined {
    const top = this.#tree.root(pgno);
    const root = top === pgno ? IN_FILE : top;
    this.#closeStrayed(root);
    const candidates = this.#candidatesOf(root);
    if (candidates.some((candidate) => candidate.pgno === pgno)) return undefined;
    const last = candidates.at(-1);
    const distance = last ? this.#distance(root, last.pgno, pgno, STRIDE_MAX) : 0;
    const beside = candidates.find((candidate) => this.#isBeside(root, candidate, pgno));
    if (beside !== undefined) {
      candidates.splice(candidates.indexOf(beside), 1);
      return this.#open(root, pgno, this.#distance(root, beside.pgno, pgno, 1), beside.pgno);
    }
    if (last && isStride(last.distance, distance)) {
      candidates.pop();
      return this.#open(root, pgno, this.#stepOf(root, last.pgno, distance), last.pgno);
    }
    candidates.push({ pgno, distance });
    if (candidates.length > PLACES_MAX) candidates.shift();
    return undefined;
  }

  /** What a reader that came so far goes on by: page by page where those between were there. */
  #stepOf(root: number, from: number, distance: number): number {
    const step = Math.sign(distance);
    if (root === IN_FILE) return step;
    const between = this.#tree.following(from, Math.abs(distance) - 1, step);
    return between.length > 0 && this.#areThere(between) ? step : distance;
  }

  /** Pages that hang below none, as roots of small trees, may lie side by side by chance: a third one tells. */
  #isBeside(root: number, candidate: Candidate, pgno: number): boolean {
    const step = this.#distance(root, candidate.pgno, pgno, 1);
    return step !== 0 && (root !== IN_FILE || Math.sign(candidate.distance) === step);
  }

  #open(root: number, last: number, step: number, before: number): Stream {
    const isFromEnd = root !== IN_FILE && Math.abs(step) === 1 &&
      this.#tree.following(before, this.#stepMax, -step).length < this.#stepMax;
    const stream: Stream = {
      root,
      isFromEnd,
      last,
      step,
      isProven: false,
      used: 0,
      strays: 0,
      jump: 0,
      expected: [],
      window: 0,
      unknown: 0,
    };
    this.#streams.push(stream);
    if (this.#streams.length > STREAMS_MAX) this.#close(0);
    return stream;
  }

  #close(index: number): void {
    const [stream] = this.#streams.splice(index, 1);
    this.wasted(stream!.expected.length);
  }

  #closeStrayed(root: number): void {
    for (let i = this.#streams.length - 1; i >= 0; i--) {
      const stream = this.#streams[i]!;
      if (stream.root !== root || stream.isProven) continue;
      if (++stream.strays > STRAYS_MAX) this.#close(i);
    }
  }

  #candidatesOf(key: number): Candidate[] {
    const candidates = this.#candidates.get(key) ?? [];
    this.#candidates.delete(key);
    this.#candidates.set(key, candidates);
    if (this.#candidates.size > TREES_MAX) this.#candidates.delete(this.#candidates.keys().next().value!);
    return candidates;
  }

  #extend(stream: Stream): Ahead {
    if (this.#tree.isKnown(stream.unknown)) passUnknown(stream);
    if (this.#willSpread(stream) && stream.used >= SPREAD_FROM) {
      const isHalfUsed = stream.expected.length * 2 <= stream.window;
      const count = Math.min(this.#limit, Math.max(SPREAD_FROM, stream.window) * SPREAD_LOOK);
      return isHalfUsed && stream.unknown === 0 ? this.#ask(stream, count) : NOTHING_AHEAD;
    }
    const window = stream.window === 0 ? WINDOW_FIRST : stream.window * 2;
    // Where pages will come with others, they are not asked for one by one before.
    const limit = this.#willSpread(stream) ? SPREAD_FROM * 2 : this.#limit;
    stream.window = Math.min(this.#limit, limit, window);
    const missing = stream.window - stream.expected.length;
    return stream.unknown !== 0 || missing * 2 < stream.window ? NOTHING_AHEAD : this.#ask(stream, missing);
  }

  /** Whether what a stream wants may lie all over a tree that is worth having as a whole. */
  #willSpread({ isFromEnd, root }: Stream): boolean {
    return isFromEnd && this.#tree.leafCount(root) <= this.#treeMax;
  }

  #ask(stream: Stream, count: number): Ahead {
    const pgnos = this.#following(stream, count);
    const above = this.#above(stream);
    if (pgnos.length === 0) {
      if (stream.expected.length === 0) this.#streams.splice(this.#streams.indexOf(stream), 1);
      return NOTHING_AHEAD;
    }
    this.#widest = Math.max(this.#widest, stream.window);
    const isFirst = stream.expected.length === 0;
    const before = pgnos.at(-2) ?? this.#endOf(stream);
    const reach = Math.abs(stream.step);
    if (this.#distance(stream.root, before, pgnos.at(-1)!, reach) === 0) stream.unknown = pgnos.at(-1)!;
    for (const pgno of pgnos) stream.expected.push(pgno);
    const isSpread = this.#willSpread(stream) && stream.used >= SPREAD_FROM;
    if (isSpread) return { pgnos, mark: 0, spread: stream.used * SPREAD };
    // The first page of a first window tells soonest whether the reader goes on; later, half a window is left.
    const mark = stream.expected[isFirst ? 0 : (stream.expected.length - 1) >>> 1]!;
    return above.length === 0 ? { pgnos, mark } : { pgnos, mark, above };
  }

  /** Interior pages beyond that of the last page asked for: one at a time, each would be a round trip of the way. */
  #above(stream: Stream): number[] {
    const { root, step, window, used } = stream;
    const parent = this.#tree.parent(this.#endOf(stream));
    if (used === 0 || root === IN_FILE || parent === undefined) return [];
    const pages = Math.max(ABOVE_MIN, window * ABOVE_WINDOWS) * Math.abs(step);
    const count = Math.ceil(pages / Math.max(1, this.#tree.childCount(parent.pgno)));
    const countMax = Math.ceil(this.#windowMax * ABOVE_SHARE);
    const above = this.#tree.following(parent.pgno, Math.min(count, countMax), Math.sign(step));
    return above.filter((pgno) => !this.#tree.isKnown(pgno));
  }

  /** Of the pages that were asked for last, only the first `count` will come; gives the page to be marked. */
  trim({ pgnos }: Ahead, count: number): number {
    // What is left of another way may end with the same page.
    const isAsked = ({ expected }: Stream) =>
      expected.at(-1) === pgnos.at(-1) && expected.at(-pgnos.length) === pgnos[0];
    const stream = this.#streams.findLast(isAsked);
    if (stream === undefined) return 0;
    if (count < pgnos.length) {
      stream.expected.length -= pgnos.length - count;
      stream.unknown = 0;
    }
    stream.window = stream.expected.length;
    return stream.expected[(stream.window - 1) >>> 1] ?? 0;
  }

  #following(stream: Stream, count: number): number[] {
    const end = this.#endOf(stream);
    if (stream.root !== IN_FILE) return this.#tree.following(end, count, stream.step);
    return Array.from({ length: count }, (_, i) => end + (i + 1) * stream.step).filter((pgno) => pgno > 0);
  }
}

function passUnknown(stream: Stream): void {
  if (stream.expected.at(-1) === stream.unknown) stream.expected.pop();
  stream.unknown = 0;
}

/** Whether two distances in a row are strides of one way. */
function isStride(before: number, distance: number): boolean {
  const direction = Math.sign(distance);
  return Math.abs(distance) > 1 && isSimilar(before * direction, distance * direction);
}

/** Whether two steps may be of one way, which rows of unequal length make uneven. */
function isSimilar(distance: number, other: number): boolean {
  return distance > 0 && other > 0 && Math.abs(distance - other) <= Math.max(1, other >>> 3);
}
