/**
 * Amazon's token service: a role for an access key, or for a web identity.
 *
 * @see https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
 * @see https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
 * @module
 */

import { AwsV4Signer } from "aws4fetch";
import type { Credentials } from "./credentials.ts";
import {
  askService,
  credentialsOfAnswer,
  type CredentialsSurroundings,
  neededFile,
  serviceError,
} from "./credentials_service.ts";
import { childText, parseXml, type XmlElement } from "./xml.ts";

/** A role to assume. */
export interface Role {
  readonly arn: string;
  /** Name of the session; one of ours where it is empty. */
  readonly session?: string | undefined;
  /** Where the service is asked; the environment's where it is empty. */
  readonly region?: string | undefined;
  /** What the role's owner agreed on with whoever assumes it. */
  readonly externalId?: string | undefined;
  /** How long the credentials hold; the service's own hour where nothing is said. */
  readonly durationSeconds?: string | undefined;
}

const SESSION_NAME = "litestream-vfs";

/** Assumes `role` with the token in `tokenFile`; the request is not signed. */
export async function assumeRoleWithWebIdentity(
  role: Role,
  tokenFile: string,
  surroundings: CredentialsSurroundings,
): Promise<Credentials> {
  const token = await neededFile(surroundings, tokenFile, "web identity token");
  const body = bodyOf("AssumeRoleWithWebIdentity", role, { WebIdentityToken: token.trim() });
  return await ask(role, surroundings, { body, headers: FORM });
}

/** Assumes `role` with other credentials. */
export async function assumeRole(
  role: Role,
  by: Credentials,
  surroundings: CredentialsSurroundings,
): Promise<Credentials> {
  const body = bodyOf("AssumeRole", role, { ExternalId: role.externalId });
  const signer = new AwsV4Signer({
    method: "POST",
    url: endpointOf(role, surroundings),
    headers: FORM,
    body,
    accessKeyId: by.accessKeyId,
    secretAccessKey: by.secretAccessKey,
    ...(by.sessionToken ? { sessionToken: by.sessionToken } : {}),
    service: "sts",
    region: regionOf(role, surroundings) || "us-east-1",
    datetime: new Date(surroundings.now?.() ?? Date.now()).toISOString().replace(/[:-]|\.\d{3}/g, ""),
  });
  return await ask(role, surroundings, { body, headers: (await signer.sign()).headers });
}

const FORM = { "content-type": "application/x-www-form-urlencoded" };

function bodyOf(action: string, role: Role, more: Readonly<Record<string, string | undefined>>): string {
  const fields = {
    Action: action,
    Version: "2011-06-15",
    RoleArn: role.arn,
    RoleSessionName: role.session || SESSION_NAME,
    DurationSeconds: role.durationSeconds,
    ...more,
  };
  const given = Object.entries(fields).filter((entry): entry is [string, string] => !!entry[1]);
  return new URLSearchParams(given).toString();
}

function regionOf(role: Role, { env }: CredentialsSurroundings): string {
  return role.region || env.AWS_REGION || env.AWS_DEFAULT_REGION || "";
}

function endpointOf(role: Role, surroundings: CredentialsSurroundings): string {
  const own = surroundings.env.AWS_ENDPOINT_URL_STS;
  if (own) return own;
  const region = regionOf(role, surroundings);
  const domain = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  return region === "" ? "https://sts.amazonaws.com/" : `https://sts.${region}.${domain}/`;
}

async function ask(
  role: Role,
  surroundings: CredentialsSurroundings,
  { body, headers }: { body: string; headers: HeadersInit },
): Promise<Credentials> {
  const what = `assume role ${role.arn}`;
  const url = endpointOf(role, surroundings);
  const answer = await askService(surroundings, { url, what, init: { method: "POST", headers, body } });
  const found = descendant(xmlOf(what, answer), "Credentials");
  const textOf = (name: string) => found === undefined ? undefined : childText(found, name);
  return credentialsOfAnswer(what, {
    AccessKeyId: textOf("AccessKeyId"),
    SecretAccessKey: textOf("SecretAccessKey"),
    Token: textOf("SessionToken"),
    Expiration: textOf("Expiration"),
  });
}

function xmlOf(what: string, text: string): XmlElement {
  try {
    return parseXml(text);
  } catch {
    throw serviceError(what, "an answer that is no XML", { status: 200 });
  }
}

function descendant(element: XmlElement, name: string): XmlElement | undefined {
  for (const child of element.children) {
    const found = child.name === name ? child : descendant(child, name);
    if (found !== undefined) return found;
  }
  return undefined;
}
