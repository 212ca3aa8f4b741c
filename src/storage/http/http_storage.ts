/**
 * HttpStorage: a replica that is published as static files, to be read only.
 *
 * @module
 */

import { ObjectGoneError, StorageError } from "../../errors.ts";
import type { OpenBackend } from "../backend.ts";
import type { HttpLocation } from "../backend_location.ts";
import { compareKeys } from "../key_order.ts";
import type { RequestCounts } from "../object_store.ts";
import type {
  Storage,
  StorageList,
  StorageRead,
  StorageRequest,
  StoredBytes,
  StoredObject,
} from "../storage.ts";
import { IndexListing } from "./index_listing.ts";
import type { HttpListing } from "./listing.ts";
import { PageListing } from "./page_listing.ts";
import { Site } from "./site.ts";
import { INDEX_NAME } from "./static_index.ts";

/** How long no index is asked for where there was none and the server's pages do, in ms. */
const NO_INDEX_MS = 60_000;

/** Makes it of a location. */
export const open: OpenBackend<HttpLocation> = (location, context) =>
  new HttpStorage(new Site(location, context), context.now);

/** Files are listed by `index.json`, or, where there is none, by the server's own pages. */
class HttpStorage implements Storage {
  readonly traits = { conditionalPut: false, cheapList: false };
  readonly #site: Site;
  readonly #now: () => number;
  readonly #index: IndexListing;
  readonly #pages: PageListing;
  /** The one that was listed by last. */
  #listing: HttpListing | undefined;
  #noIndexUntilMs = -Infinity;

  constructor(site: Site, now: () => number) {
    this.#site = site;
    this.#now = now;
    this.#index = new IndexListing(site);
    this.#pages = new PageListing(site);
  }

  get counts(): RequestCounts {
    return this.#site.counts;
  }

  async *list(prefix: string, request: StorageList): AsyncGenerator<StoredObject[]> {
    const indexed = await this.#indexed(prefix, request);
    if (indexed !== undefined) {
      this.#listing = this.#index;
      if (indexed.length > 0) yield indexed;
      return;
    }
    this.#listing = this.#pages;
    yield* this.#pages.list(prefix, request);
  }

  async #indexed(prefix: string, request: StorageRequest): Promise<StoredObject[] | undefined> {
    if (this.#pages.hasListed && this.#now() < this.#noIndexUntilMs) return undefined;
    const indexed = await this.#index.list(prefix, request);
    if (indexed === undefined) this.#noIndexUntilMs = this.#now() + NO_INDEX_MS;
    return indexed?.sort((a, b) => compareKeys(a.key, b.key));
  }

  async read(
    key: string,
    range: { readonly offset: number; readonly size: number },
    request: StorageRead,
  ): Promise<StoredBytes | undefined> {
    // A file may be known from an earlier run: what its tag means only a listing can tell.
    if (this.#listing === undefined) await this.list(key, request).next();
    const isFresh = request.etag === undefined;
    const found = await this.#site.read(key, { ...range, isFresh }, request);
    if (found === "outside" && isFresh) throw this.#outside(key, range.offset);
    if (found === undefined && !isFresh && this.#index.has(key)) throw this.#gone(key);
    if (found === undefined || found === "outside") {
      this.#listing!.forget(key);
      return undefined;
    }
    const etag = this.#listing!.tagOf(key, found.facts, request.etag);
    if (etag === undefined || request.etag !== undefined && etag !== request.etag) this.#listing!.forget(key);
    return etag === undefined ? undefined : { bytes: found.bytes, etag, objectSize: found.facts.size };
  }

  /** Whoever keeps the index must hear of it: listing again helps only when that is made anew. */
  #gone(key: string): ObjectGoneError {
    const details = { key, status: 404, code: "NoSuchKey", retryable: false };
    return new ObjectGoneError(
      `Cannot read "${key}" in ${this.#site.name}: ${INDEX_NAME} has it and it is not there, expected an ` +
        "index that is made anew when files go",
      details,
    );
  }

  #outside(key: string, offset: number): StorageError {
    const details = { key, status: 416, code: "InvalidRange", retryable: false };
    return new StorageError(
      `Cannot read "${key}" in ${this.#site.name}: it ends before byte ${offset}, expected a range inside`,
      details,
    );
  }

  close(): void {
    this.#site.close();
  }
}
