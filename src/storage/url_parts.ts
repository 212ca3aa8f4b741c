/**
 * The parts of a replica URL, whatever its scheme.
 *
 * @see VFS reference, section 3 "Replica URL grammar"
 * @module
 */

import type { LayoutName } from "./object_store.ts";
import { cleanRegion } from "./region.ts";

/** What a URL may begin with. */
export const SUPPORTED =
  "s3://, file://, gs://, abs://, oss://, sftp://, webdav://, webdavs://, nats://, http:// or https://";

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

/** The parts of a URL, as they are spelled. */
export interface UrlParts {
  readonly scheme: string;
  readonly authority: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** The same as it is spelled. */
  readonly rawQuery: string;
}

/**
 * The parts of a URL.
 *
 * @throws {TypeError} it is none
 */
export function splitUrl(url: string): UrlParts {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?/.exec(url);
  if (match === null) throw fault(url, "no scheme", SUPPORTED);
  const [, spelled = "", authority, path = "", query = ""] = match;
  const scheme = spelled.toLowerCase();
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
  return {
    scheme,
    authority: authority ?? "",
    path,
    query: parametersOf(query),
    rawQuery: query,
  };
}

/** An endpoint with its scheme, `http` for local hosts where it names none, and without a slash at the end. */
export function cleanEndpoint(url: string, endpoint: string): string {
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
export function hostOf(endpoint: string): string {
  return endpoint === "" ? "" : endpoint.replace(/^https?:\/\//, "").replace(/\/.*$/s, "");
}

/** A host without its port, in lower case. */
export function hostname(host: string): string {
  return host.replace(/:\d*$/, "").toLowerCase();
}

/** Hosts that are spoken to without TLS where nothing else is said. */
export function isLocalHost(name: string): boolean {
  return name === "localhost" || name === "127.0.0.1" || name === "[::1]" ||
    /^(10\.\d+|192\.168|172\.(1[6-9]|2\d|3[01]))\.\d+\.\d+$/.test(name) || /\.(local|localhost)$/.test(name);
}

/** Hosts that only who is inside reaches: local ones, the link's own (where machines tell their keys), private networks. */
export function isInnerHost(name: string): boolean {
  return isLocalHost(name) || /^(0|127|169\.254)(\.\d+)+$/.test(name) ||
    /^\[(::|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)/.test(name);
}

/** The first of `names` that has a value; empty for none. */
export function textOf(query: URLSearchParams, ...names: string[]): string {
  return names.map((name) => query.get(name)).find((value) => value) ?? "";
}

/** What the URL says of the region; empty for nothing. */
export function regionIn(query: URLSearchParams): string {
  return cleanRegion('the URL\'s parameter "region"', textOf(query, "region"));
}

/** A plus sign stands for itself: no parameter holds a space, and base64 has plus signs that people do not encode. */
export function parametersOf(query: string): URLSearchParams {
  return new URLSearchParams(query.replaceAll("+", "%2B"));
}

/** Undefined where the parameter is absent. */
export function booleanOf(url: string, query: URLSearchParams, ...names: string[]): boolean | undefined {
  const value = textOf(query, ...names);
  if (value === "") return undefined;
  if (/^(true|1|t|yes)$/i.test(value)) return true;
  if (/^(false|0|f|no)$/i.test(value)) return false;
  throw fault(url, `query parameter "${names[0]}" is "${value}"`, "true or false");
}

/** Undefined where the parameter is absent. */
export function integerOf(url: string, query: URLSearchParams, ...names: string[]): number | undefined {
  const value = textOf(query, ...names);
  if (value === "") return undefined;
  const number = /^\d+$/.test(value) ? Number(value) : 0;
  if (number < 1 || !Number.isSafeInteger(number)) {
    throw fault(url, `query parameter "${names[0]}" is "${value}"`, "a positive integer");
  }
  return number;
}

/** Resolves `//`, `.` and `..`; the result begins with a slash and ends without one (but for the root). */
export function cleanPath(path: string): string {
  const kept: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment === "..") kept.pop();
    else kept.push(segment);
  }
  return `/${kept.join("/")}`;
}

/** A path without its percent signs. */
export function percentDecode(url: string, path: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    throw fault(url, "a percent sign that begins no UTF-8 character", "%25 for a percent sign itself");
  }
  if (!decoded.includes("\0")) return decoded;
  throw fault(url, "a zero byte, by a percent sign (%00) or as it is", "a path without one");
}

/** `url` is repeated without its parameters and user information. */
export function fault(url: string, found: string, wanted: string): TypeError {
  const shown = url.replace(/[?#].*$/s, "").replace(/^([^:/]*:\/*)[^/]*@/, "$1");
  const [, scheme = ""] = PASSWORD_BEGUN.exec(url) ?? [];
  return scheme === ""
    ? new TypeError(`Cannot parse replica URL "${shown}": ${found}, expected ${wanted}`)
    : new TypeError(
      `Cannot parse replica URL "${scheme}…": no port behind a colon, expected HOST:PORT, or ` +
        "USER:PASSWORD@HOST with %2F, %3F and %23 for /, ? and #",
    );
}

/** A slash in a password ends the authority, which then has a colon and no port behind it. */
const PASSWORD_BEGUN =
  /^(?!s3:\/\/arn:)([A-Za-z][^:/]*:\/\/)[^/:@[]*:(?!\d*(?:[/,?#]|$))[^/?#@]*(?:[/?#]|$)/i;

/** Freezes an object and what it holds. */
export function freezeAll<T extends object>(value: T): T {
  for (const part of Object.values(value)) {
    if (typeof part === "object" && part !== null) Object.freeze(part);
  }
  return Object.freeze(value);
}
