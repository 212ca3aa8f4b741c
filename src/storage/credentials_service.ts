/**
 * What places where credentials are looked for share: their surroundings, and how a service is asked.
 *
 * Nothing here reads the environment, a file or the network by itself: all of them are given.
 *
 * @module
 */

import { StorageError } from "../errors.ts";
import { type Credentials, noCredentials } from "./credentials.ts";
import type { FetchFunction } from "./fetch_function.ts";
import { serviceText } from "./service_answer.ts";

/** What the chain looks through. */
export interface CredentialsSurroundings {
  /** Environment variables by name. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly fetch?: FetchFunction | undefined;
  /** The text of a file; rejects with code `ENOENT` where there is none. */
  readonly readFile?: ((path: string) => Promise<string>) | undefined;
  /** What a command of a profile prints; a failure's message must not repeat the command or what it printed. */
  readonly runCommand?: ((command: string) => Promise<string>) | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly now?: (() => number) | undefined;
}

/** A place that was looked at: credentials, or why it has none. */
export type Looked = Credentials | string;

/** Less than an attempt of a store may take, so that a failure names the service. */
const SERVICE_TIMEOUT_MS = 3_000;

/** What each code says to a person, after "expected". */
const EXPECTED: Readonly<Record<string, string>> = {
  AccessDenied: "a role whose trust policy admits whoever asks",
  ExpiredToken: "an identity that has not expired",
  ExpiredTokenException: "a web identity token that has not expired",
  InvalidClientTokenId: "an access key id that the service knows",
  InvalidIdentityToken: "a web identity token of a provider that the account knows",
  RegionDisabledException: "a region in which the account has activated STS",
  SignatureDoesNotMatch: "the secret access key that belongs to the access key id, and a clock that is right",
};

/** One request to a credentials service; answers and tokens never enter a message. `what` completes "Cannot …". */
export async function askService(
  { fetch = (url, init) => globalThis.fetch(url, init) }: CredentialsSurroundings,
  { url, what, init, timeoutMs = SERVICE_TIMEOUT_MS }: {
    url: string;
    what: string;
    init: RequestInit;
    timeoutMs?: number;
  },
): Promise<string> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { ...init, redirect: "manual", signal: AbortSignal.timeout(timeoutMs) });
    text = await serviceText(response);
  } catch (cause) {
    throw serviceError(what, `no answer from ${new URL(url).host}`, { status: 0, cause });
  }
  if (response.status !== 200) {
    const code = /<Code>([A-Za-z]{1,60})<\/Code>/.exec(text)?.[1] ?? "";
    throw serviceError(what, `status ${response.status} ${code}`.trim(), { status: response.status, code });
  }
  return text;
}

/** What metadata services, STS and commands answer, under one set of names. */
export interface TemporaryCredentials {
  readonly AccessKeyId?: unknown;
  readonly SecretAccessKey?: unknown;
  readonly Token?: unknown;
  readonly Expiration?: unknown;
}

/** Credentials out of an answer. @throws {StorageError} it has another form */
export function credentialsOfAnswer(what: string, answer: TemporaryCredentials): Credentials {
  const { AccessKeyId, SecretAccessKey, Token, Expiration } = answer;
  const expiresMs = Expiration === undefined ? undefined : Date.parse(String(Expiration));
  if (typeof AccessKeyId !== "string" || typeof SecretAccessKey !== "string" || Number.isNaN(expiresMs)) {
    throw serviceError(what, "an answer of another form", { status: 200 });
  }
  const sessionToken = typeof Token === "string" ? Token : undefined;
  return { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken, expiresMs };
}

/** The object that `text` is. @throws {StorageError} it is none, told without the text, which may hold secrets */
export function jsonOfAnswer(what: string, text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Told below.
  }
  throw serviceError(what, "an answer that is no JSON object", { status: 200 });
}

/** The error of a service, or of its answer. */
export function serviceError(
  what: string,
  found: string,
  { status, code = "", cause }: { status: number; code?: string; cause?: unknown },
): StorageError {
  const retryable = status === 0 || status === 429 || status >= 500;
  const details = { key: "", status, code: code || "Credentials", retryable, cause };
  return new StorageError(`Cannot ${what}: ${found}, expected ${EXPECTED[code] ?? "credentials"}`, details);
}

/** The text of a file that must be there; `noun` says what it holds. */
export async function neededFile(
  { readFile }: CredentialsSurroundings,
  path: string,
  noun: string,
): Promise<string> {
  if (readFile === undefined) {
    throw noCredentials(`no way to read the file of the ${noun}`, "access to files");
  }
  try {
    return await readFile(path);
  } catch (cause) {
    throw noCredentials(`the file of the ${noun} cannot be read`, "a readable file", { cause });
  }
}
