/**
 * S3Removal: requests that remove objects, many at once where the service can.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
 * @module
 */

import { builtin } from "../drivers/host.ts";
import { StorageError } from "../errors.ts";
import type { RequestOptions } from "./object_store.ts";
import { RemovalError } from "./removal.ts";
import { providerNamed } from "./providers.ts";
import type { S3Location } from "./replica_url.ts";
import { wrongAnswer } from "./http_fault.ts";
import { collectBody } from "./http_body.ts";
import type { S3Client } from "./s3_client.ts";
import type { S3Asked } from "./s3_fault.ts";
import { childText, escapeXml, parseXml, type XmlElement } from "./xml.ts";

/** An error for each of 1,000 keys takes no more. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
const SINGLE_AT_ONCE_MAX = 8;

/** Removes objects below a prefix of a bucket. */
export class S3Removal {
  readonly #location: S3Location;
  readonly #prefix: string;
  readonly #client: S3Client;
  /** Whether the service has answered that it removes one object a request. */
  #isSingleOnly: boolean;

  constructor(location: S3Location, prefix: string, client: S3Client) {
    this.#location = location;
    this.#prefix = prefix;
    this.#client = client;
    this.#isSingleOnly = providerNamed(location.provider).singleRemoval === true;
  }

  /**
   * Removes up to 1,000 objects.
   *
   * @throws {RemovalError} some could not be removed, the others were
   * @throws {StorageError} the request was refused as a whole
   */
  async remove(keys: readonly string[], options: RequestOptions): Promise<void> {
    if (keys.length === 0) return;
    const failures = keys.length === 1 || this.#isSingleOnly
      ? await this.#removeSingly(keys, options)
      : await this.#removeAtOnce(keys, options);
    if (failures.length > 0) throw new RemovalError(this.#location.name, keys.length, failures);
  }

  async #removeAtOnce(keys: readonly string[], options: RequestOptions): Promise<StorageError[]> {
    const asked = this.#asked(`${keys.length} objects`, keys[0] ?? "");
    const body = new TextEncoder().encode(requestOf(keys.map((key) => this.#prefix + key)));
    const headers = { "content-type": "application/xml", ...this.#checksumOf(body) };
    try {
      const response = await this.#client.send(
        { ...asked, method: "POST", objectKey: "", query: "delete=", headers, body },
        options,
      );
      const answer = await collectBody(this.#client.answer(response, asked, options), ANSWER_BYTES_MAX);
      return this.#failuresIn(new TextDecoder().decode(answer), asked);
    } catch (error) {
      if (!isUnknownRequest(error)) throw error;
      this.#isSingleOnly = true;
      return await this.#removeSingly(keys, options);
    }
  }

  #checksumOf(body: Uint8Array): Record<string, string> {
    const { provider, requireContentMd5 } = this.#location;
    const { removalChecksum } = providerNamed(provider);
    if (requireContentMd5) return { "content-md5": hashOf("md5", body) };
    return removalChecksum === undefined ? {} : { [removalChecksum]: hashOf("sha256", body) };
  }

  /** What the answer tells of single keys; those that it does not name were removed. */
  #failuresIn(document: string, asked: S3Asked): StorageError[] {
    let root: XmlElement;
    try {
      root = parseXml(document);
    } catch (cause) {
      throw wrongAnswer(asked, "an answer that is no XML", "a DeleteResult document", {
        retryable: true,
        cause,
      });
    }
    if (root.name !== "DeleteResult") {
      throw wrongAnswer(asked, `an answer of element ${root.name}`, "a DeleteResult document");
    }
    return root.children.filter(({ name }) => name === "Error").map((error) => this.#failureOf(error))
      .filter(({ code }) => code !== "NoSuchKey");
  }

  #failureOf(error: XmlElement): StorageError {
    const key = (childText(error, "Key") ?? "").slice(this.#prefix.length);
    const [code, message] = [childText(error, "Code") ?? "", childText(error, "Message") ?? ""];
    return this.#client.errorOf({ code, message }, this.#asked(`"${key}"`, key));
  }

  async #removeSingly(keys: readonly string[], options: RequestOptions): Promise<StorageError[]> {
    const failures: StorageError[] = [];
    const left = keys.values();
    const removeSome = async () => {
      for (const key of left) {
        const failure = await this.#removeOne(key, options);
        if (failure !== undefined) failures.push(failure);
      }
    };
    await Promise.all(Array.from({ length: Math.min(SINGLE_AT_ONCE_MAX, keys.length) }, removeSome));
    return failures;
  }

  async #removeOne(key: string, options: RequestOptions): Promise<StorageError | undefined> {
    const asked = this.#asked(`"${key}"`, key);
    try {
      const response = await this.#client.send(
        { ...asked, method: "DELETE", objectKey: this.#prefix + key, query: "" },
        options,
      );
      await collectBody(this.#client.answer(response, asked, options), ANSWER_BYTES_MAX);
      return undefined;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      return error.status === 404 && error.code !== "NoSuchBucket" ? undefined : error;
    }
  }

  #asked(objects: string, key: string): S3Asked {
    const { name, bucket } = this.#location;
    return { what: `remove ${objects} from ${name}`, bucket, key, kind: "remove" };
  }
}

/** Google takes the request for one that makes a bucket. */
function isUnknownRequest(error: unknown): boolean {
  return error instanceof StorageError &&
    ["NotImplemented", "MethodNotAllowed", "InvalidArgument"].includes(error.code);
}

function requestOf(keys: readonly string[]): string {
  const objects = keys.map((key) => `<Object><Key>${escapeXml(key)}</Key></Object>`).join("");
  return `<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>${objects}</Delete>`;
}

function hashOf(name: string, body: Uint8Array): string {
  const { createHash } = builtin("node:crypto");
  return createHash(name).update(body).digest("base64");
}
