/**
 * signJwt(): claims that a private RSA key has signed.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7515
 * @module
 */

import { Buffer } from "node:buffer";
import { noCredentials } from "../credentials.ts";

const ALGORITHM = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } as const;

/**
 * Signs claims by RS256. `key` is a PEM text, which enters no message.
 *
 * @throws {StorageError} the key has another form
 */
export async function signJwt(
  claims: Readonly<Record<string, unknown>>,
  { key, keyId }: { readonly key: string; readonly keyId?: string | undefined },
): Promise<string> {
  const header = { alg: "RS256", typ: "JWT", ...(keyId ? { kid: keyId } : {}) };
  const content = [header, claims].map((part) => encoded(new TextEncoder().encode(JSON.stringify(part))))
    .join(".");
  const signature = await crypto.subtle.sign(
    ALGORITHM,
    await importKey(key),
    new TextEncoder().encode(content),
  );
  return `${content}.${encoded(new Uint8Array(signature))}`;
}

async function importKey(pem: string): Promise<CryptoKey> {
  const [, base64 = ""] = /-----BEGIN PRIVATE KEY-----([^-]+)-----END PRIVATE KEY-----/.exec(pem) ?? [];
  try {
    const bytes = Uint8Array.from(Buffer.from(base64, "base64"));
    return await crypto.subtle.importKey("pkcs8", bytes, ALGORITHM, false, ["sign"]);
  } catch {
    throw noCredentials("a private_key that cannot be used", "an RSA key in PEM, as Google has made it");
  }
}

function encoded(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64url");
}
