/**
 * Credentials of a profile in the shared files, `~/.aws/credentials` and `~/.aws/config`.
 *
 * A profile gives a role to assume (for another profile, a place or a web identity), else access keys, else a command
 * that prints them. Single sign-on and codes that a person types are refused with words.
 *
 * @see https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
 * @module
 */

import type { StorageError } from "../errors.ts";
import { type Credentials, noCredentials } from "./credentials.ts";
import {
  credentialsOfAnswer,
  type CredentialsSurroundings,
  jsonOfAnswer,
  type Looked,
} from "./credentials_service.ts";
import { fromEnvironment } from "./environment_credentials.ts";
import { fromContainer, fromInstance } from "./metadata_service.ts";
import { assumeRole, assumeRoleWithWebIdentity, type Role } from "./sts.ts";

/** The shared files as they are read once. */
interface SharedFiles {
  readonly credentials: string;
  readonly config: string;
  /** Both by name, for messages. */
  readonly names: string;
  /** Why one of them gave nothing; empty where both were read. */
  readonly notes: string;
}

/** A profile by name, and those that named it as their source. */
interface Profile {
  readonly name: string;
  readonly settings: ReadonlyMap<string, string>;
  readonly asked: readonly string[];
}

/** Looks for the profile that `AWS_PROFILE` names, else for the default one. */
export async function fromFiles(surroundings: CredentialsSurroundings): Promise<Looked> {
  const named = surroundings.env.AWS_PROFILE;
  const name = named || "default";
  const files = await readShared(surroundings);
  const settings = settingsOf(files, name);
  const looked = `profile "${name}" in ${files.names}`;
  if (settings.size === 0 && named) throw noCredentials(`no ${looked}`, "the profile that AWS_PROFILE names");
  return await fromProfile({ name, settings, asked: [] }, files, surroundings) ??
    `${looked} (${files.notes || "no credentials there"})`;
}

async function fromProfile(
  profile: Profile,
  files: SharedFiles,
  surroundings: CredentialsSurroundings,
): Promise<Credentials | undefined> {
  const { name, settings, asked } = profile;
  // A source may be a profile with a role of its own: there its keys come first.
  const own = keysOf(settings);
  if (own !== undefined && asked.length > 0) return own;
  const arn = settings.get("role_arn");
  if (arn) return await fromRole(profile, arn, files, surroundings);
  if (own !== undefined) return own;
  const command = settings.get("credential_process");
  if (command) return await fromCommand(name, command, surroundings);
  const sso = ["sso_session", "sso_start_url", "sso_account_id"].find((setting) => settings.has(setting));
  if (sso === undefined) return undefined;
  const wanted =
    "access keys, credential_process = aws configure export-credentials …, or the option credentials";
  throw refused(name, sso, "which is not followed here", wanted);
}

function keysOf(settings: ReadonlyMap<string, string>): Credentials | undefined {
  const accessKeyId = settings.get("aws_access_key_id");
  const secretAccessKey = settings.get("aws_secret_access_key");
  if (!accessKeyId || !secretAccessKey) return undefined;
  return { accessKeyId, secretAccessKey, sessionToken: settings.get("aws_session_token") };
}

async function fromRole(
  { name, settings, asked }: Profile,
  arn: string,
  files: SharedFiles,
  surroundings: CredentialsSurroundings,
): Promise<Credentials> {
  const role: Role = {
    arn,
    session: settings.get("role_session_name"),
    region: settings.get("region"),
    externalId: settings.get("external_id"),
    durationSeconds: settings.get("duration_seconds"),
  };
  const tokenFile = settings.get("web_identity_token_file");
  if (tokenFile) return await assumeRoleWithWebIdentity(role, tokenFile, surroundings);
  if (settings.has("mfa_serial")) {
    throw refused(name, "mfa_serial", "for which somebody has to type a code", "the option credentials");
  }
  const source = settings.get("source_profile");
  const place = settings.get("credential_source");
  if (source) {
    const by = await sourceOf({ name, settings, asked }, source, files, surroundings);
    return await assumeRole(role, by, surroundings);
  }
  if (place) return await assumeRole(role, await fromPlace(name, place, surroundings), surroundings);
  throw noCredentials(
    `profile "${name}" has role_arn alone`,
    "source_profile, credential_source or web_identity_token_file beside it",
  );
}

/** The credentials of the profile `source`, which may be the one that names it. */
async function sourceOf(
  { name, settings, asked }: Profile,
  source: string,
  files: SharedFiles,
  surroundings: CredentialsSurroundings,
): Promise<Credentials> {
  const chain = [...asked, name];
  const itself = source === name && keysOf(settings);
  if (itself) return itself;
  if (chain.includes(source)) {
    throw noCredentials(
      `the profiles ${
        [...chain, source].map((each) => `"${each}"`).join(", ")
      } name each other as source_profile`,
      "a chain of profiles that ends",
    );
  }
  const found = await fromProfile(
    { name: source, settings: settingsOf(files, source), asked: chain },
    files,
    surroundings,
  );
  if (found !== undefined) return found;
  throw noCredentials(
    `profile "${name}" has source_profile "${source}", which has none in ${files.names}`,
    "credentials there",
  );
}

