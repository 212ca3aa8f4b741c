/**
 * HostKeyCheck: whether a server is the one that is meant. No key is taken that was not known before.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { StorageError } from "../../errors.ts";
import { type HostKeyVerdict, keyTypeOf, type KnownHosts, type SshHost } from "./known_hosts.ts";

/** What is asked for, in this order where nothing is known; none with SHA-1. */
const ALGORITHMS: Readonly<Record<string, readonly string[]>> = {
  "ssh-ed25519": ["ssh-ed25519"],
  "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
  "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
  "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
  "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"],
};

/** What is known of the server. */
export type HostKeyTrust =
  | { readonly kind: "fingerprint"; readonly fingerprint: string }
  | { readonly kind: "key"; readonly key: Buffer }
  | { readonly kind: "files"; readonly knownHosts: KnownHosts; readonly paths: readonly string[] };

/**
 * Reads parameter `hostKey`: a fingerprint as `ssh-keygen -l` prints it, or a key as in an authorized_keys
 * file, which is Litestream's form.
 *
 * @throws {TypeError} it is neither
 */
export function pinnedHostKey(text: string): HostKeyTrust {
  const fingerprint = /^SHA256:([A-Za-z0-9+/]{43})=?$/.exec(text.trim())?.[1];
  if (fingerprint !== undefined) return { kind: "fingerprint", fingerprint: `SHA256:${fingerprint}` };
  // In a URL, a plus sign may stand for the space.
  const [, type = "", encoded = ""] = /^([a-z0-9@.-]+)[\s+]+([A-Za-z0-9+/=]+)/.exec(text.trim()) ?? [];
  const key = Buffer.from(encoded, "base64");
  if (type !== "" && keyTypeOf(key) === type) return { kind: "key", key };
  throw new TypeError(
    'Cannot open replica: parameter "hostKey" is neither, expected SHA256:… as "ssh-keygen -l" prints ' +
      "it, or a key (ssh-ed25519 AAAA…)",
  );
}

/** A key's fingerprint, as OpenSSH prints it. */
export function fingerprintOf(key: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}

/** The check of one connection. */
export class HostKeyCheck {
  readonly #host: SshHost;
  readonly #trust: HostKeyTrust;
  /** Why the server's key was refused. */
  refusal: StorageError | undefined;

  constructor(host: SshHost, trust: HostKeyTrust) {
    this.#host = host;
    this.#trust = trust;
  }

  /**
   * Which kinds of key are asked for: first those that the server is known by, so that it shows such a one.
   */
  get algorithms(): string[] {
    const known = this.#knownTypes();
    const isOnly = this.#trust.kind === "key";
    const types = [
      ...known,
      ...(isOnly ? [] : Object.keys(ALGORITHMS).filter((type) => !known.includes(type))),
    ];
    return types.flatMap((type) => ALGORITHMS[type] ?? []);
  }

  /** Whether the server is trusted; {@link refusal} says why not. */
  accepts(key: Uint8Array): boolean {
    this.refusal = this.#refusalOf(key);
    return this.refusal === undefined;
  }

  #knownTypes(): string[] {
    const trust = this.#trust;
    if (trust.kind === "key") return [keyTypeOf(trust.key)];
    return trust.kind === "files" ? trust.knownHosts.typesOf(this.#host) : [];
  }

  #refusalOf(key: Uint8Array): StorageError | undefined {
    const trust = this.#trust;
    const found = fingerprintOf(key);
    if (trust.kind === "files") {
      const verdict = trust.knownHosts.verdictOf(this.#host, key);
      return verdict === "trusted" ? undefined : this.#refuse(key, ...this.#words(verdict, key, trust.paths));
    }
    const wanted = trust.kind === "key" ? fingerprintOf(trust.key) : trust.fingerprint;
    if (found === wanted) return undefined;
    const advice =
      'the one that parameter "hostKey" names; ask whoever runs the server for its keys\' fingerprints';
    return this.#refuse(key, "is another one", `${wanted}, ${advice}`);
  }

  #words(
    verdict: Exclude<HostKeyVerdict, "trusted">,
    key: Uint8Array,
    paths: readonly string[],
  ): [found: string, wanted: string] {
    const files = paths.join(" or ");
    const { name, port } = this.#host;
    const type = keyTypeOf(key).replace(/^ssh-|-.*$/g, "") || "ed25519";
    const scan = `ssh-keyscan -t ${type} ${port === 22 ? "" : `-p ${port} `}${name} >> ${paths[0]}`;
    const trusted = `a host that is known; where that fingerprint is the server's, run: ${scan}`;
    switch (verdict) {
      case "revoked":
        return [`is revoked in ${files}`, "a key that is not"];
      case "changed":
        return [
          `is not the one in ${files}`,
          "that one: either the server has a new key, or somebody is in its place; ask whoever runs it " +
          `before the old line is removed (ssh-keygen -R) and the new one added (${scan})`,
        ];
      case "authority":
        return [
          `is not in ${files}, which have a certificate authority for the host only`,
          "its own key there, as certificates of hosts are not read; where that fingerprint is its, run: " +
          scan,
        ];
      case "unknown":
        return [`is not in ${files}`, `${trusted} (or set parameter hostKey to the fingerprint)`];
    }
  }

  #refuse(key: Uint8Array, found: string, wanted: string): StorageError {
    const { name, port } = this.#host;
    const details = { key: "", status: 0, code: "HostKey", retryable: false };
    return new StorageError(
      `Cannot connect to ${name}:${port}: its host key (${keyTypeOf(key)} ${fingerprintOf(key)}) ${found}, ` +
        `expected ${wanted}`,
      details,
    );
  }
}
