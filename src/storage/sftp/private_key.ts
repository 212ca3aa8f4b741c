/**
 * Private keys, as files hold them.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createPrivateKey, type KeyObject, sign } from "node:crypto";
import { ssh, type SshKey } from "./ssh_library.ts";

/** Bytes of a coordinate, and the hash that goes with the curve. */
const CURVES: Readonly<Record<string, readonly [size: number, hash: string, name: string]>> = {
  "ecdsa-sha2-nistp256": [32, "sha256", "P-256"],
  "ecdsa-sha2-nistp384": [48, "sha384", "P-384"],
  "ecdsa-sha2-nistp521": [66, "sha512", "P-521"],
};

/** A key file that cannot be used, in words without its content. */
export class PrivateKeyError extends Error {
  override name = "PrivateKeyError";
  /** Whether it is encrypted, and nothing was given to decrypt it. */
  readonly isLocked: boolean;

  constructor(found: string, isLocked = false) {
    super(found);
    this.isLocked = isLocked;
  }
}

/**
 * Reads a private key of OpenSSH's or of PEM's form.
 *
 * @throws {PrivateKeyError} it is none, or `passphrase` does not open it
 */
export function readPrivateKey(text: string, passphrase: string): SshKey {
  const parsed = ssh.utils.parseKey(text, passphrase || undefined);
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  if (key instanceof Error) throw faultOf(key, passphrase);
  if (key === undefined || !key.isPrivateKey()) throw new PrivateKeyError("it is no private key");
  return signingExactly(key);
}

function faultOf({ message }: Error, passphrase: string): PrivateKeyError {
  if (/no passphrase/i.test(message)) return new PrivateKeyError("it is encrypted", true);
  if (passphrase !== "" && /passphrase|integrity|decrypt|malformed/i.test(message)) {
    return new PrivateKeyError("the passphrase does not open it");
  }
  return new PrivateKeyError("it is not in a form that is known");
}

/**
 * The same key, which signs by what the runtime reads of it.
 *
 * The library writes RSA and ECDSA keys anew with what is left of their padding, or with a zero byte before
 * the number. One runtime refuses these.
 */
function signingExactly(key: SshKey): SshKey {
  const curve = CURVES[key.type];
  if (curve === undefined && key.type !== "ssh-rsa") return key;
  const own = curve === undefined ? rsaKey(key) : ecdsaKey(key);
  const hashUsual = curve === undefined ? "sha1" : curve[1];
  return Object.defineProperty(key, "sign", {
    value: (bytes: Uint8Array, hash?: string) => {
      try {
        return sign(hash || hashUsual, bytes, own);
      } catch (error) {
        return error;
      }
    },
  });
}

function rsaKey(key: SshKey): KeyObject {
  return createPrivateKey({ key: derOf(key).bytes, format: "der", type: "pkcs1" });
}

/** Of the private form the number alone, of the public one its point. */
function ecdsaKey(key: SshKey): KeyObject {
  const [size, , crv] = CURVES[key.type]!;
  const { start, bytes } = derOf(key);
  const at = start + 5; // Behind the version, and the number's tag and length.
  const number = bytes.subarray(at, at + bytes[at - 1]!);
  const d = Buffer.alloc(size);
  number.subarray(Math.max(0, number.length - size)).copy(d, Math.max(0, size - number.length));
  const point = key.getPublicSSH().subarray(-2 * size);
  const [x, y] = [point.subarray(0, size), point.subarray(size)];
  const [dText, xText, yText] = [d, x, y].map((part) => part.toString("base64url"));
  const jwk = { kty: "EC", crv, d: dText, x: xText, y: yText };
  return createPrivateKey({ key: jwk as Record<string, string>, format: "jwk" });
}

/** The key in DER, without what is left of padding, and where its content starts. */
function derOf(key: SshKey): { bytes: Buffer; start: number } {
  const bytes = Buffer.from((key.getPrivatePEM() ?? "").replaceAll(/-----[^-]*-----/g, ""), "base64");
  const length = bytes[1] ?? 0;
  const more = length < 0x80 ? 0 : length & 0x7f;
  const start = 2 + more;
  const size = more === 0 ? length : bytes.readUIntBE(2, more);
  return { bytes: bytes.subarray(0, start + size), start };
}
