/**
 * GsUploads: requests that make objects in Google Cloud Storage, whole or by a resumable upload.
 *
 * A resumable upload is one body that is sent in chunks, one after the other; what of a chunk has arrived
 * after a fault, the service tells. A chunk that is not the last has a multiple of 256 KiB: what a part has
 * beyond it waits for the next one. So nothing needs to be gathered on a disk, and the object appears, on its
 * condition, with the last chunk.
 *
 * @see https://cloud.google.com/storage/docs/resumable-uploads
 * @module
 */

import { ObjectExistsError, StorageError } from "../../errors.ts";
import type { HttpAsk, HttpClient } from "../http_client.ts";
import { wrongAnswer } from "../http_fault.ts";
import type { Part, PartUpload, PartUploads, PutOptions, RequestOptions } from "../object_store.ts";
import type { StoragePut, StorageRequest, StoredNow } from "../storage.ts";
import type { GsAddress } from "./gs_address.ts";
import { formatTimestamp, parseMade, TIMESTAMP } from "./gs_listing.ts";

const MiB = 1024 * 1024;
const CHUNK_UNIT = 256 * 1024;
const ANSWER_BYTES_MAX = 256 * 1024;
const MADE_FIELDS = "generation,timeCreated,metadata";
const CONTENT_TYPE = "application/octet-stream";
/** The upload is over, or nobody knows of it. */
const GONE_STATUSES = [404, 410, 499];

/** An upload under way. */
interface Session {
  /** Path and query of its own, which nobody else may learn. */
  readonly path: string;
  /**
   * Why nothing more need be sent: the key has an object, or the upload is no more. Told with the last chunk,
   * where whoever puts can look for the object, or begin anew.
   */
  over: "taken" | "lost" | undefined;
  /** What has arrived for good, in bytes. */
  arrived: number;
  /** Whether more may have arrived than is known. */
  isUnsure: boolean;
  /** What waits for the next chunk, and where it begins. */
  held: Uint8Array;
  heldOffset: number;
}

/** Bytes that are to arrive. */
interface Chunk {
  readonly bytes: Uint8Array;
  readonly offset: number;
  /** Size of the whole object where the chunk is its last. */
  readonly total?: number;
}

/** Makes objects in a bucket. */
export class GsUploads implements PartUploads {
  readonly partSize: number = 8 * MiB;
  readonly partsAtOnce = 1;
  readonly partsMax = 10_000;
  readonly #address: GsAddress;
  readonly #client: HttpClient;
  readonly #sessions = new Map<string, Session>();

  constructor(address: GsAddress, client: HttpClient) {
    this.#address = address;
    this.#client = client;
  }

  /** Makes an object in one request; undefined where its condition does not hold. */
  async putWhole(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    const boundary = crypto.randomUUID();
    const ask: HttpAsk = {
      ...this.#asked("put", key),
      method: "POST",
      url: this.#address.uploads({ uploadType: "multipart", fields: MADE_FIELDS, ...conditionOf(request) }),
      headers: { "content-type": `multipart/related; boundary=${boundary}` },
      body: multipartBody(boundary, descriptionOf(key, request), bytes),
      accepts: [412],
    };
    const response = await this.#client.send(ask, request);
    const answer = await this.#client.collect(response, ask, request, ANSWER_BYTES_MAX);
    return response.status === 412 ? undefined : parseMade(answer, ask);
  }

