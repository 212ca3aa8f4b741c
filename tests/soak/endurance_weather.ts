/**
 * What lies between processes and their storage: nothing, or a proxy by which storage goes wrong in storms.
 *
 * @module
 */
import { ChaosProxy } from "../chaos/chaos_proxy.ts";
import { evenRates, type FaultKind } from "../chaos/fault_schedule.ts";
import type { Counts } from "./endurance_ledger.ts";

/** Of a storm's reads, the share that goes wrong. */
const SHARE = 0.2;

/** Bits that are turned over in a page of a large file are noticed by nobody, as is said in the documentation. */
const WITHOUT: readonly FaultKind[] = ["flipped"];

/** Where processes find their storage, and how that goes. */
export interface Front extends AsyncDisposable {
  /** In place of the server's, one a process. */
  readonly origins: readonly string[];
  storm(): void;
  calm(): void;
  /** Ends the connections that nothing is asked on. */
  hangUp(): void;
  /** Faults that a process has met so far, by kind. */
  counts(process: number): Counts;
}

/** Starts what lies in front of a server: a proxy with a schedule for each process, or nothing. */
export async function startFront(
  target: string,
  { seed, processes, hasStorms }: { seed: number; processes: number; hasStorms: boolean },
): Promise<Front> {
  if (!hasStorms) return clearFront(target, processes);
  const proxy = await ChaosProxy.start({ target, seed, rates: evenRates(SHARE, WITHOUT), lanes: processes });
  proxy.calm();
  return proxy;
}

function clearFront(target: string, processes: number): Front {
  return {
    origins: Array.from({ length: processes }, () => target),
    storm() {},
    calm() {},
    hangUp() {},
    counts: () => ({}),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
