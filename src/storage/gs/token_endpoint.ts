/**
 * Tokens that Google's token endpoint gives for what a file holds.
 *
 * @see https://developers.google.com/identity/protocols/oauth2/service-account#httprest
 * @module
 */

import { StorageError } from "../../errors.ts";
import { noCredentials } from "../credentials.ts";
import type { FetchFunction } from "../fetch_function.ts";
import { serviceText } from "../service_answer.ts";
import { isLocalHost } from "../url_parts.ts";
import { signJwt } from "./signed_jwt.ts";

/** A token, and when it ends in ms since the Unix epoch. */
export interface AccessToken {
  readonly token: string;
  readonly expiresMs: number;
}

/** How tokens are asked for. */
export interface TokenAsking {
  readonly fetch?: FetchFunction | undefined;
  readonly now: () => number;
}

type Fields = Readonly<Record<string, string>>;

const ENDPOINT = "https://oauth2.googleapis.com/token";
const SCOPE = "https://www.googleapis.com/auth/devstorage.read_write";
const ASSERTION_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ASSERTION_SECONDS = 3600;
/** Less than an attempt of a store may take, so that a failure names the service. */
export const TOKEN_TIMEOUT_MS = 3_000;

/** A token of a service account, for a request that its key has signed. */
export async function serviceAccountToken(asking: TokenAsking, fields: Fields): Promise<AccessToken> {
  const { client_email, private_key, private_key_id, token_uri = ENDPOINT } = fields;
  if (!client_email || !private_key) {
    throw noCredentials("a service account without client_email or private_key", "both in its file");
  }
  const url = checkEndpoint(token_uri);
  const seconds = Math.floor(asking.now() / 1000);
  const claims = {
    iss: client_email,
    scope: SCOPE,
    aud: url,
    iat: seconds,
    exp: seconds + ASSERTION_SECONDS,
  };
  const assertion = await signJwt(claims, { key: private_key, keyId: private_key_id });
  return await askEndpoint(asking, {
    url,
    who: `service account ${client_email}`,
    form: { grant_type: ASSERTION_GRANT, assertion },
    secrets: [assertion],
    wanted: "a key that has not been removed, and a clock that is right",
  });
}

/** A token of the user who has signed in by gcloud. */
export async function userToken(asking: TokenAsking, fields: Fields): Promise<AccessToken> {
  const { client_id, client_secret, refresh_token, token_uri = ENDPOINT } = fields;
  if (!client_id || !client_secret || !refresh_token) {
    throw noCredentials("a user without client_id, client_secret or refresh_token", "all three in the file");
  }
  return await askEndpoint(asking, {
    url: checkEndpoint(token_uri),
    who: "the user who signed in by gcloud",
    form: { grant_type: "refresh_token", client_id, client_secret, refresh_token },
    secrets: [client_secret, refresh_token],
    wanted: "a sign-in that holds: run gcloud auth application-default login",
  });
}

/** The token in an answer. @throws {StorageError} it has another form */
export function tokenOfAnswer(what: string, text: string, nowMs: number): AccessToken {
  const { access_token: token, expires_in: seconds } = objectOf(text);
  if (typeof token === "string" && /^[\x21-\x7e]+$/.test(token) && Number.isFinite(seconds)) {
    return { token, expiresMs: nowMs + Number(seconds) * 1000 };
  }
  throw tokenError(what, "an answer without access_token and expires_in", "both", { status: 200 });
}

/** The error of a service that gives no token. */
export function tokenError(
  what: string,
  found: string,
  wanted: string,
  { status, code = "", cause }: { status: number; code?: string; cause?: unknown },
): StorageError {
  const retryable = status === 0 || status === 429 || status >= 500;
  const details = { key: "", status, code: code || "Credentials", retryable, cause };
  return new StorageError(`Cannot ${what}: ${found}, expected ${wanted}`, details);
}

/** What is asked of an endpoint. */
interface TokenAsk {
  readonly url: string;
  readonly who: string;
  readonly form: Readonly<Record<string, string>>;
  readonly secrets: readonly string[];
  /** What a person can do where the endpoint refuses. */
  readonly wanted: string;
}

async function askEndpoint(
  { fetch = (url, init) => globalThis.fetch(url, init), now }: TokenAsking,
  { url, who, form, secrets, wanted }: TokenAsk,
): Promise<AccessToken> {
  const what = `get a token for ${who}`;
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams(form).toString(),
      redirect: "manual",
      signal: AbortSignal.timeout(TOKEN_TIMEOUT_MS),
    });
    text = await serviceText(response);
  } catch (cause) {
    throw tokenError(what, `no answer from ${new URL(url).host}`, "a token", { status: 0, cause });
  }
  const { status } = response;
  if (status === 200) return tokenOfAnswer(what, text, now());
  const { error, error_description: words } = objectOf(text);
  const code = typeof error === "string" && /^[a-z_]{1,60}$/.test(error) ? error : "";
  const said = typeof words === "string" ? ` (${redacted(words, secrets).slice(0, 200)})` : "";
  throw tokenError(what, `status ${status}${code && ` ${code}`}${said}`, wanted, { status, code });
}

/** What is sent there is as good as a token. */
function checkEndpoint(uri: string): string {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  if (url?.protocol === "https:" || (url?.protocol === "http:" && isLocalHost(url.hostname))) return uri;
  throw noCredentials("a token_uri without TLS, or of another form", "https://HOST/path in the file");
}

function redacted(text: string, secrets: readonly string[]): string {
  return secrets.reduce((shown, secret) => shown.replaceAll(secret, "…"), text);
}

function objectOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
  } catch {
    return {}; // Its status tells enough.
  }
}
