/**
 * How much is worth fetching with a missed page: more where the same reader missed others nearby.
 *
 * @module
 */

import { ConnectionMemory } from "./connection_memory.ts";

/** What a page wanted near another one fetches at most, its neighbours and itself, in bytes as stored. */
const BYTES_MIN = 64 * 1024;

/** A GET of this size takes about as long as one of 4 KiB. */
const BYTES_MAX = 256 * 1024;

/** Misses of a connection that are kept in mind. */
const MISSES_MAX = 16;

/** Frames that two misses may lie apart to be near one another. */
const NEAR_FRAMES = 64;

interface Miss {
  readonly objectId: number;
  readonly frame: number;
}

/** Where connections missed pages of late. */
export class Locality {
  readonly #misses = new ConnectionMemory<Miss[]>();

  /** Notes that a page was wanted; gives how many bytes to fetch around it, 0 where no other was nearby. */
  bytesAt(connection: number, objectId: number, frame: number): number {
    const misses = this.#misses.use(connection, () => []);
    const near =
      misses.filter((miss) => miss.objectId === objectId && Math.abs(miss.frame - frame) <= NEAR_FRAMES)
        .length;
    misses.push({ objectId, frame });
    if (misses.length > MISSES_MAX) misses.shift();
    return near === 0 ? 0 : Math.min(BYTES_MIN * 4 ** (near - 1), BYTES_MAX);
  }
}
