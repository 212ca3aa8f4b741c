/**
 * GsSignIn: the token that requests to Google Cloud Storage carry, renewed before it ends.
 *
 * @module
 */

import { type Credentials, CredentialsSource } from "../credentials.ts";
import type { FetchFunction } from "../fetch_function.ts";
import type { HttpAsk, HttpFault } from "../http_client.ts";
import { onAbort } from "../request_queue.ts";
import type { StorageRequest } from "../storage.ts";
import { findToken, type TokenSurroundings } from "./application_credentials.ts";

/** Proves who asks. One token is asked for at a time, whoever needs it. */
export class GsSignIn {
  readonly #source: CredentialsSource;
  /** What each request was sent with. */
  readonly #used = new WeakMap<HttpAsk, Credentials>();
  readonly #closing = new AbortController();
  #last = "";

  constructor(surroundings: TokenSurroundings) {
    const { now, log, fetch = (url, init) => globalThis.fetch(url, init) } = surroundings;
    const closing = this.#closing.signal;
    const fetchUntilClosed: FetchFunction = (url, init) =>
      fetch(url, { ...init, signal: AbortSignal.any([closing, ...(init.signal ? [init.signal] : [])]) });
    this.#source = new CredentialsSource(async () => {
      const { token, expiresMs } = await findToken({ ...surroundings, fetch: fetchUntilClosed });
      // A token is a key of which only the secret counts.
      return { accessKeyId: "token", secretAccessKey: token, expiresMs };
    }, {
      now,
      onRenewalError: (error) => {
        if (closing.aborted) return;
        log?.warn(`${error instanceof Error ? error.message : error}; the older token is used until its end`);
      },
    });
  }

  /** The headers of a request. @throws the signal's reason, or why there is no token */
  async authorize(ask: HttpAsk, { signal }: StorageRequest): Promise<Record<string, string>> {
    const credentials = await unlessAborted(this.#source.current(), signal);
    this.#used.set(ask, credentials);
    this.#last = credentials.secretAccessKey;
    return { ...ask.headers, authorization: `Bearer ${this.#last}` };
  }

  /** Whether a request that was refused may succeed with another token. */
  renew({ status }: HttpFault, ask: HttpAsk): boolean {
    const used = this.#used.get(ask);
    return status === 401 && used !== undefined && this.#source.forget(used);
  }

  /** Ends what is asked for. */
  close(): void {
    this.#closing.abort(new Error("the store was closed"));
  }

  redact(text: string): string {
    return this.#last === "" ? text : text.replaceAll(this.#last, "…");
  }
}

/** What `work` gives, or the signal's reason as soon as it aborts. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    const ignore = onAbort([signal], reject);
    work.then(resolve, reject).then(ignore);
  });
}
