/**
 * KnownHosts: which host keys are trusted, as OpenSSH's files say it.
 *
 * @see sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"
 * @module
 */

import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";

const DEFAULT_PORT = 22;

/** A host as it is connected to. */
export interface SshHost {
  readonly name: string;
  readonly port: number;
}

/**
 * What is known of a host's key: `changed` where the host has another key of that type, `authority` where
 * nothing is but who may vouch for its keys.
 */
export type HostKeyVerdict = "trusted" | "revoked" | "changed" | "authority" | "unknown";

interface KnownHost {
  readonly marker: string;
  /** Patterns, or one name's hash. */
  readonly hosts: string;
  readonly type: string;
  readonly key: Buffer;
}

/** The lines of such files. */
export class KnownHosts {
  readonly #lines: readonly KnownHost[];

  /** Lines that are none are passed over, as OpenSSH does. */
  constructor(text: string) {
    this.#lines = text.split("\n").flatMap(parseLine);
  }

  /** Types of the keys that a host is known by: one of these is to be asked for. */
  typesOf(host: SshHost): string[] {
    const own = this.#linesOf(host).filter(({ marker }) => marker === "");
    return [...new Set(own.map(({ type }) => type))];
  }

  /** Whether a host is trusted by its key; `key` as it came. */
  verdictOf(host: SshHost, key: Uint8Array): HostKeyVerdict {
    const lines = this.#linesOf(host);
    const same = lines.filter((line) => line.key.equals(key));
    if (same.some(({ marker }) => marker === "@revoked")) return "revoked";
    // What is said of the host without its port may be about another server there: it counts where nothing else is said.
    const own = this.#lines.filter(({ hosts }) => hostsMatch(hosts, nameOf(host)));
    const ofType = own.filter(({ marker, type }) => marker === "" && type === keyTypeOf(key));
    if ((ofType.length > 0 ? ofType : same).some((line) => line.marker === "" && line.key.equals(key))) {
      return "trusted";
    }
    if (ofType.length > 0) return "changed";
    return own.some(({ marker }) => marker === "@cert-authority") ? "authority" : "unknown";
  }

  /** As OpenSSH, a server at another port is known by the host alone, too. */
  #linesOf(host: SshHost): KnownHost[] {
    const names = [nameOf(host), host.name.toLowerCase()];
    return this.#lines.filter(({ hosts }) => names.some((name) => hostsMatch(hosts, name)));
  }
}

/** A host as these files name it. */
export function nameOf({ name, port }: SshHost): string {
  const lower = name.toLowerCase();
  return port === DEFAULT_PORT ? lower : `[${lower}]:${port}`;
}

/** The type that a key begins with; empty where it is none. */
export function keyTypeOf(key: Uint8Array): string {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.length);
  if (bytes.length < 4) return "";
  return bytes.toString("latin1", 4, 4 + bytes.readUInt32BE(0));
}

function parseLine(line: string): KnownHost[] {
  const fields = line.trim().split(/\s+/);
  const marker = fields[0]?.startsWith("@") ? fields.shift()! : "";
  const [hosts = "", type = "", key = ""] = fields;
  if (hosts === "" || hosts.startsWith("#") || !/^(|@revoked|@cert-authority)$/.test(marker)) return [];
  const decoded = Buffer.from(key, "base64");
  return keyTypeOf(decoded) === type && type !== "" ? [{ marker, hosts, type, key: decoded }] : [];
}

/** A pattern that is negated rules the line out, whatever else matches. */
function hostsMatch(hosts: string, name: string): boolean {
  if (hosts.startsWith("|")) return hashMatches(hosts, name);
  let isMatch = false;
  for (const pattern of hosts.toLowerCase().split(",")) {
    const isNegated = pattern.startsWith("!");
    if (!patternMatches(isNegated ? pattern.slice(1) : pattern, name)) continue;
    if (isNegated) return false;
    isMatch = true;
  }
  return isMatch;
}

function hashMatches(hosts: string, name: string): boolean {
  const [, salt = "", hash = ""] = /^\|1\|([^|]+)\|([^|]+)$/.exec(hosts) ?? [];
  if (salt === "") return false;
  return createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest("base64") === hash;
}

function patternMatches(pattern: string, name: string): boolean {
  if (!/[*?]/.test(pattern)) return pattern === name;
  const escaped = pattern.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`, "s").test(name);
}
