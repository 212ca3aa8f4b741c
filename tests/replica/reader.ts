/**
 * Connections of other threads: each a worker that joined a replica.
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import type { SharedReplica } from "../../mod.ts";
import type { Row } from "../support/sqlite.ts";

/** What a reader is asked. */
export interface ReaderCall {
  readonly id: number;
  readonly sql: string;
  /** Calls `replica.interrupt()` that much later, in ms. */
  readonly interruptAfterMs?: number;
}

/** What came of it. */
export interface ReaderAnswer {
  readonly id: number;
  readonly rows: Row[];
  readonly ms: number;
  /** What the driver threw, and what `replica.lastError` says then. */
  readonly error?: { message: string; lastError: string };
}

/** How a reader begins. */
export interface ReaderStart {
  readonly shared: SharedReplica;
  readonly timeoutMs?: number;
}

/** A thread with one connection. */
export class Reader {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, (answer: ReaderAnswer) => void>();
  #nextId = 1;
  #ended: { message: string; lastError: string } | undefined;

  /** Starts a thread, joins the replica there and connects. */
  static async start(start: ReaderStart): Promise<Reader> {
    const reader = new Reader(start);
    await reader.ask("");
    return reader;
  }

  private constructor(start: ReaderStart) {
    this.#worker = new Worker(new URL("./reader_worker.ts", import.meta.url), { workerData: start });
    this.#worker.on("message", (answer: ReaderAnswer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    this.#worker.on("error", (error) => {
      this.#ended = { message: `worker ended: ${error}`, lastError: String(error) };
      for (const [id, settle] of this.#waiting) settle({ id, rows: [], ms: 0, error: this.#ended });
      this.#waiting.clear();
    });
  }

  /** Runs SQL over there. */
  ask(sql: string): Promise<ReaderAnswer> {
    const id = this.#nextId++;
    if (this.#ended) return Promise.resolve({ id, rows: [], ms: 0, error: this.#ended });
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#worker.postMessage({ id, sql } satisfies ReaderCall);
    });
  }

  /** Has the other thread call `replica.interrupt()` after a while, from a timer of its own. */
  interruptAfter(ms: number): void {
    this.#worker.postMessage({ id: -1, sql: "", interruptAfterMs: ms } satisfies ReaderCall);
  }

  /** Closes the connection and ends the thread. */
  async close(): Promise<void> {
    if (this.#ended) return;
    const ended = new Promise((resolve) => this.#worker.once("exit", resolve));
    this.#worker.postMessage({ id: 0, sql: "" } satisfies ReaderCall);
    await ended;
  }
}
