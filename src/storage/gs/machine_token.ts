/**
 * The token of the machine that this process runs on: Compute Engine, Cloud Run, GKE and others of Google's.
 *
 * @see https://cloud.google.com/compute/docs/access/authenticate-workloads
 * @module
 */

import {
  type AccessToken,
  TOKEN_TIMEOUT_MS,
  type TokenAsking,
  tokenError,
  tokenOfAnswer,
} from "./token_endpoint.ts";
import { serviceText } from "../service_answer.ts";

/** An address of every machine of Google's; elsewhere nobody answers, or somebody else. */
const METADATA_HOST = "169.254.169.254";
const TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token";
/** It answers at once where it is. */
const PROBE_TIMEOUT_MS = 1_000;
const FLAVOR = "metadata-flavor";

/** The token of the machine's service account, or why it has none. */
export async function machineToken(
  { env, fetch = (url, init) => globalThis.fetch(url, init), now }: TokenAsking & {
    readonly env: Readonly<Record<string, string | undefined>>;
  },
): Promise<AccessToken | string> {
  const named = env.GCE_METADATA_HOST;
  if (!named && /^(true|1)$/i.test(env.NO_GCE_CHECK ?? "")) {
    return "the machine's metadata (NO_GCE_CHECK is set)";
  }
  const what = "get a token of the machine's metadata service";
  let response: Response;
  let text: string;
  try {
    response = await fetch(`http://${named || METADATA_HOST}${TOKEN_PATH}`, {
      headers: { [FLAVOR]: "Google" },
      redirect: "manual",
      signal: AbortSignal.timeout(named ? TOKEN_TIMEOUT_MS : PROBE_TIMEOUT_MS),
    });
    text = await serviceText(response);
  } catch (cause) {
    if (!named) return "the machine's metadata service (no answer)";
    throw tokenError(what, "no answer from GCE_METADATA_HOST", "a token", { status: 0, cause });
  }
  const { status, headers } = response;
  if (headers.get(FLAVOR) !== "Google") return "the machine's metadata service (it is not Google's)";
  if (status === 404) return "the machine's metadata service (the machine has no service account)";
  if (status === 200) return tokenOfAnswer(what, text, now());
  throw tokenError(what, `status ${status}`, "a token", { status });
}
