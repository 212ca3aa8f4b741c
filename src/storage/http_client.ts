/**
 * HttpClient: requests to a service other than S3, and what it answers to them.
 *
 * A request is sent once; a second time only where it was refused and {@link HttpService.renew} has other credentials.
 *
 * @module
 */

import { ReplicaClosedError, StorageError } from "../errors.ts";
import type { FetchFunction } from "./fetch_function.ts";
import { collectBody, type HttpAnswer, readRange } from "./http_body.ts";
import { type Asked, networkError } from "./http_fault.ts";
import type { RequestCounts } from "./object_store.ts";
import { parseRetryAfter, RetryAfterError } from "./retry_after.ts";
import type { StorageRequest, StoredBytes } from "./storage.ts";

/** A request before it is signed. */
export interface HttpAsk extends Asked {
  readonly method: string;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** A body whose bytes come one after the other; its size must be in the headers where the service wants it. */
  readonly stream?: AsyncIterable<Uint8Array>;
  /** Statuses beyond those of success that the caller looks at itself. */
  readonly accepts?: readonly number[];
}

/** What a service's answer says beside its status. */
export interface HttpFault {
  readonly status: number;
  /** The service's own code; empty where it has none. */
  readonly code: string;
  /** The service's own words; empty where it has none. */
  readonly message: string;
}

/** What tells services apart. */
export interface HttpService {
  /** Headers of a request that is about to be sent: all of `ask.headers`, and what proves who asks. */
  authorize?(ask: HttpAsk, request: StorageRequest): Promise<Record<string, string>> | Record<string, string>;
  /** Called when a request is refused (401, 403): whether other credentials may do. `ask` is what they were for. */
  renew?(fault: HttpFault, ask: HttpAsk): Promise<boolean> | boolean;
  /** What tells an object from all others in the headers of an answer; absent where that is its ETag. */
  identity?(headers: Headers): string | undefined;
  /** Code and words of an answer that is no success. */
  explain?(body: string, headers: Headers): { code?: string; message?: string };
  /** What a person can do about a fault, after "expected"; undefined where nothing special is known. */
  expected?(fault: HttpFault, asked: Asked): string | undefined;
  /** Takes secrets out of a text. */
  redact?(text: string): string;
  readonly fetch?: FetchFunction | undefined;
  /** Further fetch options, such as a runtime's own for TLS. */
  readonly fetchInit?: Readonly<Record<string, unknown>> | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly now?: (() => number) | undefined;
}

const FAULT_BYTES_MAX = 64 * 1024;
/** By what code others know a fault, where the service names none. */
const CODES: Readonly<Record<number, string>> = { 416: "InvalidRange", 501: "NotImplemented" };
const RETRYABLE_STATUSES = new Set([408, 425, 429, 500, 502, 503, 504]);

/** Sends requests to one service. */
export class HttpClient {
  /** What was sent and received so far. */
  readonly counts: RequestCounts = { list: 0, get: 0, bytes: 0, retries: 0 };
  readonly #service: HttpService;
  readonly #fetch: FetchFunction;
  #closed = false;

  constructor(service: HttpService) {
    this.#service = service;
    this.#fetch = service.fetch ?? ((url, init) => globalThis.fetch(url, init));
  }

  /**
   * Sends a request.
   *
   * @throws {StorageError} the answer is neither a success nor accepted, or there is none
   */
  async send(ask: HttpAsk, request: StorageRequest): Promise<Response> {
    for (let renewed = false;; renewed = true) {
      const response = await this.#exchange(ask, request);
      request.onProgress(new Uint8Array(0));
      if (response.ok || ask.accepts?.includes(response.status)) return response;
      const fault = await this.#faultOf(response, ask, request);
      const isRefused = fault.status === 401 || fault.status === 403;
      const mayRepeat = isRefused && !renewed && ask.stream === undefined;
      if (mayRepeat && await this.#service.renew?.(fault, ask)) {
        this.counts.retries++;
        continue;
      }
      throw this.#errorOf(fault, ask, response.headers);
    }
  }

