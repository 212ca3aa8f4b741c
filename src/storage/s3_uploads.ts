/**
 * S3Uploads: requests that make objects, whole or of parts.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
 * @module
 */

import { bareEtag } from "./etag.ts";
import type { Part, PartUpload, PartUploads, PutOptions, RequestOptions } from "./object_store.ts";
import type { S3Location } from "./replica_url.ts";
import { encodeQuery } from "./s3_address.ts";
import { wrongAnswer } from "./http_fault.ts";
import { collectBody } from "./http_body.ts";
import type { Ask, S3Client } from "./s3_client.ts";
import type { S3Asked } from "./s3_fault.ts";
import { conditionHeaders, customerKeyHeaders, objectHeaders } from "./s3_headers.ts";
import { childText, parseXml, type XmlElement } from "./xml.ts";

const ANSWER_BYTES_MAX = 64 * 1024;
/** S3 takes no more, whatever their size. */
const PARTS_MAX = 10_000;

/** A request that writes, as far as it differs from others of the same key. */
type Sent = Pick<Ask, "method"> & Partial<Pick<Ask, "headers" | "body">> & { query?: Record<string, string> };

/** What is known of an object that was made. */
interface Made {
  readonly etag: string;
  readonly modifiedMs: number;
}

/** Makes objects below a prefix of a bucket. */
export class S3Uploads implements PartUploads {
  readonly partSize: number;
  readonly partsAtOnce: number;
  readonly partsMax = PARTS_MAX;
  readonly #location: S3Location;
  readonly #prefix: string;
  readonly #client: S3Client;

  constructor(location: S3Location, prefix: string, client: S3Client) {
    this.partSize = location.partSize;
    this.partsAtOnce = location.uploadConcurrency;
    this.#location = location;
    this.#prefix = prefix;
    this.#client = client;
  }

  async putWhole(key: string, bytes: Uint8Array, options: PutOptions): Promise<Made> {
    const asked = this.#asked("put", key);
    const headers = { ...objectHeaders(this.#location, options), ...conditionHeaders(options) };
    const { response } = await this.#send(asked, { method: "PUT", headers, body: bytes }, options);
    const etag = etagOf(response.headers.get("etag"), asked);
    return { etag, modifiedMs: this.#client.timeOf(response) };
  }

  async begin(key: string, options: PutOptions): Promise<PartUpload> {
    const asked = this.#asked("begin to put", key);
    const headers = objectHeaders(this.#location, options);
    const { text } = await this.#send(asked, { method: "POST", query: { uploads: "" }, headers }, options);
    const id = childText(rootOf(text, "InitiateMultipartUploadResult", asked), "UploadId") ?? "";
    if (id === "") throw wrongAnswer(asked, "an answer without UploadId", "one with it");
    return { key, id };
  }

  async put({ key, id }: PartUpload, { number, bytes }: Part, options: RequestOptions): Promise<string> {
    const asked = this.#asked(`put part ${number} of`, key);
    const query = { partNumber: String(number), uploadId: id };
    const headers = customerKeyHeaders(this.#location);
    const { response } = await this.#send(asked, { method: "PUT", query, headers, body: bytes }, options);
    return etagOf(response.headers.get("etag"), asked);
  }

  async complete({ key, id }: PartUpload, etags: readonly string[], options: PutOptions): Promise<Made> {
    const asked = this.#asked(`make of ${etags.length} parts`, key);
    const headers = { "content-type": "application/xml", ...conditionHeaders(options) };
    const body = new TextEncoder().encode(completionOf(etags));
    const { response, text } = await this.#send(
      asked,
      { method: "POST", query: { uploadId: id }, headers, body },
      options,
    );
    // The status comes before the parts are joined: what went wrong stands in the body.
    const root = rootOf(text, undefined, asked);
    if (root.name === "Error") {
      const [code, message] = [childText(root, "Code") ?? "", childText(root, "Message") ?? ""];
      throw this.#client.errorOf({ code, message }, asked);
    }
    if (root.name !== "CompleteMultipartUploadResult") throw otherDocument(root, asked);
    const etag = etagOf(childText(root, "ETag") ?? null, asked);
    return { etag, modifiedMs: this.#client.timeOf(response) };
  }

  async abort({ key, id }: PartUpload, options: RequestOptions): Promise<void> {
    const asked: S3Asked = { ...this.#asked("remove the parts of", key), kind: "remove" };
    await this.#send(asked, { method: "DELETE", query: { uploadId: id } }, options).catch((error) => {
      if (error?.code !== "NoSuchUpload") throw error;
    });
  }

  #asked(act: string, key: string): S3Asked {
    const { name, bucket } = this.#location;
    return { what: `${act} "${key}" in ${name}`, bucket, key, kind: "put" };
  }

  /** Sends it and reads the answer to its end, so that the connection can be used again. */
  async #send(
    asked: S3Asked,
    { query = {}, ...sent }: Sent,
    options: RequestOptions,
  ): Promise<{ response: Response; text: string }> {
    const ask: Ask = {
      ...asked,
      ...sent,
      objectKey: this.#prefix + asked.key,
      query: encodeQuery(new Map(Object.entries(query))),
    };
    const response = await this.#client.send(ask, options);
    const body = await collectBody(this.#client.answer(response, asked, options), ANSWER_BYTES_MAX);
    return { response, text: new TextDecoder().decode(body) };
  }
}

function etagOf(etag: string | null, asked: S3Asked): string {
  if (etag !== null && etag.trim() !== "") return bareEtag(etag.trim());
  throw wrongAnswer(asked, "an answer without ETag", "one with it");
}

/** The root of an answer; checked where `name` is given. */
function rootOf(text: string, name: string | undefined, asked: S3Asked): XmlElement {
  let root: XmlElement;
  try {
    root = parseXml(text);
  } catch (cause) {
    throw wrongAnswer(asked, "an answer that is no XML", "a document of S3's", { retryable: true, cause });
  }
  if (name !== undefined && root.name !== name) throw otherDocument(root, asked);
  return root;
}

function otherDocument(root: XmlElement, asked: S3Asked): Error {
  return wrongAnswer(asked, `an answer of element ${root.name}`, "the result of the request");
}

/** Tags are hexadecimal digits and hyphens, quoted as they came. */
function completionOf(etags: readonly string[]): string {
  const parts = etags.map((etag, i) =>
    `<Part><PartNumber>${i + 1}</PartNumber><ETag>&quot;${etag.replace(/[<>&"]/g, "")}&quot;</ETag></Part>`
  );
  const namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
  return `<CompleteMultipartUpload xmlns="${namespace}">${parts.join("")}</CompleteMultipartUpload>`;
}
