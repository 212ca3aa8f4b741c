/**
 * Queries in worker threads, so that a page which has to be fetched never blocks the thread that answers requests. Used by
 * `hono_api.ts`; the threads run `query_worker.ts`.
 */
import { Worker } from "node:worker_threads";
import type { Replica } from "@x/litestream-vfs";

/** What is asked. */
export interface Query {
  readonly sql: string;
  readonly parameters?: readonly (string | number | null)[];
  /** The moment, as `connect({ asOf })` takes it; the newest state unless given. */
  readonly asOf?: string | undefined;
}

/** What came of it: the rows, and the TXID of the state that they are of, in 16 hex digits. */
export interface QueryResult {
  readonly txid: string;
  readonly rows: readonly Record<string, unknown>[];
}

interface Waiting {
  resolve(result: QueryResult): void;
  reject(error: Error): void;
}

/** A thread with one connection to the newest state; what it is asked it does one after the other. */
class QueryThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  constructor(replica: Replica) {
    this.#worker = new Worker(new URL("./query_worker.ts", import.meta.url), { workerData: replica.share() });
    this.#worker.on("message", ({ id, error, ...result }) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) this.#worker.unref();
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(error));
    });
    this.#worker.on("error", (error) => this.#fail(error as Error));
    this.#worker.unref(); // an idle thread keeps no process alive
    this.#worker.on("exit", () => this.#fail(new Error("Cannot query: the thread has ended")));
  }

  get load(): number {
    return this.#waiting.size;
  }

  run(query: Query): Promise<QueryResult> {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage({ id, ...query });
    });
  }

  /** Lets it finish what it does, and close its connection. */
  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#worker.once("exit", resolve));
    this.#worker.ref();
    this.#worker.postMessage(null);
    await ended;
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** A few of them; each query goes to the one with the least to do. */
export class QueryPool implements AsyncDisposable {
  readonly #threads: readonly QueryThread[];

  constructor(replica: Replica, size = 4) {
    this.#threads = Array.from({ length: size }, () => new QueryThread(replica));
  }

  /** Runs a query. */
  run(query: Query): Promise<QueryResult> {
    return this.#threads.reduce((least, thread) => thread.load < least.load ? thread : least).run(query);
  }

  /** Ends the threads; close the replica afterwards. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.close()));
  }
}
