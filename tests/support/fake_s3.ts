/**
 * An S3 server in memory: signatures checked, every request logged, faults on demand.
 *
 * It speaks HTTP/1.1 over node:net rather than node:http, so that it can break the protocol (cut, stalled and lying
 * bodies, resets) in the same way on both runtimes, and sees paths as they were sent.
 *
 *     await using s3 = await FakeS3.start();
 *     s3.put("db/0009/x.ltx", bytes);
 *     // s3.endpoint, s3.bucket, s3.accessKeyId, s3.secretAccessKey
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { type Fault, FaultSchedule } from "./faults.ts";
import { type HttpRequest, RequestReader } from "./request_reader.ts";
import { checkSignature, type Refusal } from "./sigv4_check.ts";

/** How the server behaves; all of it may be changed while it runs. */
export interface FakeS3Options {
  bucket: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** Empty: requests must not carry one. */
  sessionToken: string;
  /** Session tokens that are answered with ExpiredToken. */
  expiredTokens: readonly string[];
  /** Status for a key that is not there; 403 as where LIST of the bucket is not permitted. */
  missingKeyStatus: 404 | 403;
  /** Unsigned requests are served too. */
  anonymous: boolean;
  /** Signatures are checked; off only where a bench wants the server cheaper. */
  verify: boolean;
  /** Whether many objects can be removed at once; as where not, Google says. */
  bulkDelete: boolean;
  /** Whether removing many at once must carry a Content-MD5, as Amazon wants it. */
  requireContentMd5: boolean;
  /**
   * It is a directory bucket, named `NAME--ZONE--x-s3`: sessions, listings of folders in no order, and tags that tell
   * nothing of the content.
   */
  directory: boolean;
  /** How long a directory bucket's sessions last, in ms. */
  sessionLifeMs: number;
  /** Modes of sessions that are forbidden. */
  forbiddenModes: readonly string[];
  /** Keys of a listing page at most. */
  pageSize: number;
  /** Time before an answer begins, in ms. */
  latencyMs: number;
  /** Bytes of body a second on one connection; 0 for as fast as it goes. */
  bytesPerSecond: number;
  faults: FaultSchedule;
  /** The server's clock in ms since the Unix epoch. */
  now: () => number;
}

/** One request in the log. */
export interface LoggedRequest {
  readonly method: string;
  /** The object's key; empty for a listing. */
  readonly key: string;
  /** A listing's prefix; empty for other requests. */
  readonly prefix: string;
  readonly target: string;
  readonly range: string;
  readonly headers: ReadonlyMap<string, string>;
  /** When it had arrived, by performance.now(). */
  readonly atMs: number;
  /** Requests under way at that moment, this one included. */
  readonly concurrency: number;
  /** 0 where no answer was sent. */
  status: number;
  /** Bytes of body handed to the socket. */
  bytes: number;
}

/** Bytes of an object that nobody keeps: those from `offset` on, `size` of them. */
export type MadeBytes = (offset: number, size: number) => Uint8Array;

interface StoredObject {
  readonly size: number;
  readonly etag: string;
  readonly modifiedMs: number;
  readonly bytes?: Buffer;
  readonly path?: string;
  readonly made?: MadeBytes;
  /** Headers given back: x-amz-meta-*, content-type. */
  readonly headers: Record<string, string>;
  /** Opened once, by the first read. */
  file?: Promise<FileHandle>;
}

/** What requests to a directory bucket are signed with. */
interface Session {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly mode: string;
  readonly expiresMs: number;
}

/** An upload in parts that has neither been completed nor aborted. */
interface OpenUpload {
  readonly key: string;
  readonly headers: Record<string, string>;
  readonly parts: Map<number, { etag: string; bytes: Buffer }>;
}

interface SortedKey {
  readonly key: string;
  readonly bytes: Buffer;
}

/** What a request is about. */
interface Place {
  readonly bucket: string;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly host: string;
}

interface HttpAnswer {
  status: number;
  headers: Record<string, string>;
  body: Buffer | { object: StoredObject; offset: number; size: number };
}

const FILE_CHUNK = 1024 * 1024;
const CUSTOMER_KEY_MD5 = "x-amz-server-side-encryption-customer-key-md5";
const ENCRYPTED =
  "The object was stored using a form of Server Side Encryption. The correct parameters must be provided.";

/** The server. */
export class FakeS3 {
  readonly options: FakeS3Options;
  readonly log: LoggedRequest[] = [];
  /** Without a bucket, such as `http://127.0.0.1:40000`. */
  endpoint = "";
  readonly #objects = new Map<string, StoredObject>();
  /** Uploads in parts by their ids. */
  readonly #uploads = new Map<string, OpenUpload>();
  /** A directory bucket's sessions by their tokens. */
  readonly #sessions = new Map<string, Session>();
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #sortedKeys: SortedKey[] | undefined;
  #inFlight = 0;

