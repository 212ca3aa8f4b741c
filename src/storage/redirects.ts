/**
 * Redirects of a place that is reached by plain URLs: followed, while what proves who asks stays at home, and never
 * from TLS to where there is none, nor from outside into the network that this process is in.
 *
 * @module
 */

import type { FetchFunction } from "./fetch_function.ts";
import { isInnerHost } from "./url_parts.ts";

const REDIRECTS_MAX = 5;
const MOVED = new Set([301, 302, 307, 308]);

/** Where redirects may lead. */
export interface RedirectOptions {
  /** Also to another origin, which is asked without `Authorization`; else that answer is given as it is. */
  readonly elsewhere: boolean;
}

/** A fetch that follows redirects; an answer that leads nowhere it may go is given as it is. */
export function followingRedirects(fetch: FetchFunction, { elsewhere }: RedirectOptions): FetchFunction {
  return async (url, init) => {
    let [at, asked] = [url, init];
    for (let count = 0;; count++) {
      const response = await fetch(at, asked);
      const next = MOVED.has(response.status) ? targetOf(response, at) : undefined;
      const isStream = init.body instanceof ReadableStream; // it can be sent once
      if (next === undefined || isStream || count === REDIRECTS_MAX) return response;
      if (next.origin !== new URL(at).origin) {
        if (!elsewhere) return response;
        asked = { ...asked, headers: withoutCredentials(asked.headers) };
      }
      await response.body?.cancel().catch(() => {});
      at = next.href;
    }
  };
}

function targetOf({ headers }: Response, at: string): URL | undefined {
  const location = headers.get("location") ?? "";
  if (location === "" || !URL.canParse(location, at)) return undefined;
  const next = new URL(location, at);
  const isAsPrivate = next.protocol === "https:" || next.protocol === "http:" && at.startsWith("http:");
  const isAsFar = !isInnerHost(next.hostname) || isInnerHost(new URL(at).hostname);
  return isAsPrivate && isAsFar && next.username === "" ? next : undefined;
}

function withoutCredentials(headers: HeadersInit | undefined): Headers {
  const kept = new Headers(headers);
  kept.delete("authorization");
  return kept;
}
