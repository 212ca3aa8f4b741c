/**
 * A proxy between a writer and its S3 server that tells when a request has come to a wanted point, and holds
 * it there: so that a process can be killed at that very point, and what of it the server has is known.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createServer, type Server, Socket } from "node:net";

/** Where a request is held: each is another share of it that the server has. */
export type Point =
  /** Its head has come; the server has nothing. */
  | "before"
  /** The server has half of its body. */
  | "half"
  /** It has come as a whole, and the server has nothing before {@link KillProxy.deliver}. */
  | "late"
  /** The server has answered; the answer is held. */
  | "unanswered"
  /** The answer is passed on. */
  | "answered";

/** Which request is waited for. */
export interface Trap {
  readonly point: Point;
  /** Looks at a request's first line, such as `PUT /bucket/key HTTP/1.1`. */
  readonly line: RegExp;
  /** Which one of those that match, from 1. */
  readonly nth: number;
}

const HEAD_END = "\r\n\r\n";

/** Listens on a free port of 127.0.0.1; passes on what no {@link Trap} waits for. */
export class KillProxy {
  readonly #server: Server;
  readonly #upstreamPort: number;
  readonly #sockets = new Set<Socket>();
  #trap: Trap | undefined;
  #met = 0;
  #onSprung: (late?: Buffer) => void = () => {};
  /** Its own origin. */
  endpoint = "";

  private constructor(upstream: string) {
    this.#upstreamPort = Number(new URL(upstream).port);
    this.#server = createServer((client) => this.#accept(client));
  }

  /** Starts before the server at `upstream`, an origin on 127.0.0.1. */
  static async start(upstream: string): Promise<KillProxy> {
    const proxy = new KillProxy(upstream);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    const address = proxy.#server.address();
    proxy.endpoint = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    return proxy;
  }

  /**
   * Waits for a request, in place of what was waited for; `onSprung` is called once, at the very point, with
   * the request where that is `"late"`.
   */
  arm(trap: Trap | undefined, onSprung: (late?: Uint8Array) => void): void {
    this.#trap = trap;
    this.#met = 0;
    this.#onSprung = onSprung;
  }

  /** Hands the server a request that was held; gives the status of its answer. */
  async deliver(late: Uint8Array): Promise<number> {
    const upstream = this.#connect();
    const answer = await new Promise<string>((resolve, reject) => {
      upstream.once("data", (data: Buffer) => resolve(data.toString("latin1")));
      upstream.once("close", () => reject(new Error("Cannot deliver a request: the server gave no answer")));
      upstream.write(late);
    });
    upstream.destroy();
    return Number(answer.split(" ")[1]);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Whether a request is the one that is waited for. */
  #pointOf(line: string): Point | undefined {
    if (this.#trap === undefined || !this.#trap.line.test(line)) return undefined;
    return ++this.#met === this.#trap.nth ? this.#trap.point : undefined;
  }

  #sprung(late?: Buffer): void {
    this.#trap = undefined;
    this.#onSprung(late);
  }

  #accept(client: Socket): void {
    const passage = new Passage(client, this.#connect(), {
      pointOf: (line) => this.#pointOf(line),
      onSprung: (late) => this.#sprung(late),
    });
    this.#keep(client);
    client.on("data", (data: Buffer) => passage.take(data));
  }

  #connect(): Socket {
    const upstream = new Socket();
    upstream.setNoDelay(true);
    upstream.connect(this.#upstreamPort, "127.0.0.1");
    this.#keep(upstream);
    return upstream;
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {}); // of a process that was killed
  }
}

/** A request whose body has not come as a whole. */
interface OpenRequest {
  readonly point: Point | undefined;
  readonly size: number;
  /** Of the body in bytes. */
  received: number;
}

interface PassageOptions {
  readonly pointOf: (line: string) => Point | undefined;
  readonly onSprung: (late?: Buffer) => void;
}

/** One connection's requests, one after the other; none is sent before the last one's answer. */
class Passage {
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #options: PassageOptions;
  #pending: Buffer = Buffer.alloc(0);
  #open: OpenRequest | undefined;
  /** What is done with the next answer. */
  #answer: "unanswered" | "answered" | undefined;
  readonly #late: Buffer[] = [];
  #isHeld = false;

  constructor(client: Socket, upstream: Socket, options: PassageOptions) {
    this.#client = client;
    this.#upstream = upstream;
    this.#options = options;
    upstream.on("data", (data: Buffer) => this.#answered(data));
    upstream.on("close", () => this.#isHeld || client.destroy());
    client.on("close", () => upstream.destroy());
  }

  /** Takes what the client sends. */
  take(data: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, data]);
    while (!this.#isHeld && (this.#open === undefined ? this.#takeHead() : this.#takeBody(this.#open)));
  }

  #takeHead(): boolean {
    const end = this.#pending.indexOf(HEAD_END);
    if (end < 0) return false;
    const head = this.#pending.subarray(0, end + HEAD_END.length);
    const text = head.toString("latin1");
    if (/^transfer-encoding:/im.test(text)) {
      throw new Error("Cannot pass on a request: its body is in chunks");
    }
    const size = Number(/^content-length: *(\d+)/im.exec(text)?.[1] ?? 0);
    const point = this.#options.pointOf(text.slice(0, text.indexOf("\r\n")));
    if (point === "before") return this.#hold();
    this.#pending = this.#pending.subarray(head.length);
    this.#open = { point, size, received: 0 };
    this.#pass(head);
    return true;
  }

  #takeBody(open: OpenRequest): boolean {
    const wanted = open.point === "half" ? Math.floor(open.size / 2) : open.size;
    const part = this.#pending.subarray(0, wanted - open.received);
    this.#pending = this.#pending.subarray(part.length);
    open.received += part.length;
    this.#pass(part);
    if (open.received < wanted) return false;
    if (open.point === "half") return this.#hold();
    if (open.point === "late") return this.#hold(Buffer.concat(this.#late));
    this.#answer = open.point === "unanswered" || open.point === "answered" ? open.point : undefined;
    this.#open = undefined;
    return true;
  }

  #pass(bytes: Buffer): void {
    if (this.#open?.point === "late") this.#late.push(bytes);
    else if (bytes.length > 0) this.#upstream.write(bytes);
  }

  #answered(data: Buffer): void {
    if (this.#isHeld) return;
    const then = this.#answer;
    this.#answer = undefined;
    if (then === "unanswered") return void this.#hold();
    this.#client.write(data);
    if (then === "answered") this.#options.onSprung();
  }

  #hold(late?: Buffer): boolean {
    this.#isHeld = true;
    this.#options.onSprung(late);
    return false;
  }
}
