/**
 * Where a bucket is spoken to, and how keys and queries are spelled there.
 *
 * @module
 */

import { zoneOf } from "./directory_bucket.ts";
import type { S3Location } from "./replica_url.ts";

/** Where a bucket is spoken to: the origin, and what stands before a key in the path. */
export interface Address {
  readonly origin: string;
  readonly base: string;
}

/** Where requests for `location` go while its bucket is taken to be in `region`. */
export function addressOf(location: S3Location, region: string): Address {
  const { bucket, endpoint, pathStyle } = location;
  const domain = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  const point = /^arn:[^:]+:s3:[^:]*:(\d+):accesspoint[/:](.+)$/i.exec(bucket);
  const access = point === null ? undefined : `${point[2]}-${point[1]}`;
  if (endpoint === "") {
    if (access !== undefined) {
      return { origin: `https://${access}.s3-accesspoint.${region}.${domain}`, base: "" };
    }
    const zone = zoneOf(bucket);
    if (zone !== undefined) {
      return { origin: `https://${bucket}.s3express-${zone}.${region}.${domain}`, base: "" };
    }
    // A wildcard certificate covers one label: names with dots, and names no host may have, stand in the path.
    const inHost = !pathStyle && /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(bucket);
    const host = `s3.${region}.${domain}`;
    return inHost
      ? { origin: `https://${bucket}.${host}`, base: "" }
      : { origin: `https://${host}`, base: `/${encodeKey(bucket)}` };
  }
  const [, origin = "", path = ""] = /^(https?:\/\/[^/]+)(.*)$/.exec(endpoint) ?? [];
  if (access === undefined && pathStyle) return { origin, base: `${path}/${encodeKey(bucket)}` };
  return { origin: origin.replace("//", `//${access ?? bucket}.`), base: path };
}

/** RFC 3986 encoding of each segment; slashes stay. */
export function encodeKey(key: string): string {
  return key.split("/").map(encodePart).join("/");
}

/** A query as it is signed: encoded, in the order of its names. */
export function encodeQuery(query: ReadonlyMap<string, string>): string {
  return [...query].map(([name, value]) => `${encodePart(name)}=${encodePart(value)}`).sort().join("&");
}

function encodePart(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
