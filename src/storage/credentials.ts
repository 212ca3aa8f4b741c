/**
 * CredentialsSource: the credentials that hold now, renewed before they end.
 *
 * @module
 */

import { StorageError } from "../errors.ts";

/** An access key. All but the expiry is secret. */
export interface Credentials {
  /** Names the key to the server. */
  readonly accessKeyId: string;
  /** Signs; never sent. */
  readonly secretAccessKey: string;
  /** Of temporary credentials. */
  readonly sessionToken?: string | undefined;
  /** When they end, in ms since the Unix epoch; undefined: never. */
  readonly expiresMs?: number | undefined;
}

/** Gives credentials, newer ones each time it can. */
export type CredentialsLoader = () => Promise<Credentials> | Credentials;

/** What a {@link CredentialsSource} may be told. */
export interface CredentialsSourceOptions {
  /** Milliseconds since the Unix epoch. */
  readonly now?: (() => number) | undefined;
  /** How long before their end credentials are renewed at most, in ms; see {@link renewalTimeMs}. */
  readonly marginMs?: number | undefined;
  /**
   * Somebody else renews what is pushed: called once for each set that has expired, or that a server refused. A request
   * that finds such a set fails in a way that is tried again, so that it goes on when newer ones come.
   */
  readonly onExpired?: (() => void) | undefined;
  /** Told what a renewal failed with while the older credentials hold, since no request fails by it. */
  readonly onRenewalError?: ((error: unknown) => void) | undefined;
}

/** How long before their end credentials are renewed where nothing is said, in ms. */
const RENEWAL_MARGIN_MS = 5 * 60_000;

const RENEWAL_PAUSE_LEAST_MS = 1_000;
const RENEWAL_PAUSE_MOST_MS = 30_000;

/** When to renew credentials that came at `nowMs`: the margin before their end, or half of their life. */
export function renewalTimeMs(
  { nowMs, expiresMs, marginMs = RENEWAL_MARGIN_MS }: {
    nowMs: number;
    expiresMs: number;
    marginMs?: number | undefined;
  },
): number {
  const leftMs = expiresMs - nowMs;
  return nowMs + Math.max(RENEWAL_PAUSE_LEAST_MS, leftMs - Math.min(marginMs, leftMs / 2));
}

/** How long to wait after so many renewals failed in a row, in ms: from 1 s, doubled, to 30 s. */
export function renewalPauseMs(failures: number): number {
  return Math.min(RENEWAL_PAUSE_MOST_MS, RENEWAL_PAUSE_LEAST_MS * 2 ** Math.max(0, failures - 1));
}

/** Keeps credentials until their end; renews them ahead of it, one renewal at a time, while requests go on. */
export class CredentialsSource {
  readonly #load: CredentialsLoader | undefined;
  readonly #options: CredentialsSourceOptions;
  readonly #now: () => number;
  #held: Credentials | undefined;
  /** Those a server refused as expired, whatever they say themselves. */
  #refused: Credentials | undefined;
  /** Those whose end `onExpired` was told. */
  #told: Credentials | undefined;
  #renewal: Promise<Credentials> | undefined;
  #renewAtMs = Infinity;
  #failures = 0;

