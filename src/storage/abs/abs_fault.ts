/**
 * What Azure answers instead of what was asked, in words.
 *
 * @see https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
 * @module
 */

import type { Asked } from "../http_fault.ts";
import type { HttpFault } from "../http_client.ts";
import { childText, parseXml } from "../xml.ts";
import type { AbsSignIn } from "./abs_account.ts";

/** What each code says to a person, after "expected"; where it depends on how one signs in, see below. */
const EXPECTED: Readonly<Record<string, string>> = {
  AccountIsDisabled: "an account that is not disabled",
  AuthorizationProtocolMismatch: "a SAS token for the endpoint's protocol",
  AuthorizationResourceTypeMismatch: "a SAS token for containers and objects (srt=co)",
  AuthorizationServiceMismatch: "a SAS token for blobs (ss=b)",
  AuthorizationSourceIPMismatch: "a SAS token for this address",
  BlobArchived: "a blob in an online tier",
  BlobImmutableDueToPolicy: "a container whose immutability policy lets blobs be removed and replaced",
  ContainerBeingDeleted: "a container that is not being deleted",
  ContainerDisabled: "a container that is not disabled",
  InsufficientAccountPermissions: "an account that may be written to",
  InvalidRange: "a range inside the object",
  InvalidResourceName: "a container's name of 3 to 63 small letters, digits and single hyphens",
  KeyBasedAuthenticationNotPermitted: "an identity, since the account refuses keys",
  LeaseIdMissing: "a blob on which nobody has a lease",
  OutOfRangeInput: "a container's name of 3 to 63 characters, and keys of up to 1,024",
  PublicAccessNotPermitted: "credentials, since the account is not public",
  SnapshotsPresent: "a blob without snapshots",
};

/** What each way of signing in lacks where who asks is not known. */
const UNKNOWN: Readonly<Record<AbsSignIn["kind"], string>> = {
  anonymous: "a container that is public, or credentials",
  entra: "a token of the tenant that the account belongs to",
  key: "the key of that account",
  sas: "a SAS token that was not changed, has not expired and is of that account",
};

/** What each lacks where who asks is known. */
const FORBIDDEN: Readonly<Record<AbsSignIn["kind"], string>> = {
  anonymous: "a container that is public, or credentials",
  entra: "permission there",
  key: "permission there",
  sas: "a SAS token with permission",
};

const ROLES: Readonly<Record<Asked["kind"], string>> = {
  list: "Storage Blob Data Reader",
  get: "Storage Blob Data Reader",
  put: "Storage Blob Data Contributor",
  remove: "Storage Blob Data Contributor",
};

const PERMISSIONS: Readonly<Record<Asked["kind"], string>> = {
  list: "to list (sp=l)",
  get: "to read (sp=r)",
  put: "to create and write (sp=cw)",
  remove: "to delete (sp=d)",
};

const UNKNOWN_CODES = new Set([
  "AuthenticationFailed",
  "InvalidAuthenticationInfo",
  "NoAuthenticationInformation",
]);
/** The same, or the address is not admitted. */
const FIREWALL_CODE = "AuthorizationFailure";
const FORBIDDEN_CODES = new Set([
  "AuthorizationPermissionMismatch",
  "InsufficientPermissions",
  "UnauthorizedBlobOverwrite",
]);
/** Azure refuses signatures older or newer than 15 minutes; to a SAS less may matter. */
const SKEW_MS_MAX = 5 * 60_000;
const CLOCKS = "the clock there says";

/** Code and words of an answer; of a refusal where clocks do not agree, what they say. */
export function explain(body: string, headers: Headers, nowMs: number): { code: string; message: string } {
  const { code, message } = errorOf(body);
  const found = { code: headers.get("x-ms-error-code") ?? code, message };
  const dateMs = Date.parse(headers.get("date") ?? "");
  if (found.code !== "AuthenticationFailed" || !(Math.abs(dateMs - nowMs) > SKEW_MS_MAX)) return found;
  const times = [dateMs, nowMs].map((ms) => new Date(ms).toISOString());
  return { ...found, message: `${CLOCKS} ${times[0]}, ours ${times[1]}` };
}

/** What a person can do about a fault. */
export function expectedOf(
  { status, code, message }: HttpFault,
  asked: Asked,
  { signIn, container }: { signIn: AbsSignIn["kind"]; container: string },
): string | undefined {
  if (message.startsWith(CLOCKS)) return "clocks that agree within 15 minutes";
  if (code === "ContainerNotFound" || code === "ResourceNotFound") {
    const hidden = signIn === "anonymous" ? " that is public" : "";
    return `an existing container${hidden}, not "${container}"`;
  }
  if (isWrongVersion({ code, message })) return "a server that knows this version of Azure's interface";
  if (UNKNOWN_CODES.has(code)) return UNKNOWN[signIn];
  if (code === FIREWALL_CODE) return `${UNKNOWN[signIn]}, and a firewall there that admits this address`;
  if (FORBIDDEN_CODES.has(code) || (status === 403 && EXPECTED[code] === undefined)) {
    const right = signIn === "entra" ? `: role ${ROLES[asked.kind]}` : ` ${PERMISSIONS[asked.kind]}`;
    return FORBIDDEN[signIn] + (signIn === "entra" || signIn === "sas" ? right : "");
  }
  return EXPECTED[code] ?? (status === 401 ? UNKNOWN[signIn] : undefined);
}

/** Whether the server is older than the version that it was asked in. */
export function isWrongVersion({ code, message }: { code: string; message: string }): boolean {
  return code === "InvalidHeaderValue" && /x-ms-version|API version/.test(message);
}

/** Only the first line of what was said: a request's number and time follow. */
function errorOf(body: string): { code: string; message: string } {
  try {
    const root = parseXml(body);
    if (root.name !== "Error") return { code: "", message: "" };
    const header = childText(root, "HeaderName") === "x-ms-version" ? " (x-ms-version)" : "";
    const [message = ""] = (childText(root, "Message") ?? "").trim().split("\n", 1);
    return { code: childText(root, "Code")?.trim() ?? "", message: message.trim() + header };
  } catch {
    return { code: "", message: "" }; // Proxies answer in HTML or not at all: the status tells enough.
  }
}
