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
import { compareKeys } from "../key_order.ts";
import type { RequestCounts } from "../object_store.ts";
import { removeEach } from "../removal.ts";
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

/** A page of a listing, and how it was asked for. */
interface Page extends AbsListing {
  readonly query: Readonly<Record<string, string>>;
}

class AbsStorage implements Storage {
  readonly traits = { conditionalPut: true, conditionalReplace: true, cheapList: true, listsInOrder: true };
  readonly counts: RequestCounts;
  readonly parts: AbsUploads;
  readonly #name: string;
  readonly #client: AbsClient;
  /** Whether listings begin where they are told to. */
  #starts: "perhaps" | "always" | "never" = "perhaps";

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
    let page = await this.#listStarted(prefix, request) ?? await this.#listPage(prefix, {}, request);
    let held: StoredObject[] | undefined; // Among folders the order is theirs: keys wait for the last page.
    for (;;) {
      const { objects, hasFolders, nextMarker } = page;
      if (hasFolders) held ??= [];
      if (held) held.push(...objects);
      else if (objects.length > 0) yield sorted(objects);
      if (nextMarker === "") break;
      page = await this.#listPage(prefix, { ...page.query, marker: nextMarker }, request);
    }
    if (held?.length) yield sorted(held);
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
    const removal = { place: this.#name, keys, count: REMOVED_AT_ONCE, signal: request.signal };
    await removeEach(removal, (key) => this.#removeOne(key, request));
  }

  close(): void {
    this.#client.close();
  }

  /**
   * The first page of a listing that begins with a key, if it is there; undefined where all must be listed.
   *
   * No document tells what a start means beside a prefix, and a listing that begins too late hides what is
   * new: so it is trusted only when it has begun with that very key once.
   */
  async #listStarted(prefix: string, request: StorageList): Promise<Page | undefined> {
    const { after } = request;
    if (after === undefined || this.#starts === "never" || !isInFolder(prefix, after)) return undefined;
    let page: Page;
    try {
      page = await this.#listPage(prefix, { startFrom: after }, request);
    } catch (error) {
      if (!(error instanceof StorageError) || error.status !== 400) throw error;
      this.#starts = "never";
      return undefined;
    }
    const first = page.objects[0]?.key;
    if (first === after) this.#starts = "always";
    if (first === undefined || compareKeys(first, after) >= 0) {
      return this.#starts === "always" ? page : undefined;
    }
    this.#starts = "never"; // An older service does not know of it, and has begun at the beginning.
    return page;
  }

  async #listPage(
    prefix: string,
    query: Readonly<Record<string, string>>,
    request: StorageRequest,
  ): Promise<Page> {
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
      return { ...parseListing(text), query };
    } catch (cause) {
      const found = cause instanceof Error ? cause.message : String(cause);
      throw wrongAnswer(ask, found, "a listing of Azure's", { retryable: true, cause });
    }
  }

  async #removeOne(key: string, request: StorageRequest): Promise<void> {
    const what = `remove "${key}" from ${this.#name}`;
    try {
      await this.#client.send({ what, key, kind: "remove", method: "DELETE", blob: key }, request);
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== "BlobNotFound") throw error;
    }
  }
}

/** Azurite orders by UTF-16 units. */
function sorted(objects: readonly StoredObject[]): StoredObject[] {
  return [...objects].sort((a, b) => compareKeys(a.key, b.key));
}

/** Only inside of one folder do accounts with a hierarchical namespace order by keys. */
function isInFolder(prefix: string, key: string): boolean {
  return key.startsWith(prefix) && prefix.endsWith("/") && !key.includes("/", prefix.length);
}