  private constructor(options: Partial<FakeS3Options>) {
    this.options = {
      bucket: "bucket",
      region: "us-east-1",
      accessKeyId: "AKIDEXAMPLE",
      secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
      sessionToken: "",
      expiredTokens: [],
      missingKeyStatus: 404,
      anonymous: false,
      verify: true,
      bulkDelete: true,
      requireContentMd5: true,
      directory: false,
      sessionLifeMs: 5 * 60_000,
      forbiddenModes: [],
      pageSize: 1000,
      latencyMs: 0,
      bytesPerSecond: 0,
      faults: new FaultSchedule([]),
      now: Date.now,
      ...options,
    };
    this.#server = createServer((socket) => this.#connect(socket));
  }

  /** Starts on a free port of 127.0.0.1. */
  static async start(options: Partial<FakeS3Options> = {}): Promise<FakeS3> {
    const fake = new FakeS3(options);
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    const address = fake.#server.address();
    fake.endpoint = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    return fake;
  }

  /** The URL of a replica below `path` of the bucket. */
  url(path = "", parameters = ""): string {
    return `s3://${this.options.bucket}${path}?endpoint=${this.endpoint}${parameters}`;
  }

  /** A `fetch` that brings every URL here, whatever host it names; the host asked for is served and checked. */
  readonly fetch = (url: string, init: RequestInit): Promise<Response> => {
    const { host, pathname, search } = new URL(url);
    const headers = new Headers(init.headers);
    headers.set("fake-host", host);
    return fetch(this.endpoint + pathname + search, { ...init, headers });
  };

  /** Stores an object; returns its ETag. `bytes` are kept, not copied. */
  put(
    key: string,
    bytes: Uint8Array,
    more: { modifiedMs?: number; headers?: Record<string, string> } = {},
  ): string {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const etag = this.options.directory
      ? `"${crypto.randomUUID().replaceAll("-", "")}"`
      : `"${createHash("md5").update(buffer).digest("hex")}"`;
    const { modifiedMs = this.options.now(), headers = {} } = more;
    this.#set(key, { size: buffer.length, etag, modifiedMs, bytes: buffer, headers });
    return etag;
  }

  /** Stores an object whose bytes stay in a file, which must not change; returns its ETag. */
  async putFile(key: string, path: string): Promise<string> {
    const file = await open(path, "r");
    const { size, mtimeMs } = await file.stat();
    await file.close();
    const etag = `"${createHash("md5").update(`${path} ${size} ${mtimeMs}`).digest("hex")}-1"`;
    this.#set(key, { size, etag, modifiedMs: this.options.now(), path, headers: {} });
    return etag;
  }

  /** Stores an object whose bytes are made when they are asked for, always the same; returns its ETag. */
  putMade(key: string, size: number, made: MadeBytes): string {
    const etag = `"${createHash("md5").update(`${key} ${size}`).digest("hex")}-1"`;
    this.#set(key, { size, etag, modifiedMs: this.options.now(), made, headers: {} });
    return etag;
  }

  remove(key: string): void {
    void this.#objects.get(key)?.file?.then((file) => file.close());
    this.#objects.delete(key);
    this.#sortedKeys = undefined;
  }

  /** The bytes of an object held in memory. */
  get(key: string): Uint8Array | undefined {
    return this.#objects.get(key)?.bytes;
  }

  /** The headers that an object is given back with. */
  headersOf(key: string): Readonly<Record<string, string>> {
    return this.#objects.get(key)?.headers ?? {};
  }

  /** Sessions that were begun, in any mode. */
  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** Uploads in parts that are open. */
  get openUploads(): number {
    return this.#uploads.size;
  }

  keys(): string[] {
    return this.#sorted().map(({ key }) => key);
  }

