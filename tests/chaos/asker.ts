/**
 * Who asks databases: a thread of its own, so that a query that waits blocks nobody else, or this one, which is cheaper.
 *
 * @module
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { Row } from "../support/sqlite.ts";
import { AskedConnections, type AskerAnswer, type AskerCall, type AskerFault } from "./asked_connections.ts";

/** A call failed. */
export class AskedError extends Error {
  override name = "AskedError";
  readonly fault: AskerFault;

  constructor(fault: AskerFault) {
    super(`${fault.driver}; ${fault.reason}`);
    this.fault = fault;
  }
}

/** Asks, one call after the other. */
export class Asker {
  readonly #worker: Worker | undefined;
  readonly #connections = new AskedConnections();
  #turn: Promise<unknown> = Promise.resolve();

  /** With a thread of its own, or on this one. */
  constructor(hasThread: boolean) {
    if (hasThread) this.#worker = new Worker(new URL("./asker_worker.ts", import.meta.url));
  }

  /**
   * Has a call made; gives its rows.
   *
   * @throws {AskedError} it failed
   */
  ask(call: AskerCall): Promise<Row[]> {
    const asked = this.#turn.then(() => this.#exchange(call));
    this.#turn = asked.catch(() => {}); // who asked is told
    return asked;
  }

  async #exchange(call: AskerCall): Promise<Row[]> {
    const { rows, fault } = this.#worker
      ? await this.#elsewhere(this.#worker, call)
      : await this.#connections.answer(call);
    if (fault) throw new AskedError(fault);
    return rows;
  }

  async #elsewhere(worker: Worker, call: AskerCall): Promise<AskerAnswer> {
    const answered = once(worker, "message"); // rejects where the thread ends by an error
    worker.postMessage(call);
    const [answer] = await answered as [AskerAnswer];
    return answer;
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }
}
