/**
 * OssClient: signed requests to one bucket of Alibaba Cloud's OSS, over its own interface.
 *
 * Its interface like S3's has no objects that are made only where there are none.
 *
 * @see https://www.alibabacloud.com/help/en/oss/developer-reference/list-of-operations-by-function
 * @module
 */

import { createHash } from "node:crypto";
import { isIP } from "node:net";
import type { BackendContext } from "../backend.ts";
import type { OssLocation } from "../backend_location.ts";
import type { Credentials, CredentialsSource } from "../credentials.ts";
import { type HttpAsk, HttpClient, type HttpFault } from "../http_client.ts";
import { type Asked, wrongAnswer } from "../http_fault.ts";
import type { RequestCounts, RequestOptions } from "../object_store.ts";
import { encodeKey, encodeQuery } from "../s3_address.ts";
import type { StorageRequest } from "../storage.ts";
import { hostname, hostOf } from "../url_parts.ts";
import { childText, parseXml, type XmlElement } from "../xml.ts";
import { ossCredentials } from "./oss_credentials.ts";
import { signOss } from "./oss_signature.ts";

/** A request before it is signed. */
export interface OssAsk {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** Empty for what is asked of the bucket. */
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly asked: Asked;
}

/** What was answered. */
export interface OssAnswer {
  readonly headers: Headers;
  readonly text: string;
}

const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** Shorter ones, which nobody but a test has, would be found in the middle of words. */
const SECRET_LENGTH_MIN = 8;
const NEVER = new AbortController().signal;
const EXPIRED_CODES = new Set(["SecurityTokenExpired", "InvalidSecurityToken"]);

/** What each code says to a person, after "expected". */
const EXPECTED: Readonly<Record<string, string>> = {
  AccessDenied: "permission there (oss:ListObjects, oss:GetObject, oss:PutObject, oss:DeleteObject)",
  InvalidAccessKeyId: "an access key id that the server knows",
  InvalidBucketName: "a bucket name that the server accepts",
  InvalidObjectState: "an object that is not archived",
  InvalidSecurityToken: "a session token that belongs to the access key",
  RequestTimeTooSkewed: "clocks that agree within 15 minutes",
  SecurityTokenExpired: "credentials that have not expired",
  SignatureDoesNotMatch: "the secret that belongs to the access key id, and the bucket's own region",
  UserDisable: "an account that is not suspended",
};

/** Sends requests to one bucket. */
export class OssClient {
  readonly name: string;
  readonly #location: OssLocation;
  readonly #now: () => number;
  readonly #source: CredentialsSource | "anonymous";
  readonly #http: HttpClient;
  /** What stands before a key in a URL. */
  readonly #base: string;
  /** What the last request was signed with. */
  #signedBy: Credentials | undefined;

