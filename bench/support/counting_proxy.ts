/**
 * A proxy in front of an S3 server that counts requests by kind, as they stand on the wire: bytes pass through untouched, so
 * that signatures hold.
 *
 * @module
 */
import { connect, createServer, type Server, type Socket } from "node:net";

/** Requests by what they cost: a listing, an object's bytes, an object's headers, anything else. */
export interface RequestKinds {
  LIST: number;
  GET: number;
  HEAD: number;
  other: number;
}

/** The kind of a request, from its first line. */
export function kindOf(line: string): keyof RequestKinds {
  const [method = "", target = ""] = line.split(" ", 2);
  if (method === "HEAD") return "HEAD";
  if (method !== "GET") return "other";
  return /[?&](?:list-type=|prefix=)/.test(target) ? "LIST" : target.includes("?location") ? "other" : "GET";
}

/** Proxies one server. Its clients send no bodies: it reads heads, one after the other. */
export class CountingProxy {
  /** What has passed. */
  readonly counts: RequestKinds = { LIST: 0, GET: 0, HEAD: 0, other: 0 };
  /** Origin, such as `http://127.0.0.1:40123`. */
  endpoint = "";
  readonly #target: URL;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((client) => this.#pass(client));
  }

  /** Starts on a free loopback port. */
  static async start(target: string): Promise<CountingProxy> {
    const proxy = new CountingProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    const address = proxy.#server.address();
    proxy.endpoint = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    return proxy;
  }

  #pass(client: Socket): void {
    const server = connect(Number(this.#target.port), this.#target.hostname);
    for (const [one, other] of [[client, server], [server, client]] as const) {
      this.#sockets.add(one);
      one.setNoDelay(true);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
    let head = "";
    client.on("data", (bytes) => {
      head += bytes.toString("latin1");
      for (let end = head.indexOf("\r\n\r\n"); end >= 0; end = head.indexOf("\r\n\r\n")) {
        this.counts[kindOf(head)]++;
        head = head.slice(end + 4);
      }
      server.write(bytes);
    });
    server.on("data", (bytes) => client.write(bytes));
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
