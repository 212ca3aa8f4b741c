/**
 * Signing in with a name and a password that stand in a URL.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { UrlUser } from "./backend_location.ts";

/** What `Authorization` says in the Basic scheme (RFC 7617); undefined for nobody. */
export function basicOf({ user, password }: UrlUser): string | undefined {
  if (user === "" && password === "") return undefined;
  return `Basic ${Buffer.from(`${user}:${password}`, "utf8").toString("base64")}`;
}

/** Takes secrets out of a text, longest first, however they are spelled there. */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  const spelled = secrets.flatMap((secret) => [secret, encodeURIComponent(secret)]);
  return [...new Set(spelled)].filter((secret) => secret !== "").sort((a, b) => b.length - a.length)
    .reduce((shown, secret) => shown.replaceAll(secret, "***"), text);
}
