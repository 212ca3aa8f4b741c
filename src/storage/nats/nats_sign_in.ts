/**
 * How one signs in to a NATS server: from the URL, else from the environment.
 *
 * @see Litestream 0.5.17, settings of a NATS replica
 * @module
 */

import {
  type Authenticator,
  type ConnectionOptions,
  credsAuthenticator,
  jwtAuthenticator,
  nkeyAuthenticator,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";
import type { BackendContext } from "../backend.ts";
import type { NatsLocation } from "../backend_location.ts";
import { SignInError } from "./nats_fault.ts";

/** What may be said, in either place; paths name files. */
interface SignIn {
  readonly user: string;
  readonly password: string;
  readonly token: string;
  readonly credsPath: string;
  readonly nkeyPath: string;
  readonly jwt: string;
  readonly seed: string;
}

interface TlsFiles {
  readonly isOn: boolean;
  readonly caPaths: readonly string[];
  readonly certPath: string;
  readonly keyPath: string;
}

/** Makes options for a connection to one of a location's servers, each time anew: files may have changed. */
export async function signInOptions(
  server: string,
  { user, password, parameters }: NatsLocation,
  { env, readFile }: Pick<BackendContext, "env" | "readFile">,
): Promise<ConnectionOptions> {
  const fromUrl = signInFromUrl({ user, password }, parameters);
  const given = Object.values(fromUrl).some((value) => value !== "") ? fromUrl : signInFromEnvironment(env);
  const authenticator = await authenticatorOf(given, readFile);
  const files = tlsFilesOf(parameters, env);
  return {
    servers: server,
    ...(authenticator && { authenticator }),
    ...(files.isOn && { tls: await tlsOf(server, files, readFile) }),
  };
}

/** What must not be shown of them. */
export function secretsOf(
  { password, user, parameters }: NatsLocation,
  env: BackendContext["env"],
): string[] {
  const token = password === "" ? user : password;
  return [token, parameters.token, parameters.seed, parameters.jwt, env.NATS_PASSWORD, env.NATS_TOKEN]
    .filter((secret) => secret !== undefined && secret !== "") as string[];
}

/** As everywhere with NATS, a user without a password is a token. */
function signInFromUrl(
  { user, password }: { user: string; password: string },
  { creds = "", nkey = "", jwt = "", seed = "", token = "" }: Readonly<Record<string, string>>,
): SignIn {
  const files = { credsPath: creds, nkeyPath: nkey, jwt, seed };
  return password === "" && user !== ""
    ? { user: "", password: "", token: user, ...files }
    : { user, password, token, ...files };
}

function signInFromEnvironment(env: BackendContext["env"]): SignIn {
  return {
    user: env.NATS_USER ?? "",
    password: env.NATS_PASSWORD ?? "",
    token: env.NATS_TOKEN ?? "",
    credsPath: env.NATS_CREDS ?? "",
    nkeyPath: env.NATS_NKEY ?? "",
    jwt: "",
    seed: "",
  };
}

async function authenticatorOf(
  { user, password, token, credsPath, nkeyPath, jwt, seed }: SignIn,
  readFile: BackendContext["readFile"],
): Promise<Authenticator | undefined> {
  const encoder = new TextEncoder();
  if (jwt !== "" && seed !== "") return checked("seed", jwtAuthenticator(jwt, encoder.encode(seed)));
  if (credsPath !== "") {
    return checked(credsPath, credsAuthenticator(encoder.encode(await textOf(credsPath, readFile))));
  }
  if (nkeyPath !== "") {
    return checked(nkeyPath, nkeyAuthenticator(encoder.encode(seedIn(await textOf(nkeyPath, readFile)))));
  }
  if (seed !== "") return checked("seed", nkeyAuthenticator(encoder.encode(seed)));
  if (user !== "") return usernamePasswordAuthenticator(user, password);
  if (token !== "") return tokenAuthenticator(token);
  return undefined;
}

/** Signs something, so that what cannot be used is found before a server refuses it in other words. */
function checked(from: string, authenticator: Authenticator): Authenticator {
  try {
    authenticator("nonce");
  } catch (cause) {
    throw new SignInError(`${from} holds nothing to sign in with`, { cause });
  }
  return authenticator;
}

async function textOf(path: string, readFile: BackendContext["readFile"]): Promise<string> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new SignInError(`${path} cannot be read`, { cause });
  }
}

/** The seed in a file that may hold more, such as comments. */
function seedIn(text: string): string {
  return /^\s*(S[A-Z0-9]{57})\s*$/m.exec(text)?.[1] ?? text.trim();
}

function tlsFilesOf(parameters: Readonly<Record<string, string>>, env: BackendContext["env"]): TlsFiles {
  const caPaths = (parameters["root-cas"] ?? env.NATS_CA ?? "").split(",").filter((path) => path !== "");
  const certPath = parameters["client-cert"] ?? env.NATS_CERT ?? "";
  const keyPath = parameters["client-key"] ?? env.NATS_KEY ?? "";
  if ((certPath === "") !== (keyPath === "")) {
    throw new SignInError(`${certPath === "" ? "client-key" : "client-cert"} alone, without the other`);
  }
  const isOn = /^(true|1|t|yes)$/i.test(parameters.tls ?? "") || caPaths.length > 0 || certPath !== "";
  return { isOn, caPaths, certPath, keyPath };
}

/** Where it is on, a server that does not speak it is refused. */
async function tlsOf(
  server: string,
  { caPaths, certPath, keyPath }: TlsFiles,
  readFile: BackendContext["readFile"],
): Promise<NonNullable<ConnectionOptions["tls"]>> {
  const authorities = await Promise.all(caPaths.map((path) => textOf(path, readFile)));
  // The library names no host where it is an address; one runtime then takes a certificate for "localhost".
  const host = server.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  const named = { host } as NonNullable<ConnectionOptions["tls"]>;
  return {
    ...named,
    ...(authorities.length > 0 && { ca: authorities.join("\n") }),
    ...(certPath !== "" && { cert: await textOf(certPath, readFile), key: await textOf(keyPath, readFile) }),
  };
}
