/**
 * OssUploads: requests that make objects, whole or of parts.
 *
 * @see https://www.alibabacloud.com/help/en/oss/developer-reference/completemultipartupload
 * @module
 */

import { ObjectExistsError, StorageError } from "../../errors.ts";
import { bareEtag } from "../etag.ts";
import { type Asked, wrongAnswer } from "../http_fault.ts";
import type { Part, PartUpload, PartUploads, PutOptions, RequestOptions } from "../object_store.ts";
import { formatTimestamp } from "../s3_headers.ts";
import type { StoragePut, StoredNow } from "../storage.ts";
import { childText } from "../xml.ts";
import { type OssClient, ossRoot } from "./oss_client.ts";

/** Makes objects of a bucket. */
export class OssUploads implements PartUploads {
  readonly partSize = 5 * 1024 * 1024;
  readonly partsAtOnce = 3;
  /** OSS takes no more, whatever their size. */
  readonly partsMax = 10_000;
  readonly #client: OssClient;

  constructor(client: OssClient) {
    this.#client = client;
  }

  /** Undefined where the key has an object that is not to be replaced. */
  async putWhole(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    const asked = this.#asked("put", key);
    const headers = { ...objectHeaders(request), ...conditionHeaders(!request.ifAbsent) };
    try {
      const answer = await this.#client.send({ method: "PUT", key, headers, body: bytes, asked }, request);
      return {
        etag: etagOf(answer.headers.get("etag"), asked),
        modifiedMs: this.#client.timeOf(answer.headers),
      };
    } catch (error) {
      if (isTaken(error)) return undefined;
      throw error;
    }
  }

  async begin(key: string, options: PutOptions): Promise<PartUpload> {
    const asked = this.#asked("begin to put", key);
    const headers = objectHeaders(options);
    const { text } = await this.#client.send(
      { method: "POST", key, query: { uploads: "" }, headers, asked },
      options,
    );
    const id = childText(ossRoot(text, "InitiateMultipartUploadResult", asked), "UploadId") ?? "";
    if (id === "") throw wrongAnswer(asked, "an answer without UploadId", "one with it");
    return { key, id };
  }

  async put({ key, id }: PartUpload, { number, bytes }: Part, options: RequestOptions): Promise<string> {
    const asked = this.#asked(`put part ${number} of`, key);
    const query = { partNumber: String(number), uploadId: id };
    const { headers } = await this.#client.send({ method: "PUT", key, query, body: bytes, asked }, options);
    return etagOf(headers.get("etag"), asked);
  }

  async complete({ key, id }: PartUpload, etags: readonly string[], options: PutOptions): Promise<StoredNow> {
    const asked = this.#asked(`make of ${etags.length} parts`, key);
    const headers = { "content-type": "application/xml", ...conditionHeaders(options.replace === true) };
    const body = new TextEncoder().encode(completionOf(etags));
    try {
      const answer = await this.#client.send(
        { method: "POST", key, query: { uploadId: id }, headers, body, asked },
        options,
      );
      const root = ossRoot(answer.text, "CompleteMultipartUploadResult", asked);
      return {
        etag: etagOf(childText(root, "ETag") ?? null, asked),
        modifiedMs: this.#client.timeOf(answer.headers),
      };
    } catch (error) {
      if (!isTaken(error)) throw error;
      const { message, status, code } = error;
      throw new ObjectExistsError(message, { key, status, code, retryable: false, cause: error });
    }
  }

  async abort({ key, id }: PartUpload, options: RequestOptions): Promise<void> {
    const asked: Asked = { ...this.#asked("remove the parts of", key), kind: "remove" };
    try {
      await this.#client.send({ method: "DELETE", key, query: { uploadId: id }, asked }, options);
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== "NoSuchUpload") throw error;
    }
  }

  #asked(act: string, key: string): Asked {
    return { what: `${act} "${key}" in ${this.#client.name}`, key, kind: "put" };
  }
}

function objectHeaders({ timestampMs }: PutOptions | StoragePut): Record<string, string> {
  return {
    "content-type": "application/octet-stream",
    ...(timestampMs === undefined ? {} : { "x-oss-meta-litestream-timestamp": formatTimestamp(timestampMs) }),
  };
}

/** A bucket with versions ignores it: whoever writes there finds that out by trying. */
function conditionHeaders(replace: boolean): Record<string, string> {
  return replace ? {} : { "x-oss-forbid-overwrite": "true" };
}

function isTaken(error: unknown): error is StorageError {
  return error instanceof StorageError && error.code === "FileAlreadyExists";
}

function etagOf(etag: string | null, asked: Asked): string {
  if (etag !== null && etag.trim() !== "") return bareEtag(etag.trim());
  throw wrongAnswer(asked, "an answer without ETag", "one with it");
}

/** Tags are hexadecimal digits and hyphens, quoted as they came. */
function completionOf(etags: readonly string[]): string {
  const parts = etags.map((etag, i) =>
    `<Part><PartNumber>${i + 1}</PartNumber><ETag>&quot;${etag.replace(/[<>&"]/g, "")}&quot;</ETag></Part>`
  );
  return `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
}
