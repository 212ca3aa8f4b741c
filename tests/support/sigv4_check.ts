/**
 * Checks AWS Signature Version 4 on a raw request; written from the specification, not from the signer under test.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 * @module
 */

import type { Buffer } from "node:buffer";
import { createHash, createHmac } from "node:crypto";

/** A request as it came over the wire. */
export interface RawRequest {
  readonly method: string;
  /** Path and query as they were sent. */
  readonly target: string;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** What signatures are checked against. */
export interface SigningFacts {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Empty: none is wanted. */
  readonly sessionToken: string;
  readonly nowMs: number;
  /** The header that the session token comes in; `"x-amz-security-token"` where nothing is said. */
  readonly tokenHeader?: string;
  /** `"s3"` where nothing is said. */
  readonly service?: string;
}

/** Why a request is refused. */
export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly elements?: Record<string, string>;
}

const SKEW_MAX_MS = 15 * 60 * 1000;

/** Undefined where the signature holds; `region` is the credential scope's. */
export function checkSignature(
  request: RawRequest,
  facts: SigningFacts,
): { refusal?: Refusal; region: string } {
  const { service = "s3", tokenHeader = "x-amz-security-token" } = facts;
  const authorization = request.headers.get("authorization") ?? "";
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/
      .exec(authorization);
  if (match === null || match[4] !== service) return refused(403, "AccessDenied", "Access Denied", "");
  const [, accessKeyId = "", day = "", region = "", , signedNames = "", signature = ""] = match;
  if (accessKeyId !== facts.accessKeyId) {
    return refused(403, "InvalidAccessKeyId", "The access key id does not exist in our records.", region);
  }
  const token = request.headers.get(tokenHeader) ?? "";
  if (token !== facts.sessionToken) {
    return refused(400, "InvalidToken", "The provided token is malformed.", region);
  }
  const date = request.headers.get("x-amz-date") ?? "";
  const skew = checkDate(date, day, facts.nowMs);
  if (skew !== undefined) return { refusal: skew, region };
  const names = signedNames.split(";");
  const mustSign = ["host", ...[...request.headers.keys()].filter((name) => name.startsWith("x-amz-"))];
  if (mustSign.some((name) => !names.includes(name))) {
    return refused(
      403,
      "AccessDenied",
      "There were headers present in the request which were not signed",
      region,
    );
  }
  const scope = `${day}/${region}/${service}/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", date, scope, sha256(canonicalRequest(request, names))].join("\n");
  const key = [service, "aws4_request"].reduce(hmac, hmac(hmac(`AWS4${facts.secretAccessKey}`, day), region));
  if (hmac(key, text).toString("hex") !== signature) {
    return refused(
      403,
      "SignatureDoesNotMatch",
      "The request signature we calculated does not match.",
      region,
    );
  }
  const hash = request.headers.get("x-amz-content-sha256") ?? (service === "s3" ? "" : sha256(request.body));
  if (hash !== "UNSIGNED-PAYLOAD" && hash !== sha256(request.body)) {
    return refused(400, "XAmzContentSHA256Mismatch", "The provided hash does not match.", region);
  }
  return { region };
}

function refused(
  status: number,
  code: string,
  message: string,
  region: string,
): { refusal: Refusal; region: string } {
  return { refusal: { status, code, message }, region };
}

function checkDate(date: string, day: string, nowMs: number): Refusal | undefined {
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date) ?? [];
  const sentMs = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
  if (Number.isNaN(sentMs) || !date.startsWith(day)) {
    return { status: 403, code: "AccessDenied", message: "Valid Date or x-amz-date header required" };
  }
  if (Math.abs(sentMs - nowMs) <= SKEW_MAX_MS) return undefined;
  return {
    status: 403,
    code: "RequestTimeTooSkewed",
    message: "The difference between the request time and the current time is too large.",
    elements: {
      RequestTime: date,
      ServerTime: new Date(nowMs).toISOString(),
      MaxAllowedSkewMilliseconds: "900000",
    },
  };
}

function canonicalRequest({ method, target, headers, body }: RawRequest, names: readonly string[]): string {
  const question = target.indexOf("?");
  const path = question < 0 ? target : target.slice(0, question);
  const query = question < 0 ? "" : target.slice(question + 1);
  const canonicalPath = path.split("/").map((part) => awsEncode(decodeURIComponent(part))).join("/");
  const canonicalQuery = query.split("&").filter((pair) => pair !== "").map((pair) => {
    const [name = "", ...value] = pair.split("=");
    return `${awsEncode(decodeURIComponent(name))}=${awsEncode(decodeURIComponent(value.join("=")))}`;
  }).sort().join("&");
  const lines = names.map((name) => `${name}:${(headers.get(name) ?? "").trim().replace(/ +/g, " ")}\n`).join(
    "",
  );
  const hash = headers.get("x-amz-content-sha256") ?? sha256(body);
  return [method, canonicalPath, canonicalQuery, lines, names.join(";"), hash].join("\n");
}

/** Everything but `A-Z a-z 0-9 - . _ ~` as its UTF-8 bytes. */
function awsEncode(text: string): string {
  let encoded = "";
  for (const byte of new TextEncoder().encode(text)) {
    const character = String.fromCharCode(byte);
    encoded += /[A-Za-z0-9._~-]/.test(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

function sha256(content: string | Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
