/**
 * A server of somebody who means harm: answers whatever a test says, and keeps what it was asked.
 *
 * @module
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";

/** What was asked. */
export interface AskedRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
}

/** What is answered; a body may be bytes that never end. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** An HTTP server on a port of its own. */
export class HostileServer {
  readonly asked: AskedRequest[] = [];
  answer: (asked: AskedRequest) => Answer;
  readonly #server: Server;

  private constructor(answer: (asked: AskedRequest) => Answer) {
    this.answer = answer;
    this.#server = createServer((request, response) => this.#take(request, response));
  }

  /** Starts on 127.0.0.1. */
  static async start(answer: (asked: AskedRequest) => Answer): Promise<HostileServer> {
    const server = new HostileServer(answer);
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  /** `127.0.0.1:PORT`. */
  get host(): string {
    const address = this.#server.address();
    return `127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  }

  get origin(): string {
    return `http://${this.host}`;
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const headers = Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
    );
    const asked = { method: request.method ?? "", url: new URL(request.url ?? "/", this.origin), headers };
    this.asked.push(asked);
    request.resume();
    const { status = 200, headers: given = {}, body = "" } = this.answer(asked);
    response.writeHead(status, given);
    response.end(body);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections?.();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** One object of an S3 listing. */
export interface MadeUpObject {
  readonly key: string;
  readonly size: number | string;
}

/** A page of an S3 listing as XML. */
export function listingOf(objects: readonly MadeUpObject[], token = ""): Answer {
  const contents = objects.map(({ key, size }) =>
    `<Contents><Key>${encodeURIComponent(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>` +
    `<ETag>"e"</ETag><Size>${size}</Size></Contents>`
  );
  const more = token === "" ? "" : `<NextContinuationToken>${token}</NextContinuationToken>`;
  const body = `<?xml version="1.0"?><ListBucketResult><Name>b</Name><EncodingType>url</EncodingType>` +
    `<IsTruncated>${token !== ""}</IsTruncated>${more}${contents.join("")}</ListBucketResult>`;
  return { headers: { "content-type": "application/xml" }, body };
}
