/**
 * The body of an answer, checked against what was asked for.
 *
 * @module
 */

import { StorageError } from "../errors.ts";
import { bareEtag } from "./etag.ts";
import type { ByteRange, ObjectIdentity, ReadResult, RequestCounts, RequestOptions } from "./object_store.ts";
import { type Asked, networkError, otherObject, wrongAnswer } from "./http_fault.ts";

/**
 * Bodies up to this size are not watched while they come, in bytes. 64 of them at once take as long as an
 * attempt may be quiet where 256 KiB arrive in a second, the slowest that reads are given time for.
 */
const WHOLE_BYTES_MAX = 16 * 1024;

const NO_BYTES = new Uint8Array(0);

/** An answer whose headers have come, and all that is needed to read on. */
export interface HttpAnswer {
  readonly response: Response;
  readonly asked: Asked;
  readonly options: RequestOptions;
  /** Where the bytes that come are counted. */
  readonly counts: RequestCounts;
  /** Takes secrets out of a text. */
  readonly redact: (text: string) => string;
  /** What tells the object from others, where its ETag header is not that. */
  readonly etag?: string;
}

/** What was asked for: an object, and a range of it. */
interface Wanted {
  readonly of: ObjectIdentity;
  readonly range: ByteRange;
}

/** Checks the answer's headers against what was asked, then reads exactly the bytes of the range. */
export async function readRange(answer: HttpAnswer, wanted: Wanted): Promise<ReadResult> {
  const { response, asked } = answer;
  const { of } = wanted;
  try {
    const encoding = response.headers.get("content-encoding") ?? "";
    if (!/^(|identity|aws-chunked)$/i.test(encoding)) {
      throw wrongAnswer(asked, `Content-Encoding ${encoding}`, "the bytes as they are stored");
    }
    const etag = bareEtag(answer.etag ?? response.headers.get("etag") ?? of.etag);
    if (of.etag !== "" && etag !== bareEtag(of.etag)) throw otherObject(asked, `ETag ${etag}`, of);
    const { size, objectSize, length } = extentOf(answer, wanted);
    const isSmall = length !== undefined && length <= WHOLE_BYTES_MAX;
    const bytes = isSmall ? await readWhole(answer, size) : await readExactly(answer, size);
    return { bytes, etag, objectSize };
  } catch (error) {
    response.body?.cancel().catch(() => {}); // Rejects where a reader has cancelled it already.
    throw error;
  }
}

/** Reads a body of unknown length, at most `sizeMax` bytes. */
export async function collectBody(answer: HttpAnswer, sizeMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  await eachChunk(answer, (chunk) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > sizeMax) throw wrongAnswer(answer.asked, `more than ${sizeMax} bytes of answer`, "less");
    answer.options.onProgress?.(NO_BYTES); // Something came; what was asked for is another thing.
  });
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/** What an answer's headers say, in bytes. */
interface Extent {
  /** What the body must hold. */
  readonly size: number;
  /** The whole object. */
  readonly objectSize: number;
  /** Content-Length; undefined where the answer has none. */
  readonly length: number | undefined;
}

function extentOf(answer: HttpAnswer, wanted: Wanted): Extent {
  const { response, asked } = answer;
  const { of, range } = wanted;
  const length = integerHeader(response, "content-length");
  if (response.status !== 206) return wholeExtentOf(answer, wanted, length);
  const header = response.headers.get("content-range") ?? "";
  const [, first = "", last = "", total = ""] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(header) ?? [];
  const objectSize = Number(total);
  // Some answer so where nothing is left, others with status 416.
  if (total !== "" && of.size === 0 && range.offset >= objectSize) throw outsideOf(asked, objectSize);
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
  return { size, objectSize, length };
}

function outsideOf(asked: Asked, size: number): StorageError {
  const details = { key: asked.key, status: 416, code: "InvalidRange", retryable: false };
  return new StorageError(
    `Cannot ${asked.what}: the object has ${size} bytes, expected a range inside`,
    details,
  );
}

/** An answer with the whole object is right only where the whole object was asked for. */
function wholeExtentOf(
  { response: { status }, asked }: HttpAnswer,
  { of, range }: Wanted,
  length: number | undefined,
): Extent {
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
  return { size: objectSize, objectSize, length };
}

/** Reads a body that must have exactly `size` bytes. */
async function readExactly(answer: HttpAnswer, size: number): Promise<Uint8Array> {
  const { asked, options } = answer;
  const bytes = new Uint8Array(size);
  let count = 0;
  await eachChunk(answer, (chunk) => {
    if (count + chunk.length > size) throw longBody(asked, count + chunk.length, size);
    bytes.set(chunk, count);
    count += chunk.length;
    options.onProgress?.(bytes.subarray(0, count));
  });
  if (count < size) throw shortBody(asked, count, size);
  return bytes;
}

/** As {@link readExactly} for a body whose announced length is small: without a stream, at half its cost. */
async function readWhole(answer: HttpAnswer, size: number): Promise<Uint8Array> {
  const { response, asked, options, counts, redact } = answer;
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    throw networkError(asked, cause, { signal: options.signal, redact });
  }
  counts.bytes += bytes.length;
  options.exchange?.received(bytes.length);
  if (bytes.length > size) throw longBody(asked, bytes.length, size);
  if (bytes.length < size) throw shortBody(asked, bytes.length, size);
  options.onProgress?.(bytes);
  return bytes;
}

function longBody(asked: Asked, count: number, size: number): StorageError {
  return wrongAnswer(asked, `more than ${count - 1} bytes of body`, `${size} bytes`);
}

function shortBody(asked: Asked, count: number, size: number): StorageError {
  return wrongAnswer(asked, `a body of ${count} bytes`, `${size} bytes`, { retryable: true });
}

/** Gives each chunk to `take`, whose error ends the body; what the connection fails with may be retried. */
async function eachChunk(
  { response, asked, options, counts, redact }: HttpAnswer,
  take: (chunk: Uint8Array) => void,
): Promise<void> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  for (;;) {
    const { done, value } = await reader.read().catch((cause) => {
      throw networkError(asked, cause, { signal: options.signal, redact });
    });
    if (done) return;
    counts.bytes += value.length;
    options.exchange?.received(value.length);
    try {
      take(value);
    } catch (error) {
      reader.cancel().catch(() => {});
      throw error;
    }
  }
}

function integerHeader(response: Response, name: string): number | undefined {
  const value = response.headers.get(name) ?? "";
  return /^\d+$/.test(value) ? Number(value) : undefined;
}
