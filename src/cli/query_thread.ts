/**
 * The main thread's side of the query thread.
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import { decodeError } from "../bridge/error_text.ts";
import type { Replica } from "../replica.ts";
import { NO_PARAMETERS, type ParameterValues } from "./parameters.ts";
import {
  type FromQuery,
  QUERY_MARK,
  type QueryCall,
  type QueryConnect,
  type QueryFault,
  type QueryResult,
} from "./query_messages.ts";
import type { RowFormat } from "./row_writer.ts";

/** Pause between two requests to end what runs: the first may come before it has begun. */
const INTERRUPT_MS = 100;

/** A statement was ended because somebody has asked for it. */
export class InterruptedError extends Error {
  /** The class's name. */
  override name = "InterruptedError";
}

/** A failure of SQL, or of reading for it. */
export class QueryError extends Error {
  /** The class's name. */
  override name = "QueryError";
}

/**
 * The query thread's first module: the file beside this one, what comes from the same server, or, where a bundler has laid
 * all of `cli.ts` into one file, that file, which then does not run the command line again.
 */
export function queryEntry(own: string = import.meta.url): URL {
  const ending = /\/query_thread\.([jt]s)$/.exec(own)?.[1];
  if (ending === undefined) return new URL(own);
  const url = new URL(`./query_worker.${ending}`, own);
  // a worker begins with a file or with text: with what a server has only by way of an import
  return url.protocol === "file:" ? url : new URL(`data:text/javascript,import ${JSON.stringify(url.href)};`);
}

/** A thread with one connection; it does one thing at a time. */
export class QueryThread {
  readonly #worker: Worker;
  readonly #stop = new Int32Array(new SharedArrayBuffer(4));
  #replica: Replica | undefined;
  #running: { hear(message: FromQuery): void; fail(error: Error): void } | undefined;
  #dead: Error | undefined;
  /** Whether a transaction that somebody began is open. */
  inTransaction = false;

  /** Starts the thread, which takes some 30 ms that an opening can go on beside. */
  constructor() {
    this.#worker = new Worker(queryEntry(), { workerData: { [QUERY_MARK]: true, stop: this.#stop } });
    this.#worker.unref();
    this.#worker.on("message", (message: FromQuery) => this.#running?.hear(message));
    this.#worker.on("error", (error) => this.#die(error instanceof Error ? error : new Error(String(error))));
    this.#worker.on("exit", () => this.#die(new Error("Cannot query: the query thread has ended")));
  }

  /** Joins an open replica. */
  async join(replica: Replica): Promise<void> {
    this.#replica = replica;
    await this.#call({ kind: "join", shared: replica.share() });
  }

  /**
   * Opens a connection, and then closes the one there was.
   *
   * @throws {ReplicaError} there is no such moment, or it cannot be opened
   */
  async connect(connect: QueryConnect): Promise<void> {
    await this.#call({ kind: "connect", connect });
  }

  /**
   * Runs statements; their rows come as text, and what `write` promises is waited for.
   *
   * @throws {QueryError} a statement failed; those before it have run
   * @throws {InterruptedError} {@link interrupt} was called
   */
  async run(
    statements: readonly string[],
    options: { parameters: ParameterValues; format: RowFormat; write(text: string): Promise<void> },
  ): Promise<void> {
    const { parameters, format, write } = options;
    await this.#call({ kind: "run", statements, parameters, format }, write);
  }

  /** Runs one statement and gives all its rows. */
  async rows(sql: string, parameters = NO_PARAMETERS): Promise<QueryResult> {
    return await this.#call({ kind: "rows", sql, parameters });
  }

  /** Whether something runs. */
  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Ends what runs, whether it waits for storage, computes, or waits for its rows to be written. */
  interrupt(): void {
    if (!this.#running) return;
    Atomics.store(this.#stop, 0, 1);
    this.#replica?.interrupt();
  }

  /** Closes the connection and ends the thread. */
  async close(): Promise<void> {
    if (!this.#dead) await this.#call({ kind: "close" }).catch(() => {});
    this.#dead ??= new Error("Cannot query: the query thread was closed");
    await this.#worker.terminate();
  }

  async #call(call: QueryCall, write?: (text: string) => Promise<void>): Promise<QueryResult> {
    if (this.#dead) throw this.#dead;
    const again = setInterval(() => {
      if (Atomics.load(this.#stop, 0) !== 0) this.#replica?.interrupt();
    }, INTERRUPT_MS);
    this.#worker.ref();
    try {
      return await new Promise((resolve, reject) => {
        let unwritten: Error | undefined;
        const hear = (message: FromQuery) => {
          if (message.kind === "text") {
            this.#write(message.text, write).catch((error) => {
              unwritten = error; // nobody takes the rows any more
              this.interrupt();
            }).finally(() => this.#worker.postMessage({ kind: "written" }));
            return;
          }
          this.inTransaction = (message.result ?? message.fault!).inTransaction;
          if (unwritten) reject(unwritten);
          else if (message.result) resolve(message.result);
          else reject(faultError(message.fault!));
        };
        this.#running = { hear, fail: reject };
        this.#worker.postMessage(call);
      });
    } finally {
      clearInterval(again);
      this.#running = undefined;
      Atomics.store(this.#stop, 0, 0);
      this.#worker.unref();
    }
  }

  async #write(text: string, write: ((text: string) => Promise<void>) | undefined): Promise<void> {
    await write?.(text);
  }

  #die(error: Error): void {
    this.#dead ??= error;
    this.#running?.fail(this.#dead);
  }
}

/** An error of the library's own where it is one by which somebody decides; SQL's faults are all alike. */
function faultError({ error, isInterrupted }: QueryFault): Error {
  const cause = decodeError(error);
  if (isInterrupted) return new InterruptedError("Cannot go on: interrupted", { cause });
  return new QueryError(cause.message, { cause });
}
