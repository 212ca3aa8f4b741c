/**
 * AbsClient: requests to one container, signed, and what Azure answers to them.
 *
 * @module
 */

import { StorageError } from "../../errors.ts";
import type { BackendContext } from "../backend.ts";
import type { AbsLocation } from "../backend_location.ts";
import type { Credentials, CredentialsSource } from "../credentials.ts";
import { type HttpAsk, HttpClient, type HttpFault } from "../http_client.ts";
import type { RequestCounts } from "../object_store.ts";
import type { StorageRequest, StoredBytes } from "../storage.ts";
import { type AbsAccount, accountOf } from "./abs_account.ts";
import { expectedOf, explain, isWrongVersion } from "./abs_fault.ts";
import { entraTokens, isPrivate } from "./entra.ts";
import { SharedKey } from "./shared_key.ts";

/** A request before it has its address. */
export interface AbsAsk extends Omit<HttpAsk, "url" | "stream"> {
  /** The blob's name; empty for what is asked of the container. */
  readonly blob: string;
  readonly query?: Readonly<Record<string, string>>;
}

/** The first with `startFrom`. */
const VERSION = "2026-02-06";
/** What Azure Stack and older emulators know; all else that is asked for is older still. */
const VERSION_OLD = "2019-07-07";
const ANSWER_BYTES_MAX = 64 * 1024;

/** Sends requests to one container. */
export class AbsClient {
  readonly #http: HttpClient;
  readonly #account: AbsAccount;
  readonly #container: string;
  readonly #now: () => number;
  readonly #sharedKey: SharedKey | undefined;
  readonly #tokens: CredentialsSource | undefined;
  readonly #sent = new WeakMap<HttpAsk, Credentials>();
  #token: Credentials | undefined;
  #version = VERSION;

  constructor(location: AbsLocation, context: BackendContext) {
    const account = this.#account = accountOf(location, context);
    const { signIn } = account;
    this.#container = location.container;
    this.#now = context.now;
    if (signIn.kind === "key") this.#sharedKey = new SharedKey(account.account, signIn.key);
    if (signIn.kind === "entra") this.#tokens = entraTokens(context);
    this.#http = new HttpClient({
      authorize: (ask) => this.#authorize(ask),
      renew: (fault, ask) => this.#renew(fault, ask),
      explain: (body, headers) => explain(body, headers, this.#now()),
      expected: (fault, asked) =>
        expectedOf(fault, asked, { signIn: signIn.kind, container: this.#container }),
      redact: (text) => this.#redacted(text),
      fetch: context.fetch,
      fetchInit: context.fetchInit,
      now: context.now,
    });
  }

  get counts(): RequestCounts {
    return this.#http.counts;
  }

  /** Sends a request and reads the answer to its end, so that the connection can be used again. */
  async send(
    ask: AbsAsk,
    request: StorageRequest,
    sizeMax = ANSWER_BYTES_MAX,
  ): Promise<{ headers: Headers; text: string }> {
    return await this.#inVersion(async () => {
      const response = await this.#http.send(this.#addressed(ask), request);
      const body = await this.#http.collect(response, ask, request, sizeMax);
      return { headers: response.headers, text: new TextDecoder().decode(body) };
    });
  }

  /** Reads a range of a blob; undefined where there is none, or another than `etag` says. */
  async read(
    ask: Omit<AbsAsk, "method" | "kind">,
    range: { offset: number; size: number; etag?: string | undefined },
    request: StorageRequest,
  ): Promise<StoredBytes | undefined> {
    try {
      return await this.#inVersion(() =>
        this.#http.read({ ...this.#addressed(ask), accepts: [] }, range, request)
      );
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  /** When the server made an object, in ms since the Unix epoch; by our clock where it does not say. */
  timeOf(headers: Headers): number {
    const ms = Date.parse(headers.get("last-modified") ?? headers.get("date") ?? "");
    return Number.isNaN(ms) ? this.#now() : ms;
  }

  close(): void {
    this.#http.close();
  }

  /** Once more in an older version where the server does not know ours. */
  async #inVersion<T>(act: () => Promise<T>): Promise<T> {
    const version = this.#version;
    try {
      return await act();
    } catch (error) {
      if (version === VERSION_OLD || !(error instanceof StorageError) || !isWrongVersion(error)) throw error;
      this.#version = VERSION_OLD;
      return await act();
    }
  }

  #addressed<A extends { blob: string; query?: Readonly<Record<string, string>> }>(
    ask: A,
  ): Omit<A, "blob" | "query"> & { url: string } {
    const { blob, query = {}, ...rest } = ask;
    const { endpoint, signIn } = this.#account;
    const path = [this.#container, ...blob === "" ? [] : blob.split("/")].map(encode).join("/");
    const parameters = Object.entries(query).map(([name, value]) => `${name}=${encode(value)}`);
    if (signIn.kind === "sas") parameters.push(signIn.sas);
    return {
      ...rest,
      url: `${endpoint}/${path}${parameters.length === 0 ? "" : `?${parameters.join("&")}`}`,
    };
  }

  async #authorize(ask: HttpAsk): Promise<Record<string, string>> {
    const headers: Record<string, string> = {
      ...ask.headers,
      "x-ms-date": new Date(this.#now()).toUTCString(),
      "x-ms-version": this.#version,
    };
    if (this.#sharedKey !== undefined) {
      const { method, url, body } = ask;
      const signed = { method, url, headers, bodySize: body?.length ?? 0 };
      headers.authorization = await this.#sharedKey.authorization(signed);
    }
    if (this.#tokens !== undefined) {
      this.#checkPrivate(ask);
      this.#token = await this.#tokens.current();
      this.#sent.set(ask, this.#token);
      headers.authorization = `Bearer ${this.#token.secretAccessKey}`;
    }
    return headers;
  }

  #checkPrivate(ask: HttpAsk): void {
    if (isPrivate(this.#account.endpoint)) return;
    const details = { key: ask.key, status: 0, code: "Credentials", retryable: false };
    throw new StorageError(`Cannot ${ask.what}: a token would be sent without TLS, expected https`, details);
  }

  /** Permission is not a question of which token is sent. */
  #renew({ status }: HttpFault, ask: HttpAsk): boolean {
    const token = this.#sent.get(ask);
    return status === 401 && token !== undefined && this.#tokens?.forget(token) === true;
  }

  #redacted(text: string): string {
    const { signIn } = this.#account;
    const clean = text.replace(/\bsig=[^&\s"')]+/g, "sig=[secret]");
    const secrets = [
      signIn.kind === "key" ? signIn.key : undefined,
      signIn.kind === "sas" ? signIn.sas : undefined,
      this.#token?.secretAccessKey,
    ];
    return secrets.reduce<string>(
      (rest, secret) => secret ? rest.replaceAll(secret, "[secret]") : rest,
      clean,
    );
  }
}

/** Whether the blob is not there, or not that one; a container that is missing is another matter. */
function isGone(error: unknown): boolean {
  if (!(error instanceof StorageError)) return false;
  const { status, code } = error;
  return status === 412 || (status === 404 && (code === "" || code === "BlobNotFound"));
}

/** As signatures want it: what is not encoded in one place may be in another. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
