/**
 * RequestReader: the HTTP/1.1 requests of one connection, as they were sent.
 *
 * For servers that break the protocol on purpose: paths stay as they are, and nothing is answered here.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";

/** One request. */
export interface HttpRequest {
  readonly method: string;
  /** Path and query as they were sent. */
  readonly target: string;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  body: Buffer;
}

/** A request whose body has not arrived as a whole. */
interface OpenRequest {
  readonly request: HttpRequest;
  /** Of the body in bytes; -1 where it comes in chunks. */
  readonly size: number;
  readonly parts: Buffer[];
  received: number;
}

/** Cuts a connection's bytes into requests. */
export class RequestReader {
  /** Called with each, in the order they came. */
  onRequest: (request: HttpRequest) => void = () => {};
  readonly #socket: Socket;
  #pending: Buffer = Buffer.alloc(0);
  #open: OpenRequest | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (data: Buffer) => {
      this.#pending = this.#pending.length === 0 ? data : Buffer.concat([this.#pending, data]);
      while (this.#step());
    });
  }

  /** Takes one step; false where it needs more bytes. */
  #step(): boolean {
    return this.#open === undefined ? this.#readHead() : this.#readBody(this.#open);
  }

  #readHead(): boolean {
    const end = this.#pending.indexOf("\r\n\r\n");
    if (end < 0) return false;
    const [first = "", ...lines] = this.#pending.toString("utf8", 0, end).split("\r\n");
    this.#pending = this.#pending.subarray(end + 4);
    const [method = "", target = ""] = first.split(" ");
    const headers = new Map<string, string>();
    for (const line of lines) {
      const colon = line.indexOf(":");
      headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
    const host = headers.get("fake-host");
    if (host !== undefined) headers.set("host", host);
    headers.delete("fake-host");
    if (headers.get("expect") === "100-continue") this.#socket.write("HTTP/1.1 100 Continue\r\n\r\n");
    const chunked = headers.get("transfer-encoding") === "chunked";
    const size = chunked ? -1 : Number(headers.get("content-length") ?? 0);
    this.#open = {
      request: { method, target, headers, body: Buffer.alloc(0) },
      size,
      parts: [],
      received: 0,
    };
    return true;
  }

  #readBody(open: OpenRequest): boolean {
    if (open.size < 0) return this.#readChunk(open);
    const part = this.#pending.subarray(0, open.size - open.received);
    if (part.length === 0 && open.received < open.size) return false;
    this.#pending = this.#pending.subarray(part.length);
    open.parts.push(part);
    open.received += part.length;
    if (open.received < open.size) return false;
    this.#finish(open);
    return true;
  }

  #readChunk(open: OpenRequest): boolean {
    const line = this.#pending.indexOf("\r\n");
    if (line < 0) return false;
    const size = parseInt(this.#pending.toString("latin1", 0, line), 16);
    if (this.#pending.length < line + 2 + size + 2) return false;
    open.parts.push(this.#pending.subarray(line + 2, line + 2 + size));
    this.#pending = this.#pending.subarray(line + 2 + size + 2);
    if (size === 0) this.#finish(open);
    return true;
  }

  #finish(open: OpenRequest): void {
    this.#open = undefined;
    open.request.body = Buffer.concat(open.parts);
    this.onRequest(open.request);
  }
}
