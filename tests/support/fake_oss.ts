/**
 * An OSS server in memory: buckets in the path, signatures of version 4 checked, every request logged.
 *
 * No real one can be had. What it answers follows the service's reference; that its check of signatures is
 * right, the service's own Go client shows, by which Litestream writes here.
 *
 * @see https://www.alibabacloud.com/help/en/oss/developer-reference/list-of-operations-by-function
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";

/** How the server behaves; all of it may be changed while it runs. */
export interface FakeOssOptions {
  bucket: string;
  region: string;
  accessKeyId: string;
  accessKeySecret: string;
  /** Empty: requests must not carry one. */
  sessionToken: string;
  /** Unsigned requests are served too. */
  anonymous: boolean;
  /** The bucket keeps versions: then an object is overwritten, whatever the request says. */
  versions: boolean;
  /** Keys of a listing page at most. */
  pageSize: number;
  /** Whose objects an answer to a removal of many does not name. */
  unremovable: RegExp | undefined;
}

/** A request as it came. */
export interface OssRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

interface OssObject {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly modifiedMs: number;
  readonly headers: Record<string, string>;
}

interface OssUpload {
  readonly key: string;
  readonly headers: Record<string, string>;
  readonly parts: Map<number, Buffer>;
}

interface Answer {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
}

/** The server. */
export class FakeOss {
  readonly options: FakeOssOptions;
  readonly log: OssRequest[] = [];
  readonly objects = new Map<string, OssObject>();
  readonly uploads = new Map<string, OssUpload>();
  /** Without a bucket, such as `http://127.0.0.1:40000`. */
  endpoint = "";
  readonly #server: Server;

