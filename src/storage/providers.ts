/**
 * The table of S3 providers: how their hosts are spelled, and what their services need.
 *
 * @see VFS reference, section 3.3 "Provider detection"
 * @module
 */

/** Names of the rows of {@link PROVIDERS}; `"aws"` and `"other"` need nothing, `"express"` are directory buckets. */
export type ProviderName =
  | "aws"
  | "express"
  | "tigris"
  | "hetzner"
  | "digitalocean"
  | "backblaze"
  | "filebase"
  | "scaleway"
  | "r2"
  | "supabase"
  | "google"
  | "minio"
  | "other";

/** What a host in bucket position means. */
export interface HostForm {
  /** Matches the whole host; groups `bucket` (optional) and `region` (optional). */
  readonly pattern: RegExp;
  /** The endpoint with `REGION` to be filled in; empty for Amazon. */
  readonly endpoint: string;
}

/** Defaults that a provider's endpoint brings; explicit parameters win. */
export interface Provider {
  readonly name: ProviderName;
  /** Whether an endpoint's host, in lower case and with its port, is this provider's. */
  readonly matches: (host: string) => boolean;
  /** The bucket stands in the path, not in the host name. */
  readonly pathStyle?: true;
  /** Deleting many objects takes no Content-MD5, but where `removalChecksum` is set another checksum. */
  readonly withoutContentMd5?: true;
  readonly removalChecksum?: "x-amz-checksum-sha256";
  /** Objects are removed one by one: there is no request that removes many. */
  readonly singleRemoval?: true;
  /** Listings come in no order, of whole folders, and from their beginning. */
  readonly listsFolders?: true;
  /** Requests are signed with a session, as those of another service. */
  readonly sessions?: true;
  /** Multipart parts in flight. */
  readonly uploadConcurrency?: number;
  /** Sent on every request. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Hosts that are recognised where a bucket's name stands, tried in this order. */
export const HOST_FORMS: readonly HostForm[] = [
  {
    pattern: /^(?<bucket>[^.]+--x-s3)\.s3express-[^.]+\.(?<region>[^.]+)\.amazonaws\.com$/,
    endpoint: "",
  },
  { pattern: /^(?<bucket>.+)\.s3(?:\.(?<region>[^.]+))?\.amazonaws\.com$/, endpoint: "" },
  {
    pattern: /^(?:(?<bucket>.+)\.)?(?<region>[^.]+)\.digitaloceanspaces\.com$/,
    endpoint: "https://REGION.digitaloceanspaces.com",
  },
  {
    pattern: /^(?:(?<bucket>.+)\.)?s3\.(?<region>[^.]+)\.backblazeb2\.com$/,
    endpoint: "https://s3.REGION.backblazeb2.com",
  },
  { pattern: /^(?:(?<bucket>.+)\.)?s3\.filebase\.com$/, endpoint: "https://s3.filebase.com" },
  {
    pattern: /^(?:(?<bucket>.+)\.)?s3\.(?<region>[^.]+)\.scw\.cloud$/,
    endpoint: "https://s3.REGION.scw.cloud",
  },
];

/** Providers told by their endpoint's host; the first match holds. */
export const PROVIDERS: readonly Provider[] = [
  {
    name: "tigris",
    matches: (host) => host === "fly.storage.tigris.dev" || host === "t3.storage.dev",
    withoutContentMd5: true,
    headers: { "x-tigris-consistent": "true" },
  },
  { name: "hetzner", matches: (host) => host.endsWith(".your-objectstorage.com") },
  { name: "digitalocean", matches: (host) => host.endsWith(".digitaloceanspaces.com") },
  { name: "backblaze", matches: (host) => host.endsWith(".backblazeb2.com"), pathStyle: true },
  { name: "filebase", matches: (host) => host === "s3.filebase.com", pathStyle: true },
  { name: "scaleway", matches: (host) => host.endsWith(".scw.cloud") },
  { name: "r2", matches: (host) => host.endsWith(".r2.cloudflarestorage.com"), uploadConcurrency: 2 },
  { name: "supabase", matches: (host) => host.endsWith(".supabase.co"), pathStyle: true },
  { name: "google", matches: isGoogleStorage, singleRemoval: true },
  {
    name: "express",
    matches: (host) => /(^|\.)s3express-[^.]+\.[^.]+\.amazonaws\.com$/.test(host),
    withoutContentMd5: true,
    removalChecksum: "x-amz-checksum-sha256",
    listsFolders: true,
    sessions: true,
  },
  { name: "aws", matches: (host) => /\.amazonaws\.com(\.cn)?$/.test(host) },
  { name: "minio", matches: (host) => host.includes(":"), pathStyle: true },
];

/** Whether `host` is Google's XML interface: the first label holds the segment `storage`. */
function isGoogleStorage(host: string): boolean {
  return host.endsWith(".googleapis.com") && (host.split(".")[0] ?? "").split("-").includes("storage");
}

/** The provider whose endpoint `host` (with its port, if any) is; Amazon where it is empty. */
export function providerOf(host: string): Provider {
  const lower = host.toLowerCase();
  if (lower === "") return { name: "aws", matches: () => true };
  return PROVIDERS.find((provider) => provider.matches(lower)) ?? { name: "other", matches: () => true };
}

/** The row of that name. */
export function providerNamed(name: ProviderName): Provider {
  return PROVIDERS.find((provider) => provider.name === name) ?? { name, matches: () => true };
}
