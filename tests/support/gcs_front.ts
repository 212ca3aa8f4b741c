/**
 * GcsFront: a server before fake-gcs-server that does what that one leaves out, and goes wrong when it is
 * told to.
 *
 * Resumable uploads are kept as Google describes them: chunks in order, bytes that are known ignored, a
 * multiple of 256 KiB but for the last; what has arrived is told; the condition holds when the object is
 * made. The object itself is made by the server behind.
 *
 * @see https://cloud.google.com/storage/docs/performing-resumable-uploads
 * @module
 */
import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";

const CHUNK_UNIT = 256 * 1024;

/** One request, as it came. */
export interface FrontRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** What becomes of a request in place of its answer; undefined: nothing. */
export type FrontFault =
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string }
  /**
   * It is done and not answered: the connection is cut. `bytesMax`: only so much of a chunk arrives before.
   */
  | { readonly kind: "cut"; readonly bytesMax?: number }
  /** The answer's body ends early. */
  | { readonly kind: "short" };

interface Session {
  readonly condition: string;
  readonly description: string;
  bytes: Uint8Array;
  /** The answer of the server behind, once there is one. */
  made: Answer | undefined;
}

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Uint8Array;
}

/** The server. */
export class GcsFront {
  /** Origin. */
  endpoint = "";
  readonly requests: FrontRequest[] = [];
  /**
   * Each connection is for one request. On one that is used again both runtimes send a request a second time
   * by themselves when it is cut.
   */
  closesConnections = false;
  /** Asked for each request. */
  onRequest: (request: FrontRequest) => FrontFault | undefined = () => undefined;
  readonly #upstream: string;
  readonly #server: Server;
  readonly #sessions = new Map<string, Session>();

  private constructor(upstream: string) {
    this.#upstream = upstream;
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch((error) => response.destroy(error));
    });
  }

  /** Starts it before the server at `upstream`. */
  static async start(upstream: string): Promise<GcsFront> {
    const front = new GcsFront(upstream);
    await new Promise<void>((resolve) => front.#server.listen(0, "127.0.0.1", resolve));
    const address = front.#server.address();
    front.endpoint = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    return front;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = await requestOf(incoming);
    this.requests.push(request);
    response.shouldKeepAlive = !this.closesConnections;
    const fault = this.onRequest(request);
    if (fault !== undefined && "status" in fault) {
      response.writeHead(fault.status, fault.headers).end(fault.body);
      return;
    }
    const bytesMax = fault?.kind === "cut" ? fault.bytesMax : undefined;
    const answer = await this.#answer(bytesMax === undefined ? request : shortened(request, bytesMax));
    if (fault?.kind === "cut") return void incoming.socket.destroy();
    response.writeHead(answer.status, { ...answer.headers, "content-length": String(answer.body.length) });
    if (fault?.kind !== "short") return void response.end(answer.body);
    response.write(answer.body.subarray(0, answer.body.length / 2), () => incoming.socket.destroy());
  }

  async #answer(request: FrontRequest): Promise<Answer> {
    const { searchParams, pathname } = new URL(request.url, this.endpoint);
    const id = searchParams.get("upload_id");
    if (id !== null) return await this.#goOn(request, id);
    if (searchParams.get("uploadType") === "resumable") return this.#begin(request, pathname, searchParams);
    return await this.#pass(request);
  }

  #begin({ body }: FrontRequest, path: string, query: URLSearchParams): Answer {
    const id = crypto.randomUUID();
    const generation = query.get("ifGenerationMatch");
    const condition = `${path}?uploadType=multipart${generation ? `&ifGenerationMatch=${generation}` : ""}`;
    this.#sessions.set(id, {
      condition,
      description: new TextDecoder().decode(body),
      bytes: new Uint8Array(0),
      made: undefined,
    });
    const location = `http://another.host${path}?uploadType=resumable&upload_id=${id}`;
    return { status: 200, headers: { location }, body: new Uint8Array(0) };
  }

  async #goOn({ method, headers, body }: FrontRequest, id: string): Promise<Answer> {
    const session = this.#sessions.get(id);
    if (session === undefined) return empty(404);
    if (method === "DELETE") {
      this.#sessions.delete(id);
      return empty(499);
    }
    if (session.made !== undefined) return session.made;
    const match = /^bytes (?:\*|(\d+)-(\d+))\/(?:\*|(\d+))$/.exec(headers["content-range"] ?? "");
    if (match === null) return empty(400);
    const [, first, last, total] = match;
    if (first !== undefined) {
      const isWhole = Number(last) + 1 === Number(first) + Number(headers["content-length"]);
      const isUnit = total !== undefined || Number(headers["content-length"]) % CHUNK_UNIT === 0;
      const known = session.bytes.length - Number(first);
      if (!isWhole || !isUnit || known < 0) return empty(400);
      session.bytes = joined(session.bytes, body.subarray(known));
    }
    if (total === undefined || session.bytes.length < Number(total)) {
      const { length } = session.bytes;
      return { ...empty(308), headers: length === 0 ? {} : { range: `bytes=0-${length - 1}` } };
    }
    return await this.#make(session, id);
  }

  /** One that failed is over. */
  async #make(session: Session, id: string): Promise<Answer> {
    const [head, tail] = [
      `--b\r\nContent-Type: application/json\r\n\r\n${session.description}\r\n` +
      "--b\r\nContent-Type: application/octet-stream\r\n\r\n",
      "\r\n--b--\r\n",
    ].map((text) => new TextEncoder().encode(text));
    const made = await this.#pass({
      method: "POST",
      url: session.condition,
      headers: { "content-type": "multipart/related; boundary=b" },
      body: joined(head!, session.bytes, tail!),
    });
    if (made.status === 200) session.made = made;
    else this.#sessions.delete(id);
    return made;
  }

  async #pass({ method, url, headers, body }: FrontRequest): Promise<Answer> {
    const own = without(headers, "host", "connection", "content-length");
    const response = await fetch(this.#upstream + url, {
      method,
      headers: { ...own, "accept-encoding": "identity" },
      ...(body.length > 0 && { body: body as Uint8Array<ArrayBuffer> }),
    });
    return {
      status: response.status,
      headers: without(Object.fromEntries(response.headers), "connection", "transfer-encoding"),
      body: new Uint8Array(await response.arrayBuffer()),
    };
  }
}

function empty(status: number): Answer {
  return { status, headers: {}, body: new Uint8Array(0) };
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** As much as arrives of a body before its connection is cut. */
function shortened(request: FrontRequest, bytesMax: number): FrontRequest {
  return { ...request, body: request.body.subarray(0, bytesMax) };
}

async function requestOf(incoming: IncomingMessage): Promise<FrontRequest> {
  const parts: Buffer[] = [];
  for await (const part of incoming) parts.push(part);
  const { method = "", url = "", headers } = incoming;
  return { method, url, headers: headers as Record<string, string>, body: joined(...parts) };
}

/** What concerns one connection is not passed on. */
function without(headers: Readonly<Record<string, string>>, ...names: string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !names.includes(name)));
}
