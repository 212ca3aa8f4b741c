/**
 * S3Store: an ObjectStore over S3's HTTP interface, signed by aws4fetch.
 *
 * One attempt a request: deadlines, retries and the queue are {@link RetryingStore}'s. An attempt is repeated here
 * only once, where the answer itself says how to correct it (the bucket's region, expired credentials).
 *
 * @see VFS reference, section 17 "S3 client behaviour on the wire"
 * @module
 */

import { bareEtag, quotedEtag } from "./etag.ts";
import { AwsV4Signer } from "aws4fetch";
import { ReplicaClosedError, StorageError } from "../errors.ts";
import type { Credentials, CredentialsSource } from "./credentials.ts";
import { compareKeys } from "./key_order.ts";
import {
  type ByteRange,
  checkRange,
  type ListedObject,
  type ListOptions,
  type ObjectIdentity,
  type ObjectStore,
  type ReadResult,
  type RequestCounts,
  type RequestOptions,
} from "./object_store.ts";
import type { FetchFunction } from "./fetch_function.ts";
import { PROVIDERS } from "./providers.ts";
import { hasDotSegments, rawFetch } from "./raw_fetch.ts";
import type { S3Location } from "./replica_url.ts";
import { type Address, addressOf, encodeKey, encodeQuery } from "./s3_address.ts";
import { collectBody, readRange, type S3Answer } from "./s3_body.ts";
import {
  faultError,
  isWrongRegion,
  networkError,
  parseFault,
  refusalOf,
  type S3Asked,
  type S3Fault,
  wrongAnswer,
} from "./s3_fault.ts";
import { parseListing, type S3Listing } from "./s3_listing.ts";

/** What an {@link S3Store} is made with beside its location. */
export interface S3StoreOptions {
  readonly credentials: CredentialsSource | "anonymous";
  /** One of the location's prefixes; its first where nothing is said. */
  readonly prefix?: string | undefined;
  /** Region to begin with where the location names none; corrected by what the server says. */
  readonly region?: string | undefined;
  readonly fetch?: FetchFunction | undefined;
  /** Further fetch options, such as a runtime's own for TLS. */
  readonly fetchInit?: Readonly<Record<string, unknown>> | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly now?: (() => number) | undefined;
}

/** A GET request before it is signed. */
interface Ask extends S3Asked {
  /** The object's key in the bucket; empty for a listing. */
  readonly objectKey: string;
  /** Encoded query without its question mark. */
  readonly query: string;
  /** Value of If-Match; empty for none. */
  readonly ifMatch: string;
  /** Value of Range; empty for none. */
  readonly range: string;
}

/** For whom requests are signed, and as which region's. */
interface Signing {
  readonly region: string;
  readonly credentials: Credentials | undefined;
}

/** A request that is signed; all that is missing is its range, which no signature covers. */
interface SignedRequest {
  readonly origin: string;
  /** Path and query as they are sent. */
  readonly target: string;
  /** Whether only {@link rawFetch} can send it. */
  readonly isRaw: boolean;
  readonly headers: Readonly<Record<string, string>>;
}

/** What was signed within one second: the same request has the same signature until it ends. */
interface SignedSecond extends Signing {
  /** Seconds since the Unix epoch. */
  readonly second: number;
  /** As a signature spells it. */
  readonly datetime: string;
  readonly address: Address;
  readonly requests: Map<string, Promise<SignedRequest>>;
}

const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const REGION_DEFAULT = "us-east-1";
const FAULT_BYTES_MAX = 64 * 1024;
const LISTING_BYTES_MAX = 16 * 1024 * 1024;
const SIGNING_KEYS_MAX = 16;
/** Shorter ones, which nobody but a test has, would be found in the middle of words. */
const SECRET_LENGTH_MIN = 8;

/** A replica's objects in a bucket. */
export class S3Store implements ObjectStore {
  readonly name: string;
  readonly counts: RequestCounts = { list: 0, get: 0, bytes: 0, retries: 0 };
  readonly #location: S3Location;
  readonly #prefix: string;
  readonly #options: S3StoreOptions;
  readonly #fetch: FetchFunction;
  readonly #now: () => number;
  readonly #signingKeys = new Map<string, ArrayBuffer>();
  readonly #providerHeaders: Readonly<Record<string, string>>;
  /** What fetch is given with each request. */
  readonly #fetchInit: RequestInit;
  #signedSecond: SignedSecond | undefined;
  #region: string;
  #closed = false;

