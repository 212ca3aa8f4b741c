/**
 * Replica URLs: `s3://…` and `file://…` → where the replica lies, as plain data.
 *
 * @see VFS reference, section 3 "Replica URL grammar"
 * @module
 */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { LayoutName } from "./object_store.ts";
import { HOST_FORMS, type ProviderName, providerOf } from "./providers.ts";

/** What every location has; frozen and structured-cloneable. */
export interface LocationBase {
  /** The place as a person would write it, without secrets and parameters; for messages. */
  readonly name: string;
  /** How the level directories are named there. */
  readonly layout: LayoutName;
  /**
   * What keys may begin with, empty or ending in a slash, the likeliest first. More than one only at a bucket's root;
   * the first under which objects lie is the replica's.
   */
  readonly prefixes: readonly string[];
}

/** A customer's own encryption key, sent with each GET and PUT. A secret. */
export interface CustomerKey {
  /** Always `AES256`. */
  readonly algorithm: string;
  /** Base64 of 32 bytes. */
  readonly key: string;
  /** Base64 of the MD5 of those bytes. */
  readonly keyMd5: string;
}

/** A replica in an S3 bucket. */
export interface S3Location extends LocationBase {
  readonly scheme: "s3";
  /** A bucket's name, or the ARN of an access point. */
  readonly bucket: string;
  /** Empty where it is to be discovered. */
  readonly region: string;
  /** Scheme, host, port and path without a slash at the end; empty for Amazon. */
  readonly endpoint: string;
  readonly provider: ProviderName;
  /** The bucket stands in the path instead of the host name. */
  readonly pathStyle: boolean;
  /** TLS certificates are not verified. */
  readonly skipVerify: boolean;
  /** False: requests are signed over `UNSIGNED-PAYLOAD`. */
  readonly signPayload: boolean;
  /** Deleting many objects carries a Content-MD5. */
  readonly requireContentMd5: boolean;
  /** Multipart parts in flight. */
  readonly uploadConcurrency: number;
  /** Size from which uploads are multipart, and of their parts, in bytes. */
  readonly partSize: number;
  /** Storage class of uploads; empty for the bucket's own. */
  readonly storageClass: string;
  /** Undefined where the store encrypts as it likes. */
  readonly customerKey: CustomerKey | undefined;
  /** Key that the store encrypts uploads with; empty for none. */
  readonly kmsKeyId: string;
}

/** A replica in a folder. */
export interface FolderLocation extends LocationBase {
  readonly scheme: "file";
  /** Absolute path. */
  readonly path: string;
}

/** Where a replica lies. */
export type ReplicaLocation = S3Location | FolderLocation;

/** What a URL leaves open. */
export interface ReplicaUrlDefaults {
  /** Endpoint used where the URL yields none: the value of `LITESTREAM_S3_ENDPOINT`. */
  readonly endpoint?: string;
}

/** The parts of a URL, as they are spelled. */
interface UrlParts {
  readonly scheme: string;
  readonly authority: string;
  readonly path: string;
  readonly query: URLSearchParams;
}

/** What the host position said about a bucket. */
interface BucketHost {
  readonly bucket: string;
  readonly region: string;
  readonly endpoint: string;
  readonly pathStyle: boolean;
}

const PART_SIZE_DEFAULT = 5 * 1024 * 1024;
const UPLOAD_CONCURRENCY_DEFAULT = 5;
const CUSTOMER_KEY_SIZE = 32;
const SUPPORTED = "s3:// or file://";

/**
 * Parses a replica URL.
 *
 * @throws {TypeError} the URL breaks the grammar or names a scheme that is not supported; parameters, which may hold
 * secrets, are never repeated in the message
 * @see VFS reference, section 3
 */
export function parseReplicaUrl(url: string, defaults: ReplicaUrlDefaults = {}): ReplicaLocation {
  if (/^s3:\/\/arn:/i.test(url)) return parseAccessPoint(url, defaults);
  const parts = splitUrl(url);
  if (parts.scheme === "s3") return parseBucketUrl(parts, defaults);
  if (parts.scheme === "file") return parseFileUrl(parts);
  throw fault(url, `scheme "${parts.scheme}" is not supported`, SUPPORTED);
}

