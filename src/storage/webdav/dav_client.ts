/**
 * DavClient: requests to a WebDAV server, by keys below the replica's path.
 *
 * @see RFC 4918
 * @module
 */

import { StorageError } from "../../errors.ts";
import { sleep } from "../../sleep.ts";
import type { BackendContext } from "../backend.ts";
import type { WebdavLocation } from "../backend_location.ts";
import { type FileBytes, readFileRange } from "../file_read.ts";
import { type HttpAsk, HttpClient, type HttpFault } from "../http_client.ts";
import { wrongAnswer } from "../http_fault.ts";
import type { ByteRange, RequestCounts } from "../object_store.ts";
import { followingRedirects } from "../redirects.ts";
import { SignIn, withoutSecrets } from "../sign_in.ts";
import type { StorageRequest } from "../storage.ts";
import { type DavEntry, parseMultistatus, PROPFIND_BODY } from "./multistatus.ts";

const LISTING_BYTES_MAX = 256 * 1024 * 1024;
/** Somebody else's request is at work on it; servers that lock do so for the time of one request. */
const LOCKED = 423;
const LOCKED_PAUSE_MS = 20;
const LOCKED_TRIES_MAX = 100;

/** A folder's content, and when the server said so by its own clock. */
export interface DavListing {
  readonly entries: readonly DavEntry[];
  /** In ms since the Unix epoch. */
  readonly nowMs: number;
}

/** One request: what is done to a key. */
export type DavAsk = Pick<HttpAsk, "method" | "kind" | "key" | "headers" | "body" | "stream" | "accepts">;

/** Speaks to one server. */
export class DavClient {
  readonly #location: WebdavLocation;
  readonly #http: HttpClient;
  readonly #secrets: readonly string[];
  readonly #now: () => number;

  constructor(location: WebdavLocation, { fetch, fetchInit, now }: BackendContext) {
    this.#location = location;
    this.#now = now;
    const signIn = new SignIn(location, location.origin.startsWith("https:"));
    this.#secrets = signIn.secrets;
    this.#http = new HttpClient({
      authorize: ({ headers, method, url }) => ({ ...headers, ...signIn.headers(method, url) }),
      renew: ({ status }) => signIn.renew(status),
      explain: (body, headers) => {
        signIn.hear(headers);
        return explain(body, headers);
      },
      expected: (fault) => this.#expected(fault),
      redact: (text) => this.#redact(text),
      fetch: followingRedirects(fetch ?? ((url, init) => globalThis.fetch(url, init)), { elsewhere: false }),
      fetchInit,
      now,
    });
  }

  get counts(): RequestCounts {
    return this.#http.counts;
  }

  /**
   * Where a key lies; an empty one is the replica's own folder, one that begins with a slash a server's path.
   */
  urlOf(key: string): string {
    return `${this.#location.origin}${encodePath(this.pathOf(key))}`;
  }

  /** The same without the server, not encoded. */
  pathOf(key: string): string {
    return key.startsWith("/") ? key : `${this.#location.path}/${key}`;
  }

  /** Sends a request, again while the server says that another one is at work there. */
  async send(ask: DavAsk, request: StorageRequest): Promise<Response> {
    const accepts = ask.stream === undefined ? [...ask.accepts ?? [], LOCKED] : ask.accepts ?? [];
    const what = `${ask.method} "${ask.key}" in ${this.#location.name}`;
    for (let count = 1;; count++) {
      const response = await this.#http.send(
        { ...ask, what, url: this.urlOf(ask.key), accepts },
        request,
      );
      if (ask.method !== "PROPFIND") await this.#http.discard(response);
      if (response.status !== LOCKED || ask.accepts?.includes(LOCKED)) return response;
      if (count === LOCKED_TRIES_MAX) {
        const details = { key: ask.key, status: LOCKED, code: "Locked", retryable: true };
        throw new StorageError(`Cannot ${what}: it is locked, expected no lock there`, details);
      }
      await sleep(LOCKED_PAUSE_MS * (0.5 + Math.random()), request.signal);
    }
  }

  /** Lists a folder, or describes one resource; undefined where there is none. */
  async find(key: string, depth: 0 | 1, request: StorageRequest): Promise<DavListing | undefined> {
    const headers = { depth: String(depth), "content-type": "application/xml; charset=utf-8" };
    const ask = { method: "PROPFIND", kind: "list", key, headers, body: PROPFIND_BODY } as const;
    const response = await this.send({ ...ask, accepts: [404] }, request);
    const asked = { ...ask, what: `list "${key}" in ${this.#location.name}` };
    if (response.status !== 207) {
      await this.#http.discard(response);
      if (response.status === 404) return undefined;
      throw wrongAnswer(asked, `status ${response.status}`, "status 207, as WebDAV servers answer");
    }
    const body = new TextDecoder().decode(
      await this.#http.collect(response, asked, request, LISTING_BYTES_MAX),
    );
    const date = Date.parse(response.headers.get("date") ?? "");
    try {
      return { entries: parseMultistatus(body), nowMs: Number.isNaN(date) ? this.#now() : date };
    } catch (cause) {
      const found = cause instanceof Error ? cause.message : String(cause);
      throw wrongAnswer(asked, found, "an answer to PROPFIND", { retryable: true, cause });
    }
  }

  /** Reads a range of a file. */
  async read(
    key: string,
    range: ByteRange,
    request: StorageRequest,
  ): Promise<FileBytes | "outside" | undefined> {
    const what = `read bytes ${range.offset}-${range.offset + range.size - 1} of "${key}" in ` +
      this.#location.name;
    const ask = { what, key, url: this.urlOf(key) };
    return await readFileRange(this.#http, { ask, range, request, redact: (text) => this.#redact(text) });
  }

  close(): void {
    this.#http.close();
  }

  #redact(text: string): string {
    return withoutSecrets(text, this.#secrets);
  }

  #expected({ status }: HttpFault): string | undefined {
    if (status === 401) {
      return this.#location.user === ""
        ? "a user and a password in the URL: webdav://USER:PASSWORD@HOST/path"
        : "a user and a password that the server takes, by Basic or Digest authentication";
    }
    return status === 405 || status === 501 ? "a server that speaks WebDAV there" : undefined;
  }
}

function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

/** Where a redirect leads, which way of signing in is asked for, or what the server's XML says. */
function explain(body: string, headers: Headers): { message?: string } {
  const location = headers.get("location") ?? "";
  if (URL.canParse(location)) return { message: `to ${new URL(location).origin}` };
  const scheme = /^\w+/.exec(headers.get("www-authenticate") ?? "")?.[0];
  if (scheme !== undefined) return { message: `it asks for ${scheme} authentication` };
  const message = /<(?:\w+:)?message[^>]*>([^<]+)</.exec(body)?.[1]?.trim();
  return message === undefined ? {} : { message };
}
