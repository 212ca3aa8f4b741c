/**
 * AbsStorage: a container of Azure Blob Storage, over its REST interface.
 *
 * @see https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api
 * @module
 */

import { StorageError } from "../../errors.ts";
import type { OpenBackend } from "../backend.ts";
import type { AbsLocation } from "../backend_location.ts";
import { wrongAnswer } from "../http_fault.ts";
import type { RequestCounts } from "../object_store.ts";
import { RemovalError } from "../removal.ts";
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
import { type AbsAsk, AbsClient } from "./abs_client.ts";
import { type AbsListing, parseListing } from "./abs_listing.ts";
import { AbsUploads } from "./abs_uploads.ts";

/** A page is 5,000 blobs at most, with metadata of up to 8 KiB each, which is a hundred bytes in practice. */
const LISTING_BYTES_MAX = 64 * 1024 * 1024;
/** One request removes one blob. */
const REMOVED_AT_ONCE = 16;

/** Opens the container of a location. Nothing is asked of it yet. */
export const open: OpenBackend<AbsLocation> = (location, context) =>
  new AbsStorage(location, new AbsClient(location, context));

class AbsStorage implements Storage {
  /** Accounts with a hierarchical namespace list folders in their order, not in that of keys. */
  readonly traits = { conditionalPut: true, conditionalReplace: true, cheapList: true, listsInOrder: false };
  readonly counts: RequestCounts;
  readonly parts: AbsUploads;
  readonly #name: string;
  readonly #client: AbsClient;

  constructor({ name }: AbsLocation, client: AbsClient) {
    this.#name = name;
    this.#client = client;
    this.counts = client.counts;
    this.parts = new AbsUploads(client, name);
  }

  async *list(
    prefix: string,
    request: StorageList,
  ): AsyncGenerator<readonly StoredObject[], void, undefined> {
    const start = startOf(prefix, request.after);
    for (let marker = "";;) {
      const { objects, nextMarker } = await this.#listPage(
        prefix,
        { ...start, ...(marker && { marker }) },
        request,
      );
      if (objects.length > 0) yield objects;
      if (nextMarker === "") return;
      marker = nextMarker;
    }
  }

  read(
    key: string,
    { offset, size }: { offset: number; size: number },
    request: StorageRead,
  ): Promise<StoredBytes | undefined> {
    const what = `read bytes ${offset}-${offset + size - 1} of "${key}" in ${this.#name}`;
    const { etag } = request;
    const headers: Record<string, string> = etag === undefined ? {} : { "if-match": `"${etag}"` };
    return this.#client.read({ what, key, blob: key, headers }, { offset, size, etag }, request);
  }

  put(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    return this.parts.putWhole(key, bytes, request);
  }

  async remove(keys: readonly string[], request: StorageRequest): Promise<void> {
    const failures: StorageError[] = [];
    const left = keys.values();
    const removeSome = async () => {
      for (const key of left) {
        const failure = await this.#removeOne(key, request);
        if (failure !== undefined) failures.push(failure);
      }
    };
    await Promise.all(Array.from({ length: Math.min(REMOVED_AT_ONCE, keys.length) }, removeSome));
    if (failures.length > 0) throw new RemovalError(this.#name, keys.length, failures);
  }

  close(): void {
    this.#client.close();
  }

  async #listPage(
    prefix: string,
    query: Readonly<Record<string, string>>,
    request: StorageRequest,
  ): Promise<AbsListing> {
    const ask: AbsAsk = {
      what: `list "${prefix}" in ${this.#name}`,
      key: prefix,
      kind: "list",
      method: "GET",
      blob: "",
      query: { restype: "container", comp: "list", include: "metadata", prefix, ...query },
    };
    const { text } = await this.#client.send(ask, request, LISTING_BYTES_MAX);
    try {
      return parseListing(text);
    } catch (cause) {
      const found = cause instanceof Error ? cause.message : String(cause);
      throw wrongAnswer(ask, found, "a listing of Azure's", { retryable: true, cause });
    }
  }

  async #removeOne(key: string, request: StorageRequest): Promise<StorageError | undefined> {
    const what = `remove "${key}" from ${this.#name}`;
    try {
      await this.#client.send({ what, key, kind: "remove", method: "DELETE", blob: key }, request);
      return undefined;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      return error.code === "BlobNotFound" ? undefined : error;
    }
  }
}

/** Where a listing begins, the key itself included: only inside of one folder are all orders the same. */
function startOf(prefix: string, after: string | undefined): Readonly<Record<string, string>> {
  const isInside = after?.startsWith(prefix) && prefix.endsWith("/") && !after.includes("/", prefix.length);
  return isInside ? { startFrom: after! } : {};
}
