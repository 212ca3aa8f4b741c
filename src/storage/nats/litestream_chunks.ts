/**
 * How Litestream cuts the LTX files it makes by compaction into chunks: one for each write of its encoder.
 * That is what tells where a page lies without all chunks before it.
 *
 *     chunk   0       1 … 3P                   3P+1       3P+2 … 4P+1       4P+2     4P+3         4P+4
 *     holds   header  header, size and bytes   end of     one entry of the  end of   size of      trailer
 *                     of each of P pages       the pages  page index each   index    page index
 *     bytes   100     6, 4 and any number      6          3 to 20           1        8            16
 *
 * Up to release 0.5.15 a page's bytes have no size before them, which makes two chunks of each.
 *
 * @see LTX format version 3, "Page index"; Litestream 0.5.15 and 0.5.17
 * @module
 */

/** Where a chunk begins in its object. */
export interface ChunkBoundary {
  /** The chunk's number, from 0. */
  readonly index: number;
  readonly offset: number;
}

/** A way of cutting. */
export interface Cut {
  readonly chunksPerFrame: number;
  readonly pages: number;
}

interface Frame {
  readonly offset: number;
  readonly size: number;
}

const HEADER_SIZE = 100;
/** Newest first. */
const CHUNKS_PER_FRAME = [3, 2];
const OTHER_CHUNKS = 5;
const END_OF_PAGES_SIZE = 6;
const LAST_SIZES = [1, 8, 16];
const ENTRY_SIZE_LIKELY = 9;
/** Chunks are larger on average where they are not cut like that: a page has 64 KiB at most. */
const CHUNK_SIZE_MEAN_MAX = 17 * 1024;

/** The ways in which an object may have been cut, by the number of its chunks. */
export function cutsOf({ chunks, size }: { chunks: number; size: number }): Cut[] {
  if (size / chunks > CHUNK_SIZE_MEAN_MAX) return [];
  return CHUNKS_PER_FRAME
    .map((chunksPerFrame) => ({ chunksPerFrame, pages: (chunks - OTHER_CHUNKS) / (chunksPerFrame + 1) }))
    .filter(({ pages }) => Number.isInteger(pages) && pages > 0);
}

/**
 * The chunks at an object's end with its last `size` bytes, about, and with all that {@link boundariesIn}
 * needs.
 */
export function tailOf(
  object: { chunks: number; size: number },
  size: number,
): { count: number; likelySize: number } | undefined {
  const cut = cutsOf(object).at(-1); // The one with the largest index.
  if (cut === undefined) return undefined;
  const { pages, chunksPerFrame } = cut;
  const bytesPerPage = object.size / pages;
  const frames = Math.ceil(size / bytesPerPage) + 1;
  const count = Math.min(object.chunks, pages + OTHER_CHUNKS - 1 + chunksPerFrame * frames);
  return { count, likelySize: Math.min(object.size, frames * bytesPerPage + pages * ENTRY_SIZE_LIKELY) };
}

/**
 * Where each page's chunks begin, by the page index that lies in the object's last chunks.
 *
 * Undefined where these are not what an index consists of, or its pages do not fill what is before it.
 */
export function boundariesIn(
  last: readonly Uint8Array[],
  object: { chunks: number; size: number },
): ChunkBoundary[] | undefined {
  for (const cut of cutsOf(object)) {
    const boundaries = boundariesBy(cut, last, object.size);
    if (boundaries !== undefined) return boundaries;
  }
  return undefined;
}

function boundariesBy(
  { pages, chunksPerFrame }: Cut,
  last: readonly Uint8Array[],
  objectSize: number,
): ChunkBoundary[] | undefined {
  if (last.length < pages + OTHER_CHUNKS - 1) return undefined;
  const [end, ...tail] = last.slice(-(pages + OTHER_CHUNKS - 1));
  const isCutSo = end!.length === END_OF_PAGES_SIZE && end!.every((byte) => byte === 0) &&
    tail.slice(pages).every(({ length }, i) => length === LAST_SIZES[i]);
  if (!isCutSo) return undefined;
  const frames = tail.slice(0, pages).map(frameOf).sort((a, b) => a.offset - b.offset);
  const boundaries: ChunkBoundary[] = [];
  let offset = HEADER_SIZE;
  for (const [i, frame] of frames.entries()) {
    if (frame.offset !== offset) return undefined;
    boundaries.push({ index: 1 + i * chunksPerFrame, offset });
    offset += frame.size;
  }
  const tailSize = tail.reduce((sum, { length }) => sum + length, end!.length);
  if (offset + tailSize !== objectSize) return undefined;
  boundaries.push({ index: 1 + pages * chunksPerFrame, offset });
  return boundaries;
}

/** An entry: pgno, offset and size, as varints; NaN where it is something else. */
function frameOf(entry: Uint8Array): Frame {
  const numbers: number[] = [];
  let value = 0;
  let scale = 1;
  for (const byte of entry) {
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte & 0x80) continue;
    numbers.push(value);
    [value, scale] = [0, 1];
  }
  const [, offset = NaN, size = NaN] = numbers;
  return numbers.length === 3 && scale === 1 ? { offset, size } : { offset: NaN, size: NaN };
}
