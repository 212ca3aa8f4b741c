/**
 * S3Store: an ObjectStore over S3's HTTP interface, signed by aws4fetch.
 *
 * One attempt a request: deadlines, retries and the queue are {@link RetryingStore}'s. An attempt is repeated here
 * only once, where the answer itself says how to correct it (the bucket's region, expired credentials).
 *
 * @see VFS reference, section 17 "S3 client behaviour on the wire"
 * @module
 */

import { AwsV4Signer } from "aws4fetch";
import { ObjectGoneError, ReplicaClosedError, StorageError } from "../errors.ts";
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
import { faultError, isExpired, isWrongRegion, parseFault, type S3Asked, type S3Fault } from "./s3_fault.ts";
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
  readonly headers: Readonly<Record<string, string>>;
}

/** Where a bucket is spoken to: the origin, and what stands before a key in the path. */
export interface Address {
  readonly origin: string;
  readonly base: string;
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
        throw this.#wrongAnswer(
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
      headers: {
        range: `bytes=${range.offset}-${last}`,
        ...(of.etag === "" ? {} : { "if-match": quoted(of.etag) }),
        ...customerKeyHeaders(this.#location),
      },
    }, options);
    return await this.#readBody(response, { of, range, asked, options });
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
      { ...asked, objectKey: "", query: encodeQuery(query), headers: {} },
      options,
    );
    const document = await this.#collect(response, LISTING_BYTES_MAX, asked, options);
    try {
      return parseListing(new TextDecoder("utf-8", { fatal: true }).decode(document));
    } catch (cause) {
      throw this.#wrongAnswer(asked, "an answer that is no listing", "a ListBucketResult document", {
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
        throw this.#wrongAnswer(listAsked(this, prefix), found, `ascending keys that begin with "${prefix}"`);
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
      const response = await this.#exchange(ask, { region, credentials, signal: options.signal });
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
    return isExpired(fault) && source !== "anonymous" && credentials !== undefined &&
      source.forget(credentials);
  }

  async #credentials(): Promise<Credentials | undefined> {
    return this.#options.credentials === "anonymous" ? undefined : await this.#options.credentials.current();
  }

  /** One HTTP exchange, up to the answer's headers. */
  async #exchange(
    ask: Ask,
    { region, credentials, signal }: {
      region: string;
      credentials: Credentials | undefined;
      signal: AbortSignal | undefined;
    },
  ): Promise<Response> {
    const { origin, base } = addressOf(this.#location, region);
    const path = `${base}/${encodeKey(ask.objectKey)}`;
    const headers = await this.#signed(ask, { origin, path, region, credentials });
    headers.set("accept-encoding", "identity"); // Not signed: proxies and Google change it on the way.
    const target = ask.query === "" ? path : `${path}?${ask.query}`;
    signal?.throwIfAborted();
    try {
      if (hasDotSegments(path)) {
        const rejectUnauthorized = !this.#location.skipVerify;
        return await rawFetch(origin, target, { headers, signal, rejectUnauthorized });
      }
      return await this.#fetch(origin + target, {
        ...(this.#location.skipVerify ? { tls: { rejectUnauthorized: false } } : {}),
        ...this.#options.fetchInit,
        headers,
        redirect: "manual",
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (cause) {
      throw this.#networkError(ask, cause, signal, credentials);
    }
  }

  /** The request's headers with its signature; unsigned where access is anonymous. */
  async #signed(
    ask: Ask,
    { origin, path, region, credentials }: {
      origin: string;
      path: string;
      region: string;
      credentials: Credentials | undefined;
    },
  ): Promise<Headers> {
    const provider = PROVIDERS.find(({ name }) => name === this.#location.provider);
    const headers = { ...ask.headers, ...provider?.headers };
    if (credentials === undefined) return new Headers(headers);
    if (this.#signingKeys.size > SIGNING_KEYS_MAX) this.#signingKeys.clear();
    const signer = new AwsV4Signer({
      method: "GET",
      url: `${origin}${path}${ask.query === "" ? "" : `?${ask.query}`}`,
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
      datetime: new Date(this.#now()).toISOString().replace(/[:-]|\.\d{3}/g, ""),
    });
    signer.encodedPath = path; // As it is sent; the signer has read it through a URL, without its dot segments.
    return (await signer.sign()).headers;
  }

  async #readFault(response: Response, ask: Ask, options: RequestOptions): Promise<S3Fault> {
    let body = "";
    try {
      body = new TextDecoder().decode(await this.#collect(response, FAULT_BYTES_MAX, ask, options));
    } catch (error) {
      if (options.signal?.aborted) throw error; // Else the status alone tells the fault.
    }
    return parseFault(response, body, this.#now());
  }

  /** Checks the answer's headers against what was asked, then reads exactly the bytes of the range. */
  async #readBody(
    response: Response,
    { of, range, asked, options }: {
      of: ObjectIdentity;
      range: ByteRange;
      asked: S3Asked;
      options: RequestOptions;
    },
  ): Promise<ReadResult> {
    try {
      const encoding = response.headers.get("content-encoding") ?? "";
      if (!/^(|identity|aws-chunked)$/i.test(encoding)) {
        throw this.#wrongAnswer(asked, `Content-Encoding ${encoding}`, "the bytes as they are stored");
      }
      const etag = response.headers.get("etag") ?? of.etag;
      if (of.etag !== "" && bare(etag) !== bare(of.etag)) throw this.#otherObject(asked, `ETag ${etag}`, of);
      const { size, objectSize } = this.#extent(response, of, range, asked);
      const bytes = await this.#fill(response, size, asked, options);
      return { bytes, etag, objectSize };
    } catch (error) {
      response.body?.cancel().catch(() => {}); // Rejects where a reader has cancelled it already.
      throw error;
    }
  }

  /** How many bytes the body must hold, and the whole object, by the answer's headers. */
  #extent(
    response: Response,
    of: ObjectIdentity,
    range: ByteRange,
    asked: S3Asked,
  ): { size: number; objectSize: number } {
    const length = integerHeader(response, "content-length");
    if (response.status !== 206) return this.#wholeExtent(response.status, length, { of, range, asked });
    const header = response.headers.get("content-range") ?? "";
    const [, first = "", last = "", total = ""] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(header) ?? [];
    const objectSize = Number(total);
    const end = of.size === 0 ? Math.min(range.offset + range.size, objectSize) : range.offset + range.size;
    const wanted = `bytes ${range.offset}-${end - 1}/${of.size || "SIZE"}`;
    if (total === "" || Number(first) !== range.offset || Number(last) !== end - 1) {
      throw this.#wrongAnswer(asked, `Content-Range "${header}"`, `"${wanted}"`);
    }
    if (of.size > 0 && objectSize !== of.size) throw this.#otherObject(asked, `${objectSize} bytes`, of);
    const size = end - range.offset;
    if (length !== undefined && length > size) {
      throw this.#wrongAnswer(asked, `Content-Length ${length}`, `${size} bytes`);
    }
    return { size, objectSize };
  }

  /** An answer with the whole object is right only where the whole object was asked for. */
  #wholeExtent(
    status: number,
    length: number | undefined,
    { of, range, asked }: { of: ObjectIdentity; range: ByteRange; asked: S3Asked },
  ): { size: number; objectSize: number } {
    const objectSize = of.size || length;
    const whole = status === 200 && range.offset === 0 && objectSize !== undefined &&
      (of.size === 0 ? objectSize <= range.size : objectSize === range.size);
    if (!whole) {
      throw this.#wrongAnswer(
        asked,
        `status ${status} without a range`,
        "a server that answers ranges with status 206",
      );
    }
    if (length !== undefined && length > objectSize) throw this.#otherObject(asked, `${length} bytes`, of);
    return { size: objectSize, objectSize };
  }

  /** Reads a body that must have exactly `size` bytes. */
  async #fill(
    response: Response,
    size: number,
    asked: S3Asked,
    options: RequestOptions,
  ): Promise<Uint8Array> {
    const bytes = new Uint8Array(size);
    let count = 0;
    for await (const chunk of this.#chunks(response, asked, options)) {
      if (count + chunk.length > size) {
        throw this.#wrongAnswer(
          asked,
          `more than ${count + chunk.length - 1} bytes of body`,
          `${size} bytes`,
        );
      }
      bytes.set(chunk, count);
      count += chunk.length;
      options.onProgress?.(bytes.subarray(0, count));
    }
    if (count < size) {
      throw this.#wrongAnswer(asked, `a body of ${count} bytes`, `${size} bytes`, { retryable: true });
    }
    return bytes;
  }

  /** Reads a body of unknown length, at most `sizeMax` bytes. */
  async #collect(
    response: Response,
    sizeMax: number,
    asked: S3Asked,
    options: RequestOptions,
  ): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this.#chunks(response, asked, options)) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > sizeMax) throw this.#wrongAnswer(asked, `more than ${sizeMax} bytes of answer`, "less");
      options.onProgress?.(chunk);
    }
    const bytes = new Uint8Array(size);
    let offset = 0;
    for (const chunk of chunks) {
      bytes.set(chunk, offset);
      offset += chunk.length;
    }
    return bytes;
  }

  /** The body's chunks; what the connection fails with becomes a retryable error, leaving early cancels the body. */
  async *#chunks(
    response: Response,
    asked: S3Asked,
    options: RequestOptions,
  ): AsyncGenerator<Uint8Array, void, void> {
    const reader = response.body?.getReader();
    if (reader === undefined) return;
    let ended = false;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        ended = done;
        if (done) return;
        this.counts.bytes += value.length;
        yield value;
      }
    } catch (cause) {
      ended = true;
      throw this.#networkError(asked, cause, options.signal);
    } finally {
      if (!ended) reader.cancel().catch(() => {});
    }
  }

  #networkError(asked: S3Asked, cause: unknown, signal?: AbortSignal, credentials?: Credentials): unknown {
    if (signal?.aborted) return signal.reason;
    if (cause instanceof StorageError) return cause;
    const { name = "", message = String(cause) } = cause as Partial<Error>;
    const inner = (cause as Partial<Error>).cause;
    const detail = inner instanceof Error ? `: ${inner.message}` : "";
    // A permission or a certificate does not come by waiting; all else about a connection may.
    const lasting = name === "NotCapable" || name === "PermissionDenied" ||
      /certificate/i.test(message + detail);
    const details = { key: asked.key, status: 0, code: "Network", retryable: !lasting, cause };
    const found = this.#redacted(`${message}${detail}`, credentials);
    return new StorageError(`Cannot ${asked.what}: ${found}, expected an answer`, details);
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

  #otherObject(asked: S3Asked, found: string, of: ObjectIdentity): ObjectGoneError {
    const details = { key: asked.key, status: 200, code: "Changed", retryable: false };
    const wanted = `the listed object (ETag ${of.etag || "any"}, ${of.size || "any number of"} bytes)`;
    return new ObjectGoneError(`Cannot ${asked.what}: ${found}, expected ${wanted}`, details);
  }

  /** A success that is none: the answer is not what was asked for. */
  #wrongAnswer(
    asked: S3Asked,
    found: string,
    wanted: string,
    more: { retryable?: boolean; cause?: unknown } = {},
  ): StorageError {
    const details = { key: asked.key, status: 200, code: "WrongAnswer", retryable: false, ...more };
    return new StorageError(`Cannot ${asked.what}: ${found}, expected ${wanted}`, details);
  }
}

