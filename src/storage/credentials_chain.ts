/**
 * The chain of places that credentials are looked for.
 *
 * @module
 */

import { orAllowed } from "../drivers/permissions.ts";
import {
  type Credentials,
  CredentialsSource,
  type CredentialsSourceOptions,
  noCredentials,
} from "./credentials.ts";
import type { CredentialsSurroundings, Looked } from "./credentials_service.ts";
import { fromEnvironment } from "./environment_credentials.ts";
import { fromContainer, fromInstance } from "./metadata_service.ts";
import { fromFiles } from "./shared_profile.ts";
import { assumeRoleWithWebIdentity } from "./sts.ts";

/** The chain: environment, web identity, shared files, container, instance; what is found first is used. */
export function credentialsChain(
  surroundings: CredentialsSurroundings,
  options: CredentialsSourceOptions = {},
): CredentialsSource {
  let found = false;
  return new CredentialsSource(async () => {
    const credentials = await findCredentials(surroundings, found);
    found = true;
    return credentials;
  }, options);
}

/** Looks at one place after the other. Where credentials were `found` before, a place that has none may have some later. */
async function findCredentials(surroundings: CredentialsSurroundings, found: boolean): Promise<Credentials> {
  const places = [fromEnvironment, fromWebIdentity, fromFiles, fromContainer, fromInstance];
  const reasons: string[] = [];
  for (const place of places) {
    const looked = await place(surroundings);
    if (typeof looked !== "string") return looked;
    reasons.push(looked);
  }
  const hidden = orAllowed("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN");
  const wanted = `credentials in one of them, or "anonymous" access${hidden}`;
  throw noCredentials(`looked at ${reasons.join("; ")}`, wanted, { retryable: found });
}

async function fromWebIdentity(surroundings: CredentialsSurroundings): Promise<Looked> {
  const { AWS_WEB_IDENTITY_TOKEN_FILE: tokenFile, AWS_ROLE_ARN: arn, AWS_ROLE_SESSION_NAME: session } =
    surroundings.env;
  if (!tokenFile || !arn) return "AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN (not set)";
  return await assumeRoleWithWebIdentity({ arn, session }, tokenFile, surroundings);
}
