/**
 * What S3 answers instead of what was asked, and the error that makes of it.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
 * @module
 */

import { ObjectExistsError, ObjectGoneError, StorageError } from "../errors.ts";
import type { Asked } from "./http_fault.ts";
import { parseRetryAfter, RetryAfterError } from "./retry_after.ts";
import { childText, parseXml, type XmlElement } from "./xml.ts";

/** An answer that is not a success. */
export interface S3Fault {
  readonly status: number;
  /** The code in the body, else one made of the status; empty where neither says anything. */
  readonly code: string;
  /** The server's own words; empty where it had none. */
  readonly message: string;
  /** The region the server says the bucket is in; empty where it does not. */
  readonly region: string;
  /** The server's clock as it spells it; empty where it does not. */
  readonly serverTime: string;
  readonly retryAfterMs: number | undefined;
}

/** What was asked, for the message. */
export interface S3Asked extends Asked {
  readonly bucket: string;
}

/** What each code says to a person, after "expected". */
const EXPECTED: Readonly<Record<string, string>> = {
  AllAccessDisabled: "an account that is not suspended",
  AuthorizationHeaderMalformed: "requests signed for the bucket's region",
  ExpiredToken: "credentials that have not expired",
  InvalidAccessKeyId: "an access key id that the server knows",
  InvalidBucketName: "a bucket name that the server accepts",
  InvalidRange: "a range inside the object",
  InvalidToken: "a session token that belongs to the access key",
  NoSuchBucket: "an existing bucket",
  NotImplemented: "a server that supports this request",
  PermanentRedirect: "the bucket's own region or endpoint",
  SignatureDoesNotMatch: "the secret access key that belongs to the access key id",
  TokenRefreshRequired: "a new session token",
};

const PERMISSIONS: Readonly<Record<S3Asked["kind"], string>> = {
  list: "s3:ListBucket and s3:GetObject",
  get: "s3:ListBucket and s3:GetObject",
  put: "s3:PutObject",
  remove: "s3:DeleteObject",
};

const RETRYABLE_CODES = new Set([
  "ConditionalRequestConflict",
  "InternalError",
  "OperationAborted",
  "RequestTimeout",
  "RequestTimeoutException",
  "ServiceUnavailable",
  "SlowDown",
  "SlowDownRead",
  "Throttling",
  "ThrottlingException",
  "TooManyRequests",
]);
const RETRYABLE_STATUSES = new Set([307, 408, 409, 425, 429, 500, 502, 503, 504]);
const EXPIRED_CODES = new Set(["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"]);
const UNKNOWN_KEY_CODES = new Set(["InvalidAccessKeyId", "InvalidToken", "InvalidTokenId"]);
/** Of a server's own words as much is told, in characters. */
const CODE_LENGTH_MAX = 100;
const MESSAGE_LENGTH_MAX = 300;
const REGION_NAME = /^[a-z0-9-]{1,40}$/;

/** Reads a fault out of its status, headers and `body`; a body that is no S3 error only leaves things empty. */
export function parseFault(
  response: { status: number; headers: Headers },
  body: string,
  nowMs: number,
): S3Fault {
  const { status, headers } = response;
  const error = errorElement(body);
  const region = headers.get("x-amz-bucket-region") ?? textOf(error, "Region");
  return {
    status,
    code: textOf(error, "Code") || codeOfStatus(status),
    message: textOf(error, "Message"),
    region: REGION_NAME.test(region) ? region : "",
    serverTime: textOf(error, "ServerTime") || (headers.get("date") ?? ""),
    retryAfterMs: parseRetryAfter(headers.get("retry-after"), nowMs),
  };
}

/** Whether the fault means that the request was signed for, or sent to, another region than the bucket's. */
export function isWrongRegion(fault: S3Fault): boolean {
  const { status, code } = fault;
  return status === 301 || status === 307 || code === "AuthorizationHeaderMalformed" ||
    code === "IncorrectEndpoint" || code === "IllegalLocationConstraintException" ||
    ((status === 400 || status === 403) && code === "InvalidRegion");
}

