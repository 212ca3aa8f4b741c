/**
 * Parameters of replica URLs: which there are.
 *
 * @module
 */
import { nearestName } from "../nearest_name.ts";
import { splitUrl } from "./url_parts.ts";

/** By scheme, as they are spelled in documents; all but those of HTTP, whose parameters are the server's. */
const PARAMETERS: Readonly<Record<string, readonly string[]>> = {
  s3: [
    "endpoint",
    "region",
    "forcePathStyle",
    "skipVerify",
    "signPayload",
    "requireContentMD5",
    "concurrency",
    "partSize",
    "storageClass",
    "sseCustomerKey",
    "sseCustomerAlgorithm",
    "sseCustomerKeyMD5",
    "sseKmsKeyId",
  ],
  file: [],
  gs: ["endpoint", "credentialsFile", "skipVerify"],
  abs: ["endpoint", "skipVerify"],
  oss: ["endpoint", "region", "skipVerify"],
  sftp: ["hostKey", "knownHosts", "keyPath"],
  webdav: ["skipVerify"],
  webdavs: ["skipVerify"],
  nats: ["creds", "nkey", "jwt", "seed", "token", "tls", "root-cas", "client-cert", "client-key"],
};

/** Parameters that are spelled so only. */
const CAMEL_ONLY = ["skipVerify"];

/** Parameters of a URL that nobody reads, in words, with what may have been meant; never their values. */
export function parameterWarnings(url: string): string[] {
  const { scheme, names } = namesIn(url);
  const known = PARAMETERS[scheme];
  if (known === undefined) return [];
  const spellings = new Set([...known, ...known.map((name) => spelledWithDashes(scheme, name))]);
  return names.filter((name) => !spellings.has(name)).map((name) => {
    const nearest = nearestName(name, known);
    const hint = nearest === undefined ? "" : `; did you mean "${nearest}"?`;
    return `A parameter of the replica URL is not used: ${shown(name)}, which ${scheme}:// has not${hint}`;
  });
}

function namesIn(url: string): { scheme: string; names: string[] } {
  if (/^s3:\/\/arn:/i.test(url)) return namesIn(url.replace(/^s3:\/\/[^?#]*/i, "s3://arn"));
  const { scheme, query } = splitUrl(url);
  return { scheme, names: [...new Set(query.keys())] };
}

/** As Litestream writes them, too: `force-path-style`. */
function spelledWithDashes(scheme: string, name: string): string {
  if (scheme !== "s3" && CAMEL_ONLY.includes(name)) return name;
  return name.replace("MD5", "-md5").replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Text without an equals sign may be anything, a secret also. */
function shown(name: string): string {
  return /^[A-Za-z][A-Za-z-]{0,30}$/.test(name) ? `"${name}"` : "one of another form";
}