  /** Reads a range of an object; undefined where there is no such object, or another one than `etag` says. */
  async read(
    ask: Omit<HttpAsk, "method" | "kind">,
    { offset, size, etag = "" }: { offset: number; size: number; etag?: string | undefined },
    request: StorageRequest,
  ): Promise<StoredBytes | undefined> {
    const asked: HttpAsk = {
      ...ask,
      method: "GET",
      kind: "get",
      accepts: ask.accepts ?? [404, 412],
      headers: {
        "accept-encoding": "identity",
        ...ask.headers,
        range: `bytes=${offset}-${offset + size - 1}`,
      },
    };
    const response = await this.send(asked, request);
    if (response.status === 404 || response.status === 412) {
      await this.discard(response);
      return undefined;
    }
    const of = { key: ask.key, etag, size: 0 };
    return await readRange(this.#answer(response, asked, ofObject(request, etag)), {
      of,
      range: { offset, size },
    });
  }

  /** The body of an answer, whole. */
  async collect(
    response: Response,
    asked: Asked,
    request: StorageRequest,
    sizeMax: number,
  ): Promise<Uint8Array> {
    return await collectBody(this.#answer(response, asked, request), sizeMax);
  }

  /** Ends a body that nobody wants. */
  async discard(response: Response): Promise<void> {
    await response.body?.cancel().catch(() => {});
  }

  close(): void {
    this.#closed = true;
  }

  async #exchange(ask: HttpAsk, request: StorageRequest): Promise<Response> {
    if (this.#closed) throw new ReplicaClosedError(`Cannot ${ask.what}: the store was closed`);
    const headers = await this.#service.authorize?.(ask, request) ?? { ...ask.headers };
    const { signal } = request;
    signal.throwIfAborted();
    this.counts[ask.kind] = (this.counts[ask.kind] ?? 0) + 1;
    const init: RequestInit = {
      ...this.#service.fetchInit,
      method: ask.method,
      headers,
      signal,
      redirect: "manual",
    };
    if (ask.body !== undefined) init.body = ask.body as Uint8Array<ArrayBuffer>;
    if (ask.stream !== undefined) {
      Object.assign(init, { body: streamOf(ask.stream, request), duplex: "half" });
    }
    try {
      request.exchange?.sent(ask.method, ask.url);
      const response = await this.#fetch(ask.url, init);
      request.exchange?.answered(response.status);
      return response;
    } catch (cause) {
      throw networkError(ask, cause, { signal, redact: (text) => this.#redacted(text) });
    }
  }

  #answer(response: Response, asked: Asked, options: StorageRequest): HttpAnswer {
    const etag = this.#service.identity?.(response.headers);
    const redact = (text: string) => this.#redacted(text);
    return { response, asked, options, counts: this.counts, redact, ...(etag !== undefined && { etag }) };
  }

  async #faultOf(response: Response, ask: HttpAsk, request: StorageRequest): Promise<HttpFault> {
    let body = "";
    try {
      body = new TextDecoder().decode(await this.collect(response, ask, request, FAULT_BYTES_MAX));
    } catch (error) {
      if (request.signal.aborted) throw error; // Else the status alone tells the fault.
    }
    const { status, headers } = response;
    const { code, message = "" } = this.#service.explain?.(body, headers) ?? {};
    return { status, code: code || (CODES[status] ?? ""), message: this.#redacted(message).slice(0, 300) };
  }

  #errorOf(fault: HttpFault, ask: HttpAsk, headers: Headers): StorageError {
    const { status, message } = fault;
    const code = this.#redacted(fault.code).slice(0, 100);
    const found = `status ${status}${code && ` ${code}`}${message && ` (${message})`}`;
    const wanted = this.#service.expected?.(fault, ask) ?? WANTED[status] ?? "a status of success";
    const retryable = RETRYABLE_STATUSES.has(status);
    const details = { key: ask.key, status, code, retryable };
    const text = `Cannot ${ask.what}: ${found}, expected ${wanted}`;
    const retryAfterMs = parseRetryAfter(headers.get("retry-after"), (this.#service.now ?? Date.now)());
    return retryable && retryAfterMs !== undefined
      ? new RetryAfterError(text, { ...details, retryAfterMs })
      : new StorageError(text, details);
  }

  #redacted(text: string): string {
    return this.#service.redact?.(text) ?? text;
  }
}

const WANTED: Readonly<Record<number, string>> = {
  301: "the place's own address",
  302: "the place's own address",
  307: "the place's own address",
  308: "the place's own address",
  401: "credentials that the server knows",
  403: "permission there",
  404: "an existing place",
  405: "a server that knows this request",
  416: "a range inside the object",
  501: "a server that knows this request",
  507: "room for the object",
};

/** The same request for bytes that are shown only once they are known to be of the object with this ETag. */
function ofObject({ onProgress, ...request }: StorageRequest, etag: string): StorageRequest {
  return { ...request, onProgress: (received) => onProgress(received, etag) };
}

function streamOf(chunks: AsyncIterable<Uint8Array>, request: StorageRequest): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.asyncIterator]();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await iterator.next();
      request.onProgress(new Uint8Array(0)); // It is being sent.
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await iterator.return?.();
    },
  });
}
