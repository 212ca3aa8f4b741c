/**
 * ObjectMeta: what an object store keeps of each object, as one message.
 *
 * @see NATS ADR-20 "JetStream based Object Stores"
 * @module
 */

import type { Asked } from "../http_fault.ts";
import type { StoredObject } from "../storage.ts";
import { wrongMessage } from "./nats_fault.ts";
import { parseTime, type StreamMessage } from "./object_stream.ts";

/** One version of an object, or the mark that it was removed. */
export interface ObjectMeta extends StoredObject {
  /** Number of its message. */
  readonly sequence: number;
  readonly chunks: number;
  /** Size in bytes that no chunk is larger than. */
  readonly chunkSizeMax: number;
  readonly isRemoved: boolean;
}

/** The fields of the message that are looked at. */
interface MetaFields {
  readonly name: string;
  readonly nuid: string;
  readonly size?: number;
  readonly chunks?: number;
  readonly deleted?: boolean;
  readonly headers?: Readonly<Record<string, readonly string[]>>;
  readonly options?: { readonly max_chunk_size?: number; readonly link?: unknown };
}

/** An object that was put: what its message says. */
export interface NewObject {
  readonly key: string;
  readonly bucket: string;
  readonly nuid: string;
  readonly size: number;
  readonly chunks: number;
  readonly chunkSizeMax: number;
  /** SHA-256 in base64 for URLs. */
  readonly digest: string;
  readonly timestampMs?: number | undefined;
}

/** Bytes of a chunk where nothing else is said, as by every client. */
export const CHUNK_SIZE = 128 * 1024;
const TIMESTAMP_HEADER = "Litestream-Timestamp";
const NO_TIME = "0001-01-01T00:00:00Z";

/** Reads a message; undefined where it is a link to an object elsewhere, which is no object of a replica. */
export function decodeMeta(message: StreamMessage, asked: Asked): ObjectMeta | undefined {
  const fields = parse(message, asked);
  const { name, nuid, size = 0, chunks = 0, deleted = false, headers = {}, options = {} } = fields;
  const isWhole = typeof name === "string" && typeof nuid === "string" && nuid !== "" &&
    Number.isSafeInteger(size) && size >= 0 && Number.isSafeInteger(chunks) && chunks >= 0;
  if (options.link !== undefined) return undefined;
  if (!isWhole || chunks > size) {
    throw wrongMessage(
      asked,
      `object "${name}" of ${size} bytes in ${chunks} chunks`,
      "an object's description",
    );
  }
  const timestampMs = parseTime(headers[TIMESTAMP_HEADER]?.[0] ?? "");
  return {
    key: name,
    size,
    etag: nuid,
    modifiedMs: Number.isNaN(timestampMs) ? message.timeMs : timestampMs,
    sequence: message.sequence,
    chunks,
    chunkSizeMax: options.max_chunk_size || CHUNK_SIZE,
    isRemoved: deleted,
  };
}

/** Writes the message of an object that was put. */
export function encodeMeta(object: NewObject): string {
  const { key, bucket, nuid, size, chunks, chunkSizeMax, digest, timestampMs } = object;
  return JSON.stringify({
    name: key,
    ...(timestampMs !== undefined &&
      { headers: { [TIMESTAMP_HEADER]: [new Date(timestampMs).toISOString()] } }),
    options: { max_chunk_size: chunkSizeMax },
    bucket,
    nuid,
    size,
    mtime: NO_TIME,
    chunks,
    digest: `SHA-256=${digest}`,
  });
}

/** Writes the message that an object was removed. */
export function encodeRemoval({ key, etag, chunkSizeMax }: ObjectMeta, bucket: string): string {
  const options = { max_chunk_size: chunkSizeMax };
  return JSON.stringify({
    name: key,
    options,
    bucket,
    nuid: etag,
    size: 0,
    mtime: NO_TIME,
    chunks: 0,
    deleted: true,
  });
}

function parse({ data, sequence }: StreamMessage, asked: Asked): MetaFields {
  try {
    return JSON.parse(new TextDecoder().decode(data)) as MetaFields;
  } catch (cause) {
    throw wrongMessage(asked, `message ${sequence}, which is no JSON`, "an object's description", cause);
  }
}
