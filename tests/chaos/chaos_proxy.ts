/**
 * A proxy before an S3 server that goes wrong by a seed: with it the network, the server and what it tells are as bad as
 * they get.
 *
 *     await using proxy = await ChaosProxy.start({ target: server.endpoint, seed: 1, rates: evenRates(0.3) });
 *     // `s3://bucket/path?endpoint=${proxy.origin}&forcePathStyle=true`
 *
 * It is a thread of its own, so that a query may block the one that tests. Requests are passed on as they were signed.
 *
 * @module
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { ChaosMemory } from "./chaos_memory.ts";
import type { ProxyStart } from "./chaos_proxy_thread.ts";
import { FAULT_KINDS, type FaultKind, type FaultRates } from "./fault_schedule.ts";

/** How a proxy begins. */
export interface ChaosProxyOptions {
  /** Origin of the server, such as `http://127.0.0.1:40000`. */
  readonly target: string;
  readonly seed: number;
  /** What {@link ChaosProxy.storm} has happen unless it says otherwise; it storms from the beginning. */
  readonly rates: FaultRates;
  /** Origins: each has its own schedule, and its faults are counted apart. One unless given. */
  readonly lanes?: number;
}

/** The proxy, as it is started and told. */
export class ChaosProxy {
  readonly #worker: Worker;
  readonly #memory: ChaosMemory;
  readonly #rates: FaultRates;
  /** One a lane, without a path. */
  readonly origins: readonly string[];

  /** Starts it on free ports of 127.0.0.1. */
  static async start({ target, seed, rates, lanes = 1 }: ChaosProxyOptions): Promise<ChaosProxy> {
    const memory = new ChaosMemory(lanes);
    const workerData: ProxyStart = { target, seed, lanes, buffer: memory.buffer };
    const worker = new Worker(new URL("./chaos_proxy_thread.ts", import.meta.url), { workerData });
    const [ports] = await once(worker, "message") as [number[]];
    const proxy = new ChaosProxy({ worker, memory, rates, ports });
    proxy.storm();
    return proxy;
  }

  private constructor(parts: { worker: Worker; memory: ChaosMemory; rates: FaultRates; ports: number[] }) {
    this.#worker = parts.worker;
    this.#memory = parts.memory;
    this.#rates = parts.rates;
    this.origins = parts.ports.map((port) => `http://127.0.0.1:${port}`);
  }

  /** The first lane's. */
  get origin(): string {
    return this.origins[0]!;
  }

  /** Of its {@link ChaosMemory}, for what else storms when it does. */
  get buffer(): SharedArrayBuffer {
    return this.#memory.buffer;
  }

  /** Faults so far by kind: of all lanes, or of one. */
  counts(lane?: number): Record<FaultKind, number> {
    if (lane !== undefined) return this.#memory.countsOf(lane);
    const all = this.origins.map((_, each) => this.#memory.countsOf(each));
    return Object.fromEntries(
      FAULT_KINDS.map((kind) => [kind, all.reduce((sum, counts) => sum + counts[kind], 0)]),
    ) as Record<FaultKind, number>;
  }

  /** Requests so far, of all lanes. */
  get requests(): number {
    return this.#memory.requests;
  }

  /** See {@link ChaosMemory.givenMs}. */
  get givenMs(): number {
    return this.#memory.givenMs;
  }

  /** Nothing goes wrong from now on, but for what has begun: a stalled answer stays so, a late write still comes. */
  calm(): void {
    this.#memory.calm();
  }

  /** Things go wrong again: at these rates, or at those of the beginning. */
  storm(rates: FaultRates = this.#rates): void {
    this.#memory.storm(rates);
  }

  /** Ends the connections that nothing is asked on: a client frees what it keeps for each. */
  hangUp(): void {
    this.#worker.postMessage("hang up");
  }

  /** Ends it, and every connection through it. */
  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