  constructor(location: OssLocation, context: BackendContext) {
    this.name = location.name;
    this.#location = location;
    this.#now = context.now;
    this.#source = ossCredentials(context);
    this.#base = isPathStyle(location)
      ? `${location.endpoint}/${location.bucket}`
      : location.endpoint.replace("//", `//${location.bucket}.`);
    this.#http = new HttpClient({
      authorize: (ask) => this.#authorize(ask),
      renew: (fault) => this.#renew(fault),
      explain: explainOss,
      expected: (fault) => this.#expected(fault),
      redact: (text) => this.#redacted(text),
      fetch: context.fetch,
      fetchInit: context.fetchInit,
      now: context.now,
    });
  }

  get counts(): RequestCounts {
    return this.#http.counts;
  }

  /** The client by which ranges are read. */
  get http(): HttpClient {
    return this.#http;
  }

  /** Sends a request and reads the answer to its end, so that the connection can be used again. */
  async send(ask: OssAsk, options: RequestOptions): Promise<OssAnswer> {
    const { method, key, headers = {}, body, asked } = ask;
    const request: StorageRequest = {
      signal: options.signal ?? NEVER,
      onProgress: options.onProgress ?? (() => {}),
    };
    const md5: Record<string, string> = body === undefined
      ? {}
      : { "content-md5": createHash("md5").update(body).digest("base64") };
    const response = await this.#http.send({
      ...asked,
      method,
      url: this.urlOf(key, ask.query),
      headers: { "accept-encoding": "identity", ...headers, ...md5 },
      ...(body === undefined ? {} : { body }),
    }, request);
    const bytes = await this.#http.collect(response, asked, request, ANSWER_BYTES_MAX);
    return { headers: response.headers, text: new TextDecoder().decode(bytes) };
  }

  urlOf(key: string, query: Readonly<Record<string, string>> = {}): string {
    const encoded = encodeQuery(new Map(Object.entries(query))).replace(/=(?=&|$)/g, "");
    return `${this.#base}/${encodeKey(key)}${encoded === "" ? "" : `?${encoded}`}`;
  }

  /** When the server answered, in ms since the Unix epoch; by this machine's clock where it does not say. */
  timeOf(headers: Headers): number {
    const dateMs = Date.parse(headers.get("date") ?? "");
    return Number.isNaN(dateMs) ? this.#now() : dateMs;
  }

  close(): void {
    this.#http.close();
  }

  async #authorize({ method, url, headers = {} }: HttpAsk): Promise<Record<string, string>> {
    if (this.#source === "anonymous") return { ...headers };
    const credentials = await this.#source.current();
    this.#signedBy = credentials;
    const { bucket, region } = this.#location;
    const [path = "", query = ""] = url.slice(this.#base.length).split("?");
    return signOss({
      method,
      resource: `/${bucket}${path}`,
      query,
      headers,
      region,
      credentials,
      nowMs: this.#now(),
    });
  }

  #renew({ code }: HttpFault): boolean {
    if (this.#source === "anonymous" || this.#signedBy === undefined) return false;
    if (EXPIRED_CODES.has(code)) return this.#source.forget(this.#signedBy, "expired");
    return code === "InvalidAccessKeyId" && this.#source.forget(this.#signedBy, "unknown");
  }

  #expected({ code, message }: HttpFault): string | undefined {
    const { bucket, region } = this.#location;
    if (code === "NoSuchBucket") return `an existing bucket, not "${bucket}"`;
    if (/specified endpoint/.test(message)) return `the bucket's own region, not ${region}`;
    return EXPECTED[code];
  }

  /** `text` without secrets, should whoever wrote it have repeated a header. */
  #redacted(text: string): string {
    const secrets = [this.#signedBy?.secretAccessKey, this.#signedBy?.sessionToken];
    return secrets.reduce<string>(
      (clean, secret) =>
        secret && secret.length >= SECRET_LENGTH_MIN ? clean.replaceAll(secret, "[secret]") : clean,
      text,
    );
  }
}

/** The root of an answer of that name. */
export function ossRoot(text: string, name: string, asked: Asked): XmlElement {
  let root: XmlElement;
  try {
    root = parseXml(text);
  } catch (cause) {
    throw wrongAnswer(asked, "an answer that is no XML", `a ${name} document`, { retryable: true, cause });
  }
  if (root.name === name) return root;
  throw wrongAnswer(asked, `an answer of element ${root.name}`, `a ${name} document`);
}

/** A bucket stands before a host's name, but not before an address. */
function isPathStyle({ endpoint }: OssLocation): boolean {
  const name = hostname(hostOf(endpoint));
  return name === "localhost" || isIP(name.replace(/^\[|\]$/g, "")) !== 0;
}

function explainOss(body: string): { code?: string; message?: string } {
  let root: XmlElement;
  try {
    root = parseXml(body);
  } catch {
    return {}; // Proxies answer in HTML or not at all: the status tells enough.
  }
  return { code: childText(root, "Code") ?? "", message: childText(root, "Message") ?? "" };
}