async function fromPlace(
  name: string,
  place: string,
  surroundings: CredentialsSurroundings,
): Promise<Credentials> {
  const places: Readonly<
    Record<string, (surroundings: CredentialsSurroundings) => Looked | Promise<Looked>>
  > = {
    Ec2InstanceMetadata: fromInstance,
    EcsContainer: fromContainer,
    Environment: fromEnvironment,
  };
  const look = Object.hasOwn(places, place) ? places[place] : undefined;
  if (look === undefined) {
    throw noCredentials(
      `profile "${name}" has a credential_source of another name`,
      `one of ${Object.keys(places).join(", ")}`,
    );
  }
  const looked = await look(surroundings);
  if (typeof looked !== "string") return looked;
  throw noCredentials(`profile "${name}" has credential_source ${place}: ${looked}`, "credentials there");
}

/** @see https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html */
async function fromCommand(
  name: string,
  command: string,
  { runCommand }: CredentialsSurroundings,
): Promise<Credentials> {
  const what = `get credentials by credential_process of profile "${name}"`;
  if (runCommand === undefined) {
    throw refused(name, "credential_process", "which cannot run here", "access keys");
  }
  let printed: string;
  try {
    printed = await runCommand(command);
  } catch (cause) {
    const found = `credential_process of profile "${name}" failed: ${
      cause instanceof Error ? cause.message : cause
    }`;
    throw noCredentials(found, "a command that prints credentials", { cause });
  }
  const { Version, SessionToken, ...answer } = jsonOfAnswer(what, printed);
  if (Version !== 1) {
    throw noCredentials(`credential_process of profile "${name}" printed another Version`, "Version 1");
  }
  return credentialsOfAnswer(what, { ...answer, Token: SessionToken });
}

function refused(profile: string, setting: string, why: string, wanted: string): StorageError {
  return noCredentials(`profile "${profile}" uses ${setting}, ${why}`, wanted);
}

async function readShared(surroundings: CredentialsSurroundings): Promise<SharedFiles> {
  const { env } = surroundings;
  const home = env.HOME || env.USERPROFILE || "";
  const credentials = await optionalFile(
    surroundings,
    env.AWS_SHARED_CREDENTIALS_FILE || `${home}/.aws/credentials`,
  );
  const config = await optionalFile(surroundings, env.AWS_CONFIG_FILE || `${home}/.aws/config`);
  const names = `${
    env.AWS_SHARED_CREDENTIALS_FILE ? "AWS_SHARED_CREDENTIALS_FILE" : "~/.aws/credentials"
  } and ${env.AWS_CONFIG_FILE ? "AWS_CONFIG_FILE" : "~/.aws/config"}`;
  const notes = [...new Set([credentials.note, config.note].filter((note) => note !== ""))].join(", ");
  return { credentials: credentials.text, config: config.text, names, notes };
}

/** The text of a file, empty where there is none, and a note on a file that cannot be read. */
async function optionalFile(
  { readFile }: CredentialsSurroundings,
  path: string,
): Promise<{ text: string; note: string }> {
  try {
    return { text: await readFile?.(path) ?? "", note: "" };
  } catch (error) {
    const absent = ["ENOENT", "ENOTDIR"].includes(String((error as { code?: unknown }).code));
    return { text: "", note: absent ? "no such file" : "not readable" };
  }
}

/** Of both files; the credentials file's stand over the config file's. */
function settingsOf({ credentials, config }: SharedFiles, profile: string): Map<string, string> {
  const sections = profile === "default" ? ["default", "profile default"] : [`profile ${profile}`];
  return new Map([...sectionOf(config, sections), ...sectionOf(credentials, [profile])]);
}

/** Settings of the sections called one of `names`; nested settings (indented further than the one they belong to) are skipped. */
function sectionOf(text: string, names: readonly string[]): Map<string, string> {
  const settings = new Map<string, string>();
  let inside = false;
  let nestedBelow = Infinity; // the indentation of a setting without a value, whose own are indented further
  for (const whole of text.replace(/^\ufeff/, "").split(/\r?\n/)) {
    const line = whole.replace(/(^|\s)[#;].*$/, "");
    const section = /^\s*\[\s*(.*?)\s*\]/.exec(line);
    if (section !== null) {
      inside = names.includes((section[1] ?? "").replace(/\s+/g, " "));
      nestedBelow = Infinity;
    }
    const [, indentation = "", name, value = ""] = /^(\s*)([A-Za-z_][\w-]*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (name === undefined || indentation.length > nestedBelow) continue;
    nestedBelow = value === "" ? indentation.length : Infinity;
    if (inside) settings.set(name.toLowerCase(), value);
  }
  return settings;
}
