/**
 * Bytes in chunks, as putChunks() wants them, and what became of those who asked.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

/** Gives the same bytes as often as it is asked for them, in chunks of any sizes. */
export class ChunkSource {
  /** How often it was asked, and how often whoever asked took all or said that it wants no more. */
  begun = 0;
  ended = 0;
  /** Bytes given. */
  given = 0;
  readonly #bytes: Uint8Array;
  readonly #sizes: readonly number[];

  /** `sizes` are those of the chunks, one after the other and over again; of 0 is an empty one. */
  constructor(bytes: Uint8Array, sizes: readonly number[]) {
    this.#bytes = bytes;
    this.#sizes = sizes;
  }

  readonly chunks = async function* (this: ChunkSource): AsyncGenerator<Uint8Array, void, undefined> {
    this.begun++;
    try {
      for (let i = 0, offset = 0; offset < this.#bytes.length; i++) {
        const chunk = this.#bytes.slice(offset, offset + this.#sizes[i % this.#sizes.length]!);
        offset += chunk.length;
        this.given += chunk.length;
        if (i % 8 === 0) await delay(0);
        yield chunk;
        chunk.fill(0xee); // It is to be copied before the next is asked for.
      }
    } finally {
      this.ended++;
    }
  }.bind(this);
}

/** Gives a chunk again and again, the first byte counting up: `count` of them. */
export function repeated(chunk: Uint8Array, count: number): () => AsyncGenerator<Uint8Array> {
  return async function* () {
    for (let i = 0; i < count; i++) {
      if (i % 64 === 0) await delay(0);
      const given = chunk.slice();
      given[0] = i;
      yield given;
    }
  };
}
