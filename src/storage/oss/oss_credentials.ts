/**
 * Credentials for OSS: given, of the environment, or of the machine's own role.
 *
 * @see https://www.alibabacloud.com/help/en/ecs/user-guide/attach-an-instance-ram-role-to-an-ecs-instance
 * @module
 */

import { StorageError } from "../../errors.ts";
import type { BackendContext } from "../backend.ts";
import { type Credentials, CredentialsSource, noCredentials } from "../credentials.ts";
import {
  askService,
  credentialsOfAnswer,
  jsonOfAnswer,
  type Looked,
  serviceError,
} from "../credentials_service.ts";

/** An instance answers at once; elsewhere nobody does. */
const METADATA_TIMEOUT_MS = 1_000;
const METADATA = "http://100.100.100.200/latest";

/** Names of variables, as the service's own programs have them; the first set that is whole holds. */
const VARIABLES = [
  { id: "OSS_ACCESS_KEY_ID", secret: "OSS_ACCESS_KEY_SECRET", token: "OSS_SESSION_TOKEN" },
  {
    id: "ALIBABA_CLOUD_ACCESS_KEY_ID",
    secret: "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    token: "ALIBABA_CLOUD_SECURITY_TOKEN",
  },
] as const;

/** What signs requests; `"anonymous"`: nothing does. */
export function ossCredentials(context: BackendContext): CredentialsSource | "anonymous" {
  const { credentials, credentialsSource, now, log } = context;
  if (credentials === "anonymous") return credentials;
  if (credentialsSource !== undefined) return credentialsSource;
  const onRenewalError = (error: unknown) => {
    log?.warn(`${error instanceof Error ? error.message : error}; the older ones are used until their end`);
  };
  return credentials === undefined
    ? new CredentialsSource(() => findCredentials(context), { now, onRenewalError })
    : CredentialsSource.of(credentials, { now });
}

async function findCredentials(context: BackendContext): Promise<Credentials> {
  const looked: string[] = [];
  for (const look of [fromEnvironment, fromInstance]) {
    const found = await look(context);
    if (typeof found !== "string") return found;
    looked.push(found);
  }
  throw noCredentials(
    `none in ${looked.join("; ")}`,
    'option credentials, variables, a role of the instance, or credentials: "anonymous" for a public bucket',
  );
}

function fromEnvironment({ env }: BackendContext): Looked {
  for (const { id, secret, token } of VARIABLES) {
    const [accessKeyId, secretAccessKey] = [env[id], env[secret]];
    if (accessKeyId && secretAccessKey) return { accessKeyId, secretAccessKey, sessionToken: env[token] };
  }
  return VARIABLES.map(({ id, secret }) => `${id} and ${secret} (${halfOf(env[id], env[secret])})`).join(
    "; ",
  );
}

function halfOf(id: string | undefined, secret: string | undefined): string {
  if (id) return "only the first is set";
  return secret ? "only the second is set" : "not set";
}

/** The role that the instance has been given. */
async function fromInstance(context: BackendContext): Promise<Looked> {
  const { env } = context;
  if (/^(true|1)$/i.test(env.ALIBABA_CLOUD_ECS_METADATA_DISABLED ?? "")) {
    return "instance metadata (ALIBABA_CLOUD_ECS_METADATA_DISABLED is set)";
  }
  const what = "get instance credentials";
  const ask = (path: string, init: RequestInit) =>
    askService(context, { url: METADATA + path, what, init, timeoutMs: METADATA_TIMEOUT_MS });
  let headers: Record<string, string>;
  try {
    const token = await ask("/api/token", {
      method: "PUT",
      headers: { "x-aliyun-ecs-metadata-token-ttl-seconds": "21600" },
    });
    headers = { "x-aliyun-ecs-metadata-token": token };
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    if (error.status === 0) return "instance metadata (no answer)";
    headers = {}; // An instance that knows no tokens.
  }
  const roles = "/meta-data/ram/security-credentials/";
  try {
    const named = env.ALIBABA_CLOUD_ECS_METADATA;
    const role = named || (await ask(roles, { headers })).trim().split("\n")[0] || "";
    return ofRole(what, await ask(roles + encodeURIComponent(role), { headers }));
  } catch (error) {
    if (!(error instanceof StorageError) || error.status !== 404) throw error;
    return "instance metadata (the instance has no role)";
  }
}

function ofRole(what: string, text: string): Credentials {
  const { Code, AccessKeyId, AccessKeySecret, SecurityToken, Expiration } = jsonOfAnswer(what, text);
  if (Code !== undefined && !/^success$/i.test(String(Code))) {
    throw serviceError(what, "an answer that tells of no success", { status: 200 });
  }
  return credentialsOfAnswer(what, {
    AccessKeyId,
    SecretAccessKey: AccessKeySecret,
    Token: SecurityToken,
    Expiration,
  });
}