  /** Logged requests by what they were: `"LIST"`, or an HTTP method for objects. */
  count(kind: string): number {
    return this.log.filter(({ method, key }) => key === "" ? kind === "LIST" : method === kind).length;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    for (const object of this.#objects.values()) await (await object.file)?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #set(key: string, object: StoredObject): void {
    if (!this.#objects.has(key)) this.#sortedKeys = undefined;
    void this.#objects.get(key)?.file?.then((file) => file.close());
    this.#objects.set(key, object);
  }

  #sorted(): SortedKey[] {
    return this.#sortedKeys ??= [...this.#objects.keys()]
      .map((key) => ({ key, bytes: Buffer.from(key) }))
      .sort((a, b) => Buffer.compare(a.bytes, b.bytes));
  }

  /** Index of the first key that sorts after `after` and not before `prefix`. */
  #firstKey(prefix: string, after: string): number {
    const keys = this.#sorted();
    const prefixBytes = Buffer.from(prefix);
    const afterBytes = Buffer.from(after);
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const { bytes } = keys[middle] as SortedKey;
      const before = Buffer.compare(bytes, prefixBytes) < 0 ||
        (after !== "" && Buffer.compare(bytes, afterBytes) <= 0);
      if (before) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Requests of one connection, one after the other. */
  #connect(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {}); // The client has gone; its requests end with it.
    const reader = new RequestReader(socket);
    let turn = Promise.resolve();
    reader.onRequest = (request) => {
      turn = turn.then(() => this.#serve(request, socket)).catch(() => void socket.destroy());
    };
  }

  async #serve(request: HttpRequest, socket: Socket): Promise<void> {
    const place = this.#locate(request);
    const entry: LoggedRequest = {
      method: request.method,
      key: place.key,
      prefix: place.query.get("prefix") ?? "",
      target: request.target,
      range: request.headers.get("range") ?? "",
      headers: request.headers,
      atMs: performance.now(),
      concurrency: ++this.#inFlight,
      status: 0,
      bytes: 0,
    };
    this.log.push(entry);
    try {
      const picked = this.options.faults.pick(entry);
      const fault = picked?.kind === "doneBut" ? picked.then : picked;
      const waitMs = this.options.latencyMs + (fault?.kind === "slow" ? fault.delayMs : 0);
      if (waitMs > 0) await delay(waitMs);
      if (fault?.kind === "held") await fault.until;
      const done = picked?.kind === "doneBut" ? this.#answer(request, place, undefined) : undefined;
      if (fault?.kind === "silence") return await gone(socket);
      if (fault?.kind === "reset") return reset(socket);
      const answer = fault?.kind === "status"
        ? faultAnswer(fault)
        : done ?? this.#answer(request, place, fault);
      if (fault?.kind === "headers") Object.assign(answer.headers, fault.headers);
      entry.status = answer.status;
      await this.#send(socket, { answer, fault, withBody: request.method !== "HEAD", entry });
    } finally {
      this.#inFlight--;
    }
  }

