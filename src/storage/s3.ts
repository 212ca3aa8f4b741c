/**
 * S3Store: an ObjectStore over S3's HTTP interface.
 *
 * One attempt a request: deadlines, retries and the queue are {@link RetryingStore}'s.
 *
 * @see VFS reference, section 17 "S3 client behaviour on the wire"
 * @module
 */

import { StorageError } from "../errors.ts";
import { bareEtag, quotedEtag } from "./etag.ts";
import { compareKeys } from "./key_order.ts";
import { ListingBound } from "./listing_bound.ts";
import { putChunksOnce } from "./multipart.ts";
import {
  type BareStore,
  type ByteRange,
  checkContent,
  checkRange,
  type ListedObject,
  type ListOptions,
  type ObjectIdentity,
  type PartUploads,
  type PutOptions,
  type ReadResult,
  type RequestCounts,
  type RequestOptions,
} from "./object_store.ts";
import { providerNamed } from "./providers.ts";
import type { S3Location } from "./replica_url.ts";
import { encodeQuery } from "./s3_address.ts";
import { wrongAnswer } from "./http_fault.ts";
import { collectBody, readRange } from "./http_body.ts";
import { S3Client, type S3ClientOptions } from "./s3_client.ts";
import type { S3Asked } from "./s3_fault.ts";
import { customerKeyHeaders } from "./s3_headers.ts";
import { OddAnswers } from "./odd_answers.ts";
import { parseListing, type S3Listing, wrongListing } from "./s3_listing.ts";
import { S3Removal } from "./s3_removal.ts";
import { S3Uploads } from "./s3_uploads.ts";
import type { StorageTraits } from "./storage.ts";

/** What an {@link S3Store} is made with beside its location. */
export interface S3StoreOptions extends S3ClientOptions {
  /** One of the location's prefixes; its first where nothing is said. */
  readonly prefix?: string | undefined;
}

const LISTING_BYTES_MAX = 16 * 1024 * 1024;
const PAGE_OBJECTS = 1000;

/** A replica's objects in a bucket. */
export class S3Store implements BareStore {
  readonly name: string;
  readonly traits: Required<StorageTraits>;
  readonly counts: RequestCounts = { list: 0, get: 0, bytes: 0, retries: 0 };
  readonly #location: S3Location;
  readonly #prefix: string;
  readonly #client: S3Client;
  readonly #odd = new OddAnswers();
  readonly #uploads: S3Uploads;
  readonly #removal: S3Removal;

  constructor(location: S3Location, options: S3StoreOptions) {
    this.name = location.name;
    this.#location = location;
    this.#prefix = options.prefix ?? location.prefixes[0] ?? "";
    const inOrder = providerNamed(location.provider).listsFolders !== true;
    this.traits = {
      conditionalPut: true,
      conditionalReplace: true,
      cheapList: inOrder,
      listsInOrder: inOrder,
    };
    this.#client = new S3Client(location, options, this.counts);
    this.#uploads = new S3Uploads(location, this.#prefix, this.#client);
    this.#removal = new S3Removal(location, this.#prefix, this.#client);
  }

  get parts(): PartUploads {
    return this.#uploads;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject[], void, undefined> {
    if (!this.traits.listsInOrder) return yield* this.#listSorted(prefix, options);
    const { after } = options;
    let previous: string | undefined;
    for await (const page of this.#pages(prefix, options)) {
      const objects: ListedObject[] = [];
      for (const [i, object] of page.entries()) {
        const key = this.#ownKey(object, prefix, previous, i > 0);
        if (key !== previous && (after === undefined || compareKeys(after, key) < 0)) {
          objects.push({ ...object, key });
        }
        previous = key;
      }
      if (objects.length > 0) yield objects;
    }
  }

