/**
 * What Google Cloud Storage answers instead of what was asked.
 *
 * @see https://cloud.google.com/storage/docs/json_api/v1/status-codes
 * @module
 */

import type { Asked } from "../http_fault.ts";
import type { HttpFault } from "../http_client.ts";

/** Names that mean the same in S3, by which others know them. */
const CODES: Readonly<Record<string, string>> = {
  requestedRangeNotSatisfiable: "InvalidRange",
  notImplemented: "NotImplemented",
};

const PERMISSIONS: Readonly<Record<Asked["kind"], string>> = {
  list: "storage.objects.list",
  get: "storage.objects.get",
  put: "storage.objects.create (and storage.objects.delete to replace)",
  remove: "storage.objects.delete",
};

/** Code and words of a fault: JSON as a rule; XML or plain text where an object's bytes were asked for. */
export function explain(body: string): { code: string; message: string } {
  const { code, message } = explainJson(body) ?? explainText(body);
  return { code: CODES[code] ?? code, message };
}

/** What a person can do about a fault. */
export function expectedOf(
  { status }: HttpFault,
  { kind }: Asked,
  { bucket, isSignedIn }: { readonly bucket: string; readonly isSignedIn: boolean },
): string | undefined {
  if (status === 401) {
    return isSignedIn ? "credentials that Google accepts" : "a bucket that everybody may use, or credentials";
  }
  if (status === 403) return `permission for ${PERMISSIONS[kind]} there`;
  if (status === 404) return `an existing bucket, not "${bucket}"`;
  return undefined;
}

function explainJson(body: string): { code: string; message: string } | undefined {
  try {
    const { error } = JSON.parse(body) as {
      error?: { message?: unknown; errors?: readonly { reason?: unknown }[] };
    };
    const reason = error?.errors?.[0]?.reason;
    return {
      code: typeof reason === "string" ? reason : "",
      message: typeof error?.message === "string" ? error.message : "",
    };
  } catch {
    return undefined;
  }
}

function explainText(body: string): { code: string; message: string } {
  if (!body.trimStart().startsWith("<")) return { code: "", message: body.trim() };
  const textOf = (name: string) => new RegExp(`<${name}>([^<]*)</${name}>`).exec(body)?.[1]?.trim() ?? "";
  return { code: textOf("Code"), message: textOf("Message") };
}
