/**
 * SignIn: who asks, by the name and the password that stand in a URL; by Basic or Digest, as the server
 * wants.
 *
 * @see RFC 7617 "Basic", RFC 7616 "Digest"
 * @module
 */

import { Buffer } from "node:buffer";
import { createHash, randomBytes } from "node:crypto";
import type { UrlUser } from "./backend_location.ts";

/** Digest's algorithms, as `createHash` names them, the strongest first. */
const HASHES: Readonly<Record<string, string>> = { "SHA-256": "sha256", MD5: "md5" };

/** What a server asks for in the Digest scheme. */
interface DigestChallenge {
  readonly realm: string;
  readonly nonce: string;
  readonly opaque: string | undefined;
  /** `MD5`, or another one of {@link HASHES}. */
  readonly algorithm: string;
  readonly hasQop: boolean;
}

/**
 * Signs requests in.
 *
 * Over TLS the password is sent at once, in the Basic scheme. Else the server is asked first: to one that
 * knows Digest it is never sent.
 */
export class SignIn {
  readonly #account: UrlUser;
  readonly #isEncrypted: boolean;
  #usesBasic: boolean;
  #digest: DigestChallenge | undefined;
  #count = 0;
  /** What refusals asked for last; undefined: nothing that could be answered. */
  #heard: DigestChallenge | "basic" | undefined;

  constructor(account: UrlUser, isEncrypted: boolean) {
    this.#account = account;
    this.#isEncrypted = this.#usesBasic = isEncrypted;
  }

  /** Whether there is anybody to sign in. */
  get isAnybody(): boolean {
    return this.#account.user !== "" || this.#account.password !== "";
  }

  /** What no message may show. */
  get secrets(): string[] {
    return [this.#account.password, this.isAnybody ? this.#basic() : ""];
  }

  /** `Authorization` for a request. */
  headers(method: string, url: string): { authorization?: string } {
    if (!this.isAnybody) return {};
    if (this.#digest !== undefined) return { authorization: this.#digestFor(this.#digest, method, url) };
    return this.#usesBasic ? { authorization: `Basic ${this.#basic()}` } : {};
  }

  /** Takes note of what an answer asks for, if anything. */
  hear(headers: Headers): void {
    const asked = headers.get("www-authenticate") ?? "";
    this.#heard = parseDigest(asked) ?? (/(^|,)\s*Basic\b/i.test(asked) ? "basic" : this.#heard);
  }

  /**
   * Whether a request that was refused with this status is worth repeating. Several may have been sent before
   * it was known what the server wants: each is, once.
   */
  renew(status: number): boolean {
    const heard = this.#heard;
    if (status !== 401 || heard === undefined || !this.isAnybody) return false;
    if (heard === "basic") {
      this.#digest = undefined;
      this.#usesBasic = true;
      return !this.#isEncrypted; // else it was sent at once
    }
    if (heard.nonce !== this.#digest?.nonce) this.#count = 0;
    this.#digest = heard;
    return true;
  }

  #basic(): string {
    const { user, password } = this.#account;
    return Buffer.from(`${user}:${password}`, "utf8").toString("base64");
  }

  #digestFor(
    { realm, nonce, opaque, algorithm, hasQop }: DigestChallenge,
    method: string,
    url: string,
  ): string {
    // As headers are: a character a byte, those of UTF-8.
    const [user, password] = [bytesOf(this.#account.user), bytesOf(this.#account.password)];
    const hash = (text: string) => createHash(HASHES[algorithm]!).update(text, "latin1").digest("hex");
    const { pathname, search } = new URL(url);
    const uri = pathname + search;
    const count = (++this.#count).toString(16).padStart(8, "0");
    const own = randomBytes(16).toString("hex");
    const middle = hasQop ? `${nonce}:${count}:${own}:auth` : nonce;
    const response = hash(`${hash(`${user}:${realm}:${password}`)}:${middle}:${hash(`${method}:${uri}`)}`);
    const quoted = { username: user, realm, nonce, uri, response, ...(opaque !== undefined && { opaque }) };
    return [
      `Digest algorithm=${algorithm}`,
      ...Object.entries(quoted).map(([name, value]) => `${name}="${value.replace(/["\\]/g, "\\$&")}"`),
      ...(hasQop ? ["qop=auth", `nc=${count}`, `cnonce="${own}"`] : []),
    ].join(", ");
  }
}

function bytesOf(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** The strongest challenge that can be answered. */
function parseDigest(asked: string): DigestChallenge | undefined {
  const challenges = asked.split(/(?:^|,)\s*(?=[A-Za-z]+\s+[A-Za-z]+=)/).flatMap((text) => {
    const [, scheme, rest] = /^(\w+)\s+(.*)$/s.exec(text) ?? [];
    return scheme?.toLowerCase() === "digest" ? [parametersOf(rest!)] : [];
  });
  const usable = challenges.flatMap((given) => {
    const { realm = "", nonce, opaque, qop } = given;
    const algorithm = (given.algorithm ?? "MD5").toUpperCase();
    const isKnown = Object.hasOwn(HASHES, algorithm) && (qop === undefined || /\bauth\b(?!-)/.test(qop));
    return nonce !== undefined && isKnown
      ? [{ realm, nonce, opaque, algorithm, hasQop: qop !== undefined }]
      : [];
  });
  const order = Object.keys(HASHES);
  return usable.sort((a, b) => order.indexOf(a.algorithm) - order.indexOf(b.algorithm))[0];
}

function parametersOf(text: string): Record<string, string> {
  const pairs = text.matchAll(/(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))/g);
  return Object.fromEntries(
    [...pairs].map(([, name, quoted, plain]) => [
      name!.toLowerCase(),
      quoted?.replace(/\\(.)/g, "$1") ?? plain!,
    ]),
  );
}

/** Takes secrets out of a text, the longest first, however they are spelled there. */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  const spelled = secrets.flatMap((secret) => [secret, encodeURIComponent(secret)]);
  return [...new Set(spelled)].filter((secret) => secret !== "").sort((a, b) => b.length - a.length)
    .reduce((shown, secret) => shown.replaceAll(secret, "***"), text);
}
