/**
 * Threads that connect to a replica, and may hang or be terminated while they do.
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import type { SharedReplica } from "../../mod.ts";

/** What a thread is to do. */
export interface ConnectCall {
  readonly id: number;
  readonly asOf?: string | bigint;
  readonly timeoutMs?: number;
  /** What is asked of the connection, if anything. */
  readonly sql?: string;
  /** How often; once unless given. */
  readonly times?: number;
  /** With a driver that never returns. */
  readonly endless?: boolean;
}

/** What came of it. */
export interface Connected {
  readonly id: number;
  readonly ms: number;
  /** What was thrown, of each time that something was. */
  readonly errors?: { readonly name: string; readonly message: string; readonly cause: string }[];
  /** The first column of the first row. */
  readonly value?: unknown;
}

/** A thread that joined a replica. */
export class Connector {
  readonly #worker: Worker;
  #nextId = 1;

  /** Starts a thread that joins the replica. */
  static async start(shared: SharedReplica): Promise<Connector> {
    const connector = new Connector(shared);
    await connector.#answer(0);
    return connector;
  }

  private constructor(shared: SharedReplica) {
    this.#worker = new Worker(new URL("./connect_worker.ts", import.meta.url), { workerData: { shared } });
  }

  #answer(id: number): Promise<Connected> {
    return new Promise((resolve, reject) => {
      const hear = (connected: Connected) => {
        if (connected.id !== id) return;
        this.#worker.off("message", hear);
        resolve(connected);
      };
      this.#worker.on("message", hear);
      this.#worker.once("error", reject);
    });
  }

  /** Connects over there, and closes the connection. */
  connect(call: Omit<ConnectCall, "id">): Promise<Connected> {
    const id = this.#nextId++;
    const answer = this.#answer(id);
    this.#worker.postMessage({ ...call, id } satisfies ConnectCall);
    return answer;
  }

  /** Has the thread hang inside `connect()`; resolves when it does. */
  async hang(): Promise<void> {
    const hanging = this.#answer(0);
    this.#worker.postMessage({ id: 0, endless: true } satisfies ConnectCall);
    await hanging;
  }

  /** Ends the thread, whatever it does. */
  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }
}
