/**
 * CredentialsSource: the credentials that hold now, and the chain of places they are looked for.
 *
 * Nothing here reads the environment, a file or the network by itself: all of them are given.
 *
 * @module
 */

import { StorageError } from "../errors.ts";
import type { FetchFunction } from "./fetch_function.ts";
import { childText, parseXml, type XmlElement } from "./xml.ts";

/** An access key. All but the expiry is secret. */
export interface Credentials {
  /** Names the key to the server. */
  readonly accessKeyId: string;
  /** Signs; never sent. */
  readonly secretAccessKey: string;
  /** Of temporary credentials. */
  readonly sessionToken?: string | undefined;
  /** When they end, in ms since the Unix epoch; undefined: never. */
  readonly expiresMs?: number | undefined;
}

/** Where a {@link CredentialsSource} gets its time. */
export interface CredentialsSourceOptions {
  /** Milliseconds since the Unix epoch. */
  readonly now?: (() => number) | undefined;
  /** How long before their end credentials are renewed, in ms; a minute where nothing is said. */
  readonly marginMs?: number | undefined;
}

/** What the chain looks through. */
export interface CredentialsSurroundings {
  /** Environment variables by name. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly fetch?: FetchFunction | undefined;
  /** The text of a file; rejects with code `ENOENT` where there is none. */
  readonly readFile?: ((path: string) => Promise<string>) | undefined;
}

const MARGIN_DEFAULT_MS = 60_000;
const METADATA_TIMEOUT_MS = 1_000;
const SERVICE_TIMEOUT_MS = 5_000;

/** Keeps credentials until shortly before their end; one renewal at a time. */
export class CredentialsSource {
  readonly #load: (() => Promise<Credentials> | Credentials) | undefined;
  readonly #now: () => number;
  readonly #marginMs: number;
  #held: Credentials | undefined;
  #renewal: Promise<Credentials> | undefined;

  /** Without `load` the source only knows what is pushed. */
  constructor(load?: () => Promise<Credentials> | Credentials, options: CredentialsSourceOptions = {}) {
    this.#load = load;
    this.#now = options.now ?? Date.now;
    this.#marginMs = options.marginMs ?? MARGIN_DEFAULT_MS;
  }

  /** A source of credentials that stay as they are. */
  static of(credentials: Credentials, options: CredentialsSourceOptions = {}): CredentialsSource {
    const source = new CredentialsSource(undefined, options);
    source.push(credentials);
    return source;
  }

