/**
 * AbsUploads: requests that make blobs, whole or of blocks.
 *
 * @see https://learn.microsoft.com/rest/api/storageservices/put-blob
 * @see https://learn.microsoft.com/rest/api/storageservices/put-block-list
 * @module
 */

import { ObjectExistsError, StorageError } from "../../errors.ts";
import { bareEtag, quotedEtag } from "../etag.ts";
import { wrongAnswer } from "../http_fault.ts";
import type { Part, PartUpload, PartUploads, PutOptions, RequestOptions } from "../object_store.ts";
import type { StoragePut, StorageRequest, StoredNow } from "../storage.ts";
import type { AbsAsk, AbsClient } from "./abs_client.ts";
import { TIMESTAMP_NAME } from "./abs_listing.ts";

const PART_BYTES = 5 * 1024 * 1024;
/** Blocks' names of one blob have one size; this is that of Litestream's, which may have left some. */
const BLOCK_NAME_BYTES = 64;
const UPLOAD_NAME_BYTES = 16;
const OCTETS = "application/octet-stream";
/** How Azure says that a condition does not hold. */
const TAKEN_CODES = new Set(["BlobAlreadyExists", "ConditionNotMet"]);
/** The same to one who may create blobs only, and to one who would replace a blob that is gone. */
const TAKEN_CODE_ABSENT = "UnauthorizedBlobOverwrite";
const TAKEN_CODE_MATCH = "BlobNotFound";
const LOST_CODES = new Set(["InvalidBlockList", "InvalidBlobOrBlock"]);

/** A blob's content as it is sent. */
type Sent = Pick<AbsAsk, "what" | "blob" | "query" | "body"> & { headers: Record<string, string> };

/** Makes blobs in one container. */
export class AbsUploads implements PartUploads {
  readonly partSize = PART_BYTES;
  readonly partsAtOnce = 4;
  readonly partsMax = 50_000;
  readonly #client: AbsClient;
  readonly #place: string;

  /** `place` is what messages call the container. */
  constructor(client: AbsClient, place: string) {
    this.#client = client;
    this.#place = place;
  }

  /** Undefined where the condition does not hold. */
  async putWhole(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    const headers = { "content-type": OCTETS, "x-ms-blob-type": "BlockBlob" };
    const sent = { what: `put "${key}" in ${this.#place}`, blob: key, headers, body: bytes };
    return await this.#make(sent, request).catch((error) => {
      if (isTaken(error, request)) return undefined;
      throw error;
    });
  }

  /** Nothing is asked: blocks belong to the blob's name, and are of this upload by their own. */
  begin(key: string, _options: PutOptions): Promise<PartUpload> {
    const name = crypto.getRandomValues(new Uint8Array(UPLOAD_NAME_BYTES));
    return Promise.resolve({ key, id: btoa(String.fromCharCode(...name)) });
  }

  async put(upload: PartUpload, { number, bytes }: Part, options: RequestOptions): Promise<string> {
    const { key } = upload;
    const block = blockName(upload, number);
    const ask: AbsAsk = {
      what: `put part ${number} of "${key}" in ${this.#place}`,
      key,
      kind: "put",
      method: "PUT",
      blob: key,
      query: { comp: "block", blockid: block },
      headers: { "content-type": OCTETS },
      body: bytes,
    };
    await this.#client.send(ask, requestOf(options));
    return block;
  }

  async complete(
    { key }: PartUpload,
    blocks: readonly string[],
    options: PutOptions,
  ): Promise<{ etag: string; modifiedMs: number }> {
    const list = blocks.map((block) => `<Uncommitted>${block}</Uncommitted>`).join("");
    const sent: Sent = {
      what: `make of ${blocks.length} parts "${key}" in ${this.#place}`,
      blob: key,
      query: { comp: "blocklist" },
      headers: { "content-type": "application/xml", "x-ms-blob-content-type": OCTETS },
      body: new TextEncoder().encode(`<?xml version="1.0" encoding="utf-8"?><BlockList>${list}</BlockList>`),
    };
    const { replace = false, ifMatch, timestampMs } = options;
    const condition: StoragePut = {
      ...requestOf(options),
      ifAbsent: !replace && ifMatch === undefined,
      ...(ifMatch === undefined ? {} : { ifMatch }),
      ...(timestampMs === undefined ? {} : { timestampMs }),
    };
    return await this.#make(sent, condition).catch((error) => {
      if (isTaken(error, condition)) throw existsError(key, this.#place, error);
      if (error instanceof StorageError && LOST_CODES.has(error.code)) {
        throw lostError(key, this.#place, error);
      }
      throw error;
    });
  }

  /** What was put of it, Azure drops: when the blob is made, or after a week. */
  abort(): Promise<void> {
    return Promise.resolve();
  }

  async #make({ headers, ...sent }: Sent, request: StoragePut): Promise<StoredNow> {
    const { ifAbsent, ifMatch, timestampMs } = request;
    if (ifAbsent) headers["if-none-match"] = "*";
    if (ifMatch !== undefined) headers["if-match"] = quotedEtag(ifMatch);
    if (timestampMs !== undefined) {
      headers[`x-ms-meta-${TIMESTAMP_NAME}`] = new Date(timestampMs).toISOString();
    }
    const ask: AbsAsk = { ...sent, key: sent.blob, kind: "put", method: "PUT", headers };
    const answer = await this.#client.send(ask, request);
    const etag = bareEtag(answer.headers.get("etag") ?? "");
    if (etag === "") throw wrongAnswer(ask, "an answer without ETag", "one with it");
    return { etag, modifiedMs: timestampMs ?? this.#client.timeOf(answer.headers) };
  }
}

/** Whether the request's condition is what was refused. */
function isTaken(error: unknown, { ifAbsent, ifMatch }: StoragePut): error is StorageError {
  if (!(error instanceof StorageError) || (!ifAbsent && ifMatch === undefined)) return false;
  const { code, status } = error;
  return TAKEN_CODES.has(code) || (code === "" && status === 412) ||
    code === (ifAbsent ? TAKEN_CODE_ABSENT : TAKEN_CODE_MATCH);
}

function existsError(key: string, place: string, cause: StorageError): ObjectExistsError {
  const details = { key, status: 412, code: "PreconditionFailed", retryable: false, cause };
  return new ObjectExistsError(
    `Cannot put "${key}" in ${place}: the key has another object, expected none`,
    details,
  );
}

/** Whoever makes the blob first drops all blocks that are not in it: the upload must be begun anew. */
function lostError(key: string, place: string, cause: StorageError): StorageError {
  const details = { key, status: cause.status, code: "NoSuchUpload", retryable: false, cause };
  return new StorageError(
    `Cannot put "${key}" in ${place}: its parts are gone, expected all of them`,
    details,
  );
}

/** Base64 of the upload's name, the part's number and zeros. */
function blockName({ id }: PartUpload, number: number): string {
  const bytes = new Uint8Array(BLOCK_NAME_BYTES);
  bytes.set(Uint8Array.from(atob(id), (character) => character.charCodeAt(0)));
  new DataView(bytes.buffer).setUint32(UPLOAD_NAME_BYTES, number);
  return btoa(String.fromCharCode(...bytes));
}

function requestOf({ signal, onProgress }: RequestOptions): StorageRequest {
  return { signal: signal ?? new AbortController().signal, onProgress: onProgress ?? (() => {}) };
}