function listAsked(store: S3Store, prefix: string, bucket = ""): S3Asked {
  return { what: `list "${prefix}" in ${store.name}`, bucket, key: prefix, kind: "list" };
}

/** Where requests for `location` go while its bucket is taken to be in `region`. */
export function addressOf(location: S3Location, region: string): Address {
  const { bucket, endpoint, pathStyle } = location;
  const domain = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  const point = /^arn:[^:]+:s3:[^:]*:(\d+):accesspoint[/:](.+)$/i.exec(bucket);
  const access = point === null ? undefined : `${point[2]}-${point[1]}`;
  if (endpoint === "") {
    if (access !== undefined) {
      return { origin: `https://${access}.s3-accesspoint.${region}.${domain}`, base: "" };
    }
    // A wildcard certificate covers one label: names with dots, and names no host may have, stand in the path.
    const inHost = !pathStyle && /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(bucket);
    const host = `s3.${region}.${domain}`;
    return inHost
      ? { origin: `https://${bucket}.${host}`, base: "" }
      : { origin: `https://${host}`, base: `/${encodeKey(bucket)}` };
  }
  const [, origin = "", path = ""] = /^(https?:\/\/[^/]+)(.*)$/.exec(endpoint) ?? [];
  if (access === undefined && pathStyle) return { origin, base: `${path}/${encodeKey(bucket)}` };
  return { origin: origin.replace("//", `//${access ?? bucket}.`), base: path };
}