  constructor(location: S3Location, options: S3StoreOptions) {
    this.name = location.name;
    this.#location = location;
    this.#prefix = options.prefix ?? location.prefixes[0] ?? "";
    this.#options = options;
    this.#fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init));
    this.#now = options.now ?? Date.now;
    this.#region = location.region || options.region || REGION_DEFAULT;
    this.#providerHeaders = PROVIDERS.find(({ name }) => name === location.provider)?.headers ?? {};
    const tls = location.skipVerify ? { tls: { rejectUnauthorized: false } } : {};
    this.#fetchInit = { ...tls, ...options.fetchInit, redirect: "manual" };
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject[], void, undefined> {
    let token: string | undefined;
    let last: string | undefined = options.after;
    do {
      const page = await this.#listPage(prefix, token, options);
      const objects = this.#ownObjects(page.objects, prefix, last);
      last = objects.at(-1)?.key ?? last;
      if (objects.length > 0) yield objects;
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
    this.counts.get++;
    const response = await this.#send({
      ...asked,
      objectKey: this.#prefix + of.key,
      query: "",
      ifMatch: of.etag === "" ? "" : quotedEtag(bareEtag(of.etag)),
      range: `bytes=${range.offset}-${last}`,
    }, options);
    return await readRange(this.#answer(response, asked, options), { of, range });
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  /** Asks for one page: the first after `options.after`, later ones by their token. */
  async #listPage(prefix: string, token: string | undefined, options: ListOptions): Promise<S3Listing> {
    const query = new Map([["encoding-type", "url"], ["list-type", "2"], ["prefix", this.#prefix + prefix]]);
    if (token !== undefined) query.set("continuation-token", token);
    else if (options.after !== undefined) query.set("start-after", this.#prefix + options.after);
    const asked = listAsked(this, prefix, this.#location.bucket);
    this.counts.list++;
    const response = await this.#send(
      { ...asked, objectKey: "", query: encodeQuery(query), ifMatch: "", range: "" },
      options,
    );
    const document = await collectBody(this.#answer(response, asked, options), LISTING_BYTES_MAX);
    try {
      return parseListing(new TextDecoder("utf-8", { fatal: true }).decode(document));
    } catch (cause) {
      throw wrongAnswer(asked, "an answer that is no listing", "a ListBucketResult document", {
        cause,
      });
    }
  }

  /** Keys without the store's prefix, only those after `last`; checked to lie under `prefix` and to ascend. */
  #ownObjects(objects: readonly ListedObject[], prefix: string, last: string | undefined): ListedObject[] {
    const own: ListedObject[] = [];
    let previous: string | undefined;
    for (const object of objects) {
      const key = object.key.slice(this.#prefix.length);
      const ascends = previous === undefined || compareKeys(previous, key) < 0;
      if (!object.key.startsWith(this.#prefix + prefix) || !ascends) {
        const found = `key "${object.key}"${ascends ? "" : ` after "${this.#prefix}${previous}"`}`;
        throw wrongAnswer(listAsked(this, prefix), found, `ascending keys that begin with "${prefix}"`);
      }
      previous = key;
      if (last === undefined || compareKeys(last, key) < 0) own.push({ ...object, key });
    }
    return own;
  }

  /** Sends a request; repeats it once where the fault tells how to correct it. */
  async #send(ask: Ask, options: RequestOptions): Promise<Response> {
    for (let corrected = false;; corrected = true) {
      if (this.#closed) throw new ReplicaClosedError(`Cannot ${ask.what}: the store was closed`);
      const region = this.#region;
      const credentials = await this.#credentials();
      const response = await this.#exchange(ask, { region, credentials }, options.signal);
      options.onProgress?.(new Uint8Array(0));
      if (response.ok) return response;
      const fault = await this.#readFault(response, ask, options);
      if (corrected || !this.#correct(fault, region, credentials)) {
        const redact = (text: string) => this.#redacted(text, credentials);
        throw faultError(fault, ask, { nowMs: this.#now(), redact });
      }
      if (ask.kind === "list") this.counts.list++;
      else this.counts.get++;
      this.counts.retries++;
    }
  }

  /** Learns from a fault; whether the request may succeed now. */
  #correct(fault: S3Fault, region: string, credentials: Credentials | undefined): boolean {
    if (isWrongRegion(fault) && fault.region !== "" && fault.region !== region) {
      this.#region = fault.region;
      return true;
    }
    const source = this.#options.credentials;
    const refusal = refusalOf(fault);
    return refusal !== undefined && source !== "anonymous" && credentials !== undefined &&
      source.forget(credentials, refusal);
  }

  async #credentials(): Promise<Credentials | undefined> {
    return this.#options.credentials === "anonymous" ? undefined : await this.#options.credentials.current();
  }

  /** One HTTP exchange, up to the answer's headers. */
  async #exchange(ask: Ask, by: Signing, signal: AbortSignal | undefined): Promise<Response> {
    const { origin, target, isRaw, headers: signed } = await this.#signed(ask, by);
    const headers = ask.range === "" ? { ...signed } : { ...signed, range: ask.range };
    signal?.throwIfAborted();
    try {
      if (isRaw) {
        if (this.#options.fetch !== undefined) throw this.#unsendable(ask);
        const rejectUnauthorized = !this.#location.skipVerify;
        return await rawFetch(origin, target, { headers, signal, rejectUnauthorized });
      }
      const init = signal === undefined ? { headers } : { headers, signal };
      return await this.#fetch(origin + target, { ...this.#fetchInit, ...init });
    } catch (cause) {
      const redact = (text: string) => this.#redacted(text, by.credentials);
      throw networkError(ask, cause, { signal, redact });
    }
  }

  /** A fetch of the user's is asked for everything or for nothing: it may be the only way out, or there to count. */
  #unsendable({ what, key }: Ask): StorageError {
    const found = "the key begins with a segment that every fetch function drops";
    const wanted = "a replica below a path, or no option fetch";
    const details = { key, status: 0, code: "DotSegments", retryable: false };
    return new StorageError(`Cannot ${what}: ${found}, expected ${wanted}`, details);
  }

  /** The request signed; reads of one object within a second share what was signed for the first of them. */
  #signed(ask: Ask, by: Signing): Promise<SignedRequest> {
    const second = this.#secondNow(by);
    const name = `${ask.ifMatch}\n${ask.query}\n${ask.objectKey}`; // Only a key may have line breaks.
    let signed = second.requests.get(name);
    if (signed === undefined) {
      signed = this.#sign(ask, second);
      signed.catch(() => second.requests.delete(name));
      second.requests.set(name, signed);
    }
    return signed;
  }

  #secondNow({ region, credentials }: Signing): SignedSecond {
    const nowMs = this.#now();
    const second = Math.floor(nowMs / 1000);
    const last = this.#signedSecond;
    if (last?.second === second && last.region === region && last.credentials === credentials) return last;
    const datetime = new Date(nowMs).toISOString().replace(/[:-]|\.\d{3}/g, "");
    const address = addressOf(this.#location, region);
    return this.#signedSecond = { second, datetime, region, credentials, address, requests: new Map() };
  }

  /** The request with its signature; unsigned where access is anonymous. */
  async #sign(ask: Ask, { region, credentials, address, datetime }: SignedSecond): Promise<SignedRequest> {
    const { origin, base } = address;
    const path = `${base}/${encodeKey(ask.objectKey)}`;
    const target = ask.query === "" ? path : `${path}?${ask.query}`;
    const headers = {
      ...(ask.ifMatch === "" ? {} : { "if-match": ask.ifMatch }),
      ...(ask.kind === "get" ? customerKeyHeaders(this.#location) : {}),
      ...this.#providerHeaders,
    };
    const url = origin + target;
    const signed = credentials === undefined
      ? headers
      : await this.#signedHeaders({ url, path, headers, region, credentials, datetime });
    // Not signed: proxies and Google change it on the way.
    const sent = { ...signed, "accept-encoding": "identity" };
    return { origin, target, isRaw: hasDotSegments(path), headers: sent };
  }

  async #signedHeaders({ url, path, headers, region, credentials, datetime }: {
    url: string;
    path: string;
    headers: Record<string, string>;
    region: string;
    credentials: Credentials;
    datetime: string;
  }): Promise<Record<string, string>> {
    if (this.#signingKeys.size > SIGNING_KEYS_MAX) this.#signingKeys.clear();
    const signer = new AwsV4Signer({
      method: "GET",
      url,
      headers: {
        ...headers,
        "x-amz-content-sha256": this.#location.signPayload ? EMPTY_SHA256 : "UNSIGNED-PAYLOAD",
      },
      accessKeyId: credentials.accessKeyId,
      secretAccessKey: credentials.secretAccessKey,
      ...(credentials.sessionToken ? { sessionToken: credentials.sessionToken } : {}),
      service: "s3",
      region,
      cache: this.#signingKeys,
      datetime,
    });
    signer.encodedPath = path; // As it is sent; the signer has read it through a URL, without its dot segments.
    return Object.fromEntries((await signer.sign()).headers);
  }

  async #readFault(response: Response, ask: Ask, options: RequestOptions): Promise<S3Fault> {
    let body = "";
    try {
      body = new TextDecoder().decode(
        await collectBody(this.#answer(response, ask, options), FAULT_BYTES_MAX),
      );
    } catch (error) {
      if (options.signal?.aborted) throw error; // Else the status alone tells the fault.
    }
    return parseFault(response, body, this.#now());
  }

  #answer(response: Response, asked: S3Asked, options: RequestOptions): S3Answer {
    const redact = (text: string) => this.#redacted(text, undefined);
    return { response, asked, options, counts: this.counts, redact };
  }

  /** `text` without secrets, should whoever wrote it have repeated a header. */
  #redacted(text: string, credentials: Credentials | undefined): string {
    const secrets = [
      credentials?.secretAccessKey,
      credentials?.sessionToken,
      this.#location.customerKey?.key,
    ];
    return secrets.reduce<string>(
      (clean, secret) =>
        secret && secret.length >= SECRET_LENGTH_MIN ? clean.replaceAll(secret, "[secret]") : clean,
      text,
    );
  }
}

function listAsked(store: S3Store, prefix: string, bucket = ""): S3Asked {
  return { what: `list "${prefix}" in ${store.name}`, bucket, key: prefix, kind: "list" };
}

function customerKeyHeaders({ customerKey }: S3Location): Record<string, string> {
  if (customerKey === undefined) return {};
  return {
    "x-amz-server-side-encryption-customer-algorithm": customerKey.algorithm,
    "x-amz-server-side-encryption-customer-key": customerKey.key,
    "x-amz-server-side-encryption-customer-key-md5": customerKey.keyMd5,
  };
}