  /** Bucket and key, from the path or from the host. */
  #locate(request: HttpRequest): Place {
    const question = request.target.indexOf("?");
    const path = question < 0 ? request.target : request.target.slice(0, question);
    const query = new URLSearchParams(question < 0 ? "" : request.target.slice(question + 1));
    const host = request.headers.get("host") ?? "";
    const { bucket } = this.options;
    const decoded = decodeURIComponent(path).slice(1);
    if (host.startsWith(`${bucket}.`)) return { bucket, key: decoded, query, host };
    const slash = decoded.indexOf("/");
    if (slash < 0) return { bucket: decoded, key: "", query, host };
    return { bucket: decoded.slice(0, slash), key: decoded.slice(slash + 1), query, host };
  }

  #answer(request: HttpRequest, place: Place, fault: Fault | undefined): HttpAnswer {
    const refusal = this.#authorize(request, place.host);
    if (refusal !== undefined) return refusal;
    if (place.bucket !== this.options.bucket) {
      return errorAnswer(404, "NoSuchBucket", "The specified bucket does not exist");
    }
    const { method } = request;
    if (place.key === "") return this.#bucketAnswer(request, place.query, fault);
    if (method === "GET" || method === "HEAD") return this.#getAnswer(request, place.key, fault);
    const md5 = request.headers.get("content-md5");
    if (md5 !== undefined && md5 !== createHash("md5").update(request.body).digest("base64")) {
      return errorAnswer(400, "BadDigest", "The Content-MD5 you specified did not match what we received.");
    }
    if (md5 !== undefined && this.options.directory) return withoutMd5();
    const { query } = place;
    if (query.has("uploads") || query.has("uploadId")) return this.#partAnswer(request, place, fault);
    if (method === "PUT") return this.#putAnswer(request, place.key, fault);
    if (method === "DELETE") return this.#deleteAnswer(request, place.key);
    return errorAnswer(405, "MethodNotAllowed", "The specified method is not allowed against this resource.");
  }

  #authorize(request: HttpRequest, host: string): HttpAnswer | undefined {
    const { options } = this;
    if (!options.verify || (options.anonymous && !request.headers.has("authorization"))) return undefined;
    if (options.expiredTokens.includes(request.headers.get("x-amz-security-token") ?? "")) {
      return errorAnswer(400, "ExpiredToken", "The provided token has expired.");
    }
    const { refusal, region } = options.directory
      ? this.#checkSession(request)
      : checkSignature(request, { ...options, nowMs: options.now() });
    const hostRegion = /[.-]s3\.([a-z0-9-]+)\.amazonaws\.com$|^s3\.([a-z0-9-]+)\.amazonaws\.com$/.exec(host);
    const named = hostRegion?.[1] ?? hostRegion?.[2];
    if (named !== undefined && named !== options.region) {
      const answer = errorAnswer(
        301,
        "PermanentRedirect",
        "The bucket must be addressed at another endpoint.",
      );
      answer.headers["x-amz-bucket-region"] = options.region;
      return answer;
    }
    if (region !== "" && region !== options.region) {
      return errorAnswer(400, "AuthorizationHeaderMalformed", `The region '${region}' is wrong`, {
        Region: options.region,
      });
    }
    if (refusal === undefined) return undefined;
    return errorAnswer(refusal.status, refusal.code, refusal.message, refusal.elements);
  }

  /** A session is begun with the bucket's own keys; all else is signed with one. */
  #checkSession(request: HttpRequest): { refusal?: Refusal; region: string } {
    const { options } = this;
    const facts = { service: "s3express", nowMs: options.now() };
    if (/\?session=?$/.test(request.target)) return checkSignature(request, { ...options, ...facts });
    const session = this.#sessions.get(request.headers.get("x-amz-s3session-token") ?? "");
    const isOver = session === undefined || session.expiresMs <= options.now();
    const mayNot = session?.mode === "ReadOnly" && request.method !== "GET";
    if (isOver || mayNot) {
      const [status, code] = isOver ? [400, "ExpiredToken"] : [403, "AccessDenied"];
      return { refusal: { status, code, message: "The session does not hold." }, region: options.region };
    }
    return checkSignature(request, { ...session, ...facts, tokenHeader: "x-amz-s3session-token" });
  }

  #sessionAnswer(request: HttpRequest): HttpAnswer {
    const mode = request.headers.get("x-amz-create-session-mode") ?? "ReadWrite";
    if (this.options.forbiddenModes.includes(mode)) return errorAnswer(403, "AccessDenied", "Access Denied");
    const number = this.#sessions.size + 1;
    const session: Session = {
      accessKeyId: `ASIASESSION${number}`,
      secretAccessKey: `session-secret-number-${number}`,
      sessionToken: `session/token+number=${number}`,
      mode,
      expiresMs: this.options.now() + this.options.sessionLifeMs,
    };
    this.#sessions.set(session.sessionToken, session);
    const texts = `<SessionToken>${session.sessionToken}</SessionToken>` +
      `<SecretAccessKey>${session.secretAccessKey}</SecretAccessKey>` +
      `<AccessKeyId>${session.accessKeyId}</AccessKeyId>` +
      `<Expiration>${new Date(session.expiresMs).toISOString()}</Expiration>`;
    const document = `<CreateSessionResult><Credentials>${texts}</Credentials></CreateSessionResult>`;
    const { headers, ...answer } = xmlAnswer(200, document);
    return { ...answer, headers: { ...headers, date: new Date(this.options.now()).toUTCString() } };
  }

  #bucketAnswer(request: HttpRequest, query: URLSearchParams, fault: Fault | undefined): HttpAnswer {
    const isDirectory = this.options.directory;
    if (isDirectory && request.method === "GET" && query.has("session")) return this.#sessionAnswer(request);
    if (request.method === "GET" && query.get("list-type") === "2") {
      return isDirectory ? this.#listFolderAnswer(query) : this.#listAnswer(query, fault);
    }
    if (request.method === "GET" && query.has("location")) {
      const region = this.options.region === "us-east-1" ? "" : this.options.region;
      return xmlAnswer(200, `<LocationConstraint>${region}</LocationConstraint>`);
    }
    if (request.method === "POST" && query.has("delete")) {
      return this.#bulkDeleteAnswer(request, fault);
    }
    return errorAnswer(
      501,
      "NotImplemented",
      "A header or query you provided implies functionality not implemented.",
    );
  }

  #listAnswer(query: URLSearchParams, fault: Fault | undefined): HttpAnswer {
    const prefix = query.get("prefix") ?? "";
    const delimiter = query.get("delimiter") ?? "";
    const token = query.get("continuation-token");
    const after = token === null ? query.get("start-after") ?? "" : Buffer.from(token, "base64").toString();
    const encode = query.get("encoding-type") === "url" ? urlEncode : escapeXml;
    const hidden = fault?.kind === "staleListing" ? fault.hide : undefined;
    const pageSize = Math.min(this.options.pageSize, Number(query.get("max-keys") ?? 1000));
    const contents: string[] = [];
    const folders = new Set<string>();
    const keys = this.#sorted();
    let last = "";
    let truncated = false;
    for (let i = this.#firstKey(prefix, after); i < keys.length; i++) {
      const { key } = keys[i] as SortedKey;
      if (!key.startsWith(prefix)) break;
      if (hidden?.test(key)) continue;
      const cut = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
      const folder = cut < 0 ? "" : key.slice(0, cut + delimiter.length);
      if (folder !== "" && (folders.has(folder) || (after !== "" && after.startsWith(folder)))) {
        last = key;
        continue;
      }
      if (contents.length + folders.size >= pageSize) {
        truncated = true;
        break;
      }
      last = key;
      const isOdd = fault?.kind === "mistaggedListing" && fault.keys.test(key);
      if (folder === "") contents.push(this.#contents(key, encode, isOdd));
      else folders.add(folder);
    }
    const next = truncated
      ? `<NextContinuationToken>${Buffer.from(last).toString("base64")}</NextContinuationToken>`
      : "";
    return xmlAnswer(
      200,
      `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>${this.options.bucket}</Name>` +
        `<Prefix>${encode(prefix)}</Prefix>${
          encode === urlEncode ? "<EncodingType>url</EncodingType>" : ""
        }` +
        `<KeyCount>${contents.length + folders.size}</KeyCount><MaxKeys>${pageSize}</MaxKeys>` +
        `<IsTruncated>${truncated}</IsTruncated>${next}${contents.join("")}` +
        [...folders].map((folder) => `<CommonPrefixes><Prefix>${encode(folder)}</Prefix></CommonPrefixes>`)
          .join("") +
        "</ListBucketResult>",
    );
  }

  /** A directory bucket's listing: of a folder, in an order of its own, from the beginning. */
  #listFolderAnswer(query: URLSearchParams): HttpAnswer {
    const prefix = query.get("prefix") ?? "";
    if (query.has("start-after")) return errorAnswer(501, "NotImplemented", "start-after is not supported.");
    if (prefix !== "" && !prefix.endsWith("/")) {
      return errorAnswer(
        400,
        "InvalidRequest",
        "This bucket does not support a prefix that does not end in a delimiter.",
      );
    }
    const encode = query.get("encoding-type") === "url" ? urlEncode : escapeXml;
    const first = Number(query.get("continuation-token") ?? 0);
    const keys = this.keys().filter((key) => key.startsWith(prefix))
      .map((key) => ({ key, place: createHash("sha1").update(key).digest("hex") }))
      .sort((a, b) => a.place < b.place ? -1 : 1);
    const end = first + this.options.pageSize;
    const isTruncated = end < keys.length;
    const next = isTruncated ? `<NextContinuationToken>${end}</NextContinuationToken>` : "";
    const contents = keys.slice(first, end).map(({ key }) => this.#contents(key, encode));
    return xmlAnswer(
      200,
      `<ListBucketResult><Name>${this.options.bucket}</Name><Prefix>${encode(prefix)}</Prefix>` +
        `${encode === urlEncode ? "<EncodingType>url</EncodingType>" : ""}` +
        `<IsTruncated>${isTruncated}</IsTruncated>${next}${contents.join("")}</ListBucketResult>`,
    );
  }

  #contents(key: string, encode: (text: string) => string, isOdd = false): string {
    const { etag: own, size, modifiedMs } = this.#objects.get(key) as StoredObject;
    const etag = isOdd ? `"${"f".repeat(32)}"` : own;
    return `<Contents><Key>${encode(key)}</Key><LastModified>${
      new Date(modifiedMs).toISOString()
    }</LastModified>` +
      `<ETag>${escapeXml(etag)}</ETag><Size>${size}</Size><StorageClass>STANDARD</StorageClass></Contents>`;
  }

  #getAnswer(request: HttpRequest, key: string, fault: Fault | undefined): HttpAnswer {
    const object = this.#objects.get(key);
    if (object === undefined) {
      return this.options.missingKeyStatus === 403
        ? errorAnswer(403, "AccessDenied", "Access Denied")
        : errorAnswer(404, "NoSuchKey", "The specified key does not exist.");
    }
    if (isOfOtherKey(request, object.headers)) return errorAnswer(400, "InvalidRequest", ENCRYPTED);
    const ifMatch = request.headers.get("if-match");
    if (
      ifMatch !== undefined && ifMatch !== object.etag && ifMatch !== "*" && fault?.kind !== "ignoreIfMatch"
    ) {
      return preconditionFailed();
    }
    const headers: Record<string, string> = {
      "content-type": "application/octet-stream",
      "etag": object.etag,
      "last-modified": new Date(object.modifiedMs).toUTCString(),
      "accept-ranges": "bytes",
      ...object.headers,
    };
    const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.get("range") ?? "");
    if (range === null || fault?.kind === "ignoreRange") {
      return { status: 200, headers, body: { object, offset: 0, size: object.size } };
    }
    const [, from = "", to = ""] = range;
    const offset = from === "" ? Math.max(0, object.size - Number(to)) : Number(from);
    const last = from === "" || to === "" ? object.size - 1 : Math.min(Number(to), object.size - 1);
    if (offset > last) {
      const answer = errorAnswer(416, "InvalidRange", "The requested range is not satisfiable");
      answer.headers["content-range"] = `bytes */${object.size}`;
      return answer;
    }
    headers["content-range"] = `bytes ${offset}-${last}/${object.size}`;
    if (fault?.kind === "contentRange") {
      if (fault.value === "") delete headers["content-range"];
      else headers["content-range"] = fault.value;
    }
    return { status: 206, headers, body: { object, offset, size: last - offset + 1 } };
  }

  #putAnswer(request: HttpRequest, key: string, fault: Fault | undefined): HttpAnswer {
    const existing = this.#objects.get(key);
    if (this.#isRefused(request, key, fault)) return preconditionFailed();
    const ifMatch = request.headers.get("if-match");
    if (ifMatch !== undefined && ifMatch !== existing?.etag) {
      return existing === undefined
        ? errorAnswer(404, "NoSuchKey", "The specified key does not exist.")
        : preconditionFailed();
    }
    const etag = this.put(key, request.body, { headers: keptHeaders(request) });
    return { status: 200, headers: { etag }, body: Buffer.alloc(0) };
  }

  #isRefused(request: HttpRequest, key: string, fault: Fault | undefined): boolean {
    return request.headers.get("if-none-match") === "*" && this.#objects.has(key) &&
      fault?.kind !== "ignoreIfNoneMatch";
  }

  /** What concerns an upload in parts. */
  #partAnswer(request: HttpRequest, { key, query }: Place, fault: Fault | undefined): HttpAnswer {
    const { method } = request;
    const id = query.get("uploadId") ?? "";
    if (method === "POST" && query.has("uploads")) {
      const begun = `upload/${this.log.length}+`;
      this.#uploads.set(begun, { key, headers: keptHeaders(request), parts: new Map() });
      const result = `<Key>${escapeXml(key)}</Key><UploadId>${begun}</UploadId>`;
      return xmlAnswer(200, `<InitiateMultipartUploadResult>${result}</InitiateMultipartUploadResult>`);
    }
    const upload = this.#uploads.get(id);
    if (upload === undefined || upload.key !== key) {
      return errorAnswer(404, "NoSuchUpload", "The specified multipart upload does not exist.");
    }
    if (method === "PUT") {
      if (isOfOtherKey(request, upload.headers)) return errorAnswer(400, "InvalidRequest", ENCRYPTED);
      const etag = `"${createHash("md5").update(request.body).digest("hex")}"`;
      upload.parts.set(Number(query.get("partNumber")), { etag, bytes: request.body });
      return { status: 200, headers: { etag }, body: Buffer.alloc(0) };
    }
    if (method === "DELETE") {
      this.#uploads.delete(id);
      return { status: 204, headers: {}, body: Buffer.alloc(0) };
    }
    return this.#completeAnswer(request, { id, upload, fault });
  }

  #completeAnswer(
    request: HttpRequest,
    { id, upload, fault }: { id: string; upload: OpenUpload; fault: Fault | undefined },
  ): HttpAnswer {
    const { key, headers, parts } = upload;
    if (this.#isRefused(request, key, fault)) return preconditionFailed();
    const named = [
      ...request.body.toString().matchAll(
        /<Part>(?=.*?<PartNumber>(\d+)<\/PartNumber>)(?=.*?<ETag>(?:&quot;|&#34;)([0-9a-f]+)(?:&quot;|&#34;)<\/ETag>).*?<\/Part>/g,
      ),
    ];
    const pieces = named.map(([, number, etag]) => {
      const part = parts.get(Number(number));
      return part?.etag === `"${etag}"` ? part.bytes : undefined;
    });
    if (pieces.length === 0 || pieces.includes(undefined)) {
      return errorAnswer(400, "InvalidPart", "One or more of the specified parts could not be found.");
    }
    this.#uploads.delete(id);
    const bytes = Buffer.concat(pieces as Buffer[]);
    this.put(key, bytes, { headers });
    const etag = `"${createHash("md5").update(bytes).digest("hex")}-${pieces.length}"`;
    this.#set(key, { ...this.#objects.get(key) as StoredObject, etag });
    const result = `<Key>${escapeXml(key)}</Key><ETag>${escapeXml(etag)}</ETag>`;
    return xmlAnswer(200, `<CompleteMultipartUploadResult>${result}</CompleteMultipartUploadResult>`);
  }

  #bulkDeleteAnswer(request: HttpRequest, fault: Fault | undefined): HttpAnswer {
    if (!this.options.bulkDelete) return errorAnswer(400, "InvalidArgument", "Invalid argument.");
    const md5 = request.headers.get("content-md5");
    if (md5 !== undefined && this.options.directory) return withoutMd5();
    const sha256 = request.headers.get("x-amz-checksum-sha256");
    if (sha256 !== undefined && sha256 !== createHash("sha256").update(request.body).digest("base64")) {
      return errorAnswer(400, "BadDigest", "The SHA256 you specified did not match what we received.");
    }
    const isChecked = md5 !== undefined || [...request.headers.keys()].some((name) => /checksum/.test(name));
    if (!isChecked && this.options.requireContentMd5) {
      return errorAnswer(400, "InvalidRequest", "Missing required header for this request: Content-MD5");
    }
    if (md5 !== undefined && md5 !== createHash("md5").update(request.body).digest("base64")) {
      return errorAnswer(400, "BadDigest", "The Content-MD5 you specified did not match what we received.");
    }
    const keys = [...request.body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = ""]) =>
      unescapeXml(key)
    );
    if (keys.length > 1000) {
      return errorAnswer(400, "MalformedXML", "The XML you provided was not well-formed");
    }
    const errors = keys.map((key) => {
      if (fault?.kind === "removeErrors" && fault.keys.test(key)) {
        const texts = `<Code>${fault.code}</Code><Message>A fault was asked for</Message>`;
        return `<Error><Key>${escapeXml(key)}</Key>${texts}</Error>`;
      }
      this.remove(key);
      return "";
    });
    return xmlAnswer(200, `<DeleteResult>${errors.join("")}</DeleteResult>`);
  }

  #deleteAnswer(request: HttpRequest, key: string): HttpAnswer {
    const ifMatch = request.headers.get("if-match");
    if (ifMatch !== undefined && ifMatch !== this.#objects.get(key)?.etag) return preconditionFailed();
    this.remove(key);
    return { status: 204, headers: {}, body: Buffer.alloc(0) };
  }

  async #send(
    socket: Socket,
    { answer, fault, withBody, entry }: {
      answer: HttpAnswer;
      fault: Fault | undefined;
      withBody: boolean;
      entry: LoggedRequest;
    },
  ): Promise<void> {
    const body = fault !== undefined && DISGUISES.includes(fault.kind)
      ? disguised(await wholeBody(answer.body), fault, answer.headers)
      : answer.body;
    const size = Buffer.isBuffer(body) ? body.length : body.size;
    const chunked = fault?.kind === "chunked";
    const lines = [`HTTP/1.1 ${answer.status} ${answer.status < 400 ? "OK" : "Error"}`];
    const headers: Record<string, string> = { "x-amz-request-id": "FAKE", ...answer.headers };
    headers.date ??= new Date(this.options.now()).toUTCString();
    if (chunked) headers["transfer-encoding"] = "chunked";
    else headers["content-length"] ??= String(size);
    for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
    const head = Buffer.from(lines.join("\r\n") + "\r\n\r\n", "latin1");
    if (fault?.kind === "resetAfterHeaders") {
      await write(socket, head);
      await delay(20);
      return reset(socket);
    }
    const end = fault?.kind === "cut" || fault?.kind === "stall" ? Math.min(fault.after, size) : size;
    if (!withBody || end === 0) await write(socket, head);
    else if (chunked) {
      await write(
        socket,
        Buffer.concat([head, Buffer.from(`${size.toString(16)}\r\n`), body as Buffer, CHUNKS_END]),
      );
      entry.bytes += size;
    } else await this.#sendBody(socket, { head, body, end, entry });
    if (fault?.kind === "longerBody") await write(socket, Buffer.alloc(fault.by, 0x58));
    if (fault?.kind === "cut") socket.end();
    if (fault?.kind === "stall") await gone(socket);
  }

  /** The head together with the first piece, then piece by piece at the speed that is set. */
  async #sendBody(
    socket: Socket,
    { head, body, end, entry }: { head: Buffer; body: HttpAnswer["body"]; end: number; entry: LoggedRequest },
  ): Promise<void> {
    const { bytesPerSecond } = this.options;
    const inMemory = Buffer.isBuffer(body) || body.object.bytes !== undefined;
    const pieceMax = bytesPerSecond > 0
      ? Math.max(1024, Math.ceil(bytesPerSecond / 100))
      : inMemory
      ? end
      : FILE_CHUNK;
    const startMs = performance.now();
    for (let offset = 0; offset < end; offset += pieceMax) {
      const piece = await bodySlice(body, offset, Math.min(pieceMax, end - offset));
      if (offset === 0 && piece.length < FILE_CHUNK) await write(socket, Buffer.concat([head, piece]));
      else {
        if (offset === 0) socket.write(head);
        await write(socket, piece);
      }
      entry.bytes += piece.length;
      if (bytesPerSecond === 0) continue;
      const dueMs = startMs + (offset + piece.length) / bytesPerSecond * 1000;
      const earlyMs = dueMs - performance.now();
      if (earlyMs > 0) await delay(earlyMs);
    }
  }
}

