/**
 * URLs of places other than S3 and folders → where a replica lies there, as plain data.
 *
 * @see VFS reference, section 3.1 "General"
 * @module
 */

import {
  booleanOf,
  cleanEndpoint,
  cleanPath,
  fault,
  freezeAll,
  type LocationBase,
  percentDecode,
  regionIn,
  textOf,
  type UrlParts,
} from "./url_parts.ts";

/** What each of these locations has. */
interface BackendBase extends LocationBase {
  /** The URL's parameters by name, which may hold secrets. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Who signs in, where the URL says it. */
export interface UrlUser {
  /** Empty for nobody. */
  readonly user: string;
  /** A secret; empty for none. */
  readonly password: string;
}

/** A replica in Google Cloud Storage. */
export interface GsLocation extends BackendBase {
  readonly scheme: "gs";
  readonly bucket: string;
  /** Scheme, host and port; empty for Google's own. */
  readonly endpoint: string;
}

/** A replica in Azure Blob Storage. */
export interface AbsLocation extends BackendBase {
  readonly scheme: "abs";
  /** Empty where the endpoint or the environment names it. */
  readonly account: string;
  readonly container: string;
  /** Scheme, host, port and path without a slash at the end; empty for Azure's own. */
  readonly endpoint: string;
}

/** A replica in Alibaba Cloud's OSS. */
export interface OssLocation extends BackendBase {
  readonly scheme: "oss";
  readonly bucket: string;
  /** Such as `cn-hangzhou`. */
  readonly region: string;
  /** Scheme, host and port, without the bucket. */
  readonly endpoint: string;
}

/** A replica on a host that is reached by SSH. */
export interface SftpLocation extends BackendBase, UrlUser {
  readonly scheme: "sftp";
  readonly host: string;
  readonly port: number;
  /** Below the folder that the user comes to at sign-in, empty for that itself; absolute where it begins with a slash. */
  readonly path: string;
}

/** A replica on a WebDAV server. */
export interface WebdavLocation extends BackendBase, UrlUser {
  readonly scheme: "webdav";
  /** `http://` or `https://`, host and port. */
  readonly origin: string;
  /** Begins with a slash and ends without one; decoded. */
  readonly path: string;
}

/** A replica in an object store of NATS JetStream. */
export interface NatsLocation extends BackendBase, UrlUser {
  readonly scheme: "nats";
  /** `host:port` of one server or several. */
  readonly servers: readonly string[];
  readonly bucket: string;
}

/** A replica that is published as static files. */
export interface HttpLocation extends BackendBase, UrlUser {
  readonly scheme: "http";
  /** `http://` or `https://`, host and port. */
  readonly origin: string;
  /** Begins with a slash and ends without one; encoded as it was given. */
  readonly path: string;
  /** What stands behind the question mark, sent with each request; may be a secret. */
  readonly query: string;
}

/** Where a replica lies that is neither in S3 nor in a folder. */
export type BackendLocation =
  | GsLocation
  | AbsLocation
  | OssLocation
  | SftpLocation
  | WebdavLocation
  | NatsLocation
  | HttpLocation;

const PARSERS: Readonly<Record<string, (parts: UrlParts) => BackendLocation>> = {
  gs: parseGs,
  abs: parseAbs,
  oss: parseOss,
  sftp: parseSftp,
  webdav: parseWebdav,
  webdavs: parseWebdav,
  nats: parseNats,
  http: parseHttp,
  https: parseHttp,
};

const SFTP_PORT = 22;
const NATS_PORT = 4222;
const OSS_REGION_DEFAULT = "cn-hangzhou";

/** Parses a URL of one of these places; undefined where it is none. */
export function parseBackendUrl(parts: UrlParts): BackendLocation | undefined {
  return Object.hasOwn(PARSERS, parts.scheme) ? PARSERS[parts.scheme]!(parts) : undefined;
}

function parseGs(parts: UrlParts): GsLocation {
  const { url, path } = placeOf(parts);
  const bucket = bucketOf(url, parts.authority, /^[A-Za-z0-9._-]+$/);
  return freezeAll({
    scheme: "gs",
    ...restOf(parts, `gs://${bucket}${path}`, path),
    bucket,
    endpoint: endpointOf(url, parts.query),
  });
}

function parseAbs(parts: UrlParts): AbsLocation {
  const { url, path } = placeOf(parts);
  const [, account = "", container = ""] = /^(?:([^@]*)@)?([^@]*)$/.exec(parts.authority) ?? [];
  if (account.includes(":")) {
    throw fault(url, "a password before the container", "the key in options or environment");
  }
  const shown = account === "" ? container : `${account}@${container}`;
  return freezeAll({
    scheme: "abs",
    ...restOf(parts, `abs://${shown}${path}`, path),
    account: percentDecode(url, account),
    container: bucketOf(url, container, /^[A-Za-z0-9$-]+$/),
    endpoint: endpointOf(url, parts.query),
  });
}

function parseOss(parts: UrlParts): OssLocation {
  const { url, path } = placeOf(parts);
  const host = /^(?<bucket>.+)\.oss-(?<region>[a-z0-9-]+?)(?<inner>-internal)?\.aliyuncs\.com$/.exec(
    parts.authority,
  )
    ?.groups;
  const bucket = bucketOf(url, host?.bucket ?? parts.authority, /^[a-z0-9-]+$/);
  const region = regionIn(parts.query) || host?.region || OSS_REGION_DEFAULT;
  const endpoint = endpointOf(url, parts.query) || `https://oss-${region}${host?.inner ?? ""}.aliyuncs.com`;
  const rest = restOf(parts, `oss://${bucket}${path}`, path);
  return freezeAll({ scheme: "oss", ...rest, layout: "s3", bucket, region, endpoint });
}

function parseSftp(parts: UrlParts): SftpLocation {
  const { url, path } = placeOf(parts);
  const { user, password, host } = signInOf(url, parts.authority);
  if (user === "") throw fault(url, "no user", "sftp://USER@HOST/path");
  const { name, port } = hostAndPort(url, host, SFTP_PORT);
  const shown = port === SFTP_PORT ? name : `${name}:${port}`;
  const isAbsolute = parts.path.startsWith("//");
  return freezeAll({
    scheme: "sftp",
    ...restOf(parts, `sftp://${user}@${shown}${isAbsolute ? "/" : ""}${path}`, ""),
    user,
    password,
    host: name.replace(/^\[|\]$/g, ""),
    port,
    path: isAbsolute ? path : path.slice(1),
  });
}

function parseWebdav(parts: UrlParts): WebdavLocation {
  const { url, path } = placeOf(parts);
  const { user, password, host } = signInOf(url, parts.authority);
  const { origin } = new URL(`${parts.scheme === "webdavs" ? "https" : "http"}://${checkHost(url, host)}`);
  const rest = restOf(parts, `${parts.scheme}://${host}${path}`, "");
  return freezeAll({ scheme: "webdav", ...rest, user, password, origin, path: path === "/" ? "" : path });
}

function parseNats(parts: UrlParts): NatsLocation {
  const { url, path } = placeOf(parts);
  const { user, password, host } = signInOf(url, parts.authority);
  const servers = host.split(",").map((each) => {
    const { name, port } = hostAndPort(url, each, NATS_PORT);
    return `${name}:${port}`;
  });
  if (path === "/") throw fault(url, "no bucket", "nats://HOST/BUCKET");
  const bucket = bucketOf(url, path.slice(1), /^[A-Za-z0-9_-]+$/);
  const rest = restOf(parts, `nats://${host}${path}`, "");
  return freezeAll({ scheme: "nats", ...rest, user, password, servers, bucket });
}

function parseHttp(parts: UrlParts): HttpLocation {
  const url = `${parts.scheme}://${parts.authority}${parts.path}`;
  const { user, password, host } = signInOf(url, parts.authority);
  const { origin } = new URL(`${parts.scheme}://${checkHost(url, host)}`);
  const path = parts.path.replace(/\/+$/, "");
  const parameters = Object.fromEntries(parts.query);
  const base = { name: `${origin}${path}`, layout: "folder", prefixes: [""], parameters } as const;
  return freezeAll({ scheme: "http", ...base, user, password, origin, path, query: parts.rawQuery });
}

/** The URL for messages, and its path: decoded, clean, beginning with a slash. */
function placeOf({ scheme, authority, path }: UrlParts): { url: string; path: string } {
  const url = `${scheme}://${authority}${path}`;
  return { url, path: cleanPath(percentDecode(url, path)) };
}

/** What all of them have; keys begin with `path`, where that is not the store's own business. */
function restOf({ query }: UrlParts, name: string, path: string): BackendBase {
  for (const parameter of ["skipVerify", "tls"]) booleanOf(name, query, parameter); // read where they are used
  const prefix = path.replace(/^\//, "");
  return {
    name,
    layout: "folder",
    prefixes: [prefix === "" ? "" : `${prefix}/`],
    parameters: Object.fromEntries(query),
  };
}

function bucketOf(url: string, bucket: string, form: RegExp): string {
  if (bucket === "") throw fault(url, "no bucket", "one before the path");
  if (bucket.includes("@")) {
    throw fault(url, "user information before the bucket", "credentials in options or environment");
  }
  if (!form.test(bucket)) throw fault(url, `bucket "${bucket}"`, "a bucket's name");
  return bucket;
}

function endpointOf(url: string, query: URLSearchParams): string {
  const endpoint = textOf(query, "endpoint");
  return endpoint === "" ? "" : cleanEndpoint(url, endpoint);
}

function signInOf(url: string, authority: string): UrlUser & { host: string } {
  const { user = "", password = "", host = "" } =
    /^(?:(?<user>[^:@]*)(?::(?<password>.*))?@)?(?<host>[^@]*)$/s.exec(authority)?.groups ?? {};
  return {
    user: percentDecode(url, user),
    password: percentDecode(url, password),
    host: checkHost(url, host),
  };
}

function checkHost(url: string, host: string): string {
  if (host === "") throw fault(url, "no host", "one behind ://");
  if (!host.split(",").every((each) => URL.canParse(`http://${each}`))) {
    throw fault(url, `host "${host}"`, "HOST or HOST:PORT");
  }
  return host;
}

function hostAndPort(url: string, host: string, portDefault: number): { name: string; port: number } {
  const [, name = "", port = ""] = /^(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(host) ?? [];
  if (name === "" || Number(port) > 65_535) throw fault(url, `host "${host}"`, "HOST or HOST:PORT");
  return { name: name.toLowerCase(), port: port === "" ? portDefault : Number(port) };
}
