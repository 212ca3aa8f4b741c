/**
 * S3Client: requests to a bucket, signed by aws4fetch, and what the bucket answers to them.
 *
 * A request is repeated only once, where the answer itself says how to correct it (the bucket's region, expired
 * credentials).
 *
 * @module
 */

import { AwsV4Signer } from "aws4fetch";
import { ReplicaClosedError, StorageError } from "../errors.ts";
import type { Credentials, CredentialsSource } from "./credentials.ts";
import type { FetchFunction } from "./fetch_function.ts";
import type { RequestCounts, RequestOptions } from "./object_store.ts";
import { type Provider, providerNamed } from "./providers.ts";
import { hasDotSegments, rawFetch } from "./raw_fetch.ts";
import type { S3Location } from "./replica_url.ts";
import { type Address, addressOf, encodeKey } from "./s3_address.ts";
import { collectBody, type HttpAnswer } from "./http_body.ts";
import { serviceError } from "./credentials_service.ts";
import { networkError } from "./http_fault.ts";
import { faultError, isWrongRegion, parseFault, refusalOf, type S3Asked, type S3Fault } from "./s3_fault.ts";
import { type SessionAnswer, type SessionMode, sessionSource } from "./s3_session.ts";

/** What an {@link S3Client} is made with beside its location. */
export interface S3ClientOptions {
  readonly credentials: CredentialsSource | "anonymous";
  /** Region to begin with where the location names none; corrected by what the server says. */
  readonly region?: string | undefined;
  readonly fetch?: FetchFunction | undefined;
  /** Further fetch options, such as a runtime's own for TLS. */
  readonly fetchInit?: Readonly<Record<string, unknown>> | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly now?: (() => number) | undefined;
}

/** A request before it is signed. */
export interface Ask extends S3Asked {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** The object's key in the bucket; empty for what is asked of the bucket. */
  readonly objectKey: string;
  /** Encoded query without its question mark. */
  readonly query: string;
  /** Value of Range, which is not signed; empty for none. */
  readonly range?: string;
  /** Headers that are signed. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** For whom requests are signed, and as which region's. */
interface Signing {
  readonly region: string;
  readonly credentials: Credentials | undefined;
  /** Whether the credentials are a session's. */
  readonly inSession: boolean;
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

const REGION_DEFAULT = "us-east-1";
/** Less than an attempt may take, so that a failure names the session. */
const SESSION_TIMEOUT_MS = 3_000;
const FAULT_BYTES_MAX = 64 * 1024;
const SIGNING_KEYS_MAX = 16;
/** Shorter ones, which nobody but a test has, would be found in the middle of words. */
const SECRET_LENGTH_MIN = 8;

/** Sends requests to one bucket. */
export class S3Client {
  readonly #location: S3Location;
  readonly #options: S3ClientOptions;
  readonly #counts: RequestCounts;
  readonly #fetch: FetchFunction;
  readonly #now: () => number;
  readonly #signingKeys = new Map<string, ArrayBuffer>();
  readonly #provider: Provider;
  /** Whose credentials requests are signed with. */
  readonly #source: CredentialsSource | "anonymous";
  /** What fetch is given with each request. */
  readonly #fetchInit: RequestInit;
  #signedSecond: SignedSecond | undefined;
  #region: string;
  #closed = false;