  private constructor(options: Partial<FakeOssOptions>) {
    this.options = {
      bucket: "replicas",
      region: "cn-hangzhou",
      accessKeyId: "LTAIexampleKeyId",
      accessKeySecret: "exampleSecret0123456789abcdef",
      sessionToken: "",
      anonymous: false,
      versions: false,
      pageSize: 1000,
      unremovable: undefined,
      ...options,
    };
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => request.destroy()); // The client has gone.
    });
  }

  /** Starts on a free port of 127.0.0.1. */
  static async start(options: Partial<FakeOssOptions> = {}): Promise<FakeOss> {
    const fake = new FakeOss(options);
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    const address = fake.#server.address();
    fake.endpoint = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    return fake;
  }

  /** The URL of a replica below `path` of the bucket. */
  url(path = ""): string {
    return `oss://${this.options.bucket}${path}?endpoint=${this.endpoint}&region=${this.options.region}`;
  }

  put(key: string, bytes: Uint8Array, headers: Record<string, string> = {}): OssObject {
    const buffer = Buffer.from(bytes);
    const etag = `"${createHash("md5").update(buffer).digest("hex").toUpperCase()}"`;
    const object = { bytes: buffer, etag, modifiedMs: Date.now(), headers };
    this.objects.set(key, object);
    return object;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of incoming) pieces.push(piece);
    const request: OssRequest = {
      method: incoming.method ?? "",
      target: incoming.url ?? "",
      headers: incoming.headers as Record<string, string>,
      body: Buffer.concat(pieces),
    };
    this.log.push(request);
    const { status, headers = {}, body = "" } = this.#answer(request);
    const size = { "content-length": String(Buffer.byteLength(body)) };
    response.writeHead(status, { "x-oss-request-id": "FAKE", ...size, ...headers });
    response.end(request.method === "HEAD" ? undefined : body);
  }

  #answer(request: OssRequest): Answer {
    const refusal = refusalOf(request, this.options);
    if (refusal !== undefined) return refusal;
    const [path = "", search = ""] = request.target.split("?");
    const [, bucket = "", key = ""] = /^\/([^/]*)\/?(.*)$/s.exec(decodeURIComponent(path)) ?? [];
    if (bucket !== this.options.bucket) {
      return fault(404, "NoSuchBucket", "The specified bucket does not exist.");
    }
    const md5 = request.headers["content-md5"];
    if (md5 !== undefined && md5 !== createHash("md5").update(request.body).digest("base64")) {
      return fault(400, "InvalidDigest", "The Content-MD5 you specified was invalid.");
    }
    const query = new URLSearchParams(search);
    return key === "" ? this.#bucketAnswer(request, query) : this.#objectAnswer(request, key, query);
  }

  #bucketAnswer(request: OssRequest, query: URLSearchParams): Answer {
    if (request.method === "GET" && query.get("list-type") === "2") return this.#listAnswer(query);
    if (request.method === "POST" && query.has("delete")) return this.#removeAnswer(request);
    return fault(
      501,
      "NotImplemented",
      "A header you provided implies functionality that is not implemented.",
    );
  }

  #objectAnswer(request: OssRequest, key: string, query: URLSearchParams): Answer {
    const { method } = request;
    if (/^[/\\]/.test(key)) return fault(400, "InvalidObjectName", "The specified object is not valid.");
    if (query.has("uploads") || query.has("uploadId")) return this.#partAnswer(request, key, query);
    if (method === "PUT") return this.#putAnswer(request, key);
    if (method === "GET" || method === "HEAD") return this.#getAnswer(request, key);
    return fault(405, "MethodNotAllowed", "The specified method is not allowed against this resource.");
  }

  #listAnswer(query: URLSearchParams): Answer {
    const prefix = query.get("prefix") ?? "";
    const token = query.get("continuation-token");
    const after = token === null ? query.get("start-after") ?? "" : Buffer.from(token, "base64").toString();
    const count = Math.min(this.options.pageSize, Number(query.get("max-keys") ?? 100));
    const encode = query.get("encoding-type") === "url" ? urlEncode : escapeXml;
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && compare(key, after) > 0);
    const shown = keys.sort(compare).slice(0, count);
    const isTruncated = keys.length > shown.length;
    const next = isTruncated
      ? `<NextContinuationToken>${Buffer.from(shown.at(-1) ?? "").toString("base64")}</NextContinuationToken>`
      : "";
    const contents = shown.map((key) => {
      const { bytes, etag, modifiedMs } = this.objects.get(key)!;
      return `<Contents><Key>${encode(key)}</Key><LastModified>${new Date(modifiedMs).toISOString()}` +
        `</LastModified><ETag>${escapeXml(etag)}</ETag><Type>Normal</Type><Size>${bytes.length}</Size>` +
        `<StorageClass>Standard</StorageClass></Contents>`;
    });
    return xml(
      `<ListBucketResult><Name>${this.options.bucket}</Name><Prefix>${encode(prefix)}</Prefix>` +
        `<MaxKeys>${count}</MaxKeys>${encode === urlEncode ? "<EncodingType>url</EncodingType>" : ""}` +
        `<IsTruncated>${isTruncated}</IsTruncated>${next}${contents.join("")}` +
        `<KeyCount>${shown.length}</KeyCount></ListBucketResult>`,
    );
  }

  #removeAnswer({ headers, body }: OssRequest): Answer {
    if (headers["content-md5"] === undefined) {
      return fault(400, "MissingArgument", "Missing Some Required Arguments.");
    }
    const keys = [...body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = ""]) =>
      unescapeXml(key)
    );
    if (keys.length > 1000) return fault(400, "MalformedXML", "The XML you provided was not well-formed.");
    const removed = keys.filter((key) => !this.options.unremovable?.test(key));
    for (const key of removed) this.objects.delete(key);
    const isQuiet = body.includes("<Quiet>true</Quiet>");
    const named = isQuiet ? [] : removed.map((key) => `<Deleted><Key>${urlEncode(key)}</Key></Deleted>`);
    return xml(`<DeleteResult><EncodingType>url</EncodingType>${named.join("")}</DeleteResult>`);
  }

  #getAnswer({ headers }: OssRequest, key: string): Answer {
    const object = this.objects.get(key);
    if (object === undefined) return fault(404, "NoSuchKey", "The specified key does not exist.");
    const { bytes, etag } = object;
    const ifMatch = headers["if-match"];
    if (ifMatch !== undefined && ifMatch !== etag) return failed();
    const given = {
      etag,
      "last-modified": new Date(object.modifiedMs).toUTCString(),
      "content-type": "application/octet-stream",
      "x-oss-object-type": "Normal",
      ...object.headers,
    };
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "") ?? [];
    if (first === undefined) return { status: 200, headers: given, body: bytes };
    const end = Math.min(last ? Number(last) : Infinity, bytes.length - 1);
    const isStandard = headers["x-oss-range-behavior"] === "standard";
    const isInside = isStandard ? Number(first) <= end : Number(last || first) < bytes.length;
    if (!isInside) {
      return isStandard
        ? fault(416, "InvalidRange", "The requested range cannot be satisfied.")
        : { status: 200, headers: given, body: bytes };
    }
    const range = { "content-range": `bytes ${first}-${end}/${bytes.length}` };
    return { status: 206, headers: { ...given, ...range }, body: bytes.subarray(Number(first), end + 1) };
  }

  #putAnswer(request: OssRequest, key: string): Answer {
    if (this.#isForbidden(request, key)) return taken();
    return { status: 200, headers: { etag: this.put(key, request.body, keptHeaders(request)).etag } };
  }

  #isForbidden({ headers }: OssRequest, key: string): boolean {
    return headers["x-oss-forbid-overwrite"] === "true" && this.objects.has(key) && !this.options.versions;
  }

  #partAnswer(request: OssRequest, key: string, query: URLSearchParams): Answer {
    if (query.has("uploads")) {
      const id = `${this.log.length}+/UPLOAD`;
      this.uploads.set(id, { key, headers: keptHeaders(request), parts: new Map() });
      const named = `<Bucket>${this.options.bucket}</Bucket><Key>${escapeXml(key)}</Key>`;
      return xml(
        `<InitiateMultipartUploadResult>${named}<UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
      );
    }
    const id = query.get("uploadId") ?? "";
    const upload = this.uploads.get(id);
    if (upload?.key !== key) return fault(404, "NoSuchUpload", "The specified upload does not exist.");
    if (request.method === "PUT") {
      upload.parts.set(Number(query.get("partNumber")), request.body);
      return { status: 200, headers: { etag: etagOf(request.body) } };
    }
    if (request.method === "DELETE") {
      this.uploads.delete(id);
      return { status: 204 };
    }
    return this.#completeAnswer(request, { id, upload });
  }

  #completeAnswer(request: OssRequest, { id, upload }: { id: string; upload: OssUpload }): Answer {
    const { key, parts, headers } = upload;
    if (this.#isForbidden(request, key)) return taken();
    const named = [
      ...request.body.toString().matchAll(/<PartNumber>(\d+)<\/PartNumber>\s*<ETag>([^<]*)<\/ETag>/g),
    ]
      .map(([, number, etag = ""]) => {
        const bytes = parts.get(Number(number));
        return bytes !== undefined && etagOf(bytes) === unescapeXml(etag) ? bytes : undefined;
      });
    const isSmall = named.slice(0, -1).some((bytes) => bytes !== undefined && bytes.length < 100 * 1024);
    if (isSmall) {
      return fault(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size.");
    }
    if (named.length === 0 || named.includes(undefined)) {
      return fault(400, "InvalidPart", "One or more of the specified parts could not be found.");
    }
    this.uploads.delete(id);
    const { etag } = this.put(key, Buffer.concat(named as Buffer[]), headers);
    return xml(
      `<CompleteMultipartUploadResult><Key>${escapeXml(key)}</Key><ETag>${escapeXml(etag)}</ETag>` +
        "</CompleteMultipartUploadResult>",
    );
  }
}

/** Why a request is not served; undefined where its signature is right. */
function refusalOf(request: OssRequest, options: FakeOssOptions): Answer | undefined {
  const { headers } = request;
  if (headers.authorization === undefined) {
    return options.anonymous ? undefined : fault(403, "AccessDenied", "Anonymous access is forbidden.");
  }
  const match =
    /^OSS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/oss\/aliyun_v4_request,(?:AdditionalHeaders=([^,]*),)?Signature=([0-9a-f]{64})$/
      .exec(headers.authorization);
  if (match === null) return fault(400, "InvalidArgument", "Authorization header is invalid.");
  const [, id, day = "", region = "", additional = "", signature] = match;
  if (id !== options.accessKeyId) {
    return fault(
      403,
      "InvalidAccessKeyId",
      "The OSS Access Key Id you provided does not exist in our records.",
    );
  }
  if ((headers["x-oss-security-token"] ?? "") !== options.sessionToken) {
    return fault(403, "SecurityTokenExpired", "The security token you provided has expired.");
  }
  const [, y, mo, d, h, mi, s] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(headers["x-oss-date"] ?? "") ?? [];
  const sentMs = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
  if (!(Math.abs(sentMs - Date.now()) < 15 * 60_000)) {
    return fault(
      403,
      "RequestTimeTooSkewed",
      "The difference between the request time and the current time is too large.",
    );
  }
  if (region !== options.region) {
    return fault(400, "InvalidArgument", "Invalid signing region in Authorization header.");
  }
  const scope = `${day}/${region}/oss/aliyun_v4_request`;
  const hash = createHash("sha256").update(canonicalRequest(request, additional)).digest("hex");
  const text = `OSS4-HMAC-SHA256\n${headers["x-oss-date"]}\n${scope}\n${hash}`;
  let key: string | Buffer = `aliyun_v4${options.accessKeySecret}`;
  for (const part of scope.split("/")) key = createHmac("sha256", key).update(part).digest();
  if (createHmac("sha256", key).update(text).digest("hex") === signature) return undefined;
  return fault(
    403,
    "SignatureDoesNotMatch",
    "The request signature we calculated does not match the signature you provided.",
  );
}

function canonicalRequest({ method, target, headers }: OssRequest, additional: string): string {
  const [path = "", search = ""] = target.split("?");
  const resource = path.split("/").map((part) => encode(decodeURIComponent(part))).join("/");
  const pairs = search.split("&").filter((pair) => pair !== "").map((pair) => {
    const [name = "", value = ""] = pair.split("=").map((part) =>
      encode(decodeURIComponent(part.replaceAll("+", " ")))
    );
    return { name, text: value === "" ? name : `${name}=${value}` };
  });
  pairs.sort((a, b) => compare(a.name, b.name));
  const signed = Object.keys(headers).filter((name) =>
    name.startsWith("x-oss-") || ["content-type", "content-md5", ...additional.split(";")].includes(name)
  );
  return [
    method,
    resource,
    pairs.map(({ text }) => text).join("&"),
    signed.sort(compare).map((name) => `${name}:${headers[name]?.trim()}\n`).join(""),
    additional,
    headers["x-oss-content-sha256"],
  ].join("\n");
}

function keptHeaders({ headers }: OssRequest): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("x-oss-meta-")));
}

function fault(status: number, code: string, message: string): Answer {
  const texts = `<Code>${code}</Code><Message>${message}</Message><RequestId>FAKE</RequestId>`;
  return { ...xml(`<Error>${texts}<HostId>fake</HostId><EC>0000-00000000</EC></Error>`), status };
}

function taken(): Answer {
  return fault(
    409,
    "FileAlreadyExists",
    "The object you specified already exists and can not be overwritten.",
  );
}

function failed(): Answer {
  return fault(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
}

function xml(text: string): Answer {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n${text}`;
  return { status: 200, headers: { "content-type": "application/xml" }, body };
}

function etagOf(bytes: Buffer): string {
  return `"${createHash("md5").update(bytes).digest("hex").toUpperCase()}"`;
}

function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function urlEncode(text: string): string {
  return encode(text).replaceAll("%2F", "/").replaceAll("%20", "+");
}

function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function unescapeXml(text: string): string {
  const entities: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };
  return text.replace(
    /&(?:#(\d+)|(\w+));/g,
    (_, code?: string, name = "") =>
      code === undefined ? entities[name] ?? "" : String.fromCodePoint(Number(code)),
  );
}
