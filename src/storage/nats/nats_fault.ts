/**
 * What goes wrong between us and a NATS server, as errors of ours.
 *
 * @module
 */

import { StorageError } from "../../errors.ts";
import { type Asked, cleanCause } from "../http_fault.ts";

/** An error that JetStream's API answers with. */
export interface ApiError {
  /** Like a status of HTTP. */
  readonly code: number;
  readonly err_code?: number;
  readonly description?: string;
}

/** JetStream's own numbers. */
export const NO_MESSAGE = 10037;
export const WRONG_LAST_SEQUENCE = 10071;
const STREAM_NOT_FOUND = 10059;
const NOT_ENABLED_FOR_ACCOUNT = 10039;
const STREAM_FULL = 10077;

const EXPECTED: Readonly<Record<number, string>> = {
  [STREAM_NOT_FOUND]: "a bucket of object store that is there, made by `nats object add`",
  [NOT_ENABLED_FOR_ACCOUNT]: "an account for which JetStream is enabled",
  [STREAM_FULL]: "room in the bucket",
};
const EXPECTED_TO_SIGN_IN =
  "a user that the server knows: one in the URL, or a token, an nkey or a credentials file";

/** What an API answer that is an error becomes. */
export function apiFault(asked: Asked, { code, err_code = 0, description = "" }: ApiError): StorageError {
  const isPlain = EXPECTED[err_code] === undefined;
  const retryable = isPlain && (code === 429 || code >= 500);
  const details = { key: asked.key, status: code, code: String(err_code), retryable };
  const expected = EXPECTED[err_code] ?? "success";
  return new StorageError(
    `Cannot ${asked.what}: ${description} (${err_code}), expected ${expected}`,
    details,
  );
}

/** What was given to sign in with cannot be used. */
export class SignInError extends Error {
  override name = "SignInError";
}

/** Nobody listens to a request. */
export function noResponders(asked: Asked): StorageError {
  const details = { key: asked.key, status: 503, code: "NoResponders", retryable: true };
  return new StorageError(`Cannot ${asked.what}: nobody answers, expected JetStream, enabled there`, details);
}

/** An answer that breaks the protocol. */
export function wrongMessage(asked: Asked, found: string, wanted: string, cause?: unknown): StorageError {
  const details = { key: asked.key, status: 200, code: "WrongAnswer", retryable: false, cause };
  return new StorageError(`Cannot ${asked.what}: ${found}, expected ${wanted}`, details);
}

/** What a connection, or a request on it, failed with. */
export function connectionFault(
  asked: Asked,
  cause: unknown,
  redact: (text: string) => string,
): StorageError {
  if (cause instanceof StorageError) return cause;
  const { name = "", message = String(cause), cause: inner } = (cause ?? {}) as Partial<Error>;
  const text = `${message}${inner instanceof Error ? `: ${inner.message}` : ""}`;
  const found = redact(text === "undefined" || text === "" ? "the connection was closed" : text);
  const fault = (status: number, code: string, expected: string) =>
    new StorageError(`Cannot ${asked.what}: ${found}, expected ${expected}`, {
      key: asked.key,
      status,
      code,
      retryable: status === 0 && code === "Network",
      cause: cleanCause(cause, redact),
    });
  if (/authorization violation|authentication expired/i.test(text)) {
    return fault(401, "Unauthorized", EXPECTED_TO_SIGN_IN);
  }
  if (name === "PermissionViolationError") return fault(403, "Forbidden", "a user who may do that");
  if (cause instanceof SignInError) return fault(0, "Credentials", "what a server can be shown");
  if (name === "NotCapable" || name === "PermissionDenied" || /certificate|self.signed|'tls'/i.test(text)) {
    return fault(
      0,
      "Refused",
      "a server that may be reached, with TLS and a certificate that holds where there is to be TLS",
    );
  }
  return fault(0, "Network", "an answer");
}
