/**
 * FakeGoogle: who gives tokens (the token endpoint, the metadata service of a machine), and who wants them,
 * before a real storage server.
 *
 * Written from Google's documents: assertions are checked by node:crypto against the public key.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPublicKey, generateKeyPairSync, type KeyObject, verify } from "node:crypto";
import { createServer, type IncomingMessage, type Server } from "node:http";

/** The one account, the one user. */
export const ACCOUNT = "reader@project.iam.gserviceaccount.com";
export const USER = { client_id: "client", client_secret: "client-secret", refresh_token: "refresh-secret" };
const STORAGE = "https://storage.googleapis.com";

/** The servers of tokens, and a `fetch` that reaches storage only with one of them. */
export class FakeGoogle {
  /** Origin of the token endpoint and of the metadata service. */
  url = "";
  /** What was asked of them: `assertion`, `refresh` or `machine`. */
  readonly asked: string[] = [];
  /** Claims of the assertions that came. */
  readonly claims: Record<string, unknown>[] = [];
  /** Answered in place of tokens. */
  fault: { readonly status: number; readonly body?: string } | "none" | "silence" = "none";
  lifeSeconds = 3600;
  /** Authorization of each request to storage; empty where it had none. */
  readonly seen: string[] = [];
  /** A private key in PEM. A secret. */
  readonly privateKey: string;
  readonly #publicKey: KeyObject;
  readonly #server: Server;
  readonly #upstream: string;
  readonly #valid = new Set<string>();

  private constructor(upstream: string) {
    this.#upstream = upstream;
    const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
    this.privateKey = pair.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    this.#publicKey = createPublicKey(pair.publicKey.export({ type: "spki", format: "pem" }));
    this.#server = createServer(async (request, response) => {
      const body = await textOf(request);
      const { status, text, headers } = this.#answer(request, body);
      if (this.fault === "silence") return;
      response.writeHead(status, headers).end(text);
    });
  }

  /** Starts it before a storage server at `upstream`. */
  static async start(upstream: string): Promise<FakeGoogle> {
    const fake = new FakeGoogle(upstream);
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    const address = fake.#server.address();
    fake.url = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    return fake;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** A service account's file, as Google makes it. */
  accountFile(fields: Record<string, unknown> = {}): string {
    return JSON.stringify({
      type: "service_account",
      private_key_id: "key-1",
      private_key: this.privateKey,
      client_email: ACCOUNT,
      token_uri: `${this.url}/token`,
      ...fields,
    });
  }

  /** The file of a user who has signed in by gcloud. */
  userFile(): string {
    return JSON.stringify({ type: "authorized_user", ...USER, token_uri: `${this.url}/token` });
  }

  /** From now on no token that was given is taken. */
  revoke(): void {
    this.#valid.clear();
  }

  /** Google's storage: a request without a token that holds is refused, whatever else it is. */
  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    if (!url.startsWith(STORAGE)) return await fetch(url, init);
    const authorization = new Headers(init.headers).get("authorization") ?? "";
    this.seen.push(authorization);
    if (this.#valid.has(authorization)) return await fetch(url.replace(STORAGE, this.#upstream), init);
    const message = authorization === ""
      ? "Anonymous caller does not have storage.objects.list access"
      : `Invalid Credentials (${authorization})`;
    const error = { code: 401, message, errors: [{ reason: authorization ? "authError" : "required" }] };
    return new Response(JSON.stringify({ error }), { status: 401 });
  };

  #answer(
    { url = "", headers }: IncomingMessage,
    body: string,
  ): { status: number; text: string; headers: Record<string, string> } {
    const flavor = { "metadata-flavor": "Google" };
    const form = new URLSearchParams(body);
    const isMachine = url === "/computeMetadata/v1/instance/service-accounts/default/token";
    this.asked.push(isMachine ? "machine" : form.has("assertion") ? "assertion" : "refresh");
    if (typeof this.fault === "object") {
      return { status: this.fault.status, text: this.fault.body ?? "", headers: flavor };
    }
    const isKnown = isMachine ? headers["metadata-flavor"] === "Google" : this.#isKnown(url, form);
    if (!isKnown) {
      const text = JSON.stringify({
        error: "invalid_grant",
        error_description: `Invalid JWT Signature. ${body}`,
      });
      return { status: 400, text, headers: {} };
    }
    const token = `ya29.token-number-${this.asked.length}`;
    this.#valid.add(`Bearer ${token}`);
    const given = { access_token: token, expires_in: this.lifeSeconds, token_type: "Bearer" };
    return { status: 200, text: JSON.stringify(given), headers: isMachine ? flavor : {} };
  }

  #isKnown(url: string, form: URLSearchParams): boolean {
    if (url !== "/token") return false;
    const { grant_type, assertion = "", ...rest } = Object.fromEntries(form);
    if (grant_type === "refresh_token") return JSON.stringify(rest) === JSON.stringify(USER);
    if (grant_type !== "urn:ietf:params:oauth:grant-type:jwt-bearer") return false;
    const [head = "", claims = "", signature = ""] = assertion.split(".");
    this.claims.push({ ...partOf(head), ...partOf(claims) });
    return verify(
      "RSA-SHA256",
      Buffer.from(`${head}.${claims}`),
      this.#publicKey,
      Buffer.from(signature, "base64url"),
    );
  }
}

function partOf(text: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(text, "base64url").toString());
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const part of request) text += part;
  return text;
}
