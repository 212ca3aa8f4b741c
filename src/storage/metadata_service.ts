/**
 * Credentials of the container or the instance that this process runs in.
 *
 * @module
 */

import { StorageError } from "../errors.ts";
import { noCredentials } from "./credentials.ts";
import {
  askService,
  credentialsOfAnswer,
  type CredentialsSurroundings,
  jsonOfAnswer,
  type Looked,
  neededFile,
} from "./credentials_service.ts";

/** An instance answers at once; elsewhere nobody does. */
const METADATA_TIMEOUT_MS = 1_000;

/** @see https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html */
export async function fromContainer(surroundings: CredentialsSurroundings): Promise<Looked> {
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
  const answer = await askService(surroundings, { url, what, init: { headers } });
  return credentialsOfAnswer(what, jsonOfAnswer(what, answer));
}

function isContainerHost(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  if (protocol === "https:") return true;
  const hosts = ["localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
  return protocol === "http:" && (hosts.includes(hostname) || /^127(\.\d+){3}$/.test(hostname));
}

/** @see https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html (version 2 only) */
export async function fromInstance(surroundings: CredentialsSurroundings): Promise<Looked> {
  const { env } = surroundings;
  if (/^true$/i.test(env.AWS_EC2_METADATA_DISABLED ?? "")) {
    return "instance metadata (AWS_EC2_METADATA_DISABLED is set)";
  }
  const base = (env.AWS_EC2_METADATA_SERVICE_ENDPOINT || ownAddress(env)).replace(/\/+$/, "");
  const what = "get instance credentials";
  const ask = (url: string, init: RequestInit) =>
    askService(surroundings, { url, what, init, timeoutMs: METADATA_TIMEOUT_MS });
  let token: string;
  try {
    const headers = { "x-aws-ec2-metadata-token-ttl-seconds": "21600" };
    token = await ask(`${base}/latest/api/token`, { method: "PUT", headers });
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    return `instance metadata (${error.status === 0 ? "no answer" : `status ${error.status}`})`;
  }
  const init = { headers: { "x-aws-ec2-metadata-token": token } };
  const roles = `${base}/latest/meta-data/iam/security-credentials/`;
  try {
    const role = (await ask(roles, init)).trim().split("\n")[0] ?? "";
    const answer = await ask(roles + encodeURIComponent(role), init);
    return credentialsOfAnswer(what, jsonOfAnswer(what, answer));
  } catch (error) {
    // Where the service is, only one answer means that it has nothing.
    if (!(error instanceof StorageError) || error.status !== 404) throw error;
    return "instance metadata (the instance has no role)";
  }
}

function ownAddress(env: CredentialsSurroundings["env"]): string {
  return /^ipv6$/i.test(env.AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE ?? "")
    ? "http://[fd00:ec2::254]"
    : "http://169.254.169.254";
}