function splitUrl(url: string): UrlParts {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?/.exec(url);
  if (match === null) throw fault(url, "no scheme", SUPPORTED);
  const [, scheme = "", authority, path = "", query = ""] = match;
  if (authority === undefined && !path.startsWith("/")) {
    throw fault(
      url,
      "no // after the scheme, or a relative path",
      "scheme://host/path, or file:///absolute/path",
    );
  }
  if (authority?.includes("@") && (scheme === "s3" || scheme === "file")) {
    throw fault(url, "user information before the host", "credentials in options or environment");
  }
  return { scheme: scheme.toLowerCase(), authority: authority ?? "", path, query: parametersOf(query) };
}

function parseFileUrl(parts: UrlParts): FolderLocation {
  const url = `file://${parts.authority}${parts.path}`;
  if (parts.authority !== "" && parts.authority !== "localhost") {
    throw fault(
      url,
      `a relative path, or the host "${parts.authority}"`,
      "three slashes and an absolute path, as in file:///var/replica",
    );
  }
  const path = cleanPath(percentDecode(url, parts.path));
  if (parts.path === "") throw fault(url, "no path", "file:///absolute/path");
  const absolute = /^\/[A-Za-z]:(\/|$)/.test(path) ? path.slice(1) : path;
  return freezeAll({
    scheme: "file",
    name: `file://${path}`,
    layout: "folder",
    prefixes: [""],
    path: absolute,
  });
}

function parseBucketUrl(parts: UrlParts, defaults: ReplicaUrlDefaults): S3Location {
  const url = `s3://${parts.authority}${parts.path}`;
  const host = parseBucketHost(url, parts.authority);
  const path = cleanPath(percentDecode(url, parts.path)).slice(1);
  const prefixes = path === "" ? rootPrefixes(parts.path) : [`${path}/`];
  return s3Location(url, { host, prefixes, name: `s3://${host.bucket}/${path}` }, parts.query, defaults);
}

/** At a bucket's root the writer's own spelling decides what keys begin with. */
function rootPrefixes(path: string): string[] {
  return path === "" ? ["./", "", "/"] : ["/", "", "./"];
}

/** `s3://arn:PARTITION:s3:REGION:ACCOUNT:accesspoint/NAME[/path][?query]`, which is no URL: its host holds colons. */
function parseAccessPoint(text: string, defaults: ReplicaUrlDefaults): S3Location {
  const [whole = "", query = ""] = text.split("#", 1)[0]?.split(/\?(.*)/s) ?? [];
  const match = /^s3:\/\/(arn:[^:/]+:s3:([^:/]*):(\d+):accesspoint[/:]([A-Za-z0-9-]+))(\/.*)?$/i.exec(whole);
  if (match === null) {
    throw fault(whole, "an ARN of another form", "arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME[/path]");
  }
  const [, bucket = "", region = "", , , rest = ""] = match;
  if (region === "") {
    throw fault(whole, "a multi-region access point", "an access point of one region (the ARN names none)");
  }
  const path = cleanPath(percentDecode(whole, rest)).slice(1);
  const host = { bucket, region, endpoint: "", pathStyle: false };
  const prefixes = path === "" ? rootPrefixes(rest) : [`${path}/`];
  return s3Location(whole, { host, prefixes, name: `s3://${bucket}/${path}` }, parametersOf(query), defaults);
}

