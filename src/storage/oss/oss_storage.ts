/**
 * OssStorage: a replica in a bucket of Alibaba Cloud's OSS.
 *
 * @module
 */

import { StorageError } from "../../errors.ts";
import type { OpenBackend } from "../backend.ts";
import type { OssLocation } from "../backend_location.ts";
import { bareEtag, quotedEtag } from "../etag.ts";
import { type Asked, wrongAnswer } from "../http_fault.ts";
import type { RequestCounts } from "../object_store.ts";
import { RemovalError } from "../removal.ts";
import { OddAnswers } from "../odd_answers.ts";
import { decodeKey, parseListing, type S3Listing, wrongListing } from "../s3_listing.ts";
import type {
  Storage,
  StorageList,
  StoragePut,
  StorageRead,
  StorageRequest,
  StoredBytes,
  StoredNow,
  StoredObject,
} from "../storage.ts";
import { childText, escapeXml } from "../xml.ts";
import { OssClient, ossRoot } from "./oss_client.ts";
import { OssUploads } from "./oss_uploads.ts";

/** Opens it. */
export const open: OpenBackend<OssLocation> = (location, context) =>
  new OssStorage(new OssClient(location, context));

const PAGE_OBJECTS = 1000;

class OssStorage implements Storage {
  readonly traits = { conditionalPut: true } as const;
  readonly parts: OssUploads;
  readonly #client: OssClient;
  readonly #odd = new OddAnswers();

  constructor(client: OssClient) {
    this.#client = client;
    this.parts = new OssUploads(client);
  }

  get counts(): RequestCounts {
    return this.#client.counts;
  }

  async *list(prefix: string, request: StorageList): AsyncGenerator<readonly StoredObject[]> {
    let token: string | undefined;
    do {
      const asked: Asked = { what: `list "${prefix}" in ${this.#client.name}`, key: prefix, kind: "list" };
      const query: Record<string, string> = {
        "list-type": "2",
        "encoding-type": "url",
        "max-keys": String(PAGE_OBJECTS), // Else 100.
        prefix,
        ...(token === undefined ? startOf(request) : { "continuation-token": token }),
      };
      const { text } = await this.#client.send({ method: "GET", key: "", query, asked }, request);
      const { objects, continuationToken } = listingOf(text, asked, this.#odd);
      if (objects.length > 0) yield objects;
      if (continuationToken !== undefined && continuationToken === token) {
        throw wrongAnswer(asked, "the same continuation token twice", "pages that end");
      }
      token = continuationToken;
    } while (token !== undefined);
  }

  async read(
    key: string,
    { offset, size }: { readonly offset: number; readonly size: number },
    request: StorageRead,
  ): Promise<StoredBytes | undefined> {
    const { etag } = request;
    const ask = {
      what: `read bytes ${offset}-${offset + size - 1} of "${key}" in ${this.#client.name}`,
      key,
      url: this.#client.urlOf(key),
      headers: {
        "x-oss-range-behavior": "standard", // Else a range outside brings the whole object.
        ...(etag === undefined ? {} : { "if-match": quotedEtag(bareEtag(etag)) }),
      },
      accepts: [412],
    };
    try {
      return await this.#client.http.read(ask, { offset, size, etag }, request);
    } catch (error) {
      if (error instanceof StorageError && error.status === 404 && error.code !== "NoSuchBucket") {
        return undefined;
      }
      throw error;
    }
  }

  async put(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    return await this.parts.putWhole(key, bytes, request);
  }

  /** The answer names what was removed, objects that were not there too: what it does not name was not. */
  async remove(keys: readonly string[], request: StorageRequest): Promise<void> {
    const { name } = this.#client;
    const what = `remove ${keys.length} objects from ${name}, the first "${keys[0]}"`;
    const asked: Asked = { what, key: keys[0] ?? "", kind: "remove" };
    const query = { delete: "", "encoding-type": "url" };
    const headers = { "content-type": "application/xml" };
    const body = new TextEncoder().encode(removalOf(keys));
    const { text } = await this.#client.send(
      { method: "POST", key: "", query, headers, body, asked },
      request,
    );
    const root = ossRoot(text, "DeleteResult", asked);
    const removed = new Set(
      root.children.filter((child) => child.name === "Deleted")
        .map((child) => decodeKey(childText(child, "Key") ?? "")),
    );
    const failures = keys.filter((key) => !removed.has(key)).map((key) => notRemoved(key, name));
    if (failures.length > 0) throw new RemovalError(name, keys.length, failures);
  }

  close(): void {
    this.#client.close();
  }
}

function startOf({ after }: StorageList): Record<string, string> {
  return after === undefined ? {} : { "start-after": after };
}

function listingOf(text: string, asked: Asked, odd: OddAnswers): S3Listing {
  try {
    return parseListing(text);
  } catch (cause) {
    throw wrongListing(text, asked, odd, cause);
  }
}

function notRemoved(key: string, name: string): StorageError {
  const details = { key, status: 200, code: "NotRemoved", retryable: true };
  return new StorageError(
    `Cannot remove "${key}" from ${name}: the answer does not name it, expected all that were to be removed`,
    details,
  );
}

function removalOf(keys: readonly string[]): string {
  const objects = keys.map((key) => `<Object><Key>${escapeXml(key)}</Key></Object>`).join("");
  return `<Delete><Quiet>false</Quiet>${objects}</Delete>`;
}
