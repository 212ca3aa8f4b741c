/**
 * AbsAccount: where an account's blobs are reached, and how one signs in there.
 *
 * @see VFS reference, section 2.1 "Environment variables"
 * @module
 */

import type { BackendContext } from "../backend.ts";
import type { AbsLocation } from "../backend_location.ts";
import { StorageError } from "../../errors.ts";

/** What proves who asks; `entra`: tokens of an identity that the process or the machine has. */
export type AbsSignIn =
  | { readonly kind: "anonymous" }
  | { readonly kind: "key"; readonly key: string }
  | { readonly kind: "sas"; readonly sas: string }
  | { readonly kind: "entra" };

/** An account as it is spoken to. */
export interface AbsAccount {
  /** As signatures name it; empty where nothing names it. */
  readonly account: string;
  /** Scheme, host, port and path, without a slash at the end. */
  readonly endpoint: string;
  readonly signIn: AbsSignIn;
}

/** What an account is found by. */
type Given = Pick<BackendContext, "env" | "credentials">;

const SUFFIX_DEFAULT = "core.windows.net";

/**
 * The account of a location: of the URL, the options, the endpoint or the environment.
 *
 * Litestream's order: a SAS, a key, then an identity. A connection string comes behind the keys, since
 * it may be of another account.
 *
 * @throws {StorageError} nothing names the account, or a part is malformed
 */
export function accountOf(location: AbsLocation, { env, credentials }: Given): AbsAccount {
  const given = typeof credentials === "object" ? credentials : undefined;
  const named = location.account || (given?.accessKeyId ?? "") || accountOfEndpoint(location.endpoint);
  const described = connectionOf(env.AZURE_STORAGE_CONNECTION_STRING, named);
  const account = named || described.account || env.AZURE_STORAGE_ACCOUNT || "";
  const endpoint = location.endpoint || described.endpoint || ownEndpoint(account, described.suffix);
  if (credentials === "anonymous") return { account, endpoint, signIn: { kind: "anonymous" } };
  const key = given?.secretAccessKey;
  const signIn: AbsSignIn = key === undefined
    ? signInOfEnvironment(env, account, described)
    : { kind: "key", key: checkKey(key, "option credentials") };
  if (signIn.kind === "key" && account === "") throw noAccount();
  return { account, endpoint, signIn };
}

function signInOfEnvironment(env: Given["env"], account: string, described: Connection): AbsSignIn {
  // Storage of another account has its own.
  const isOwn = !env.AZURE_STORAGE_ACCOUNT || env.AZURE_STORAGE_ACCOUNT === account;
  const sas = env.LITESTREAM_AZURE_SAS_TOKEN || (isOwn ? env.AZURE_STORAGE_SAS_TOKEN : "");
  if (sas) return { kind: "sas", sas: checkSas(sas) };
  if (env.LITESTREAM_AZURE_ACCOUNT_KEY) {
    const name = "LITESTREAM_AZURE_ACCOUNT_KEY";
    return { kind: "key", key: checkKey(env.LITESTREAM_AZURE_ACCOUNT_KEY, name) };
  }
  if (isOwn && env.AZURE_STORAGE_KEY) {
    return { kind: "key", key: checkKey(env.AZURE_STORAGE_KEY, "AZURE_STORAGE_KEY") };
  }
  if (described.sas !== "") return { kind: "sas", sas: checkSas(described.sas) };
  if (described.key !== "") {
    return { kind: "key", key: checkKey(described.key, "AZURE_STORAGE_CONNECTION_STRING") };
  }
  return { kind: "entra" };
}

/** What a connection string says; empty where it says nothing. */
interface Connection {
  readonly account: string;
  readonly key: string;
  readonly sas: string;
  readonly endpoint: string;
  readonly suffix: string;
}

const NO_CONNECTION: Connection = { account: "", key: "", sas: "", endpoint: "", suffix: "" };

/**
 * A connection string's parts, where it is of the account that is wanted.
 *
 * @see https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string
 */
function connectionOf(text: string | undefined, wanted: string): Connection {
  if (!text) return NO_CONNECTION;
  const parts = new Map<string, string>();
  for (const part of text.split(";")) {
    const [, name = "", value = ""] = /^\s*([A-Za-z]+)=(.*?)\s*$/s.exec(part) ?? [];
    if (name !== "") parts.set(name.toLowerCase(), value);
  }
  const endpoint = (parts.get("blobendpoint") ?? "").replace(/\/+$/, "");
  if (endpoint !== "" && !/^https?:\/\/[^@?#]+$/.test(endpoint)) {
    throw malformed("AZURE_STORAGE_CONNECTION_STRING has a BlobEndpoint of another form", "http(s)://HOST");
  }
  const account = parts.get("accountname") || accountOfEndpoint(endpoint);
  if (wanted !== "" && account !== "" && account !== wanted) return NO_CONNECTION;
  return {
    account,
    key: parts.get("accountkey") ?? "",
    sas: parts.get("sharedaccesssignature") ?? "",
    endpoint,
    suffix: parts.get("endpointsuffix") ?? "",
  };
}

/** The account that an endpoint names: before `.blob.`, or as the emulator has it, first in the path. */
function accountOfEndpoint(endpoint: string): string {
  return /^https?:\/\/(?:([a-z0-9]+)(?:-secondary)?\.blob\.[^/]+|[^/]+\/([a-z0-9]+))$/.exec(endpoint)
    ?.slice(1)
    .find(Boolean) ?? "";
}

function ownEndpoint(account: string, suffix: string): string {
  if (account === "") throw noAccount();
  if (!/^[a-z0-9]{3,24}$/.test(account)) {
    throw malformed(`"${account}" for an account`, "3 to 24 small letters and digits");
  }
  if (!/^[a-z0-9.-]*$/i.test(suffix)) throw malformed("a malformed EndpointSuffix", "a host's name");
  return `https://${account}.blob.${suffix || SUFFIX_DEFAULT}`;
}

function checkKey(key: string, place: string): string {
  const clean = key.trim();
  if (/^[A-Za-z0-9+/]+={0,2}$/.test(clean) && clean.length % 4 === 0) return clean;
  throw malformed(`an account key in ${place} that is no base64`, "it as Azure shows it");
}

function checkSas(sas: string): string {
  const clean = sas.trim().replace(/^\?/, "");
  if (/^[\x21-\x7e]+$/.test(clean) && /(^|&)sig=[^&]/.test(clean) && !clean.includes("#")) return clean;
  throw malformed("a SAS token without sig=", "the query of a SAS URL: sv=…&sig=…");
}

function noAccount(): StorageError {
  const wanted = "abs://ACCOUNT@CONTAINER/PATH, or AZURE_STORAGE_ACCOUNT";
  return malformed("no account", wanted);
}

function malformed(found: string, wanted: string): StorageError {
  const details = { key: "", status: 0, code: "Credentials", retryable: false };
  return new StorageError(`Cannot sign in to Azure: ${found}, expected ${wanted}`, details);
}
