/**
 * How late timers of an event loop come, and a core whose loop is this thread's, so that it can be asked.
 *
 * @module
 */
import { loadNative } from "../../ffi/mod.ts";
import type { OpenOptions } from "../../mod.ts";
import { beginOpening } from "../../src/bridge/begun_opening.ts";
import { Core } from "../../src/bridge/core.ts";
import type { LiveReplica } from "../../src/live/live_replica.ts";
import { Log } from "../../src/log.ts";
import { makeConfig } from "../../src/replica_config.ts";
import { findShim } from "../../src/shim_path.ts";

/** Times of one kind of thing, in ms. */
export class Times {
  #all: number[] = [];

  add(ms: number): void {
    this.#all.push(ms);
  }

  /** What was added since the last call, as figures. */
  take(name: string): Record<string, number> {
    const sorted = Float64Array.from(this.#all).sort();
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    this.#all = [];
    return {
      [`${name} p50`]: at(0.5),
      [`${name} p99`]: at(0.99),
      [`${name} longest`]: at(1),
      [`${name} count`]: sorted.length,
    };
  }
}

/** Runs a timer of 1 ms until something is done: what is added is the time between two of its calls. */
export async function timeLoop(times: Times, until: Promise<unknown>): Promise<void> {
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    times.add(now - last);
    last = now;
  }, 1);
  try {
    await until;
  } finally {
    clearInterval(timer);
  }
}

/** A replica of a core on this thread. */
export interface ReplicaHere {
  readonly live: LiveReplica;
  close(): Promise<void>;
}

/** A core on this thread. */
export async function coreHere(): Promise<{ open(url: string, options: OpenOptions): Promise<ReplicaHere> }> {
  const core = new Core(await loadNative(findShim()), {}, new Log(() => {}, "error"));
  const surroundings = {
    environment: {},
    native: Promise.resolve(core.native),
    signal: undefined,
    hooks: {},
  };
  return {
    async open(url, options) {
      const id = await core.open(await beginOpening(makeConfig(url, options, {}), surroundings));
      return { live: core.replica(id), close: () => core.close(id) };
    },
  };
}

/** Waits. */
export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
