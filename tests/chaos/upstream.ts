/**
 * Upstream: the true server behind a chaos proxy, and its answers as a whole.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Socket } from "node:net";
import type { HttpRequest } from "../support/request_reader.ts";

/** An answer with its whole body. */
export interface WireAnswer {
  readonly status: number;
  /** Names in lower case; Content-Length is the body's, and there is no other coding. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

const HEAD_END = "\r\n\r\n";
/** Headers of one connection, which do not belong to the next. */
const OF_CONNECTION = ["connection", "keep-alive", "transfer-encoding", "content-length", "expect"];

/** Asks a server over connections that are kept for further reads. */
export class Upstream {
  readonly #port: number;
  readonly #host: string;
  readonly #idle: Connection[] = [];

  /** `origin` is such as `http://127.0.0.1:40000`. */
  constructor(origin: string) {
    const { hostname, port } = new URL(origin);
    this.#host = hostname;
    this.#port = Number(port);
  }

  /** The answer to a request; a connection that has died meanwhile is told from a server that has. */
  async ask(request: HttpRequest): Promise<WireAnswer> {
    const kept = request.method === "GET" ? this.#idle.pop() : undefined;
    if (kept !== undefined) {
      const answer = await this.#exchange(kept, request).catch(() => undefined);
      if (answer !== undefined) return answer;
    }
    return await this.#exchange(new Connection(this.#host, this.#port), request);
  }

  async #exchange(connection: Connection, request: HttpRequest): Promise<WireAnswer> {
    const answer = await connection.exchange(request);
    if (connection.isReusable) this.#idle.push(connection);
    else connection.destroy();
    return answer;
  }
}

/** One connection, with one request at a time. */
class Connection {
  readonly #socket = new Socket();
  #take: (data: Buffer) => void = () => {};
  #fail: (error: Error) => void = () => {};
  #isClosed = false;
  #isReusable = false;

  constructor(host: string, port: number) {
    this.#socket.setNoDelay(true);
    this.#socket.on("data", (data: Buffer) => this.#take(data));
    this.#socket.on("error", () => {}); // "close" follows
    this.#socket.on("close", () => {
      this.#isClosed = true;
      this.#fail(new Error("Cannot pass on request: the server closed the connection"));
    });
    this.#socket.connect(port, host);
  }

  get isReusable(): boolean {
    return this.#isReusable && !this.#isClosed;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async exchange(request: HttpRequest): Promise<WireAnswer> {
    if (this.#isClosed) throw new Error("Cannot pass on request: the connection is closed");
    let pending: Buffer = Buffer.alloc(0);
    try {
      return await new Promise<WireAnswer>((resolve, reject) => {
        this.#fail = reject;
        this.#take = (data) => {
          pending = Buffer.concat([pending, data]);
          const answer = parseAnswer(pending);
          if (answer === undefined) return;
          this.#isReusable = answer.headers.get("connection")?.toLowerCase() !== "close";
          resolve(withoutConnection(answer));
        };
        this.#socket.write(encodeRequest(request));
      });
    } finally {
      this.#take = () => this.destroy(); // nothing was asked for
      this.#fail = () => {};
    }
  }
}

function encodeRequest({ method, target, headers, body }: HttpRequest): Buffer {
  if (method === "HEAD") {
    throw new Error("Cannot pass on request: HEAD, expected one whose answer has a body");
  }
  const own = [...headers].filter(([name]) => !OF_CONNECTION.includes(name));
  const lines = [`${method} ${target} HTTP/1.1`, ...own.map(([name, value]) => `${name}: ${value}`)];
  if (method !== "GET" || body.length > 0) lines.push(`content-length: ${body.length}`);
  return Buffer.concat([Buffer.from(lines.join("\r\n") + HEAD_END, "latin1"), body]);
}

/** The answer, where all of it has come; interim ones are passed over. */
function parseAnswer(bytes: Buffer): WireAnswer | undefined {
  const end = bytes.indexOf(HEAD_END);
  if (end < 0) return undefined;
  const [first = "", ...lines] = bytes.toString("latin1", 0, end).split("\r\n");
  const status = Number(first.split(" ")[1]);
  const rest = bytes.subarray(end + HEAD_END.length);
  if (status < 200) return parseAnswer(rest);
  const headers = new Map(lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
  }));
  const body = headers.get("transfer-encoding") === "chunked"
    ? chunkedBody(rest)
    : bodyOf(rest, status === 204 || status === 304 ? 0 : Number(headers.get("content-length") ?? 0));
  return body && { status, headers, body };
}

function bodyOf(bytes: Buffer, size: number): Buffer | undefined {
  return bytes.length < size ? undefined : bytes.subarray(0, size);
}

function chunkedBody(bytes: Buffer): Buffer | undefined {
  const chunks: Buffer[] = [];
  for (let offset = 0;;) {
    const line = bytes.indexOf("\r\n", offset);
    if (line < 0) return undefined;
    const size = parseInt(bytes.toString("latin1", offset, line), 16);
    const end = line + 2 + size;
    if (bytes.length < end + 2) return undefined;
    if (size === 0) return Buffer.concat(chunks);
    chunks.push(bytes.subarray(line + 2, end));
    offset = end + 2;
  }
}

function withoutConnection({ status, headers, body }: WireAnswer): WireAnswer {
  const own = [...headers].filter(([name]) => !OF_CONNECTION.includes(name));
  return { status, headers: new Map(own), body };
}
