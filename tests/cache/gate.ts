/**
 * A gate before a server: what comes to it is passed on, meets nobody, or is never answered. Its address
 * stays.
 *
 * @module
 */
import { connect, createServer, type Server, type Socket } from "node:net";

/** How it is. */
export type GateState = "open" | "shut" | "silent";

/** One gate. */
export class Gate {
  readonly #port: number;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #state: GateState = "open";
  #own = 0;

  /** Before what listens at `endpoint`. */
  static async before(endpoint: string): Promise<Gate> {
    const gate = new Gate(Number(new URL(endpoint).port));
    await gate.#listen();
    return gate;
  }

  private constructor(port: number) {
    this.#port = port;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#own}`;
  }

  /** Ends all connections; those that come from now on meet the new state. */
  async set(state: GateState): Promise<void> {
    this.#state = state;
    for (const socket of this.#sockets) socket.destroy();
    if (state !== "shut") return await this.#listen();
    const server = this.#server;
    this.#server = undefined;
    await new Promise((resolve) => server ? server.close(resolve) : resolve(undefined));
  }

  async #listen(): Promise<void> {
    if (this.#server) return;
    const server = this.#server = createServer((socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#own, "127.0.0.1", () => resolve());
    });
    this.#own = (server.address() as { port: number }).port;
  }

  #accept(socket: Socket): void {
    this.#keep(socket);
    if (this.#state === "silent") return;
    const server = connect(this.#port, "127.0.0.1");
    this.#keep(server);
    socket.on("close", () => server.destroy());
    server.on("close", () => socket.destroy());
    socket.pipe(server);
    server.pipe(socket);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => {}); // one end has gone; the other follows
    socket.on("close", () => this.#sockets.delete(socket));
  }

  async close(): Promise<void> {
    await this.set("shut");
  }
}
