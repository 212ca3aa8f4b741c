/**
 * Signatures of OSS, version 4.
 *
 * @see https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4
 * @module
 */

import { createHash, createHmac } from "node:crypto";
import type { Credentials } from "../credentials.ts";

/** A request, and what it is signed with. */
export interface OssSigning {
  readonly method: string;
  /** Bucket and key as a path, encoded: `/bucket/key`, or `/bucket/` for what is asked of the bucket. */
  readonly resource: string;
  /** Encoded, without its question mark. */
  readonly query: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly region: string;
  readonly credentials: Credentials;
  /** Milliseconds since the Unix epoch. */
  readonly nowMs: number;
}

const ALGORITHM = "OSS4-HMAC-SHA256";
const TERMINATOR = "aliyun_v4_request";
/** The only one that version 4 knows. */
const PAYLOAD = "UNSIGNED-PAYLOAD";

/** All headers of the request with its signature. */
export function signOss(signing: OssSigning): Record<string, string> {
  const { method, resource, query, region, credentials, nowMs } = signing;
  const time = new Date(nowMs).toISOString().replace(/[:-]|\.\d{3}/g, "");
  const day = time.slice(0, 8);
  const headers: Record<string, string> = {
    ...signing.headers,
    "x-oss-content-sha256": PAYLOAD,
    "x-oss-date": time,
    ...(credentials.sessionToken ? { "x-oss-security-token": credentials.sessionToken } : {}),
  };
  const request = [method, resource, canonicalQuery(query), canonicalHeaders(headers), "", PAYLOAD].join(
    "\n",
  );
  const scope = `${day}/${region}/oss/${TERMINATOR}`;
  const hash = createHash("sha256").update(request).digest("hex");
  const text = [ALGORITHM, time, scope, hash].join("\n");
  const key = [day, region, "oss", TERMINATOR].reduce<string | Uint8Array>(
    (secret, part) => createHmac("sha256", secret).update(part).digest(),
    `aliyun_v4${credentials.secretAccessKey}`,
  );
  const signature = createHmac("sha256", key).update(text).digest("hex");
  const authorization = `${ALGORITHM} Credential=${credentials.accessKeyId}/${scope},Signature=${signature}`;
  return { ...headers, authorization };
}

/** In the order of its names; a name without a value has no equals sign. */
function canonicalQuery(query: string): string {
  const pairs = query.split("&").filter((pair) => pair !== "").map((pair) => pair.replace(/=$/, ""));
  return pairs.sort((a, b) => a.split("=")[0]! < b.split("=")[0]! ? -1 : 1).join("&");
}

/** Those that are signed wherever they are sent, each with a line break. */
function canonicalHeaders(headers: Readonly<Record<string, string>>): string {
  return Object.entries(headers)
    .filter(([name]) => name.startsWith("x-oss-") || name === "content-type" || name === "content-md5")
    .map(([name, value]) => `${name}:${value.trim()}\n`).sort().join("");
}