/** How the server refuses credentials in place of which others may succeed; undefined where it is no such fault. */
export function refusalOf({ code }: S3Fault): "expired" | "unknown" | undefined {
  if (EXPIRED_CODES.has(code)) return "expired";
  return UNKNOWN_KEY_CODES.has(code) ? "unknown" : undefined;
}

/** The error that tells the fault; `redact` takes secrets out of the server's words. */
export function faultError(
  fault: S3Fault,
  asked: S3Asked,
  { nowMs, redact }: { nowMs: number; redact: (text: string) => string },
): StorageError {
  const { status } = fault;
  const code = redact(fault.code).slice(0, CODE_LENGTH_MAX);
  const found = `status ${status}${code === "" ? "" : ` ${code}`}`;
  const said = fault.message === "" ? "" : ` (${redact(fault.message).slice(0, MESSAGE_LENGTH_MAX)})`;
  const serverTime = redact(fault.serverTime).slice(0, CODE_LENGTH_MAX);
  const expected = expectedOf({ ...fault, serverTime }, asked, nowMs);
  const message = `Cannot ${asked.what}: ${found}${said}, expected ${expected}`;
  const retryable = RETRYABLE_STATUSES.has(status) || RETRYABLE_CODES.has(code);
  const details = { key: asked.key, status, code, retryable };
  if (isGone(fault, asked)) return new ObjectGoneError(message, details);
  if (isTaken(fault, asked)) return new ObjectExistsError(message, details);
  if (retryable && fault.retryAfterMs !== undefined) {
    return new RetryAfterError(message, { ...details, retryAfterMs: fault.retryAfterMs });
  }
  return new StorageError(message, details);
}

function isGone(fault: S3Fault, asked: S3Asked): boolean {
  if (asked.kind !== "get") return false;
  return fault.status === 412 || (fault.status === 404 && fault.code !== "NoSuchBucket");
}

/** All puts have but one condition: that there is no object. */
function isTaken(fault: S3Fault, asked: S3Asked): boolean {
  return asked.kind === "put" && (fault.status === 412 || fault.code === "PreconditionFailed");
}

function expectedOf(fault: S3Fault, asked: S3Asked, nowMs: number): string {
  const { status, code } = fault;
  if (code === "RequestTimeTooSkewed") {
    const ours = new Date(nowMs).toISOString();
    return `clocks that agree within 15 minutes: the server's says ${
      fault.serverTime || "nothing"
    }, ours ${ours}`;
  }
  if (code === "NoSuchBucket") return `${EXPECTED[code]}, not "${asked.bucket}"`;
  if (isWrongRegion(fault) && fault.region !== "") {
    return `${EXPECTED.PermanentRedirect}: it is in ${fault.region}`;
  }
  if (isTaken(fault, asked)) return "no object of that key";
  if (code === "AccessDenied") return `permission for ${PERMISSIONS[asked.kind]} there`;
  if (isGone(fault, asked)) return status === 412 ? "the object that was listed" : "an object of that key";
  return EXPECTED[code] ??
    (status === 301 || status === 307 ? `${EXPECTED.PermanentRedirect}` : wantedStatusOf(asked));
}

function wantedStatusOf({ kind }: S3Asked): string {
  if (kind === "put") return "status 200";
  return kind === "remove" ? "status 204" : "status 200 or 206";
}

/** Names for statuses whose answers come without a body (proxies, HEAD). */
function codeOfStatus(status: number): string {
  const codes: Readonly<Record<number, string>> = {
    301: "PermanentRedirect",
    307: "TemporaryRedirect",
    405: "MethodNotAllowed",
    412: "PreconditionFailed",
    416: "InvalidRange",
    429: "TooManyRequests",
    501: "NotImplemented",
  };
  return codes[status] ?? "";
}

function errorElement(body: string): XmlElement | undefined {
  try {
    const root = parseXml(body);
    return root.name === "Error" ? root : root.children.find((child) => child.name === "Error");
  } catch {
    return undefined; // Proxies answer in HTML or not at all: the status tells enough.
  }
}

function textOf(element: XmlElement | undefined, name: string): string {
  return element === undefined ? "" : childText(element, name)?.trim() ?? "";
}