  /** Whole folders, which come in no order, down to what was asked for. */
  async *#listSorted(
    prefix: string,
    options: ListOptions,
  ): AsyncGenerator<ListedObject[], void, undefined> {
    const { after, ...others } = options;
    const whole = this.#prefix + prefix;
    const folder = whole.slice(0, whole.lastIndexOf("/") + 1).slice(this.#prefix.length);
    const byKey = new Map<string, ListedObject>();
    for await (const page of this.#pages(folder, others)) {
      for (const object of page) {
        const key = object.key.slice(this.#prefix.length);
        const isAfter = after === undefined || compareKeys(after, key) < 0;
        if (object.key.startsWith(whole) && isAfter) byKey.set(key, { ...object, key });
      }
    }
    const sorted = [...byKey.values()].sort((a, b) => compareKeys(a.key, b.key));
    for (let first = 0; first < sorted.length; first += PAGE_OBJECTS) {
      yield sorted.slice(first, first + PAGE_OBJECTS);
    }
  }

  /** Each page as it comes, its keys the bucket's own. */
  async *#pages(prefix: string, options: ListOptions): AsyncGenerator<ListedObject[], void, undefined> {
    const bound = new ListingBound();
    let token: string | undefined;
    do {
      const page = await this.#listPage(prefix, token, options);
      const excess = bound.add(page.objects.length);
      if (excess) throw wrongAnswer(listAsked(this, prefix), excess.found, excess.wanted);
      yield page.objects;
      if (page.continuationToken === token && token !== undefined) {
        throw wrongAnswer(
          listAsked(this, prefix),
          "the same continuation token twice",
          "pages that end",
        );
      }
      token = page.continuationToken;
    } while (token !== undefined);
  }

  async read(of: ObjectIdentity, range: ByteRange, options: RequestOptions = {}): Promise<ReadResult> {
    checkRange(range);
    const last = range.offset + range.size - 1;
    const asked: S3Asked = {
      what: `read bytes ${range.offset}-${last} of "${of.key}" in ${this.name}`,
      bucket: this.#location.bucket,
      key: of.key,
      kind: "get",
    };
    if (of.size > 0 && last >= of.size) {
      const details = { key: of.key, status: 416, code: "InvalidRange", retryable: false };
      throw new StorageError(
        `Cannot ${asked.what}: the object has ${of.size} bytes, expected a range inside`,
        details,
      );
    }
    const response = await this.#client.send({
      ...asked,
      method: "GET",
      objectKey: this.#prefix + of.key,
      query: "",
      headers: {
        ...(of.etag === "" ? {} : { "if-match": quotedEtag(bareEtag(of.etag)) }),
        ...customerKeyHeaders(this.#location),
      },
      range: `bytes=${range.offset}-${last}`,
    }, options);
    return await readRange(this.#client.answer(response, asked, options), { of, range });
  }

  async put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<ListedObject> {
    checkContent(key, bytes.length);
    return { key, size: bytes.length, ...await this.#uploads.putWhole(key, bytes, options) };
  }

  async putChunks(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<ListedObject> {
    return await putChunksOnce(this, { key, chunks, options });
  }

  async remove(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    await this.#removal.remove(keys, options);
  }

  close(): Promise<void> {
    this.#client.close();
    return Promise.resolve();
  }

  /** Asks for one page: the first after `options.after`, later ones by their token. */
  async #listPage(prefix: string, token: string | undefined, options: ListOptions): Promise<S3Listing> {
    const query = new Map([["encoding-type", "url"], ["list-type", "2"], ["prefix", this.#prefix + prefix]]);
    if (token !== undefined) query.set("continuation-token", token);
    else if (options.after !== undefined) query.set("start-after", this.#prefix + options.after);
    const asked = listAsked(this, prefix, this.#location.bucket);
    const response = await this.#client.send(
      { ...asked, method: "GET", objectKey: "", query: encodeQuery(query) },
      options,
    );
    const document = await collectBody(this.#client.answer(response, asked, options), LISTING_BYTES_MAX);
    try {
      return parseListing(new TextDecoder("utf-8", { fatal: true }).decode(document));
    } catch (cause) {
      throw wrongListing(new TextDecoder().decode(document), asked, this.#odd, cause);
    }
  }

  /** A listed key without the store's prefix; checked to lie under `prefix` and behind the one before, of another page or of its own. */
  #ownKey(
    object: ListedObject,
    prefix: string,
    previous: string | undefined,
    isOfOnePage: boolean,
  ): string {
    const key = object.key.slice(this.#prefix.length);
    const order = previous === undefined ? -1 : compareKeys(previous, key);
    const ascends = order < 0 || (order === 0 && !isOfOnePage); // the last one of a page may come again
    if (!object.key.startsWith(this.#prefix + prefix) || !ascends) {
      const found = `key "${object.key}"${ascends ? "" : ` after "${this.#prefix}${previous}"`}`;
      const retryable = this.#odd.isNew(found);
      throw wrongAnswer(listAsked(this, prefix), found, `ascending keys that begin with "${prefix}"`, {
        retryable,
      });
    }
    return key;
  }
}

function listAsked(store: S3Store, prefix: string, bucket = ""): S3Asked {
  return { what: `list "${prefix}" in ${store.name}`, bucket, key: prefix, kind: "list" };
}
