/**
 * How far a replica's local copy is, as any thread can see it.
 *
 * @module
 */
import { type Native, readText } from "../ffi/native.ts";
import { LocalFileError, ReplicaClosedError, ReplicaError } from "./errors.ts";

/** How far the local copy of a replica is. */
export interface HydrationState {
  /** `"under-way"`, `"whole"`: the newest state is read from it alone; `"failed"`: it was given up. */
  readonly phase: "under-way" | "whole" | "failed";
  /** Path of the file; undefined where it is private to the process. */
  readonly path: string | undefined;
  /** Pages of the newest state that are read from it. */
  readonly pages: number;
  /** Pages of that state. */
  readonly pagesTotal: number;
  /** The transaction at which it was whole last; 0n for never. */
  readonly txid: bigint;
}

const PHASES = [undefined, "under-way", "whole", "failed"] as const;

/** How often it is looked, in ms. */
const LOOK_MS = 5;

/** How long is waited for the reason of a fault, in ms. */
const FAULT_MS = 1_000;

/** Reads it; undefined where there is none, or the replica is gone. */
export function readHydration(native: Native, replicaId: number): HydrationState | undefined {
  const words = new BigUint64Array(4);
  if (native.calls.ls_replica_hydration(replicaId, new Uint8Array(words.buffer)) < 0) return undefined;
  const phase = PHASES[Number(words[0])];
  if (phase === undefined) return undefined;
  const path = readText(
    (buffer) => native.calls.ls_replica_hydration_file(replicaId, buffer, buffer.length),
    4096,
  );
  const [, pages, pagesTotal, txid] = words;
  return {
    phase,
    path: path || undefined,
    pages: Number(pages),
    pagesTotal: Number(pagesTotal),
    txid: txid!,
  };
}

/** What {@link waitHydrated} waits for, and how it looks. */
export interface HydrationWait {
  /** Of the replica. */
  readonly name: string;
  readonly signal: AbortSignal;
  /** How far the copy is; undefined where there is none, or the replica was closed. */
  read(): HydrationState | undefined;
  isClosed(): boolean;
  /** Why it was given up, which is told a while after; absent where nobody tells. */
  readonly fault?: (() => Error | undefined) | undefined;
}

/** Waits until it is whole. */
export async function waitHydrated(wait: HydrationWait): Promise<void> {
  const { name, signal, read, isClosed } = wait;
  const act = `Cannot wait for the local copy of ${name}:`;
  for (;;) {
    const phase = read()?.phase;
    if (phase === "whole") return;
    if (phase === "failed") throw await givenUp(act, wait);
    if (phase === undefined) {
      if (isClosed()) throw new ReplicaClosedError(`${act} the replica was closed`);
      throw new ReplicaError(`${act} there is none, expected option hydrate`);
    }
    signal.throwIfAborted();
    await pause();
  }
}

/** The error of a copy that was given up, with the reason as soon as it is told. */
async function givenUp(act: string, { signal, fault }: HydrationWait): Promise<LocalFileError> {
  const endMs = performance.now() + FAULT_MS;
  while (fault && !fault() && performance.now() < endMs && !signal.aborted) await pause();
  const cause = fault?.();
  if (cause === undefined) return new LocalFileError(`${act} it was given up; the log says why`);
  return new LocalFileError(`${act} it was given up: ${cause.message}`, { cause });
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}
