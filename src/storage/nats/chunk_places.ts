/**
 * ChunkPlaces: where an object's chunks lie in the stream, as far as it is known.
 *
 * Its description lies behind all of them, and mostly right behind: where something else was written
 * meanwhile, a chunk lies further ahead than it seems.
 *
 * @module
 */

/** A chunk, or what lies behind the last one, and its message's number. */
export interface ChunkPlace {
  readonly index: number;
  readonly sequence: number;
}

const PLACES_MAX = 64;

/** Places of one object's chunks. */
export class ChunkPlaces {
  /** In ascending order; the last one is the description's. */
  #places: ChunkPlace[];

  constructor({ chunks, sequence }: { chunks: number; sequence: number }) {
    this.#places = [{ index: chunks, sequence }];
  }

  /** The number that a chunk's message has at most. */
  atMost(index: number): number {
    const next = this.#places.find((place) => place.index >= index)!;
    return Math.max(1, next.sequence - (next.index - index));
  }

  /** The number that it has at least. */
  atLeast(index: number): number {
    const previous = this.#places.findLast((place) => place.index <= index) ?? { index: 0, sequence: 1 };
    return previous.sequence + (index - previous.index);
  }

  /** Takes up where a chunk was found. */
  learn(place: ChunkPlace): void {
    if (this.atLeast(place.index) === this.atMost(place.index)) return; // Nothing new.
    const others = this.#places.filter(({ index }) => index !== place.index);
    if (others.length >= PLACES_MAX) others.shift();
    this.#places = [...others, place].sort((a, b) => a.index - b.index);
  }
}
