/**
 * Entra: tokens of an identity that the process has, or the machine.
 *
 * @see https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
 * @see https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
 * @see https://learn.microsoft.com/azure/app-service/overview-managed-identity
 * @module
 */

import { StorageError } from "../../errors.ts";
import type { BackendContext } from "../backend.ts";
import { type Credentials, CredentialsSource, noCredentials } from "../credentials.ts";
import { serviceText } from "../service_answer.ts";

/** What tokens are looked for in. */
export type EntraSurroundings = Pick<BackendContext, "env" | "fetch" | "now" | "readFile" | "log">;

/** A token, or why a place has none. */
type Looked = Credentials | string;

const RESOURCE = "https://storage.azure.com";
const AUTHORITY_DEFAULT = "https://login.microsoftonline.com";
const INSTANCE_DEFAULT = "http://169.254.169.254";
/** Less than an attempt of a store may take, so that a failure names the service. */
const SERVICE_TIMEOUT_MS = 3_000;
/** An instance answers at once; elsewhere nobody does. */
const INSTANCE_TIMEOUT_MS = 1_000;
/** An instance's service has these while it starts, says its documentation. */
const INSTANCE_PASSING = new Set([404, 410, 429]);

/** What codes of Entra's say to a person, after "expected". */
const EXPECTED: Readonly<Record<string, string>> = {
  AADSTS700016: "an AZURE_CLIENT_ID that the tenant knows",
  AADSTS7000215: "the client's own secret in AZURE_CLIENT_SECRET: its value, not its id",
  AADSTS7000222: "a client secret that has not expired",
  AADSTS700024: "a federated token that holds now",
  AADSTS70021: "a federated credential of the client for the token's issuer and subject",
  AADSTS700213: "a federated credential of the client for the token's issuer and subject",
  AADSTS90002: "an AZURE_TENANT_ID that exists",
  AADSTS900023: "an AZURE_TENANT_ID that exists",
};

/** Tokens, renewed before they end, of the first that there is: client secret, workload, managed identity. */
export function entraTokens(surroundings: EntraSurroundings): CredentialsSource {
  let found = false;
  const load = async () => {
    const reasons: string[] = [];
    for (const place of [fromClientSecret, fromWorkload, fromManagedIdentity]) {
      const looked = await place(surroundings);
      if (typeof looked === "string") reasons.push(looked);
      else {
        found = true;
        return looked;
      }
    }
    const wanted = `an account key, a SAS token, an identity, or "anonymous" access`;
    throw noCredentials(`looked at ${reasons.join("; ")}`, wanted, { retryable: found });
  };
  const onRenewalError = (error: unknown) => {
    surroundings.log?.warn(
      `${error instanceof Error ? error.message : error}; the older token is used until its end`,
    );
  };
  return new CredentialsSource(load, { now: surroundings.now, onRenewalError });
}

async function fromClientSecret(surroundings: EntraSurroundings): Promise<Looked> {
  const { AZURE_TENANT_ID: tenant, AZURE_CLIENT_ID: client, AZURE_CLIENT_SECRET: secret } = surroundings.env;
  if (!tenant || !client || !secret) {
    return "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (not all set)";
  }
  return await askTenant(surroundings, { tenant, client, proof: { client_secret: secret } });
}

async function fromWorkload(surroundings: EntraSurroundings): Promise<Looked> {
  const { env, readFile } = surroundings;
  const { AZURE_TENANT_ID: tenant, AZURE_CLIENT_ID: client, AZURE_FEDERATED_TOKEN_FILE: file } = env;
  if (!tenant || !client || !file) return "AZURE_FEDERATED_TOKEN_FILE with tenant and client (not all set)";
  const assertion = await readFile(file).catch((cause) => {
    throw noCredentials("the file of the federated token cannot be read", "a readable file", { cause });
  });
  const proof = {
    client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    client_assertion: assertion.trim(),
  };
  return await askTenant(surroundings, { tenant, client, proof });
}

async function askTenant(
  surroundings: EntraSurroundings,
  { tenant, client, proof }: { tenant: string; client: string; proof: Readonly<Record<string, string>> },
): Promise<Credentials> {
  const authority = (surroundings.env.AZURE_AUTHORITY_HOST || AUTHORITY_DEFAULT).replace(/\/+$/, "");
  if (!isPrivate(authority)) throw noCredentials("AZURE_AUTHORITY_HOST names a host without TLS", "https");
  const body = new URLSearchParams({
    client_id: client,
    grant_type: "client_credentials",
    scope: `${RESOURCE}/.default`,
    ...proof,
  });
  const url = `${authority}/${encodeURIComponent(tenant)}/oauth2/v2.0/token`;
  return await askService(surroundings, {
    what: "get a token of Microsoft Entra",
    url,
    init: {
      method: "POST",
      body: body.toString(),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    },
  });
}