  /** What is sent and received is counted in `counts`. */
  constructor(location: S3Location, options: S3ClientOptions, counts: RequestCounts) {
    this.#location = location;
    this.#options = options;
    this.#counts = counts;
    this.#fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init));
    this.#now = options.now ?? Date.now;
    this.#region = location.region || options.region || REGION_DEFAULT;
    this.#provider = providerNamed(location.provider);
    const { credentials } = options;
    this.#source = this.#provider.sessions && credentials !== "anonymous"
      ? sessionSource((mode) => this.#beginSession(credentials, mode), options)
      : credentials;
    const tls = location.skipVerify ? { tls: { rejectUnauthorized: false } } : {};
    this.#fetchInit = { ...tls, ...options.fetchInit, redirect: "manual" };
  }

  /** Sends a request; repeats it once where the fault tells how to correct it. */
  async send(ask: Ask, options: RequestOptions): Promise<Response> {
    for (let corrected = false;; corrected = true) {
      if (this.#closed) throw new ReplicaClosedError(`Cannot ${ask.what}: the store was closed`);
      this.#count(ask);
      const region = this.#region;
      const credentials = await this.#credentials();
      const inSession = this.#source !== this.#options.credentials;
      const response = await this.#exchange(ask, { region, credentials, inSession }, options);
      options.onProgress?.(new Uint8Array(0));
      if (response.ok) return response;
      const fault = await this.#readFault(response, ask, options);
      if (corrected || !this.#correct(fault, region, credentials)) {
        const redact = (text: string) => this.#redacted(text, credentials);
        throw faultError(fault, ask, { nowMs: this.#now(), redact });
      }
      this.#counts.retries++;
    }
  }

  /** An answer whose body is still to be read. */
  answer(response: Response, asked: S3Asked, options: RequestOptions): HttpAnswer {
    const redact = (text: string) => this.#redacted(text, undefined);
    return { response, asked, options, counts: this.#counts, redact };
  }

  /** The error of a fault that came under a status of success. */
  errorOf({ code, message }: Pick<S3Fault, "code" | "message">, asked: S3Asked): StorageError {
    const fault: S3Fault = {
      status: 200,
      code,
      message,
      region: "",
      serverTime: "",
      retryAfterMs: undefined,
    };
    const redact = (text: string) => this.#redacted(text, this.#signedSecond?.credentials);
    return faultError(fault, asked, { nowMs: this.#now(), redact });
  }

  /** When the server answered, in ms since the Unix epoch; by this machine's clock where it does not say. */
  timeOf(response: Response): number {
    const dateMs = Date.parse(response.headers.get("date") ?? "");
    return Number.isNaN(dateMs) ? this.#now() : dateMs;
  }

  close(): void {
    this.#closed = true;
  }

  #count({ kind }: Ask): void {
    this.#counts[kind] = (this.#counts[kind] ?? 0) + 1;
  }

  /** Learns from a fault; whether the request may succeed now. */
  #correct(fault: S3Fault, region: string, credentials: Credentials | undefined): boolean {
    if (isWrongRegion(fault) && fault.region !== "" && fault.region !== region) {
      this.#region = fault.region;
      return true;
    }
    const source = this.#source;
    const refusal = refusalOf(fault);
    return refusal !== undefined && source !== "anonymous" && credentials !== undefined &&
      source.forget(credentials, refusal);
  }

  async #credentials(): Promise<Credentials | undefined> {
    return this.#source === "anonymous" ? undefined : await this.#source.current();
  }

  /** What a request for a session is answered; it is signed with what the store was given. */
  async #beginSession(source: CredentialsSource, mode: SessionMode): Promise<SessionAnswer> {
    const { bucket, name } = this.#location;
    const asked: S3Asked = { what: `begin a session in ${name}`, bucket, key: "", kind: "get" };
    const ask: Ask = {
      ...asked,
      method: "GET",
      objectKey: "",
      query: "session=",
      headers: { "x-amz-create-session-mode": mode },
    };
    const options = { signal: AbortSignal.timeout(SESSION_TIMEOUT_MS) };
    for (let renewed = false;; renewed = true) {
      const by = { region: this.#region, credentials: await source.current(), inSession: false };
      const response = await this.#exchange(ask, by, options).catch((cause) => {
        if (!options.signal.aborted) throw cause;
        throw serviceError(asked.what, `no answer within ${SESSION_TIMEOUT_MS} ms`, { status: 0, cause });
      });
      if (response.ok) {
        const body = await collectBody(this.answer(response, asked, options), FAULT_BYTES_MAX);
        const aheadMs = this.#now() - this.timeOf(response);
        return { document: new TextDecoder().decode(body), aheadMs };
      }
      const fault = await this.#readFault(response, ask, options);
      const refusal = refusalOf(fault);
      if (!renewed && refusal !== undefined && source.forget(by.credentials, refusal)) continue;
      throw faultError(fault, asked, {
        nowMs: this.#now(),
        redact: (text) => this.#redacted(text, by.credentials),
      });
    }
  }

  /** One HTTP exchange, up to the answer's headers. */
  async #exchange(ask: Ask, by: Signing, { signal, onSent, exchange }: RequestOptions): Promise<Response> {
    const { origin, target, isRaw, headers: signed } = await this.#signed(ask, by);
    const headers = ask.range ? { ...signed, range: ask.range } : { ...signed };
    const { method, body } = ask;
    signal?.throwIfAborted();
    try {
      if (isRaw) {
        if (this.#options.fetch !== undefined) throw this.#unsendable(ask);
        const rejectUnauthorized = !this.#location.skipVerify;
        exchange?.sent(method, origin + target);
        const response = await rawFetch(origin, target, {
          method,
          headers,
          body,
          signal,
          rejectUnauthorized,
        });
        exchange?.answered(response.status);
        return response;
      }
      const init: RequestInit = { ...this.#fetchInit, headers };
      if (method !== "GET") init.method = method;
      if (body !== undefined) init.body = body as Uint8Array<ArrayBuffer>;
      if (signal !== undefined) init.signal = signal;
      exchange?.sent(method, origin + target);
      const answered = this.#fetch(origin + target, init);
      onSent?.();
      const response = await answered;
      exchange?.answered(response.status);
      return response;
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
    if (ask.method !== "GET") return this.#sign(ask, second);
    const headers = Object.values(ask.headers ?? {}).join(" "); // All reads have the same names.
    const name = `${headers}\n${ask.query}\n${ask.objectKey}`; // Only a key may have line breaks.
    let signed = second.requests.get(name);
    if (signed === undefined) {
      signed = this.#sign(ask, second);
      signed.catch(() => second.requests.delete(name));
      second.requests.set(name, signed);
    }
    return signed;
  }

  #secondNow({ region, credentials, inSession }: Signing): SignedSecond {
    const nowMs = this.#now();
    const second = Math.floor(nowMs / 1000);
    const last = this.#signedSecond;
    if (last?.second === second && last.region === region && last.credentials === credentials) return last;
    const datetime = new Date(nowMs).toISOString().replace(/[:-]|\.\d{3}/g, "");
    const address = addressOf(this.#location, region);
    const by = { region, credentials, inSession };
    return this.#signedSecond = { ...by, second, datetime, address, requests: new Map() };
  }

  /** The request with its signature; unsigned where access is anonymous. */
  async #sign(
    ask: Ask,
    { region, credentials, inSession, address, datetime }: SignedSecond,
  ): Promise<SignedRequest> {
    const { origin, base } = address;
    const path = `${base}/${encodeKey(ask.objectKey)}`;
    const target = ask.query === "" ? path : `${path}?${ask.query}`;
    const headers = { ...ask.headers, ...this.#provider.headers };
    const url = origin + target;
    const signed = credentials === undefined
      ? headers
      : await this.#signedHeaders(ask, { url, path, headers, region, credentials, inSession, datetime });
    // Not signed: proxies and Google change it on the way.
    const sent = { ...signed, "accept-encoding": "identity" };
    return { origin, target, isRaw: hasDotSegments(path), headers: sent };
  }

  async #signedHeaders({ method, body }: Ask, request: {
    url: string;
    path: string;
    headers: Record<string, string>;
    region: string;
    credentials: Credentials;
    inSession: boolean;
    datetime: string;
  }): Promise<Record<string, string>> {
    const { url, path, headers, region, credentials, inSession, datetime } = request;
    const { accessKeyId, secretAccessKey, sessionToken } = credentials;
    if (this.#signingKeys.size > SIGNING_KEYS_MAX) this.#signingKeys.clear();
    const signer = new AwsV4Signer({
      method,
      url,
      headers: {
        ...headers,
        "x-amz-content-sha256": this.#location.signPayload ? await sha256Of(body) : "UNSIGNED-PAYLOAD",
        ...(sessionToken && inSession ? { "x-amz-s3session-token": sessionToken } : {}),
      },
      accessKeyId,
      secretAccessKey,
      ...(sessionToken && !inSession ? { sessionToken } : {}),
      service: this.#provider.sessions ? "s3express" : "s3",
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
        await collectBody(this.answer(response, ask, options), FAULT_BYTES_MAX),
      );
    } catch (error) {
      if (options.signal?.aborted) throw error; // Else the status alone tells the fault.
    }
    return parseFault(response, body, this.#now());
  }

  /** `text` without secrets, should whoever wrote it have repeated a header. */
  #redacted(text: string, credentials: Credentials | undefined): string {
    const secrets = [
      credentials?.secretAccessKey,
      credentials?.sessionToken,
      this.#location.customerKey?.key,
    ];
    const spelled = secrets.flatMap((secret) =>
      secret && secret.length >= SECRET_LENGTH_MIN ? [secret, encodeURIComponent(secret)] : []
    );
    return spelled.reduce((clean, secret) => clean.replaceAll(secret, "[secret]"), text);
  }
}

const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

async function sha256Of(body: Uint8Array | undefined): Promise<string> {
  if (body === undefined) return EMPTY_SHA256;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", body as Uint8Array<ArrayBuffer>));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