const CHUNKS_END = Buffer.from("\r\n0\r\n\r\n");

/** Resolves when the bytes are on their way, or when nobody is there any more. */
function write(socket: Socket, bytes: Buffer): Promise<void> {
  if (socket.destroyed || socket.writableEnded) {
    return Promise.reject(new Error("Cannot write: client has gone"));
  }
  if (socket.write(bytes)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const settle = (error?: Error) => {
      socket.off("drain", drained);
      socket.off("close", closed);
      if (error === undefined) resolve();
      else reject(error);
    };
    const drained = () => settle();
    const closed = () => settle(new Error("Cannot write: client has gone"));
    socket.on("drain", drained);
    socket.on("close", closed);
  });
}

function gone(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.destroyed ? resolve() : socket.once("close", () => resolve()));
}

function reset(socket: Socket): void {
  socket.resetAndDestroy();
}

async function bodySlice(body: HttpAnswer["body"], offset: number, size: number): Promise<Buffer> {
  if (Buffer.isBuffer(body)) return body.subarray(offset, offset + size);
  const { object } = body;
  const first = body.offset + offset;
  if (object.bytes !== undefined) return object.bytes.subarray(first, first + size);
  if (object.made !== undefined) return Buffer.from(object.made(first, size).buffer);
  object.file ??= open(object.path as string, "r");
  const file = await object.file;
  const buffer = Buffer.allocUnsafe(size);
  let count = 0;
  while (count < size) {
    const { bytesRead } = await file.read(buffer, count, size - count, first + count);
    if (bytesRead === 0) throw new Error(`Cannot serve ${object.path}: it has become shorter`);
    count += bytesRead;
  }
  return buffer;
}