/** The bucket and, for hosts that name a provider, region and endpoint. */
function parseBucketHost(url: string, host: string): BucketHost {
  if (host === "") throw fault(url, "no bucket", "s3://BUCKET/path");
  if (/^(\d+\.){3}\d+(:\d*)?$|^\[/.test(host)) {
    throw fault(
      url,
      `the address "${host}" where the bucket's name stands`,
      `s3://BUCKET/path?endpoint=${host}`,
    );
  }
  if (host.includes(":") && !host.includes(".com")) return parseHostWithPort(url, host);
  for (const form of HOST_FORMS) {
    const groups = form.pattern.exec(host)?.groups;
    if (groups === undefined) continue;
    if (groups.bucket === undefined) {
      throw fault(url, `no bucket before "${host}"`, `s3://BUCKET.${host}/path`);
    }
    const region = groups.region ?? "";
    const endpoint = form.endpoint.replace("REGION", region);
    return { bucket: groups.bucket, region, endpoint, pathStyle: false };
  }
  if (!/^[A-Za-z0-9._-]+$/.test(host)) {
    throw fault(url, `bucket "${host}"`, "letters, digits, dots, dashes and _");
  }
  return { bucket: host, region: "", endpoint: "", pathStyle: false };
}

/** `BUCKET.HOST:PORT`: a server of one's own. */
function parseHostWithPort(url: string, host: string): BucketHost {
  const dot = host.indexOf(".");
  if (dot <= 0) throw fault(url, `no bucket before "${host}"`, `s3://BUCKET/path?endpoint=${host}`);
  const endpoint = `http://${host.slice(dot + 1)}`;
  return { bucket: host.slice(0, dot), region: "us-east-1", endpoint, pathStyle: true };
}

/** What {@link s3Location} is told by the part of the URL before the query. */
interface BucketPlace {
  readonly host: BucketHost;
  readonly prefixes: readonly string[];
  readonly name: string;
}

function s3Location(
  url: string,
  place: BucketPlace,
  query: URLSearchParams,
  defaults: ReplicaUrlDefaults,
): S3Location {
  const { host } = place;
  const asked = textOf(query, "endpoint") || (host.endpoint === "" ? defaults.endpoint ?? "" : "");
  const endpoint = asked === "" ? host.endpoint : cleanEndpoint(url, asked);
  const provider = providerOf(hostOf(endpoint));
  const customerKey = customerKeyOf(url, query, endpoint);
  const kmsKeyId = textOf(query, "sseKmsKeyId", "sse-kms-key-id");
  if (customerKey !== undefined && kmsKeyId !== "") {
    throw fault(url, "both sseCustomerKey and sseKmsKeyId", "one of them");
  }
  return freezeAll({
    scheme: "s3",
    name: place.name,
    layout: "s3",
    prefixes: place.prefixes,
    bucket: host.bucket,
    region: textOf(query, "region") || host.region || (endpoint === "" ? "" : "us-east-1"),
    endpoint,
    provider: provider.name,
    pathStyle: booleanOf(query, "forcePathStyle", "force-path-style") ??
      (asked !== "" || host.pathStyle || provider.pathStyle === true),
    skipVerify: booleanOf(query, "skipVerify", "skip-verify") ?? false,
    signPayload: booleanOf(query, "signPayload", "sign-payload") ?? true,
    requireContentMd5: booleanOf(query, "requireContentMD5", "require-content-md5") ??
      provider.withoutContentMd5 !== true,
    uploadConcurrency: integerOf(url, query, "concurrency") ?? provider.uploadConcurrency ??
      UPLOAD_CONCURRENCY_DEFAULT,
    partSize: integerOf(url, query, "partSize", "part-size") ?? PART_SIZE_DEFAULT,
    storageClass: textOf(query, "storageClass", "storage-class"),
    customerKey,
    kmsKeyId,
  });
}

/** An endpoint with its scheme, `http` for local hosts where it names none, and without a slash at the end. */
function cleanEndpoint(url: string, endpoint: string): string {
  const host = endpoint.replace(/[/?#].*$/s, "");
  const text = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(endpoint)
    ? endpoint
    : `${isLocalHost(hostname(host)) ? "http" : "https"}://${endpoint}`;
  const wanted = "http(s)://HOST[:PORT][/path]";
  if (/^[^/]*\/\/[^/]*@/.test(text)) {
    throw fault(
      url,
      "an endpoint with user information",
      `${wanted}, and credentials in options or environment`,
    );
  }
  const parsed = URL.canParse(text) ? new URL(text) : undefined;
  if (
    parsed === undefined || !/^https?:$/.test(parsed.protocol) || parsed.search !== "" || parsed.hash !== ""
  ) {
    throw fault(url, "an endpoint of another form", wanted);
  }
  return `${parsed.protocol}//${parsed.host}${parsed.pathname.replace(/\/+$/, "")}`;
}

/** Host and port of a cleaned endpoint; empty for none. */
function hostOf(endpoint: string): string {
  return endpoint === "" ? "" : endpoint.replace(/^https?:\/\//, "").replace(/\/.*$/s, "");
}

function hostname(host: string): string {
  return host.replace(/:\d*$/, "").toLowerCase();
}

/** Hosts that are spoken to without TLS where nothing else is said. */
function isLocalHost(name: string): boolean {
  return name === "localhost" || name === "127.0.0.1" || name === "[::1]" ||
    /^(10|192\.168|172\.(1[6-9]|2\d|3[01]))\./.test(name) || /\.(local|localhost)$/.test(name);
}

function customerKeyOf(url: string, query: URLSearchParams, endpoint: string): CustomerKey | undefined {
  const key = textOf(query, "sseCustomerKey", "sse-customer-key");
  if (key === "") return undefined;
  const algorithm = textOf(query, "sseCustomerAlgorithm", "sse-customer-algorithm") || "AES256";
  if (algorithm !== "AES256") throw fault(url, `sseCustomerAlgorithm "${algorithm}"`, "AES256");
  const bytes = Buffer.from(key, "base64");
  if (bytes.length !== CUSTOMER_KEY_SIZE || bytes.toString("base64") !== key) {
    throw fault(url, "an sseCustomerKey of another form", "base64 of 32 bytes");
  }
  if (endpoint.startsWith("http:") && !isLocalHost(hostname(hostOf(endpoint)))) {
    throw fault(url, "an sseCustomerKey for an endpoint without TLS", "https, or a local host");
  }
  const keyMd5 = createHash("md5").update(bytes).digest("base64");
  const given = textOf(query, "sseCustomerKeyMD5", "sse-customer-key-md5");
  if (given !== "" && given !== keyMd5) {
    throw fault(url, "an sseCustomerKeyMD5 of another key", "base64 of its MD5");
  }
  return { algorithm, key, keyMd5 };
}

/** The first of `names` that has a value; empty for none. */
function textOf(query: URLSearchParams, ...names: string[]): string {
  return names.map((name) => query.get(name)).find((value) => value) ?? "";
}

/** A plus sign stands for itself: no parameter holds a space, and base64 has plus signs that people do not encode. */
function parametersOf(query: string): URLSearchParams {
  return new URLSearchParams(query.replaceAll("+", "%2B"));
}

/** Undefined where the parameter is absent; any value that is not a word for true is false, as upstream. */
function booleanOf(query: URLSearchParams, ...names: string[]): boolean | undefined {
  const value = textOf(query, ...names);
  return value === "" ? undefined : /^(true|1|t|yes)$/i.test(value);
}

function integerOf(url: string, query: URLSearchParams, ...names: string[]): number | undefined {
  const value = textOf(query, ...names);
  if (value === "") return undefined;
  const number = /^\d+$/.test(value) ? Number(value) : 0;
  if (number < 1 || !Number.isSafeInteger(number)) {
    throw fault(url, `query parameter "${names[0]}" is "${value}"`, "a positive integer");
  }
  return number;
}

/** Resolves `//`, `.` and `..`; the result begins with a slash and ends without one (but for the root). */
function cleanPath(path: string): string {
  const kept: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment === "..") kept.pop();
    else kept.push(segment);
  }
  return `/${kept.join("/")}`;
}

function percentDecode(url: string, path: string): string {
  try {
    const decoded = decodeURIComponent(path);
    if (!decoded.includes("\0")) return decoded;
  } catch {
    // Told below, with the URL.
  }
  throw fault(url, "a percent sign that begins no UTF-8 character", "%25 for a percent sign itself");
}

/** `url` is repeated without its parameters and user information. */
function fault(url: string, found: string, wanted: string): TypeError {
  const shown = url.replace(/[?#].*$/s, "").replace(/^([^:/]*:\/*)[^/]*@/, "$1");
  return new TypeError(`Cannot parse replica URL "${shown}": ${found}, expected ${wanted}`);
}

function freezeAll<T extends object>(value: T): T {
  for (const part of Object.values(value)) {
    if (typeof part === "object" && part !== null) Object.freeze(part);
  }
  return Object.freeze(value);
}
