/**
 * What a reader of long values will want next: the rest of a chain of overflow pages, and the next chains.
 *
 * Where a chain goes on stands in its pages; until they are there, each is guessed to be beside the last.
 *
 * @module
 */
import { type Ahead, NOTHING_AHEAD } from "./ahead.ts";
import type { Chain, ChainMap } from "./chain_map.ts";
import type { TreeMap } from "./tree_map.ts";

/** Places where one connection reads chains: a join reads several tables in turn. */
const STREAMS_MAX = 4;

/** The first window within one chain, in pages; and the least across chains. */
const WINDOW_FIRST = 64;
const WINDOW_ONWARD_MIN = 8;

/** Pages of chains that may be skipped on one way, as those that a miss brings along are never told of. */
const SKIP_MAX = 16;
const SKIP_BACKWARD_MAX = 4;

/** Leaves without chains that are passed over to find the next chain. */
const BARE_MAX = 64;

/** Leaves that are asked for so that their chains become known. */
const LEAVES_MAX = 32;

/** What bounds reading ahead along chains. */
export interface OverflowAheadOptions {
  /** Pages that one stream may have ahead. */
  readonly windowMax: number;
}

/** A page of a chain. */
interface Place {
  readonly pgno: number;
  readonly chain: Chain;
  /** Which of the chain's pages it is, from 0. */
  readonly position: number;
  /** Position of the first of the pages up to this one that stand side by side. */
  readonly runStart: number;
  /** The page after it in its chain, 0 for none, as its bytes tell; undefined until they are there. */
  link: number | undefined;
}

/** One reader's way along chains. */
interface Stream {
  /** The page reached last. */
  at: Place;
  /** Pages asked for and not reached yet, in order. */
  asked: Place[];
  /** Of the chain that the reader is in: pages that were guessed wrong. */
  wrong: number;
  /** How many may be; 0 before the first. */
  window: number;
  /** In key order: 1 or -1; 0 while nothing says that the reader goes on to other chains. */
  direction: number;
  /** A leaf, or an interior page above it, without which nobody knows what comes after; 0 for none. */
  unknown: number;
}

/** The chains that one connection reads. */
export class OverflowAhead {
  readonly #tree: TreeMap;
  readonly #chains: ChainMap;
  readonly #windowMax: number;
  /** The one used last is the last. */
  readonly #streams: Stream[] = [];
  /** How many pages of a chain stand side by side, going by those seen last. */
  #runLength = Infinity;
  /** From one page of a chain to the next, where they stand side by side: 1 or -1. */
  #step = 1;
  /** The last page that was waited for and is of no known chain; 0 for none. */
  #stray = 0;

  constructor(tree: TreeMap, chains: ChainMap, { windowMax }: OverflowAheadOptions) {
    this.#tree = tree;
    this.#chains = chains;
    this.#windowMax = Math.max(windowMax, 1);
  }

  /** Whether {@link next} may lead on. */
  get isUnderWay(): boolean {
    return this.#streams.length > 0;
  }

  /** A page was reached: one that was marked, or, with `isMiss`, one that has to be waited for. */
  reached(pgno: number, isMiss: boolean): Ahead {
    const stream = this.#streamAsking(pgno);
    if (stream !== undefined) return this.#extend(stream);
    const place = this.#placeOf(pgno, isMiss);
    if (place !== undefined) return this.#enter(place);
    if (isMiss) this.#stray = pgno;
    return NOTHING_AHEAD;
  }