function wholeBody(body: HttpAnswer["body"]): Promise<Buffer> {
  return bodySlice(body, 0, Buffer.isBuffer(body) ? body.length : body.size);
}

/** Faults that are of the body. */
const DISGUISES: readonly Fault["kind"][] = ["gzip", "lyingLength", "chunked", "flipped"];

/** The body as the fault wants it; headers are changed to fit. */
function disguised(body: Buffer, fault: Fault, headers: Record<string, string>): Buffer {
  if (fault.kind === "gzip") {
    headers["content-encoding"] = "gzip";
    return gzipSync(body);
  }
  if (fault.kind === "flipped") {
    const flipped = Buffer.from(body);
    if (flipped.length > 0) flipped[fault.at ?? flipped.length >> 1]! ^= 1;
    return flipped;
  }
  const by = fault.kind === "lyingLength" || fault.kind === "chunked" ? fault.by : 0;
  return by > 0 ? Buffer.concat([body, Buffer.alloc(by, 0x58)]) : body.subarray(0, body.length + by);
}

function faultAnswer(fault: Extract<Fault, { kind: "status" }>): HttpAnswer {
  const { status, code = "InternalError", message = "A fault was asked for", elements, headers, body } =
    fault;
  const answer = body === undefined
    ? errorAnswer(status, code, message, elements)
    : { status, headers: { "content-type": "text/html" }, body: Buffer.from(body) };
  Object.assign(answer.headers, headers);
  return answer;
}