  async begin(key: string, options: PutOptions): Promise<PartUpload> {
    const { replace = false, ifMatch } = options;
    const condition = { ifAbsent: !replace && ifMatch === undefined, ifMatch };
    const ask: HttpAsk = {
      ...this.#asked("begin to put", key),
      method: "POST",
      url: this.#address.uploads({ uploadType: "resumable", fields: MADE_FIELDS, ...conditionOf(condition) }),
      headers: { "content-type": "application/json; charset=UTF-8", "x-upload-content-type": CONTENT_TYPE },
      body: new TextEncoder().encode(descriptionOf(key, options)),
      accepts: [412],
    };
    const response = await this.#client.send(ask, requestOf(options));
    await this.#client.discard(response);
    const isTaken = response.status === 412;
    const path = isTaken ? "" : pathOf(response.headers.get("location"), ask);
    const id = crypto.randomUUID();
    this.#sessions.set(id, {
      path,
      over: isTaken ? "taken" : undefined,
      arrived: 0,
      isUnsure: false,
      held: new Uint8Array(0),
      heldOffset: 0,
    });
    return { key, id };
  }

  /** An attempt that was given up may come through all the same: what it has brought is not taken again. */
  async put(
    upload: PartUpload,
    { number, offset: start, bytes }: Part,
    options: RequestOptions,
  ): Promise<string> {
    const session = this.#find(upload);
    const { held, heldOffset: offset } = session;
    if (offset + held.length > start) return String(number);
    const all = joined(held, bytes);
    // The last chunk is not to be empty, so something is always held back.
    const size = Math.floor((all.length - 1) / CHUNK_UNIT) * CHUNK_UNIT;
    if (size > 0) await this.#send(upload, session, { bytes: all.subarray(0, size), offset }, options);
    if (session.held === held) Object.assign(session, { held: all.slice(size), heldOffset: offset + size });
    return String(number);
  }

  async complete(upload: PartUpload, _etags: readonly string[], options: PutOptions): Promise<StoredNow> {
    const session = this.#find(upload);
    const { held: bytes, heldOffset: offset } = session;
    const made = await this.#send(upload, session, { bytes, offset, total: offset + bytes.length }, options);
    if (made === undefined) throw session.over === "taken" ? this.#taken(upload.key) : this.#lost(upload.key);
    this.#sessions.delete(upload.id);
    return made;
  }

  async abort({ key, id }: PartUpload, options: RequestOptions): Promise<void> {
    const session = this.#sessions.get(id);
    this.#sessions.delete(id);
    if (session === undefined || session.over !== undefined) return;
    const ask: HttpAsk = {
      ...this.#asked("end the upload of", key),
      kind: "remove",
      method: "DELETE",
      url: this.#address.at(session.path),
      accepts: GONE_STATUSES,
    };
    await this.#client.discard(await this.#client.send(ask, requestOf(options)));
  }

  /** Sends a chunk until all of it has arrived, or the upload is over; the object where that was its last. */
  async #send(
    { key }: PartUpload,
    session: Session,
    chunk: Chunk,
    options: RequestOptions,
  ): Promise<StoredNow | undefined> {
    const { bytes, offset, total } = chunk;
    const end = offset + bytes.length;
    while (session.over === undefined && (session.arrived < end || total !== undefined)) {
      const before = session.isUnsure ? -1 : session.arrived;
      const made = await this.#sendOnce(key, session, chunk, options);
      if (made !== undefined) return made;
      if (session.arrived < offset) session.over = "lost";
      else if (session.arrived <= before && session.over === undefined) {
        const asked = this.#asked("put part of", key);
        throw wrongAnswer(asked, "an answer that takes no bytes", "one that does", { retryable: true });
      }
    }
    return undefined;
  }

  /** Sends what has not arrived; first of all asks what has, where that is not known. */
  async #sendOnce(
    key: string,
    session: Session,
    { bytes, offset, total }: Chunk,
    options: RequestOptions,
  ): Promise<StoredNow | undefined> {
    const { arrived, isUnsure } = session;
    const left = isUnsure || arrived < offset ? new Uint8Array(0) : bytes.subarray(arrived - offset);
    const range = left.length === 0 ? "*" : `${arrived}-${arrived + left.length - 1}`;
    const ask: HttpAsk = {
      ...this.#asked("put part of", key),
      method: "PUT",
      url: this.#address.at(session.path),
      headers: { "content-range": `bytes ${range}/${total ?? "*"}` },
      body: left,
      accepts: [308, 412, ...GONE_STATUSES],
    };
    const request = requestOf(options);
    session.isUnsure = true;
    const response = await this.#client.send(ask, request);
    const answer = await this.#client.collect(response, ask, request, ANSWER_BYTES_MAX);
    session.isUnsure = false;
    const { status, headers } = response;
    if (status === 412) session.over = "taken";
    else if (GONE_STATUSES.includes(status)) session.over = "lost";
    else if (status !== 308) return parseMade(answer, ask);
    else session.arrived = arrivedOf(headers.get("range"));
    return undefined;
  }

  #find({ key, id }: PartUpload): Session {
    const session = this.#sessions.get(id);
    if (session === undefined) throw this.#lost(key);
    return session;
  }

  /** By this code whoever puts an object knows that the upload can be begun anew. */
  #lost(key: string): StorageError {
    const details = { key, status: 404, code: "NoSuchUpload", retryable: false };
    return new StorageError(
      `Cannot put "${key}" in ${this.#address.name}: its upload is no more, expected one under way`,
      details,
    );
  }

  #taken(key: string): ObjectExistsError {
    const details = { key, status: 412, code: "PreconditionFailed", retryable: false };
    return new ObjectExistsError(
      `Cannot put "${key}" in ${this.#address.name}: the key has another object, expected none`,
      details,
    );
  }

  #asked(act: string, key: string): Pick<HttpAsk, "what" | "key" | "kind"> {
    return { what: `${act} "${key}" in ${this.#address.name}`, key, kind: "put" };
  }
}

/** Generation 0 stands for no object. */
function conditionOf(
  { ifAbsent, ifMatch }: { readonly ifAbsent: boolean; readonly ifMatch?: string | undefined },
): Record<string, string> {
  if (ifMatch !== undefined) return { ifGenerationMatch: ifMatch };
  return ifAbsent ? { ifGenerationMatch: "0" } : {};
}

function descriptionOf(key: string, { timestampMs }: { readonly timestampMs?: number }): string {
  const metadata = timestampMs === undefined
    ? {}
    : { metadata: { [TIMESTAMP]: formatTimestamp(timestampMs) } };
  return JSON.stringify({ name: key, contentType: CONTENT_TYPE, ...metadata });
}

function multipartBody(boundary: string, description: string, bytes: Uint8Array): Uint8Array {
  const encoder = new TextEncoder();
  const head = encoder.encode(
    `--${boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n${description}\r\n` +
      `--${boundary}\r\nContent-Type: ${CONTENT_TYPE}\r\n\r\n`,
  );
  return joined(head, bytes, encoder.encode(`\r\n--${boundary}--\r\n`));
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const filled = parts.filter(({ length }) => length > 0);
  if (filled.length === 1) return filled[0]!;
  const bytes = new Uint8Array(filled.reduce((size, { length }) => size + length, 0));
  let offset = 0;
  for (const part of filled) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/** Only the path: it is asked for where all else is, whatever the service thinks that it is called. */
function pathOf(location: string | null, ask: HttpAsk): string {
  if (location !== null && URL.canParse(location, ask.url)) {
    const { pathname, search } = new URL(location, ask.url);
    return pathname + search;
  }
  throw wrongAnswer(ask, "an answer without the upload's address", "one with it");
}

/** `bytes=0-N`, or no header where nothing has arrived. */
function arrivedOf(range: string | null): number {
  const last = /^(?:bytes[= ])?0-(\d+)$/.exec(range ?? "")?.[1];
  return last === undefined ? 0 : Number(last) + 1;
}

function requestOf({ signal, onProgress }: RequestOptions): StorageRequest {
  return { signal: signal ?? new AbortController().signal, onProgress: onProgress ?? (() => {}) };
}