  /**
   * The bytes of an overflow page are there, and name the page after it; 0 where the chain ends. It came
   * ahead, or it was reached, which {@link reached} must have heard before.
   */
  next(pgno: number, nextPgno: number): Ahead {
    const stream = this.#streamWith(pgno) ?? this.#streamBroken(pgno);
    if (stream === undefined) return NOTHING_AHEAD;
    const index = stream.at.pgno === pgno ? -1 : stream.asked.findIndex((place) => place.pgno === pgno);
    const place = stream.asked[index] ?? stream.at;
    const guessed = stream.asked[index + 1];
    if (Math.abs(nextPgno - pgno) === 1) this.#step = nextPgno - pgno;
    else if (nextPgno !== 0 && place.link === undefined) this.#broken(place);
    place.link = nextPgno;
    if (guessed?.chain === place.chain) {
      if (guessed.pgno === nextPgno) return NOTHING_AHEAD;
      dropRest(stream, index + 1, place.chain);
    }
    // However full the window is, the page that the reader wants next is asked for.
    const room = Math.max(stream.window - stream.asked.length, index < 0 ? 1 : 0);
    const rest = this.#restAfter(stream, place, room);
    stream.asked.splice(index + 1, 0, ...rest);
    return { pgnos: rest.map((other) => other.pgno), mark: rest[(rest.length - 1) >>> 1]?.pgno ?? 0 };
  }

  /** A leaf or an interior page came, and told the maps: what comes after it may be known now. */
  learned(pgno: number): Ahead {
    const stream = this.#streams.find(({ unknown }) => unknown === pgno);
    if (stream === undefined) return NOTHING_AHEAD;
    stream.unknown = 0;
    return this.#ask(stream);
  }

  /** The stream that asked for a page; it is there now. */
  #streamAsking(pgno: number): Stream | undefined {
    for (const stream of [...this.#streams].reverse()) {
      const index = stream.asked.findIndex((place) => place.pgno === pgno);
      if (index < 0) continue;
      this.#move(stream, stream.asked[index]!);
      stream.asked.splice(0, index + 1);
      return stream;
    }
    return undefined;
  }