function withoutMd5(): HttpAnswer {
  return errorAnswer(400, "InvalidRequest", "This bucket does not support Content-MD5 header.");
}

function preconditionFailed(): HttpAnswer {
  return errorAnswer(
    412,
    "PreconditionFailed",
    "At least one of the pre-conditions you specified did not hold",
  );
}

function errorAnswer(
  status: number,
  code: string,
  message: string,
  elements: Record<string, string> = {},
): HttpAnswer & { body: Buffer } {
  const more = Object.entries(elements).map(([name, text]) => `<${name}>${escapeXml(text)}</${name}>`).join(
    "",
  );
  return xmlAnswer(
    status,
    `<Error><Code>${code}</Code><Message>${
      escapeXml(message)
    }</Message>${more}<RequestId>FAKE</RequestId></Error>`,
  );
}

function xmlAnswer(status: number, xml: string): HttpAnswer & { body: Buffer } {
  const body = Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${xml}`);
  return { status, headers: { "content-type": "application/xml" }, body };
}

function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function unescapeXml(text: string): string {
  const entities: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };
  return text.replace(
    /&(?:#(\d+)|(\w+));/g,
    (_, code?: string, name?: string) =>
      code === undefined ? entities[name ?? ""] ?? "" : String.fromCodePoint(Number(code)),
  );
}

/** Whether an object, or an upload, was encrypted with another key of its customer's than the request brings. */
function isOfOtherKey(request: HttpRequest, kept: Record<string, string>): boolean {
  return request.headers.get(CUSTOMER_KEY_MD5) !== kept[CUSTOMER_KEY_MD5];
}

/** The headers of a request that its object is given back with. */
function keptHeaders(request: HttpRequest): Record<string, string> {
  const kept = [...request.headers].filter(([name]) =>
    name.startsWith("x-amz-meta-") || name === "content-type" || name === CUSTOMER_KEY_MD5
  );
  return Object.fromEntries(kept);
}

/** As Amazon spells keys in listings with encoding-type=url: a space is a plus sign. */
function urlEncode(text: string): string {
  return encodeURIComponent(text).replaceAll("%2F", "/").replaceAll("%20", "+");
}
