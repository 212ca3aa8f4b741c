/**
 * The services that give credentials: STS, a container's and an instance's, over real HTTP.
 *
 * Each answer gives new keys and says so to `onKeys`, so that a {@link FakeS3} can take them from then on.
 *
 * @module
 */

import { createServer, type IncomingMessage, type Server } from "node:http";

/** Keys as a {@link FakeS3} has them in its options. */
export interface GivenKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
}

/** The server. */
export class FakeCredentialsService {
  url = "";
  /** Method, path and action of each request. */
  readonly log: string[] = [];
  /** Told which keys are given. */
  onKeys: (keys: GivenKeys) => void = () => {};
  /** How many requests from now on are answered with status 503. */
  failures = 0;
  /** How long the keys last, in ms. */
  lifeMs = 3_600_000;
  readonly #server: Server;
  #given = 0;

  private constructor() {
    this.#server = createServer(async (request, response) => {
      const body = await bodyOf(request);
      const action = /Action=(\w+)/.exec(body)?.[1];
      this.log.push([request.method, request.url, action].filter((part) => part !== undefined).join(" "));
      const failing = this.failures-- > 0;
      response.writeHead(failing ? 503 : 200).end(failing ? "" : this.#answer(request.url ?? "", action));
    });
  }

  static async start(): Promise<FakeCredentialsService> {
    const fake = new FakeCredentialsService();
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    const address = fake.#server.address();
    fake.url = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    return fake;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(path: string, action: string | undefined): string {
    if (path.endsWith("/api/token")) return "imds-token";
    if (path.endsWith("/security-credentials/")) return "fake-role";
    const number = ++this.#given;
    const keys = {
      accessKeyId: `ASIA${number}`,
      secretAccessKey: `secret-number-${number}`,
      sessionToken: `token-number-${number}`,
    };
    this.onKeys(keys);
    const { accessKeyId, secretAccessKey, sessionToken } = keys;
    const expiration = new Date(Date.now() + this.lifeMs).toISOString();
    if (action === undefined) {
      return JSON.stringify({
        AccessKeyId: accessKeyId,
        SecretAccessKey: secretAccessKey,
        Token: sessionToken,
        Expiration: expiration,
      });
    }
    return `<${action}Response><${action}Result><Credentials><AccessKeyId>${accessKeyId}</AccessKeyId>` +
      `<SecretAccessKey>${secretAccessKey}</SecretAccessKey><SessionToken>${sessionToken}</SessionToken>` +
      `<Expiration>${expiration}</Expiration></Credentials></${action}Result></${action}Response>`;
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  return body;
}
