/**
 * SharedKey: signatures made with an account's key.
 *
 * @see https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
 * @module
 */

/** A request as far as it is signed. Header names are in small letters. */
export interface SignedParts {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Size of the body in bytes. */
  readonly bodySize: number;
}

/** Standard headers that are signed behind the length, in this order. */
const SIGNED_HEADERS = [
  "content-md5",
  "content-type",
  "date",
  "if-modified-since",
  "if-match",
  "if-none-match",
  "if-unmodified-since",
  "range",
] as const;

/** Signs for one account. */
export class SharedKey {
  readonly #account: string;
  readonly #key: string;
  #imported: Promise<CryptoKey> | undefined;

  /** `key` is in base64. */
  constructor(account: string, key: string) {
    this.#account = account;
    this.#key = key;
  }

  /** The value of Authorization. */
  async authorization(request: SignedParts): Promise<string> {
    const text = new TextEncoder().encode(stringToSign(this.#account, request));
    const key = await (this.#imported ??= importKey(this.#key));
    const signature = new Uint8Array(await crypto.subtle.sign("HMAC", key, text));
    return `SharedKey ${this.#account}:${btoa(String.fromCharCode(...signature))}`;
  }
}

/** What is signed; {@link SharedKey.authorization} alone needs it. */
export function stringToSign(account: string, { method, url, headers, bodySize }: SignedParts): string {
  const own = Object.keys(headers).filter((name) => name.startsWith("x-ms-")).sort();
  return [
    method,
    headers["content-encoding"] ?? "",
    headers["content-language"] ?? "",
    bodySize === 0 ? "" : String(bodySize),
    ...SIGNED_HEADERS.map((name) => headers[name] ?? ""),
    ...own.map((name) => `${name}:${headers[name]!.trim()}`),
    resourceOf(account, new URL(url)),
  ].join("\n");
}

/** Path and parameters, decoded and in order. */
function resourceOf(account: string, { pathname, searchParams }: URL): string {
  const parameters = [...searchParams].map(([name, value]) => `${name.toLowerCase()}:${value}`).sort();
  return [`/${account}${pathname}`, ...parameters].join("\n");
}

function importKey(key: string): Promise<CryptoKey> {
  const bytes = Uint8Array.from(atob(key), (character) => character.charCodeAt(0));
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}