  #move(stream: Stream, place: Place): void {
    const { at } = stream;
    // A chain that did not break tells nothing but that runs are no shorter.
    if (at.chain !== place.chain && at.runStart === 0 && at.position > 0) this.#runLength *= 2;
    if (at.chain !== place.chain) stream.wrong = 0;
    stream.at = place;
    this.#streams.splice(this.#streams.indexOf(stream), 1);
    this.#streams.push(stream);
  }

  #placeOf(pgno: number, isMiss: boolean): Place | undefined {
    // Pages that are free now may tell of chains that were where there are trees now.
    if (this.#tree.parent(pgno) || this.#chains.of(pgno)) return undefined;
    const chain = this.#chains.at(pgno);
    if (chain !== undefined) return { pgno, chain, position: 0, runStart: 0, link: undefined };
    const around = isMiss ? this.#chains.around(pgno) : undefined;
    if (around === undefined) return undefined;
    return { pgno, chain: around, position: pgno - around.first, runStart: 0, link: undefined };
  }

  /** Puts a reader at a page that nobody asked for: one that went on there, or a new one. */
  #enter(place: Place): Ahead {
    const { chain, position } = place;
    const { stream, direction } = this.#streamTo(place) ?? {};
    if (stream === undefined || direction === undefined) {
      const window = Math.min(WINDOW_FIRST, this.#windowMax, chain.length - position);
      this.#streams.push({ at: place, asked: [], wrong: 0, window, direction: 0, unknown: 0 });
      if (this.#streams.length > STREAMS_MAX) this.#streams.shift();
      return this.#ask(this.#streams.at(-1)!);
    }
    if (stream.direction !== direction) {
      const read = stream.at.chain.length + chain.length;
      const window = Math.max(stream.window >>> 1, read * 2, WINDOW_ONWARD_MIN);
      stream.window = Math.min(window, this.#windowMax);
    }
    this.#move(stream, place);
    stream.direction = direction;
    stream.asked = [];
    stream.unknown = 0;
    return this.#ask(stream);
  }

  /** The stream whose reader would go on to a page, and in which direction. */
  #streamTo(place: Place): { stream: Stream; direction: number } | undefined {
    const root = this.#tree.root(place.chain.leaf);
    let isLast = true;
    for (const stream of [...this.#streams].reverse()) {
      if (this.#tree.root(stream.at.chain.leaf) !== root) continue;
      // Look-ups may come near one another by chance.
      const direction = isLast || stream.direction !== 0 ? this.#directionTo(stream, place) : undefined;
      if (direction !== undefined) return { stream, direction };
      isLast = false;
    }
    return undefined;
  }

  /** In which direction a reader would go on to a page; undefined if it would not. */
  #directionTo({ at, direction }: Stream, { chain, position }: Place): number | undefined {
    if (at.chain === chain) return position > at.position ? direction : undefined;
    if (direction >= 0 && this.#isNear(at.chain, chain, 1, SKIP_MAX)) return 1;
    return direction <= 0 && this.#isNear(at.chain, chain, -1, SKIP_BACKWARD_MAX) ? -1 : undefined;
  }

  /** Whether one chain comes after another, with no more than some pages of other chains between them. */
  #isNear(from: Chain, to: Chain, direction: number, skipMax: number): boolean {
    let skipped = 0;
    let at = this.#chainAfter(from, direction);
    while (typeof at === "object" && at !== to && skipped <= skipMax) {
      skipped += at.length;
      at = this.#chainAfter(at, direction);
    }
    return at === to && skipped <= skipMax;
  }

  #extend(stream: Stream): Ahead {
    stream.window = Math.min(this.#windowMax, Math.max(1, stream.window) * 2);
    const { unknown } = stream;
    if (this.#chains.of(unknown) || this.#tree.isKnown(unknown)) stream.unknown = 0;
    const missing = stream.window - stream.asked.length;
    return missing * 2 < stream.window ? NOTHING_AHEAD : this.#ask(stream);
  }

  /** Asks for as many pages as a stream's window has left. */
  #ask(stream: Stream): Ahead {
    const fresh = this.#fill(stream);
    const leaves = stream.direction === 0 || stream.unknown !== 0 ? [] : this.#goOn(stream, fresh);
    const { asked } = stream;
    const isFresh = new Set(fresh);
    const mark = asked.find((place, i) => i >= (asked.length - 1) >>> 1 && isFresh.has(place)) ??
      fresh.at(-1);
    return { pgnos: [...fresh.map(({ pgno }) => pgno), ...leaves], mark: mark?.pgno ?? 0 };
  }

  /** Adds what is missing of chains that were begun; gives the pages added. */
  #fill(stream: Stream): Place[] {
    const fresh: Place[] = [];
    const asked: Place[] = [];
    let room = stream.window - stream.asked.length;
    for (const [i, place] of [stream.at, ...stream.asked].entries()) {
      if (i > 0) asked.push(place);
      if (room <= 0 || stream.asked[i]?.chain === place.chain) continue;
      const rest = this.#restAfter(stream, place, room);
      room -= rest.length;
      fresh.push(...rest);
      asked.push(...rest);
    }
    stream.asked = asked;
    return fresh;
  }

  /** Adds the next chains, to `fresh` too; gives leaves that are to tell which come then. */
  #goOn(stream: Stream, fresh: Place[]): number[] {
    const { asked, at, direction, window } = stream;
    let { chain } = asked.at(-1) ?? at;
    // Of a chain that is begun all pages are counted, for they will be asked for as they become known.
    let count = at.chain.length - at.position - 1;
    for (const [i, place] of asked.entries()) {
      if (place.chain !== (asked[i - 1] ?? at).chain) count += place.chain.length;
    }
    while (count < window && asked.length < window) {
      const after = this.#chainAfter(chain, direction);
      if (after === undefined) break;
      if (typeof after === "number") {
        stream.unknown = after;
        break;
      }
      chain = after;
      count += chain.length;
      const first: Place = { pgno: chain.first, chain, position: 0, runStart: 0, link: undefined };
      const places = [first, ...this.#restAfter(stream, first, window - asked.length - 1)];
      fresh.push(...places);
      asked.push(...places);
    }
    return this.#leavesAfter(chain, direction, window - count);
  }

  /** At most `count` pages that come after one in its chain: the one that it names, and guesses. */
  #restAfter({ at, wrong }: Stream, from: Place, count: number): Place[] {
    const { chain } = from;
    const guessesMax = chain.length - 1 - (at.chain === chain ? wrong : 0);
    const verified = from.link !== undefined ? from.position : at.chain === chain ? at.position : 0;
    const places: Place[] = [];
    for (let last = from; places.length < count && last.position + 1 < chain.length;) {
      const position = last.position + 1;
      // As many as runs have had, or as this one has had so far.
      const { runStart } = last;
      const grown = verified + 1 + Math.max(0, verified - runStart);
      const likely = Math.max(runStart + Math.floor(this.#runLength), grown);
      const guessEnd = Math.min(likely, from.position + 1 + guessesMax);
      const pgno = last.link ?? (position < guessEnd ? last.pgno + this.#step : 0);
      if (pgno < 2) break;
      const isBeside = Math.abs(pgno - last.pgno) === 1;
      last = { pgno, chain, position, runStart: isBeside ? runStart : position, link: undefined };
      places.push(last);
    }
    return places;
  }

  /** Leaves that come after a chain's and were not seen, where about `count` pages of chains are wanted. */
  #leavesAfter({ leaf }: Chain, direction: number, count: number): number[] {
    const pages = this.#chains.of(leaf)?.reduce((sum, { length }) => sum + length, 0) ?? 1;
    const wanted = Math.min(LEAVES_MAX, Math.max(1, Math.ceil(count / Math.max(1, pages))));
    const leaves = this.#tree.following(leaf, BARE_MAX + wanted, direction);
    return leaves.filter((pgno) => this.#chains.of(pgno) === undefined).slice(0, wanted);
  }

  /** The next chain in key order; a page's number where that must be seen first; undefined at the end. */
  #chainAfter({ leaf, index }: Chain, direction: number): Chain | number | undefined {
    const beside = this.#chains.of(leaf)?.[index + direction];
    if (beside !== undefined) return beside;
    for (const pgno of this.#tree.following(leaf, BARE_MAX, direction)) {
      const chains = this.#chains.of(pgno);
      if (chains === undefined) return pgno;
      const chain = chains.at(direction > 0 ? 0 : -1);
      if (chain !== undefined) return chain;
    }
    return undefined;
  }

  #streamWith(pgno: number): Stream | undefined {
    return this.#streams.findLast(({ at, asked }) =>
      at.pgno === pgno || asked.some((place) => place.pgno === pgno)
    );
  }

  /** The stream whose chain seems to have led to a page that was not guessed. */
  #streamBroken(pgno: number): Stream | undefined {
    const stream = this.#streams.at(-1);
    if (stream === undefined || pgno !== this.#stray || this.#tree.parent(pgno)) return undefined;
    const { at, asked } = stream;
    const position = at.position + 1;
    if (position >= at.chain.length) return undefined;
    if (asked[0]?.chain === at.chain) dropRest(stream, 0, at.chain);
    if (at.link === undefined) this.#broken(at);
    stream.at = { pgno, chain: at.chain, position, runStart: position, link: undefined };
    return stream;
  }

  /** A chain goes on elsewhere than beside a page. */
  #broken({ position, runStart }: Place): void {
    const length = position - runStart + 1;
    this.#runLength = this.#runLength === Infinity ? length : (this.#runLength + length) / 2;
  }
}

/** Drops pages from an index on that were guessed wrong to be of a chain. */
function dropRest(stream: Stream, index: number, chain: Chain): void {
  const { asked, at } = stream;
  const end = asked.findIndex((place, i) => i >= index && place.chain !== chain);
  const dropped = asked.splice(index, (end < 0 ? asked.length : end) - index);
  if (chain === at.chain) stream.wrong += dropped.length;
}
