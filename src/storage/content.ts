/**
 * Content: an object's bytes cut to pieces, however they come.
 *
 * @module
 */

import { onAbort } from "./request_queue.ts";

/** Some of an object's bytes. */
export interface Piece {
  readonly bytes: Uint8Array;
  /** Nothing follows it. */
  readonly isLast: boolean;
}

/** An object's bytes, given as often as they are asked for. */
export interface Content {
  /** About how many bytes it has; 0 where nobody says. */
  readonly sizeEstimate: number;
  /** All bytes from the beginning in pieces of `size`, but for the last one; it has no piece without any. */
  pieces(size: number, signal: AbortSignal): AsyncIterable<Piece> | Iterable<Piece>;
}

/** Bytes in memory. */
export function contentOfBytes(bytes: Uint8Array): Content {
  return { sizeEstimate: bytes.length, pieces: (size) => piecesOf(bytes, size) };
}

/** Pieces of `size` bytes, but for the last one: views of `bytes`. */
export function* piecesOf(bytes: Uint8Array, size: number): Generator<Piece, void, undefined> {
  for (let offset = 0; offset < bytes.length; offset += size) {
    const end = offset + size;
    yield { bytes: bytes.subarray(offset, end), isLast: end >= bytes.length };
  }
}

/** Bytes that are made as they are asked for; each piece is the caller's. */
export function contentOfChunks(chunks: () => AsyncIterable<Uint8Array>, sizeEstimate = 0): Content {
  return { sizeEstimate, pieces: (size, signal) => collect(untilAborted(chunks(), signal), size) };
}

/** A full piece is given when something follows it. None is used again: its receiver may still send it. */
async function* collect(
  chunks: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<Piece, void, undefined> {
  let bytes = new Uint8Array(size);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      if (filled === size) {
        yield { bytes, isLast: false };
        bytes = new Uint8Array(size);
        filled = 0;
      }
      const taken = chunk.subarray(at, at + size - filled);
      bytes.set(taken, filled);
      filled += taken.length;
      at += taken.length;
    }
  }
  if (filled > 0) yield { bytes: bytes.subarray(0, filled), isLast: true };
}

/** The same items; whoever makes one and does not look at the signal is left alone with it. */
async function* untilAborted<T>(
  items: AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const iterator = items[Symbol.asyncIterator]();
  let isIdle = false;
  try {
    for (;;) {
      isIdle = false;
      const { done, value } = await unlessAborted(() => iterator.next(), signal);
      if (done) return;
      isIdle = true;
      yield value;
    }
  } finally {
    if (isIdle) await iterator.return?.();
    else void Promise.resolve(iterator.return?.()).catch(() => {}); // It ends when the item is made.
  }
}

/** What `make` gives, unless the signal aborts before. */
function unlessAborted<T>(make: () => Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const ignore = onAbort([signal], reject);
    void make().then(resolve, reject).finally(ignore);
  });
}
