/**
 * ChunkLayout: where the chunks of one object begin, as far as it is known.
 *
 * An object's description says how many chunks there are and how large one is at most, not how large each is:
 * a client cuts where its source made a pause. What is read teaches more. Between two known boundaries all
 * chunks have the largest size where only then they fill the space.
 *
 * @module
 */

import { boundariesIn, type ChunkBoundary, tailOf } from "./litestream_chunks.ts";

/** Chunks that follow each other, of which the beginning or the end is known; or both. */
export interface ChunkRun {
  readonly first: number;
  readonly count: number;
  /** Where the first one begins in the object. */
  readonly offset?: number;
  /** Where the last one ends. */
  readonly end?: number;
  /** About how many bytes they hold. */
  readonly likelySize: number;
  /** Whether beginning and end were taken from how Litestream cuts, and may be wrong. */
  readonly isTrusting: boolean;
}

interface Search {
  readonly first: ChunkBoundary;
  readonly last: ChunkBoundary;
  readonly from: number;
  readonly to: number;
  readonly tries: number;
}

/** What an object's description says. */
export interface ChunkedObject {
  readonly size: number;
  readonly chunks: number;
  readonly chunkSizeMax: number;
}

const KiB = 1024;
/** Bytes that may be read too many where that spares a request. */
const SLACK_BYTES = 256 * KiB;
/** About what is read at once where it is not known how much is needed. */
const SEARCH_BYTES = 4 * KiB * KiB;
/** How many times as many chunks are read at once after each search that did not reach far enough. */
const SEARCH_GROWTH = 2;
/** Boundaries nearer than that to each other are not kept. */
const BOUNDARY_DISTANCE = 16 * KiB;

/** What is known of one object's chunks. */
export class ChunkLayout {
  readonly #object: ChunkedObject;
  /** By index, and so by offset. The first is the object's beginning, the last one its end. */
  #boundaries: ChunkBoundary[];
  /** Whether Litestream's way of cutting may be taken for granted until it is found otherwise. */
  #isTrusting = true;

  constructor(object: ChunkedObject) {
    this.#object = object;
    this.#boundaries = this.#ends();
  }

  /**
   * The chunks to read next for bytes `from` … `to - 1`. They may not reach that far: then ask again, having
   * learned, with `tries` one larger.
   */
  plan(from: number, to: number, tries = 0): ChunkRun {
    const isTrusting = this.#isTrusting;
    const [first, last] = this.#around(from, to);
    if (from - first.offset + last.offset - to > SLACK_BYTES) {
      return { ...this.#search({ first, last, from, to, tries }), isTrusting };
    }
    const [count, likelySize] = [last.index - first.index, last.offset - first.offset];
    return { first: first.index, count, offset: first.offset, end: last.offset, likelySize, isTrusting };
  }

  /**
   * Takes up what a run's chunks turned out to be, and returns where its first one begins. Undefined: what
   * was known does not agree with them and has been forgotten.
   */
  learn(run: ChunkRun, chunks: readonly Uint8Array[]): number | undefined {
    const size = chunks.reduce((sum, { length }) => sum + length, 0);
    const offset = run.offset ?? run.end! - size;
    const found: ChunkBoundary[] = [];
    let at = offset;
    for (const [i, { length }] of chunks.entries()) {
      found.push({ index: run.first + i, offset: at });
      at += length;
    }
    found.push({ index: run.first + chunks.length, offset: at });
    const isRight = (run.end ?? at) === at && offset >= 0 && run.isTrusting === this.#isTrusting &&
      this.#agrees(found);
    if (!isRight) return this.#forget();
    this.#add(this.#told(found, chunks) ?? thinned(found));
    return offset;
  }

  /** Chunks that teach where the wanted ones are, where that is not known nearly enough. */
  #search({ first, last, from, to, tries }: Search): Omit<ChunkRun, "isTrusting"> {
    const { chunkSizeMax, chunks } = this.#object;
    const count = last.index - first.index;
    const isFar = Math.min(from - first.offset, last.offset - to) > SLACK_BYTES;
    if (isFar && isNearlyUniform(first, last, chunkSizeMax)) {
      const one = { count: 1, likelySize: chunkSizeMax };
      if (first.index === 0) return { ...one, first: 0, offset: 0 };
      if (last.index === chunks) return { ...one, first: chunks - 1, end: last.offset };
    }
    const fromEnd = last.offset - from;
    const isForward = from - first.offset <= last.offset - to;
    if (last.index === chunks && (isFar ? count === chunks : !isForward)) {
      const tail = this.#isTrusting ? tailOf(this.#object, isFar ? 0 : fromEnd) : undefined;
      if (tail !== undefined) return { ...tail, first: chunks - tail.count, end: last.offset };
    }
    const bytesPerChunk = (last.offset - first.offset) / count;
    const size = isForward ? to - first.offset : fromEnd;
    const likely = Math.ceil(Math.min(size, SEARCH_BYTES) / bytesPerChunk) * SEARCH_GROWTH ** tries;
    const some = { count: Math.min(count, likely), likelySize: Math.min(count, likely) * bytesPerChunk };
    return isForward
      ? { ...some, first: first.index, offset: first.offset }
      : { ...some, first: last.index - some.count, end: last.offset };
  }

