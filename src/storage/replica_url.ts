/**
 * Replica URLs → where the replica lies, as plain data; those of S3 and of folders are read here.
 *
 * @see VFS reference, section 3 "Replica URL grammar"
 * @module
 */

import { builtin } from "../drivers/host.ts";
import { type BackendLocation, parseBackendUrl } from "./backend_location.ts";
import {
  booleanOf,
  cleanEndpoint,
  cleanPath,
  fault,
  freezeAll,
  hostname,
  hostOf,
  integerOf,
  isLocalHost,
  type LocationBase,
  parametersOf,
  percentDecode,
  regionIn,
  splitUrl,
  SUPPORTED,
  textOf,
  type UrlParts,
} from "./url_parts.ts";
import { regionOfZone, zoneOf } from "./directory_bucket.ts";
import { HOST_FORMS, type ProviderName, providerNamed, providerOf } from "./providers.ts";

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

/** A replica in a place of the user's. */
export interface ModuleLocation extends LocationBase {
  readonly scheme: "module";
  /** Whether the name alone tells the place from others. */
  readonly isWhole: boolean;
  /** Absolute URL of the module that makes the storage. */
  readonly module: string;
  /** Name of its export. */
  readonly export: string;
  /** What the replica was opened with; empty for nothing. May hold secrets. */
  readonly url: string;
  /** What the function is given, structured-cloneable; may hold secrets. */
  readonly options: unknown;
}

/** Where a replica lies. */
export type ReplicaLocation = S3Location | FolderLocation | BackendLocation | ModuleLocation;

/** What a URL leaves open. */
export interface ReplicaUrlDefaults {
  /** Endpoint used where the URL yields none: the value of `LITESTREAM_S3_ENDPOINT`. */
  readonly endpoint?: string;
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

/**
 * Parses a replica URL.
 *
 * @throws {TypeError} the URL breaks the grammar or names a scheme that is not supported; parameters, which may hold
 * secrets, are never repeated in the message
 * @see VFS reference, section 3
 */
export function parseReplicaUrl(
  url: string,
  defaults: ReplicaUrlDefaults = {},
): Exclude<ReplicaLocation, ModuleLocation> {
  if (/^s3:\/\/arn:/i.test(url)) return parseAccessPoint(url, defaults);
  const parts = splitUrl(url);
  if (parts.scheme === "s3") return parseBucketUrl(parts, defaults);
  if (parts.scheme === "file") return parseFileUrl(parts);
  const location = parseBackendUrl(parts);
  if (location !== undefined) return location;
  throw fault(url, `scheme "${parts.scheme}" is not supported`, SUPPORTED);
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
  if (/^s3:\/\/arn:[^:/]+:s3::/i.test(whole)) {
    throw fault(whole, "a multi-region access point", "an access point of one region (the ARN names none)");
  }
  const match = /^s3:\/\/(arn:[^:/]+:s3:([^:/]+):(\d+):accesspoint[/:]([A-Za-z0-9-]+))(\/.*)?$/i.exec(whole);
  if (match === null) {
    throw fault(whole, "an ARN of another form", "arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME[/path]");
  }
  const [, bucket = "", region = "", , , rest = ""] = match;
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
  const zone = endpoint === "" ? zoneOf(host.bucket) : undefined;
  const provider = zone === undefined ? providerOf(hostOf(endpoint)) : providerNamed("express");
  const regionDefault = zone === undefined ? (endpoint === "" ? "" : "us-east-1") : regionOfZone(zone);
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
    region: regionIn(query) || host.region || regionDefault,
    endpoint,
    provider: provider.name,
    pathStyle: booleanOf(url, query, "forcePathStyle", "force-path-style") ??
      (asked !== "" || host.pathStyle || provider.pathStyle === true),
    skipVerify: booleanOf(url, query, "skipVerify", "skip-verify") ?? false,
    signPayload: booleanOf(url, query, "signPayload", "sign-payload") ?? true,
    requireContentMd5: booleanOf(url, query, "requireContentMD5", "require-content-md5") ??
      provider.withoutContentMd5 !== true,
    uploadConcurrency: integerOf(url, query, "concurrency") ?? provider.uploadConcurrency ??
      UPLOAD_CONCURRENCY_DEFAULT,
    partSize: integerOf(url, query, "partSize", "part-size") ?? PART_SIZE_DEFAULT,
    storageClass: textOf(query, "storageClass", "storage-class"),
    customerKey,
    kmsKeyId,
  });
}

function customerKeyOf(url: string, query: URLSearchParams, endpoint: string): CustomerKey | undefined {
  const key = textOf(query, "sseCustomerKey", "sse-customer-key");
  if (key === "") return undefined;
  const algorithm = textOf(query, "sseCustomerAlgorithm", "sse-customer-algorithm") || "AES256";
  if (algorithm !== "AES256") throw fault(url, `sseCustomerAlgorithm "${algorithm}"`, "AES256");
  const bytes = builtin("node:buffer").Buffer.from(key, "base64");
  if (bytes.length !== CUSTOMER_KEY_SIZE || bytes.toString("base64") !== key) {
    throw fault(url, "an sseCustomerKey of another form", "base64 of 32 bytes");
  }
  if (endpoint.startsWith("http:") && !isLocalHost(hostname(hostOf(endpoint)))) {
    throw fault(url, "an sseCustomerKey for an endpoint without TLS", "https, or a local host");
  }
  const { createHash } = builtin("node:crypto");
  const keyMd5 = createHash("md5").update(bytes).digest("base64");
  const given = textOf(query, "sseCustomerKeyMD5", "sse-customer-key-md5");
  if (given !== "" && given !== keyMd5) {
    throw fault(url, "an sseCustomerKeyMD5 of another key", "base64 of its MD5");
  }
  return { algorithm, key, keyMd5 };
}
