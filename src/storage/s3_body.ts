/**
 * The body of an answer, checked against what was asked for.
 *
 * @module
 */

import { bareEtag } from "./etag.ts";
import type { ByteRange, ObjectIdentity, ReadResult, RequestCounts, RequestOptions } from "./object_store.ts";
import { networkError, otherObject, type S3Asked, wrongAnswer } from "./s3_fault.ts";

/** An answer whose headers have come, and all that is needed to read on. */
export interface S3Answer {
  readonly response: Response;
  readonly asked: S3Asked;
  readonly options: RequestOptions;
  /** Where the bytes that come are counted. */
  readonly counts: RequestCounts;
  /** Takes secrets out of a text. */
  readonly redact: (text: string) => string;
}

/** What was asked for: an object, and a range of it. */
interface Wanted {
  readonly of: ObjectIdentity;
  readonly range: ByteRange;
}

/** Checks the answer's headers against what was asked, then reads exactly the bytes of the range. */
export async function readRange(answer: S3Answer, wanted: Wanted): Promise<ReadResult> {
  const { response, asked } = answer;
  const { of } = wanted;
  try {
    const encoding = response.headers.get("content-encoding") ?? "";
    if (!/^(|identity|aws-chunked)$/i.test(encoding)) {
      throw wrongAnswer(asked, `Content-Encoding ${encoding}`, "the bytes as they are stored");
    }
    const etag = bareEtag(response.headers.get("etag") ?? of.etag);
    if (of.etag !== "" && etag !== bareEtag(of.etag)) throw otherObject(asked, `ETag ${etag}`, of);
    const { size, objectSize } = extentOf(answer, wanted);
    const bytes = await readExactly(answer, size);
    return { bytes, etag, objectSize };
  } catch (error) {
    response.body?.cancel().catch(() => {}); // Rejects where a reader has cancelled it already.
    throw error;
  }
}

/** Reads a body of unknown length, at most `sizeMax` bytes. */
export async function collectBody(answer: S3Answer, sizeMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunksOf(answer)) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > sizeMax) throw wrongAnswer(answer.asked, `more than ${sizeMax} bytes of answer`, "less");
    answer.options.onProgress?.(chunk);
  }
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/** How many bytes the body must hold, and the whole object, by the answer's headers. */
function extentOf(answer: S3Answer, wanted: Wanted): { size: number; objectSize: number } {
  const { response, asked } = answer;
  const { of, range } = wanted;
  const length = integerHeader(response, "content-length");
  if (response.status !== 206) return wholeExtentOf(answer, wanted, length);
  const header = response.headers.get("content-range") ?? "";
  const [, first = "", last = "", total = ""] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(header) ?? [];
  const objectSize = Number(total);
  const end = of.size === 0 ? Math.min(range.offset + range.size, objectSize) : range.offset + range.size;
  if (total === "" || Number(first) !== range.offset || Number(last) !== end - 1) {
    const expected = `bytes ${range.offset}-${end - 1}/${of.size || "SIZE"}`;
    throw wrongAnswer(asked, `Content-Range "${header}"`, `"${expected}"`);
  }
  if (of.size > 0 && objectSize !== of.size) throw otherObject(asked, `${objectSize} bytes`, of);
  const size = end - range.offset;
  if (length !== undefined && length > size) {
    throw wrongAnswer(asked, `Content-Length ${length}`, `${size} bytes`);
  }
  return { size, objectSize };
}

/** An answer with the whole object is right only where the whole object was asked for. */
function wholeExtentOf(
  { response: { status }, asked }: S3Answer,
  { of, range }: Wanted,
  length: number | undefined,
): { size: number; objectSize: number } {
  const objectSize = of.size || length;
  const whole = status === 200 && range.offset === 0 && objectSize !== undefined &&
    (of.size === 0 ? objectSize <= range.size : objectSize === range.size);
  if (!whole) {
    throw wrongAnswer(
      asked,
      `status ${status} without a range`,
      "a server that answers ranges with status 206",
    );
  }
  if (length !== undefined && length > objectSize) throw otherObject(asked, `${length} bytes`, of);
  return { size: objectSize, objectSize };
}

/** Reads a body that must have exactly `size` bytes. */
async function readExactly(answer: S3Answer, size: number): Promise<Uint8Array> {
  const { asked, options } = answer;
  const bytes = new Uint8Array(size);
  let count = 0;
  for await (const chunk of chunksOf(answer)) {
    if (count + chunk.length > size) {
      throw wrongAnswer(asked, `more than ${count + chunk.length - 1} bytes of body`, `${size} bytes`);
    }
    bytes.set(chunk, count);
    count += chunk.length;
    options.onProgress?.(bytes.subarray(0, count));
  }
  if (count < size) {
    throw wrongAnswer(asked, `a body of ${count} bytes`, `${size} bytes`, { retryable: true });
  }
  return bytes;
}

/** The body's chunks; what the connection fails with becomes a retryable error, leaving early cancels the body. */
async function* chunksOf(
  { response, asked, options, counts, redact }: S3Answer,
): AsyncGenerator<Uint8Array, void, void> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      ended = done;
      if (done) return;
      counts.bytes += value.length;
      yield value;
    }
  } catch (cause) {
    ended = true;
    throw networkError(asked, cause, { signal: options.signal, redact });
  } finally {
    if (!ended) reader.cancel().catch(() => {});
  }
}

function integerHeader(response: Response, name: string): number | undefined {
  const value = response.headers.get(name) ?? "";
  return /^\d+$/.test(value) ? Number(value) : undefined;
}
