/**
 * A merge on its way into the store.
 *
 * @module
 */
import type { ListedObject } from "../storage/object_store.ts";
import type { CompactionStore } from "./compaction_store.ts";
import type { WrittenFile } from "../ltx/ltx_writer.ts";

/** A merge that can be begun as often as the store asks. */
export interface MergedObject {
  readonly key: string;
  readonly timestampMs: number;
  /** Gives the file from its beginning; the same bytes each time. */
  readonly merge: () => AsyncGenerator<Uint8Array, WrittenFile, undefined>;
  /** Told what the file is before the store can have all of it. */
  readonly onKnown: (file: WrittenFile) => void;
}

/** Puts a file that fits into memory: it is there once, in a buffer of about `sizeEstimate` bytes. */
export async function putCollected(
  store: CompactionStore,
  { key, timestampMs, merge, onKnown }: MergedObject,
  { sizeEstimate, signal }: { sizeEstimate: number; signal?: AbortSignal | undefined },
): Promise<ListedObject> {
  let buffer = new Uint8Array(sizeEstimate);
  let size = 0;
  const chunks = merge();
  for (;;) {
    const { done, value } = await chunks.next();
    if (done) {
      onKnown(value);
      return await store.put(key, buffer.subarray(0, size), { timestampMs, signal });
    }
    if (size + value.length > buffer.length) buffer = grown(buffer, size + value.length);
    buffer.set(value, size);
    size += value.length;
  }
}

/** Sources are rarely smaller together than what is made of them. */
function grown(buffer: Uint8Array<ArrayBuffer>, size: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.ceil(size * 1.25));
  larger.set(buffer);
  return larger;
}

/** Puts a file as it is made; it has about `sizeEstimate` bytes. */
export async function putStreamed(
  store: CompactionStore,
  { key, timestampMs, merge, onKnown }: MergedObject,
  { sizeEstimate, signal }: { sizeEstimate: number; signal?: AbortSignal | undefined },
): Promise<ListedObject> {
  const options = { timestampMs, sizeEstimate, signal };
  return await store.putChunks(key, () => telling(merge(), onKnown), options);
}

/** The same chunks; the last is held back until it is told what they were. */
async function* telling(
  chunks: AsyncGenerator<Uint8Array, WrittenFile, undefined>,
  onKnown: (file: WrittenFile) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let held: Uint8Array | null = null;
  try {
    for (;;) {
      const { done, value } = await chunks.next();
      if (done) onKnown(value);
      if (held !== null) yield held;
      if (done) return;
      held = value;
    }
  } finally {
    // who stops early ends the merge
    await chunks.return(undefined as never);
  }
}