  /** Without `load` the source only knows what is pushed. */
  constructor(load?: CredentialsLoader, options: CredentialsSourceOptions = {}) {
    this.#load = load;
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** A source of credentials that stay as they are until others are pushed. */
  static of(credentials: Credentials, options: CredentialsSourceOptions = {}): CredentialsSource {
    const source = new CredentialsSource(undefined, options);
    source.push(credentials);
    return source;
  }

  /**
   * The credentials that hold now.
   *
   * @throws {StorageError} none were found, or they have expired and no newer ones could be had
   */
  async current(): Promise<Credentials> {
    const held = this.#held;
    const holds = held !== undefined && held !== this.#refused && this.#leftMs(held) > 0;
    if (!holds) return this.#load === undefined ? this.#missing(held) : await this.#renew(this.#load);
    if (this.#load !== undefined && this.#renewal === undefined && this.#now() >= this.#renewAtMs) {
      // The older ones are good until their end; it is tried again after a pause.
      this.#renew(this.#load).catch((error) => this.#options.onRenewalError?.(error));
    }
    return held;
  }

  /** Takes newer credentials. @throws {TypeError} they are malformed */
  push(credentials: Credentials): void {
    this.#held = checkCredentials(credentials);
  }

  /**
   * Drops `stale`, which a server refused: as expired, or as unknown to it. Returns whether the request may be made
   * again at once.
   */
  forget(stale: Credentials, why: "expired" | "unknown" = "expired"): boolean {
    if (this.#held !== stale) return true; // Newer ones have come meanwhile, or are on their way.
    if (this.#load !== undefined) {
      this.#held = undefined;
      return true;
    }
    if (this.#options.onExpired === undefined) return false;
    this.#tell(stale);
    if (why === "expired") this.#refused = stale;
    return why === "expired";
  }

  #missing(held: Credentials | undefined): never {
    if (held === undefined) throw noCredentials("none were given", "credentials before the first request");
    this.#tell(held);
    throw this.#expiredError(held);
  }

  #tell(held: Credentials): void {
    if (this.#told === held) return;
    this.#told = held;
    this.#options.onExpired?.();
  }

  #renew(load: CredentialsLoader): Promise<Credentials> {
    return this.#renewal ??= this.#ask(load).finally(() => this.#renewal = undefined);
  }

  async #ask(load: CredentialsLoader): Promise<Credentials> {
    try {
      const credentials = checkCredentials(await load());
      const { expiresMs = Infinity } = credentials;
      if (this.#leftMs(credentials) <= 0) throw this.#expiredError(credentials);
      this.#failures = 0;
      this.#renewAtMs = renewalTimeMs({ nowMs: this.#now(), expiresMs, marginMs: this.#options.marginMs });
      return this.#held = credentials;
    } catch (error) {
      this.#renewAtMs = this.#now() + renewalPauseMs(++this.#failures);
      throw error;
    }
  }

  #expiredError(credentials: Credentials): StorageError {
    const { expiresMs } = credentials;
    const when = credentials === this.#refused
      ? "the server refuses them as expired"
      : `they expired at ${new Date(expiresMs ?? 0).toISOString()}`;
    const renewed = this.#options.onExpired !== undefined;
    const found = renewed
      ? `${when}, and the function that renews them has not run (its thread is busy, querying?) or has failed`
      : `${when} and no newer ones have come`;
    return noCredentials(found, "credentials that hold now", { code: "ExpiredToken", retryable: renewed });
  }

  #leftMs(credentials: Credentials): number {
    return (credentials.expiresMs ?? Infinity) - this.#now();
  }
}

/** Both must fit into a header; a line break at the end, from a file, is forgiven. */
function checkCredentials(credentials: Credentials): Credentials {
  const { expiresMs } = credentials;
  const [accessKeyId, secretAccessKey, sessionToken] = [
    credentials.accessKeyId,
    credentials.secretAccessKey,
    credentials.sessionToken,
  ]
    .map((part) => typeof part === "string" ? part.trim() : "");
  const fits = [accessKeyId, secretAccessKey, sessionToken].every((part) =>
    /^[\x21-\x7e]*$/.test(part ?? "")
  );
  if (!accessKeyId || !secretAccessKey || !fits || Number.isNaN(expiresMs)) {
    throw new TypeError(
      "Cannot use credentials: a part is missing or malformed, " +
        "expected accessKeyId and secretAccessKey (and sessionToken, expiresMs) without spaces",
    );
  }
  return Object.freeze({ accessKeyId, secretAccessKey, sessionToken: sessionToken || undefined, expiresMs });
}

/** The error of a place without credentials. */
export function noCredentials(
  found: string,
  wanted: string,
  { code = "NoCredentials", retryable = false, cause }: {
    code?: string;
    retryable?: boolean;
    cause?: unknown;
  } = {},
): StorageError {
  const details = { key: "", status: 0, code, retryable, cause };
  return new StorageError(`Cannot find credentials: ${found}, expected ${wanted}`, details);
}
