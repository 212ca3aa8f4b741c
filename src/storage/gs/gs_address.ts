/**
 * Addresses of a bucket's objects in Google's JSON interface.
 *
 * @module
 */

import type { GsLocation } from "../backend_location.ts";

const OWN_ORIGIN = "https://storage.googleapis.com";

/** Where a bucket is reached. */
export interface GsAddress {
  /** The bucket as a person would write it. */
  readonly name: string;
  readonly bucket: string;
  /** Scheme, host and port. */
  readonly origin: string;
  /** Named by STORAGE_EMULATOR_HOST: Google's own libraries sign nothing there, nor do we. */
  readonly isEmulator: boolean;
  /** All objects. */
  objects(query: Readonly<Record<string, string>>): string;
  /** One object. */
  object(key: string, query?: Readonly<Record<string, string>>): string;
  /** Where objects are uploaded. */
  uploads(query: Readonly<Record<string, string>>): string;
  /** A path of its own that the service named. */
  at(path: string): string;
}

/** The address of a location's bucket. An endpoint in the URL is used before the environment's. */
export function gsAddress(
  { bucket, endpoint }: Pick<GsLocation, "bucket" | "endpoint">,
  env: Readonly<Record<string, string | undefined>>,
): GsAddress {
  const emulator = endpoint === "" ? env.STORAGE_EMULATOR_HOST ?? "" : "";
  const origin = endpoint || (emulator === "" ? OWN_ORIGIN : emulatorOrigin(emulator));
  const objects = `/storage/v1/b/${bucket}/o`;
  return {
    name: `gs://${bucket}`,
    bucket,
    origin,
    isEmulator: emulator !== "",
    objects: (query) => `${origin}${objects}?${queryOf(query)}`,
    object: (key, query = {}) => {
      const asked = queryOf(query);
      return `${origin}${objects}/${encode(key)}${asked === "" ? "" : `?${asked}`}`;
    },
    uploads: (query) => `${origin}/upload${objects}?${queryOf(query)}`,
    at: (path) => origin + path,
  };
}

/** `http` where no scheme is named; what else stands there does not count. */
function emulatorOrigin(host: string): string {
  const text = host.includes("://") ? host : `http://${host}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.host !== "") {
    return `${url.protocol}//${url.host}`;
  }
  throw new TypeError(
    "Cannot use STORAGE_EMULATOR_HOST: it is no host, expected HOST:PORT or http://HOST:PORT",
  );
}

function queryOf(query: Readonly<Record<string, string>>): string {
  return Object.entries(query).map(([name, value]) => `${name}=${encode(value)}`).join("&");
}

/** A key is one segment of a path: its slashes are encoded too. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
