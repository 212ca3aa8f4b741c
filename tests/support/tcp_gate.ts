/**
 * A gate before a server: it passes bytes on until it is told to cut connections, or to let nothing through
 * any more.
 *
 * @module
 */
import { once } from "node:events";
import { createServer, type Server, Socket } from "node:net";

/** Listens on a free port of 127.0.0.1. */
export class TcpGate {
  readonly #server: Server;
  readonly #upstreamPort: number;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  readonly #waiting = new Set<Socket>();
  #isShut = false;
  /** Connections so far. */
  connections = 0;

  private constructor(upstreamPort: number) {
    this.#upstreamPort = upstreamPort;
    this.#server = createServer((client) => this.#accept(client));
  }

  /** Starts before the server at that port of 127.0.0.1. */
  static async start(upstreamPort: number): Promise<TcpGate> {
    const gate = new TcpGate(upstreamPort);
    gate.#server.listen(0, "127.0.0.1");
    await once(gate.#server, "listening");
    return gate;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" ? address?.port ?? 0 : 0;
  }

  /** Resets the connections that stand. */
  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy();
  }

  /** Keeps the connections that stand, and lets nothing through. */
  stall(): void {
    for (const [client, upstream] of this.#pairs) {
      client.unpipe(upstream);
      upstream.unpipe(client);
    }
  }

  /** New connections are accepted and get no further. */
  shut(): void {
    this.#isShut = true;
  }

  async close(): Promise<void> {
    this.cut();
    for (const socket of this.#waiting) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(client: Socket): void {
    this.connections++;
    client.on("error", () => {});
    if (this.#isShut) return void this.#waiting.add(client);
    const upstream = new Socket().connect(this.#upstreamPort, "127.0.0.1");
    const pair = [client, upstream] as const;
    this.#pairs.add(pair);
    upstream.on("error", () => {});
    client.pipe(upstream).pipe(client);
    for (const socket of pair) {
      socket.on("close", () => {
        this.#pairs.delete(pair);
        for (const each of pair) each.destroy();
      });
    }
  }
}
