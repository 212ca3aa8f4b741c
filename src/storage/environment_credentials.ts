/**
 * Credentials that the environment holds itself.
 *
 * @module
 */

import type { CredentialsSurroundings, Looked } from "./credentials_service.ts";

/** AWS_* before LITESTREAM_*; a session token belongs to AWS_*. */
export function fromEnvironment({ env }: CredentialsSurroundings): Looked {
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