/** RFC 3986 encoding of each segment; slashes stay. */
function encodeKey(key: string): string {
  return key.split("/").map(encodePart).join("/");
}

function encodeQuery(query: ReadonlyMap<string, string>): string {
  return [...query].map(([name, value]) => `${encodePart(name)}=${encodePart(value)}`).sort().join("&");
}

function encodePart(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function customerKeyHeaders({ customerKey }: S3Location): Record<string, string> {
  if (customerKey === undefined) return {};
  return {
    "x-amz-server-side-encryption-customer-algorithm": customerKey.algorithm,
    "x-amz-server-side-encryption-customer-key": customerKey.key,
    "x-amz-server-side-encryption-customer-key-md5": customerKey.keyMd5,
  };
}

function integerHeader(response: Response, name: string): number | undefined {
  const value = response.headers.get(name) ?? "";
  return /^\d+$/.test(value) ? Number(value) : undefined;
}

/** As `If-Match` wants it; some servers list tags without their quotes. */
function quoted(etag: string): string {
  return /^(W\/)?"/.test(etag) ? etag : `"${etag}"`;
}

/** The tag alone: a proxy that re-packs bodies marks it as weak, some servers leave the quotes out. */
function bare(etag: string): string {
  return etag.replace(/^W\//, "").replace(/^"|"$/g, "");
}