  /**
   * The credentials that hold now.
   *
   * @throws {StorageError} none were found, or they have expired and no newer ones could be had
   */
  async current(): Promise<Credentials> {
    const held = this.#held;
    if (held !== undefined && (this.#leftMs(held) > this.#marginMs || this.#load === undefined)) {
      if (this.#leftMs(held) > 0) return held;
      throw expiredError(held);
    }
    if (this.#load === undefined) {
      throw noCredentials("none were given", "credentials before the first request");
    }
    this.#renewal ??= this.#renew(this.#load).finally(() => this.#renewal = undefined);
    try {
      return await this.#renewal;
    } catch (error) {
      if (held !== undefined && this.#leftMs(held) > 0) return held; // Good until their end: tried again next time.
      throw error;
    }
  }

  /** Takes newer credentials. @throws {TypeError} they are malformed */
  push(credentials: Credentials): void {
    this.#held = checkCredentials(credentials);
  }

  /** Drops `stale`, which a server refused as expired; whether asking again may give others. */
  forget(stale: Credentials): boolean {
    if (this.#held !== undefined && this.#held.accessKeyId !== stale.accessKeyId) return true;
    if (this.#load === undefined) return false;
    this.#held = undefined;
    return true;
  }

  async #renew(load: () => Promise<Credentials> | Credentials): Promise<Credentials> {
    const credentials = checkCredentials(await load());
    if (this.#leftMs(credentials) <= 0) throw expiredError(credentials);
    return this.#held = credentials;
  }

  #leftMs(credentials: Credentials): number {
    return (credentials.expiresMs ?? Infinity) - this.#now();
  }
}

/** The chain: environment, web identity, shared files, container, instance; what is found first is used. */
export function credentialsChain(
  surroundings: CredentialsSurroundings,
  options: CredentialsSourceOptions = {},
): CredentialsSource {
  return new CredentialsSource(() => findCredentials(surroundings), options);
}

/** A place that was looked at: credentials, or why it has none. */
type Looked = Credentials | string;

async function findCredentials(surroundings: CredentialsSurroundings): Promise<Credentials> {
  const places = [fromEnvironment, fromWebIdentity, fromFiles, fromContainer, fromInstance];
  const reasons: string[] = [];
  for (const place of places) {
    const looked = await place(surroundings);
    if (typeof looked !== "string") return looked;
    reasons.push(looked);
  }
  throw noCredentials(`looked at ${reasons.join("; ")}`, `credentials in one of them, or "anonymous" access`);
}

/** AWS_* before LITESTREAM_*; a session token belongs to AWS_*. */
function fromEnvironment({ env }: CredentialsSurroundings): Looked {
  const halves: string[] = [];
  for (const prefix of ["AWS", "LITESTREAM"]) {
    const accessKeyId = env[`${prefix}_ACCESS_KEY_ID`];
    const secretAccessKey = env[`${prefix}_SECRET_ACCESS_KEY`];
    if (accessKeyId && secretAccessKey) {
      return {
        accessKeyId,
        secretAccessKey,
        sessionToken: prefix === "AWS" ? env.AWS_SESSION_TOKEN : undefined,
      };
    }
    const half = accessKeyId
      ? "only the first is set"
      : secretAccessKey
      ? "only the second is set"
      : "not set";
    halves.push(`${prefix}_ACCESS_KEY_ID and ${prefix}_SECRET_ACCESS_KEY (${half})`);
  }
  return halves.join("; ");
}

async function fromWebIdentity(surroundings: CredentialsSurroundings): Promise<Looked> {
  const { env } = surroundings;
  const tokenFile = env.AWS_WEB_IDENTITY_TOKEN_FILE;
  const role = env.AWS_ROLE_ARN;
  if (!tokenFile || !role) return "AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN (not set)";
  return await assumeRole({ tokenFile, role, session: env.AWS_ROLE_SESSION_NAME, region: "" }, surroundings);
}

/** What STS is asked for. */
interface WebIdentity {
  readonly tokenFile: string;
  readonly role: string;
  readonly session: string | undefined;
  /** Empty where the profile names none. */
  readonly region: string;
}

/** @see https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html */
async function assumeRole(
  identity: WebIdentity,
  surroundings: CredentialsSurroundings,
): Promise<Credentials> {
  const { env } = surroundings;
  const token = await neededFile(surroundings, identity.tokenFile, "web identity token");
  const region = identity.region || env.AWS_REGION || env.AWS_DEFAULT_REGION || "";
  const domain = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  const url = region === "" ? "https://sts.amazonaws.com/" : `https://sts.${region}.${domain}/`;
  const body = new URLSearchParams({
    Action: "AssumeRoleWithWebIdentity",
    Version: "2011-06-15",
    RoleArn: identity.role,
    RoleSessionName: identity.session || "litestream-vfs",
    WebIdentityToken: token.trim(),
  }).toString();
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  const what = `assume role ${identity.role}`;
  const answer = await request(surroundings, { url, what, init: { method: "POST", headers, body } });
  const found = descendant(xmlOf(answer, what), "Credentials");
  const textOf = (name: string) => found === undefined ? undefined : childText(found, name);
  return temporary(what, {
    AccessKeyId: textOf("AccessKeyId"),
    SecretAccessKey: textOf("SecretAccessKey"),
    Token: textOf("SessionToken"),
    Expiration: textOf("Expiration"),
  });
}

/** The shared credentials file and the config file, by profile. */
async function fromFiles(surroundings: CredentialsSurroundings): Promise<Looked> {
  const { env } = surroundings;
  const profile = env.AWS_PROFILE || "default";
  const home = env.HOME || env.USERPROFILE || "";
  const credentialsPath = env.AWS_SHARED_CREDENTIALS_FILE || `${home}/.aws/credentials`;
  const configPath = env.AWS_CONFIG_FILE || `${home}/.aws/config`;
  const looked =
    `profile "${profile}" in ${
      env.AWS_SHARED_CREDENTIALS_FILE ? "AWS_SHARED_CREDENTIALS_FILE" : "~/.aws/credentials"
    }` +
    ` and ${env.AWS_CONFIG_FILE ? "AWS_CONFIG_FILE" : "~/.aws/config"}`;
  const shared = await optionalFile(surroundings, credentialsPath);
  const config = await optionalFile(surroundings, configPath);
  const settings = new Map([
    ...sectionOf(
      config.text,
      profile === "default" ? ["default", "profile default"] : [`profile ${profile}`],
    ),
    ...sectionOf(shared.text, [profile]),
  ]);
  const notes = [...new Set([shared.note, config.note].filter((note) => note !== ""))].join(", ");
  if (settings.size === 0 && env.AWS_PROFILE) {
    throw noCredentials(`no ${looked}`, "the profile that AWS_PROFILE names");
  }
  return await fromProfile(settings, profile, surroundings) ??
    `${looked} (${notes || "no credentials there"})`;
}

async function fromProfile(
  settings: ReadonlyMap<string, string>,
  profile: string,
  surroundings: CredentialsSurroundings,
): Promise<Credentials | undefined> {
  const accessKeyId = settings.get("aws_access_key_id");
  const secretAccessKey = settings.get("aws_secret_access_key");
  if (accessKeyId && secretAccessKey) {
    return { accessKeyId, secretAccessKey, sessionToken: settings.get("aws_session_token") };
  }
  const tokenFile = settings.get("web_identity_token_file");
  const role = settings.get("role_arn");
  if (tokenFile && role) {
    const identity = {
      tokenFile,
      role,
      session: settings.get("role_session_name"),
      region: settings.get("region") ?? "",
    };
    return await assumeRole(identity, surroundings);
  }
  for (
    const name of [
      "credential_process",
      "sso_session",
      "sso_account_id",
      "source_profile",
      "credential_source",
    ]
  ) {
    if (!settings.has(name)) continue;
    throw noCredentials(
      `profile "${profile}" uses ${name}, which is not followed here`,
      "access keys, or the credentials() option to fetch them",
    );
  }
  return undefined;
}

/** Settings of the sections called one of `names`; nested settings (indented lines) are skipped. */
function sectionOf(text: string, names: readonly string[]): Map<string, string> {
  const settings = new Map<string, string>();
  let inside = false;
  for (const line of text.split(/\r?\n/)) {
    const section = /^\s*\[\s*(.*?)\s*\]/.exec(line);
    if (section !== null) inside = names.includes((section[1] ?? "").replace(/\s+/g, " "));
    const setting = /^([A-Za-z_][\w-]*)\s*=\s*(.*?)\s*$/.exec(line);
    if (inside && setting !== null) settings.set((setting[1] ?? "").toLowerCase(), setting[2] ?? "");
  }
  return settings;
}

/** @see https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html */
async function fromContainer(surroundings: CredentialsSurroundings): Promise<Looked> {
  const { env } = surroundings;
  const relative = env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI;
  const url = relative ? `http://169.254.170.2${relative}` : env.AWS_CONTAINER_CREDENTIALS_FULL_URI;
  if (!url) return "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI (not set)";
  if (!isContainerHost(url)) {
    throw noCredentials(
      "AWS_CONTAINER_CREDENTIALS_FULL_URI names a foreign host without TLS",
      "https or a local host",
    );
  }
  const file = env.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE;
  const token = file
    ? await neededFile(surroundings, file, "container authorization token")
    : env.AWS_CONTAINER_AUTHORIZATION_TOKEN ?? "";
  const headers: Record<string, string> = token === "" ? {} : { authorization: token.trim() };
  const what = "get container credentials";
  return temporary(what, jsonOf(await request(surroundings, { url, what, init: { headers } }), what));
}

function isContainerHost(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  if (protocol === "https:") return true;
  const hosts = ["localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
  return protocol === "http:" && (hosts.includes(hostname) || /^127(\.\d+){3}$/.test(hostname));
}

/** @see https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html (version 2 only) */
async function fromInstance(surroundings: CredentialsSurroundings): Promise<Looked> {
  const { env } = surroundings;
  if (/^true$/i.test(env.AWS_EC2_METADATA_DISABLED ?? "")) {
    return "instance metadata (AWS_EC2_METADATA_DISABLED is set)";
  }
  const base = (env.AWS_EC2_METADATA_SERVICE_ENDPOINT || "http://169.254.169.254").replace(/\/+$/, "");
  const what = "get instance credentials";
  const timeoutMs = METADATA_TIMEOUT_MS;
  try {
    const ttl = { "x-aws-ec2-metadata-token-ttl-seconds": "21600" };
    const tokenUrl = `${base}/latest/api/token`;
    const token = await request(surroundings, {
      url: tokenUrl,
      what,
      init: { method: "PUT", headers: ttl },
      timeoutMs,
    });
    const init = { headers: { "x-aws-ec2-metadata-token": token } };
    const roles = `${base}/latest/meta-data/iam/security-credentials/`;
    const role = (await request(surroundings, { url: roles, what, init, timeoutMs })).trim().split("\n")[0] ??
      "";
    const answer = await request(surroundings, {
      url: roles + encodeURIComponent(role),
      what,
      init,
      timeoutMs,
    });
    return temporary(what, jsonOf(answer, what));
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    return `instance metadata (${error.status === 0 ? "no answer" : `status ${error.status}`})`;
  }
}

/** What the metadata services and STS answer, under one set of names. */
interface TemporaryCredentials {
  readonly AccessKeyId?: unknown;
  readonly SecretAccessKey?: unknown;
  readonly Token?: unknown;
  readonly Expiration?: unknown;
}

function temporary(what: string, answer: TemporaryCredentials): Credentials {
  const { AccessKeyId, SecretAccessKey, Token, Expiration } = answer;
  const expiresMs = Expiration === undefined ? undefined : Date.parse(String(Expiration));
  if (typeof AccessKeyId !== "string" || typeof SecretAccessKey !== "string" || Number.isNaN(expiresMs)) {
    throw serviceError(what, "an answer of another form", { status: 200 });
  }
  const sessionToken = typeof Token === "string" ? Token : undefined;
  return { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken, expiresMs };
}

/** One request to a credentials service; answers and tokens never enter a message. */
async function request(
  { fetch = (url, init) => globalThis.fetch(url, init) }: CredentialsSurroundings,
  { url, what, init, timeoutMs = SERVICE_TIMEOUT_MS }: {
    url: string;
    what: string;
    init: RequestInit;
    timeoutMs?: number;
  },
): Promise<string> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { ...init, redirect: "manual", signal: AbortSignal.timeout(timeoutMs) });
    text = await response.text();
  } catch (cause) {
    throw serviceError(what, `no answer from ${new URL(url).host}`, { status: 0, cause });
  }
  if (response.status !== 200) {
    const code = /<Code>([A-Za-z]{1,60})<\/Code>/.exec(text)?.[1] ?? "";
    throw serviceError(what, `status ${response.status} ${code}`.trim(), { status: response.status, code });
  }
  return text;
}

function serviceError(
  what: string,
  found: string,
  { status, code = "Credentials", cause }: { status: number; code?: string; cause?: unknown },
): StorageError {
  const retryable = status === 0 || status === 429 || status >= 500;
  const details = { key: "", status, code: code || "Credentials", retryable, cause };
  return new StorageError(`Cannot ${what}: ${found}, expected credentials`, details);
}

function jsonOf(text: string, what: string): TemporaryCredentials {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Told below, without the text, which may hold secrets.
  }
  throw serviceError(what, "an answer that is no JSON object", { status: 200 });
}

function xmlOf(text: string, what: string): XmlElement {
  try {
    return parseXml(text);
  } catch {
    throw serviceError(what, "an answer that is no XML", { status: 200 });
  }
}

function descendant(element: XmlElement, name: string): XmlElement | undefined {
  for (const child of element.children) {
    const found = child.name === name ? child : descendant(child, name);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function neededFile(
  { readFile }: CredentialsSurroundings,
  path: string,
  noun: string,
): Promise<string> {
  try {
    if (readFile !== undefined) return await readFile(path);
  } catch (cause) {
    throw noCredentials(`the file of the ${noun} cannot be read`, "a readable file", cause);
  }
  throw noCredentials(`no way to read the file of the ${noun}`, "access to files");
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

/** Both must fit into a header; a line break at the end, from a file, is forgiven. */
function checkCredentials(credentials: Credentials): Credentials {
  const { expiresMs } = credentials;
  const [accessKeyId, secretAccessKey, sessionToken] = [
    credentials.accessKeyId,
    credentials.secretAccessKey,
    credentials.sessionToken,
  ]
    .map((part) => typeof part === "string" ? part.trim() : "");
  const fits = [accessKeyId, secretAccessKey, sessionToken].every((part) =>
    /^[\x21-\x7e]*$/.test(part ?? "")
  );
  if (!accessKeyId || !secretAccessKey || !fits || Number.isNaN(expiresMs)) {
    throw new TypeError(
      "Cannot use credentials: a part is missing or malformed, " +
        "expected accessKeyId and secretAccessKey (and sessionToken, expiresMs) without spaces",
    );
  }
  return Object.freeze({ accessKeyId, secretAccessKey, sessionToken: sessionToken || undefined, expiresMs });
}

function expiredError({ expiresMs = 0 }: Credentials): StorageError {
  const found = `they expired at ${new Date(expiresMs).toISOString()} and no newer ones have come`;
  return noCredentials(found, "credentials that hold now", undefined, "ExpiredToken");
}

function noCredentials(found: string, wanted: string, cause?: unknown, code = "NoCredentials"): StorageError {
  const details = { key: "", status: 0, code, retryable: false, cause };
  return new StorageError(`Cannot find credentials: ${found}, expected ${wanted}`, details);
}