async function fromManagedIdentity(surroundings: EntraSurroundings): Promise<Looked> {
  const { env } = surroundings;
  const query = new URLSearchParams({ resource: RESOURCE });
  if (env.AZURE_CLIENT_ID) query.set("client_id", env.AZURE_CLIENT_ID);
  if (!env.IDENTITY_ENDPOINT) return await fromInstance(surroundings, query);
  if (!env.IDENTITY_HEADER) {
    return "IDENTITY_ENDPOINT (without IDENTITY_HEADER: Azure Arc's is not spoken here)";
  }
  if (!URL.canParse(env.IDENTITY_ENDPOINT)) throw noCredentials("IDENTITY_ENDPOINT is no URL", "one");
  query.set("api-version", "2019-08-01");
  return await askService(surroundings, {
    what: "get a token of the app's identity",
    url: `${env.IDENTITY_ENDPOINT}?${query}`,
    init: { headers: { "x-identity-header": env.IDENTITY_HEADER } },
  });
}

async function fromInstance(surroundings: EntraSurroundings, query: URLSearchParams): Promise<Looked> {
  const host = (surroundings.env.AZURE_POD_IDENTITY_AUTHORITY_HOST || INSTANCE_DEFAULT).replace(/\/+$/, "");
  query.set("api-version", "2018-02-01");
  try {
    return await askService(surroundings, {
      what: "get a token of the instance's identity",
      url: `${host}/metadata/identity/oauth2/token?${query}`,
      init: { headers: { metadata: "true" } },
      timeoutMs: INSTANCE_TIMEOUT_MS,
      passing: INSTANCE_PASSING,
    });
  } catch (error) {
    if (!(error instanceof StorageError) || error.status !== 0) throw error;
    return "managed identity (no answer from the instance's metadata service)";
  }
}

interface ServiceAsk {
  /** Completes "Cannot …". */
  readonly what: string;
  readonly url: string;
  readonly init: RequestInit;
  readonly timeoutMs?: number;
  /** Statuses that pass, beyond the usual ones. */
  readonly passing?: ReadonlySet<number>;
}

/** A token of a service; neither what is sent nor the answer enters a message. */
async function askService(surroundings: EntraSurroundings, ask: ServiceAsk): Promise<Credentials> {
  const { fetch = (url, init) => globalThis.fetch(url, init) } = surroundings;
  const { what, url, init, timeoutMs = SERVICE_TIMEOUT_MS, passing } = ask;
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { ...init, redirect: "manual", signal: AbortSignal.timeout(timeoutMs) });
    text = await serviceText(response);
  } catch (cause) {
    const found = `no answer from ${new URL(url).host}`;
    throw serviceError(what, { found, status: 0, code: "", retryable: true, cause });
  }
  const { status } = response;
  if (status === 200) return tokenOf(what, text, surroundings.now());
  const code = codeOf(text);
  const retryable = status === 429 || status >= 500 || passing?.has(status) === true;
  throw serviceError(what, { found: `status ${status} ${code}`.trim(), status, code, retryable });
}

/** Expiry comes in seconds from now, or since 1970, as numbers or as text. */
function tokenOf(what: string, text: string, nowMs: number): Credentials {
  const { access_token: token, expires_in: seconds, expires_on: time } = jsonOf(text);
  const inMs = nowMs + Number(seconds ?? NaN) * 1000;
  const expiresMs = Number.isNaN(inMs) ? Number(time ?? NaN) * 1000 : inMs;
  if (typeof token !== "string" || token === "" || Number.isNaN(expiresMs)) {
    const found = "an answer of another form";
    throw serviceError(what, { found, status: 200, code: "", retryable: false });
  }
  return { accessKeyId: "entra", secretAccessKey: token, expiresMs };
}

/** Entra's own number for a fault where there is one, else the protocol's word. */
function codeOf(text: string): string {
  const { error, error_description: words } = jsonOf(text);
  const number = /AADSTS\d{1,10}/.exec(String(words ?? ""))?.[0];
  return number ?? /^[a-z_]{1,40}$/.exec(String(error ?? ""))?.[0] ?? "";
}

function jsonOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
  } catch {
    return {};
  }
}

/** Whether secrets may be sent there: with TLS, or not away from this machine. */
export function isPrivate(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === "https:" || hostname === "localhost" || hostname === "[::1]" ||
    /^127\.[\d.]+$/.test(hostname);
}

function serviceError(
  what: string,
  { found, status, code, retryable, cause }: {
    found: string;
    status: number;
    code: string;
    retryable: boolean;
    cause?: unknown;
  },
): StorageError {
  const wanted = EXPECTED[code] ?? (status === 400 ? "an identity that is assigned there" : "a token");
  return new StorageError(`Cannot ${what}: ${found}, expected ${wanted}`, {
    key: "",
    status,
    code: code || "Credentials",
    retryable,
    cause,
  });
}
