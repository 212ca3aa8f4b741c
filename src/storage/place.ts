/**
 * placeOf(): what tells a replica's place from all others.
 *
 * @module
 */

import { builtin } from "../drivers/host.ts";
import type { AbsLocation, NatsLocation } from "./backend_location.ts";
import type { ModuleLocation, ReplicaLocation } from "./replica_url.ts";

/** Of a hash, as much as tells a few thousand places apart, in hex digits. */
const SHOWN_DIGITS = 12;

/** What else may say where a replica lies. */
export interface PlaceContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Name of the key that requests are signed with, where that is known. */
  readonly accessKeyId?: string | undefined;
  /** What keys begin with, where the location leaves that open. */
  readonly prefix?: string | undefined;
}

/**
 * A location's name, and a hash of what it leaves out that may make another place of it: buckets of one name at two endpoints
 * are two. Without secrets, as names are.
 */
export function placeOf(location: ReplicaLocation, context: PlaceContext): string {
  const rest = unnamed(location, context);
  if (rest === undefined) return location.name;
  if (context.prefix !== undefined && location.prefixes.length > 1) rest.push(context.prefix);
  const { createHash } = builtin("node:crypto");
  const hash = createHash("sha256").update(rest.join("\n")).digest("hex");
  return `${location.name} (${hash.slice(0, SHOWN_DIGITS)})`;
}

/** What tells places of one name apart; undefined where the name says all. */
function unnamed(location: ReplicaLocation, context: PlaceContext): string[] | undefined {
  switch (location.scheme) {
    case "s3":
    case "oss":
      return [location.endpoint];
    case "gs":
      return [location.endpoint || (context.env.STORAGE_EMULATOR_HOST ?? "")];
    case "abs":
      return [location.endpoint, accountOf(location, context)];
    case "webdav":
    case "http":
      return [location.user];
    case "nats":
      return [userOf(location, context)];
    case "module":
      return location.isWhole ? undefined : [ofModule(location)];
    default:
      return undefined;
  }
}

/** Two accounts may have containers of one name. */
function accountOf({ account, endpoint }: AbsLocation, { env, accessKeyId }: PlaceContext): string {
  if (account !== "" || endpoint !== "") return account;
  const [, described] = /(?:^|;)\s*(?:AccountName|BlobEndpoint)=([^;]*)/i.exec(
    env.AZURE_STORAGE_CONNECTION_STRING ?? "",
  ) ?? [];
  return accessKeyId || described || env.AZURE_STORAGE_ACCOUNT || "";
}

/** Two users may be of two accounts of a server, each with buckets of its own. A user without a password is a token. */
function userOf({ user, password, parameters }: NatsLocation, { env }: PlaceContext): string {
  const named = (password && user) || parameters.creds || parameters.nkey;
  return named || env.NATS_USER || env.NATS_CREDS || env.NATS_NKEY || "";
}

/** What a module makes of other options may be another place; or they hold a secret. */
function ofModule({ module, export: name, url, options }: ModuleLocation): string {
  const { inspect } = builtin("node:util");
  const all = { depth: Infinity, maxArrayLength: Infinity, maxStringLength: Infinity, sorted: true };
  return inspect([module, name, url, options], all);
}