  /** What an object's last chunks tell of all others. */
  #told(found: readonly ChunkBoundary[], chunks: readonly Uint8Array[]): ChunkBoundary[] | undefined {
    if (!this.#isTrusting || found.at(-1)!.index !== this.#object.chunks) return undefined;
    const told = boundariesIn(chunks, this.#object);
    const first = found[0]!.index;
    const isRight = told?.every(({ index, offset }) => (found[index - first]?.offset ?? offset) === offset);
    return isRight ? told : undefined;
  }

  #ends(): ChunkBoundary[] {
    return [{ index: 0, offset: 0 }, { index: this.#object.chunks, offset: this.#object.size }];
  }

  #forget(): undefined {
    this.#isTrusting = false;
    this.#boundaries = this.#ends();
  }

  /** The boundaries around bytes that are nearest to them. */
  #around(from: number, to: number): [ChunkBoundary, ChunkBoundary] {
    const { chunkSizeMax } = this.#object;
    const [low, afterLow] = this.#neighbours(from);
    const [beforeHigh, high] = this.#neighbours(to - 1);
    return [
      isUniform(low, afterLow, chunkSizeMax) ? lastBefore(low, from, chunkSizeMax) : low,
      isUniform(beforeHigh, high, chunkSizeMax) ? firstBehind(beforeHigh, high, to, chunkSizeMax) : high,
    ];
  }

  /** The known boundaries between which a byte lies. */
  #neighbours(offset: number): [ChunkBoundary, ChunkBoundary] {
    const high = this.#firstWhere((boundary) => boundary.offset > offset);
    return [this.#boundaries[high - 1]!, this.#boundaries[high]!];
  }

  /** Whether no boundary that is known lies elsewhere than it was found. */
  #agrees(found: readonly ChunkBoundary[]): boolean {
    const first = found[0]!.index;
    const [start, stop] = this.#within(found);
    return this.#boundaries.slice(start, stop).every(({ index, offset }) =>
      found[index - first]!.offset === offset
    );
  }

  #add(found: readonly ChunkBoundary[]): void {
    const [start, stop] = this.#within(found);
    const known = this.#boundaries.slice(start, stop);
    const indexes = new Set(known.map(({ index }) => index));
    const more = found.filter(({ index }) => !indexes.has(index));
    if (more.length === 0) return;
    const merged = [...known, ...more].sort((a, b) => a.index - b.index);
    this.#boundaries = [...this.#boundaries.slice(0, start), ...merged, ...this.#boundaries.slice(stop)];
  }

  /** Which of those known lie between the first and the last of `found`, or are these. */
  #within(found: readonly ChunkBoundary[]): [number, number] {
    const [first, last] = [found[0]!.index, found.at(-1)!.index];
    return [
      this.#firstWhere(({ index }) => index >= first),
      this.#firstWhere(({ index }) => index > last),
    ];
  }

  /** The position of the first boundary of which `isBehind` holds, as it then does of all further ones. */
  #firstWhere(isBehind: (boundary: ChunkBoundary) => boolean): number {
    let [low, high] = [0, this.#boundaries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBehind(this.#boundaries[middle]!)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function isUniform(low: ChunkBoundary, high: ChunkBoundary, chunkSizeMax: number): boolean {
  return high.offset - low.offset === (high.index - low.index) * chunkSizeMax;
}

/** All but one chunk's worth: the first, or the last, is a small one, as far as can be seen. */
function isNearlyUniform(low: ChunkBoundary, high: ChunkBoundary, chunkSizeMax: number): boolean {
  const missing = (high.index - low.index) * chunkSizeMax - (high.offset - low.offset);
  return missing > 0 && missing < chunkSizeMax;
}

function lastBefore(low: ChunkBoundary, offset: number, chunkSizeMax: number): ChunkBoundary {
  const count = Math.floor((offset - low.offset) / chunkSizeMax);
  return { index: low.index + count, offset: low.offset + count * chunkSizeMax };
}

function firstBehind(
  low: ChunkBoundary,
  high: ChunkBoundary,
  offset: number,
  chunkSizeMax: number,
): ChunkBoundary {
  const count = Math.ceil((offset - low.offset) / chunkSizeMax);
  const index = Math.min(high.index, low.index + count);
  return { index, offset: low.offset + (index - low.index) * chunkSizeMax };
}

/** The first one and the last one, and of the others what lies far enough from the one before. */
function thinned(boundaries: readonly ChunkBoundary[]): ChunkBoundary[] {
  const kept: ChunkBoundary[] = [];
  for (const [i, boundary] of boundaries.entries()) {
    const distance = boundary.offset - (kept.at(-1)?.offset ?? -Infinity);
    if (distance >= BOUNDARY_DISTANCE || i === boundaries.length - 1) kept.push(boundary);
  }
  return kept;
}
