/**
 * Azure's services that give tokens, and a container that takes them, none of which any emulator has.
 *
 * @module
 */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server } from "node:http";

/** A request for a token. */
export interface TokenRequest {
  /** Method and path, without parameters. */
  readonly line: string;
  /** Of the query and of the body. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly headers: IncomingHttpHeaders;
}

/** One server for all of them; its container `c` is empty. */
export class FakeAzure implements AsyncDisposable {
  url = "";
  readonly tokenRequests: TokenRequest[] = [];
  /** How requests for a token are answered, in order; the last for good. */
  answers: { status: number; body: unknown }[] = [];
  /** Tokens that the container takes. */
  readonly tokens = new Set<string>();
  /** Listings that came, by their token. */
  readonly listings: string[] = [];
  readonly #server: Server;

  private constructor() {
    this.#server = createServer(async (request, response) => {
      const body = await bodyOf(request);
      const url = new URL(request.url ?? "", "http://fake");
      const { status, text } = url.pathname === "/account/c"
        ? this.#list(request)
        : this.#token(request, url, body);
      response.writeHead(status, { "content-type": "text/plain" }).end(text);
    });
  }

  static async start(): Promise<FakeAzure> {
    const fake = new FakeAzure();
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    const address = fake.#server.address();
    fake.url = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    return fake;
  }

  /** A token that the container takes, as Entra tells it. */
  give(token: string, fields: Record<string, unknown> = { expires_in: 3_600 }): void {
    this.tokens.add(token);
    this.answers.push({ status: 200, body: { token_type: "Bearer", access_token: token, ...fields } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #token(request: IncomingMessage, url: URL, body: string): { status: number; text: string } {
    const parameters = {
      ...Object.fromEntries(url.searchParams),
      ...Object.fromEntries(new URLSearchParams(body)),
    };
    this.tokenRequests.push({
      line: `${request.method} ${url.pathname}`,
      parameters,
      headers: request.headers,
    });
    const answer = this.answers.length > 1 ? this.answers.shift()! : this.answers[0]!;
    return { status: answer.status, text: JSON.stringify(answer.body) };
  }

  #list({ headers }: IncomingMessage): { status: number; text: string } {
    const token = headers.authorization?.replace(/^Bearer /, "") ?? "";
    this.listings.push(token);
    if (this.tokens.has(token)) {
      return { status: 200, text: "<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>" };
    }
    const code = "InvalidAuthenticationInfo";
    return { status: 401, text: `<Error><Code>${code}</Code><Message>Refused ${token}.</Message></Error>` };
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  return body;
}
