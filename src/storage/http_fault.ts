/**
 * What goes wrong with an HTTP request, whatever is asked for by it.
 *
 * @module
 */

import { ObjectGoneError, StorageError } from "../errors.ts";
import type { ObjectIdentity } from "./object_store.ts";

/** What was asked, for the message. */
export interface Asked {
  /** Completes "Cannot …". */
  readonly what: string;
  /** Key or prefix, relative to the store. */
  readonly key: string;
  readonly kind: "list" | "get" | "put" | "remove";
}

/** A success that is none: the answer is not what was asked for. */
export function wrongAnswer(
  asked: Asked,
  found: string,
  wanted: string,
  more: { retryable?: boolean; cause?: unknown } = {},
): StorageError {
  const details = { key: asked.key, status: 200, code: "WrongAnswer", retryable: false, ...more };
  return new StorageError(`Cannot ${asked.what}: ${found}, expected ${wanted}`, details);
}

/** An answer about another object than the one that was listed. */
export function otherObject(asked: Asked, found: string, of: ObjectIdentity): ObjectGoneError {
  const details = { key: asked.key, status: 200, code: "Changed", retryable: false };
  const wanted = `the listed object (ETag ${of.etag || "any"}, ${of.size || "any number of"} bytes)`;
  return new ObjectGoneError(`Cannot ${asked.what}: ${found}, expected ${wanted}`, details);
}

/** What a connection failed with; the signal's reason where it was aborted. */
export function networkError(
  asked: Asked,
  cause: unknown,
  { signal, redact }: { signal: AbortSignal | undefined; redact: (text: string) => string },
): unknown {
  if (signal?.aborted) return signal.reason;
  if (cause instanceof StorageError) return cause;
  const clean = (text: string) => redact(withoutSignatures(withoutQueries(text)));
  const { name = "", message = String(cause) } = cause as Partial<Error>;
  const inner = (cause as Partial<Error>).cause;
  const detail = inner instanceof Error ? `: ${inner.message}` : "";
  // A permission or a certificate does not come by waiting; all else about a connection may.
  const lasting = name === "NotCapable" || name === "PermissionDenied" ||
    /certificate|_CERT_/i.test(withoutAddresses(message + detail));
  const details = { key: asked.key, status: 0, code: "Network", retryable: !lasting };
  const found = clean(`${message}${detail}`);
  return new StorageError(`Cannot ${asked.what}: ${found}, expected an answer`, {
    ...details,
    cause: cleanCause(cause, clean),
  });
}

function withoutAddresses(text: string): string {
  return text.replace(/\bhttps?:\/\/[^\s"')]+/gi, "");
}

/** A signature or a token may stand in the query of any address, also of one that a redirect has led to. */
function withoutQueries(text: string): string {
  return text.replace(/(\bhttps?:\/\/[^\s?#"'<>)]*\?)[^\s"'<>)]+/gi, "$1…");
}

/** A runtime may repeat the headers that it cannot send. */
function withoutSignatures(text: string): string {
  return text
    .replace(/((?:["']authorization["']\s*,|\bauthorization["']?\s*[:=])\s*["']?)[^"']+/gi, "$1…")
    .replace(/\b(Credential|Signature)=[^\s,;&"']+/gi, "$1=…");
}

/** What was thrown, or, where a text of it or of its causes has something to hide, another with what is left. */
export function cleanCause(thrown: unknown, clean: (text: string) => string): unknown {
  if (!(thrown instanceof Error)) return typeof thrown === "string" ? clean(thrown) : thrown;
  const { name, message, cause } = thrown;
  const inner = cleanCause(cause, clean);
  const texts = Object.getOwnPropertyNames(thrown) // one runtime names the address in a property of its own
    .map((property): unknown => Reflect.get(thrown, property))
    .filter((value) => typeof value === "string");
  if (inner === cause && texts.every((text) => clean(text) === text)) return thrown;
  const left = new Error(clean(message), inner === undefined ? {} : { cause: inner });
  left.name = name;
  return left;
}
