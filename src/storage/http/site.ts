/**
 * Site: requests to a web server that serves a replica's files.
 *
 * @module
 */

import type { BackendContext } from "../backend.ts";
import type { HttpLocation } from "../backend_location.ts";
import { type FileBytes, readFileRange } from "../file_read.ts";
import { factsOf, type FileFacts } from "../file_tag.ts";
import { HttpClient, type HttpFault } from "../http_client.ts";
import { type Asked, wrongAnswer } from "../http_fault.ts";
import { hasTooManyItems, ITEMS_MAX } from "../listing_bound.ts";
import type { ByteRange, RequestCounts } from "../object_store.ts";
import { followingRedirects } from "../redirects.ts";
import { SignIn, withoutSecrets } from "../sign_in.ts";
import type { StorageRequest } from "../storage.ts";

const TEXT_BYTES_MAX = 256 * 1024 * 1024;
const IDENTITY = { "accept-encoding": "identity" };
/** Whatever lies between asks the server itself. */
const FRESH = { "cache-control": "no-cache" };
/** What a listing needs. */
export const LISTING_WANTED =
  "index.json beside ltx/ (writeIndex() makes it), or a server that lists folders";

/** A text, and what the answer says of it. */
export interface SiteText {
  readonly url: string;
  readonly text: string;
  readonly headers: Headers;
}

/** Asks for files below a URL; its query goes with each request. */
export class Site {
  readonly name: string;
  readonly #location: HttpLocation;
  readonly #http: HttpClient;
  readonly #secrets: readonly string[];

  constructor(location: HttpLocation, { fetch, fetchInit, now }: BackendContext) {
    this.name = location.name;
    this.#location = location;
    const signIn = new SignIn(location, location.origin.startsWith("https:"));
    const values = Object.values(location.parameters).filter((value) => value.length >= 6);
    this.#secrets = [location.query, ...values, ...signIn.secrets];
    this.#http = new HttpClient({
      authorize: ({ headers, method, url }) => ({ ...headers, ...signIn.headers(method, url) }),
      renew: ({ status }) => signIn.renew(status),
      explain: (_body, headers) => {
        signIn.hear(headers);
        return explain(headers);
      },
      expected,
      redact: (text) => this.redact(text),
      fetch: followingRedirects(fetch ?? ((url, init) => globalThis.fetch(url, init)), { elsewhere: true }),
      fetchInit,
      now,
    });
  }

  get counts(): RequestCounts {
    return this.#http.counts;
  }

  /**
   * Reads an index or a folder's page; undefined: there is none, `"same"`: it is still that of `validator`.
   */
  async text(
    key: string,
    { accept, validator = "" }: { accept: string; validator?: string },
    request: StorageRequest,
  ): Promise<SiteText | "same" | undefined> {
    const asked = this.#asked(key, "list");
    const condition: Record<string, string> = validator === "" ? {} : { "if-none-match": validator };
    const absent = key.endsWith("/") || key === "" ? [404, 410] : [403, 404, 410];
    const response = await this.#http.send({
      ...asked,
      method: "GET",
      headers: { ...FRESH, ...condition, accept },
      accepts: [304, ...absent],
    }, request);
    if (!response.ok) {
      await this.#http.discard(response);
      return response.status === 304 ? "same" : undefined;
    }
    const bytes = await this.#http.collect(response, asked, request, TEXT_BYTES_MAX);
    const text = new TextDecoder().decode(bytes);
    if (hasTooManyItems(text)) {
      throw wrongAnswer(asked, `more than ${ITEMS_MAX} items`, "as many as a replica has");
    }
    return { url: asked.url, text, headers: response.headers };
  }

  /** What the server says of a file; undefined where there is none. */
  async facts(key: string, request: StorageRequest): Promise<FileFacts | undefined> {
    const asked = this.#asked(key, "list");
    const headers = { ...FRESH, ...IDENTITY };
    const response = await this.#http.send(
      { ...asked, method: "HEAD", headers, accepts: [404, 410] },
      request,
    );
    await this.#http.discard(response);
    if (!response.ok || isOtherPage(key, response)) return undefined;
    const length = response.headers.get("content-length") ?? "";
    if (!/^\d+$/.test(length)) throw wrongAnswer(asked, "no Content-Length", "the file's size");
    return factsOf(response.headers, Number(length));
  }

  /** Reads a range of whatever file is there; `isFresh`: it may have come a moment ago. */
  async read(
    key: string,
    { isFresh, ...range }: ByteRange & { readonly isFresh: boolean },
    request: StorageRequest,
  ): Promise<FileBytes | "outside" | undefined> {
    const { url } = this.#asked(key, "get");
    const what = `read bytes ${range.offset}-${range.offset + range.size - 1} of "${key}" in ${this.name}`;
    return await readFileRange(this.#http, {
      ask: { what, key, url, ...(isFresh && { headers: FRESH }) },
      range,
      request,
      redact: (text) => this.redact(text),
      isAbsent: (response) => isOtherPage(key, response),
    });
  }

  /** Of a request that is no success: what was asked for. */
  asked(key: string): Asked {
    return this.#asked(key, "list");
  }

  /** Takes secrets out of a text. */
  redact(text: string): string {
    return withoutSecrets(text, this.#secrets);
  }

  close(): void {
    this.#http.close();
  }

  #asked<K extends Asked["kind"]>(key: string, kind: K): Asked & { url: string; kind: K } {
    const { origin, path, query } = this.#location;
    const encoded = key.split("/").map(encodeURIComponent).join("/");
    const url = `${origin}${path}/${encoded}${query && `?${query}`}`;
    return { what: `list "${key}" in ${this.name}`, key, kind, url };
  }
}

/** Some servers answer whatever they do not know with a page for browsers, as if it were there. */
function isOtherPage(key: string, { headers }: Response): boolean {
  return /^text\/html\b/i.test(headers.get("content-type") ?? "") && !/\.html?$/.test(key);
}

function explain(headers: Headers): { message?: string } {
  const scheme = /^\w+/.exec(headers.get("www-authenticate") ?? "")?.[0];
  return scheme === undefined ? {} : { message: `it asks for ${scheme} authentication` };
}

function expected({ status }: HttpFault, { kind }: Asked): string | undefined {
  if (status === 401) {
    return "a user and a password in the URL that the server takes, by Basic or Digest authentication";
  }
  return status === 403 && kind === "list" ? LISTING_WANTED : undefined;
}
