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

/** Waits until it is whole. */
export async function waitHydrated(
  read: () => HydrationState | undefined,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  const begun = read();
  if (begun === undefined) {
    throw new ReplicaError(`Cannot wait for a local copy of ${name}: there is none, expected option hydrate`);
  }
  for (;;) {
    const phase = read()?.phase;
    if (phase === "whole") return;
    if (phase === undefined) {
      throw new ReplicaClosedError(`Cannot wait for the local copy of ${name}: the replica was closed`);
    }
    if (phase === "failed") {
      throw new LocalFileError(
        `Cannot wait for the local copy of ${name}: it was given up; the log says why`,
      );
    }
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
