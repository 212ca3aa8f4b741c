/**
 * Sessions: what requests to a directory bucket are signed with.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateSession.html
 * @module
 */

import { StorageError } from "../errors.ts";
import { type Credentials, CredentialsSource } from "./credentials.ts";
import { credentialsOfAnswer, serviceError } from "./credentials_service.ts";
import { childText, parseXml } from "./xml.ts";

/** What a session is for: the second where the first is forbidden. */
export type SessionMode = "ReadWrite" | "ReadOnly";

/** Sessions last five minutes: one is renewed so long before its end. */
const RENEWAL_MARGIN_MS = 60_000;

/** The answer to a request for a session. */
export interface SessionAnswer {
  readonly document: string;
  /** How far our clock is ahead of the server's, in ms: sessions are short, and neither need be right. */
  readonly aheadMs: number;
}

/** Sessions that `ask` begins. */
export function sessionSource(
  ask: (mode: SessionMode) => Promise<SessionAnswer>,
  options: { now?: (() => number) | undefined },
): CredentialsSource {
  const begin = async () => {
    try {
      return sessionOf(await ask("ReadWrite"));
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== "AccessDenied") throw error;
      return sessionOf(await ask("ReadOnly"));
    }
  };
  return new CredentialsSource(begin, { ...options, marginMs: RENEWAL_MARGIN_MS });
}

/** Its end is told by our clock. */
function sessionOf({ document, aheadMs }: SessionAnswer): Credentials {
  const what = "begin a session";
  try {
    const element = parseXml(document).children.find(({ name }) => name === "Credentials");
    const text = (name: string) => element && childText(element, name);
    const { expiresMs, ...keys } = credentialsOfAnswer(what, {
      AccessKeyId: text("AccessKeyId"),
      SecretAccessKey: text("SecretAccessKey"),
      Token: text("SessionToken"),
      Expiration: text("Expiration"),
    });
    return { ...keys, expiresMs: expiresMs === undefined ? undefined : expiresMs + aheadMs };
  } catch (cause) {
    if (cause instanceof StorageError) throw cause;
    throw serviceError(what, "an answer that is no XML", { status: 200, cause });
  }
}
