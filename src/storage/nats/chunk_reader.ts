/**
 * ChunkReader: ranges of objects from the chunks that hold them, not from whole objects.
 *
 * @module
 */

import type { Asked } from "../http_fault.ts";
import type { StorageRequest } from "../storage.ts";
import { ByteBudget } from "./byte_budget.ts";
import { ChunkLayout, type ChunkRun } from "./chunk_layout.ts";
import { ChunkPlaces } from "./chunk_places.ts";
import { wrongMessage } from "./nats_fault.ts";
import type { ObjectMeta } from "./object_meta.ts";
import type { ObjectStream } from "./object_stream.ts";

/** Bytes `from` … `to - 1` of an object. */
export interface ByteSpan {
  readonly from: number;
  readonly to: number;
}

/** What is known of one object. */
interface Known {
  readonly layout: ChunkLayout;
  readonly places: ChunkPlaces;
}

/** How many times as far it is gone back after each search that did not go far enough. */
const SEARCH_GROWTH = 4;
/** About what is asked for at once. */
const BATCH_BYTES = 2 * 1024 * 1024;
/**
 * About what is on its way at once. A server closes a connection that does not take what it sends soon
 * enough.
 */
const SENT_BYTES_MAX = 8 * 1024 * 1024;

/** Reads chunks of a bucket's objects, and remembers of each object where they are. */
export class ChunkReader {
  readonly #stream: ObjectStream;
  readonly #known = new WeakMap<ObjectMeta, Known>();
  readonly #budget = new ByteBudget(SENT_BYTES_MAX);

  constructor(stream: ObjectStream) {
    this.#stream = stream;
  }

  /** Reads bytes that the object has; undefined where its chunks are not there any more. */
  async read(
    object: ObjectMeta,
    { from, to }: ByteSpan,
    asked: Asked,
    request: StorageRequest,
  ): Promise<Uint8Array | undefined> {
    const known = this.#knownOf(object);
    const { layout } = known;
    const bytes = new Uint8Array(to - from);
    let missing: ByteSpan = { from, to };
    for (let tries = 0; missing.from < missing.to; tries++) {
      const run = layout.plan(missing.from, missing.to, tries);
      const chunks = await this.#fetch(object, { run, known }, asked, request);
      if (chunks === undefined) return undefined;
      const start = layout.learn(run, chunks);
      if (start === undefined && !run.isTrusting) {
        throw wrongMessage(asked, "chunks of other sizes", `${object.size} bytes in ${object.chunks} chunks`);
      }
      missing = start === undefined ? { from, to } : fill(bytes, from, { missing, start, chunks });
    }
    return bytes;
  }

  /** A run's chunks, whole; undefined where one is not there. */
  async #fetch(
    object: ObjectMeta,
    { run, known: { places } }: { run: ChunkRun; known: Known },
    asked: Asked,
    request: StorageRequest,
  ): Promise<Uint8Array[] | undefined> {
    const subject = this.#stream.chunkSubject(object.etag);
    const isOnly = object.chunks === 1;
    const bytesPerChunk = run.likelySize / run.count;
    const countMax = Math.max(1, Math.floor(BATCH_BYTES / bytesPerChunk));
    const chunks = new Map<number, Uint8Array>(); // as they come: how many there are is what a description says
    let sequence = places.atMost(run.first);
    let at = 0;
    // Other objects' chunks may lie between these: then it was begun too late, by more than they are.
    for (let back = 1;;) {
      while (chunks.has(at)) at++;
      if (at === run.count) return Array.from({ length: run.count }, (_, i) => chunks.get(i)!);
      const wanted = run.first + at;
      const least = places.atLeast(wanted);
      if (back === 0) sequence = Math.max(sequence, least);
      const count = gapAt(chunks, at, Math.min(run.count - at, countMax));
      const range = { subject, sequence, count, isOnly };
      const found = await this.#budget.run(
        range.count * bytesPerChunk,
        request.signal,
        () => this.#stream.messages(range, asked, request),
      );
      for (const { pending, data } of found) {
        const i = object.chunks - 1 - pending - run.first;
        if (i >= 0 && i < run.count && !chunks.has(i)) chunks.set(i, data);
      }
      const index = object.chunks - 1 - (found[0]?.pending ?? -1);
      if (found.length > 0) places.learn({ index, sequence: found[0]!.sequence });
      if (index <= wanted) {
        back = 0; // From here on there is nothing to be missed.
        sequence = found.at(-1)!.sequence + 1;
        continue;
      }
      if (back === 0 || sequence <= least) return undefined;
      sequence = Math.max(least, sequence - (index - wanted) * back);
      back *= SEARCH_GROWTH;
    }
  }

  #knownOf(object: ObjectMeta): Known {
    let known = this.#known.get(object);
    if (known === undefined) {
      known = { layout: new ChunkLayout(object), places: new ChunkPlaces(object) };
      this.#known.set(object, known);
    }
    return known;
  }
}

/** How many chunks are missing one after the other, from one that is; at most `max`. */
function gapAt(chunks: ReadonlyMap<number, Uint8Array>, at: number, max: number): number {
  let count = 1;
  while (count < max && !chunks.has(at + count)) count++;
  return count;
}

/** Copies what is missing from chunks that begin at `start`, and returns what is still missing. */
function fill(
  bytes: Uint8Array,
  from: number,
  { missing, start, chunks }: { missing: ByteSpan; start: number; chunks: readonly Uint8Array[] },
): ByteSpan {
  let at = start;
  for (const chunk of chunks) {
    const [first, end] = [Math.max(at, missing.from), Math.min(at + chunk.length, missing.to)];
    if (first < end) bytes.set(chunk.subarray(first - at, end - at), first - from);
    at += chunk.length;
  }
  if (start <= missing.from) return { from: Math.max(missing.from, at), to: missing.to };
  return at >= missing.to ? { from: missing.from, to: Math.min(missing.to, start) } : missing;
}
