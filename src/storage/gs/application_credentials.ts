/**
 * Who asks, as Google's own libraries find it out: a file that is named, the one that gcloud keeps, the
 * machine's service.
 *
 * @see https://cloud.google.com/docs/authentication/application-default-credentials
 * @module
 */

import type { Log } from "../../log.ts";
import { noCredentials } from "../credentials.ts";
import { neededFile } from "../credentials_service.ts";
import type { FetchFunction } from "../fetch_function.ts";
import { machineToken } from "./machine_token.ts";
import { type AccessToken, serviceAccountToken, userToken } from "./token_endpoint.ts";

/** What is looked through. */
export interface TokenSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A file of credentials; empty for what the environment names. */
  readonly file: string;
  readonly fetch?: FetchFunction | undefined;
  /** The text of a file; rejects with code `ENOENT` where there is none. */
  readonly readFile: (path: string) => Promise<string>;
  /** Milliseconds since the Unix epoch. */
  readonly now: () => number;
  readonly log?: Log | undefined;
}

/**
 * Looks for credentials, anew each time: files change, too.
 *
 * @throws {StorageError} nobody is found, or Google does not accept who is
 */
export async function findToken(surroundings: TokenSurroundings): Promise<AccessToken> {
  const { env, readFile } = surroundings;
  const named = surroundings.file || env.GOOGLE_APPLICATION_CREDENTIALS;
  if (named) {
    return await tokenOfFile(surroundings, named, await neededFile({ env, readFile }, named, nounOf(named)));
  }
  const kept = gcloudFile(env);
  const text = kept === "" ? undefined : await readFile(kept).catch(absent);
  if (text !== undefined) return await tokenOfFile(surroundings, kept, text);
  const found = await machineToken(surroundings);
  if (typeof found !== "string") return found;
  throw noCredentials(
    `looked at GOOGLE_APPLICATION_CREDENTIALS (not set), gcloud's file (${
      kept || "no home folder"
    }: none), ${found}`,
    'one of them, GS_ACCESS_KEY_ID and GS_SECRET_ACCESS_KEY, or credentials: "anonymous" for a public bucket',
  );
}

async function tokenOfFile(
  surroundings: TokenSurroundings,
  path: string,
  text: string,
): Promise<AccessToken> {
  const fields = fieldsOf(path, text);
  const { type } = fields;
  if (type === "service_account") return await serviceAccountToken(surroundings, fields);
  if (type === "authorized_user") return await userToken(surroundings, fields);
  const found = /^[a-z_]{1,40}$/.test(type ?? "") ? `type "${type}"` : "no type";
  throw noCredentials(`the file of the ${nounOf(path)} has ${found}`, "service_account or authorized_user");
}

/** The texts in a file; nothing of them enters a message. */
function fieldsOf(path: string, text: string): Readonly<Record<string, string>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(Object.entries(value).filter(([, field]) => typeof field === "string"));
    }
  } catch {
    // Told below.
  }
  throw noCredentials(`the file of the ${nounOf(path)} is no JSON object`, "one that Google has made");
}

/** Where `gcloud auth application-default login` keeps what it has got. */
function gcloudFile({ CLOUDSDK_CONFIG, APPDATA, HOME }: TokenSurroundings["env"]): string {
  const folder = CLOUDSDK_CONFIG || (APPDATA && `${APPDATA}/gcloud`) || (HOME && `${HOME}/.config/gcloud`);
  return folder ? `${folder}/application_default_credentials.json` : "";
}

function nounOf(path: string): string {
  return `Google credentials "${path}"`;
}

function absent(error: { code?: string }): undefined {
  if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
}
