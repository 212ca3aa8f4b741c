/**
 * ChunkReader: ranges of objects from the chunks that hold them, not from whole objects.
 *
 * @module
 */

import type { Asked } from "../http_fault.ts";
import type { StorageRequest } from "../storage.ts";
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

/** Reads chunks of a bucket's objects, and remembers of each object where they are. */
export class ChunkReader {
  readonly #stream: ObjectStream;
  readonly #known = new WeakMap<ObjectMeta, Known>();

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
    const least = places.atLeast(run.first);
    const chunks: Uint8Array[] = [];
    let sequence = places.atMost(run.first);
    // Other objects' chunks may lie between these: then it was begun too late, by more than they are.
    for (let back = 1; chunks.length < run.count;) {
      const wanted = run.first + chunks.length;
      const count = back > 1 && chunks.length === 0 ? 1 : run.count - chunks.length;
      const found = await this.#stream.messages({ subject, sequence, count, isOnly }, asked, request);
      const indexes = found.map(({ pending }) => object.chunks - 1 - pending);
      const index = indexes[0] ?? object.chunks;
      if (index > wanted) {
        if (sequence <= least || chunks.length > 0) return undefined;
        sequence = Math.max(least, sequence - (index - wanted) * back);
        back *= 4;
        continue;
      }
      back = 1;
      for (const [i, { data }] of found.entries()) {
        if (indexes[i]! > run.first + chunks.length) return undefined;
        if (indexes[i] === run.first + chunks.length) chunks.push(data);
      }
      places.learn({ index, sequence: found[0]!.sequence });
      sequence = found.at(-1)!.sequence + 1;
    }
    return chunks;
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
