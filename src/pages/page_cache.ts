/**
 * Which buffers stay: runs of decoded pages by last use, bounded in bytes.
 *
 * @module
 */
import { LRUCache } from "lru-cache";
import type { Native } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";

/** What the shim notes of a page in the pool; `LS_FLAG_…` in `ffi/shim.h`. */
export const FLAG = { used: 1, mark: 2, ahead: 4 } as const;

/** A run of neighbouring frames of one object, as it stands in the pool. */
export interface CachedRun {
  readonly objectId: number;
  /** Its first frame. */
  readonly frame: number;
  readonly pageCount: number;
  /** Bytes of its decoded pages. */
  readonly size: number;
}

/** A run with what the policy knows of it. */
interface Held extends CachedRun {
  /** It was passed over for pages that were loaded ahead and that nobody has read yet. */
  isSpared: boolean;
}

/**
 * The buffers of one replica.
 *
 * Readers take pages without telling; the shim sets a bit on the run instead. So the oldest run is asked for its bit
 * before it goes: touched since last asked, it counts as used now. So does, once, one with pages that were loaded ahead
 * and not read yet: else what a reader is about to want would go before what it has done with.
 */
export class PageCache {
  readonly #native: Native;
  #bytesMax: number;
  readonly #runs: LRUCache<number, Held>;
  #wasted = 0;
  readonly #runsOf = new Map<number, Set<number>>();

  /** `bytesMax` bounds the decoded pages; a run that readers are copying from may exceed it for that long. */
  constructor(native: Native, bytesMax: number) {
    this.#native = native;
    this.#bytesMax = bytesMax;
    // The bound is kept by #makeRoom(), which can pass a run over; lru-cache's own could not.
    this.#runs = new LRUCache({
      maxSize: Number.MAX_SAFE_INTEGER,
      sizeCalculation: (run: Held) => run.size,
    });
  }

  /** Bytes of all buffers. */
  get bytes(): number {
    return this.#runs.calculatedSize;
  }

  /** The bound on {@link bytes}; a lower one is kept from the next run on. */
  get bytesMax(): number {
    return this.#bytesMax;
  }

  set bytesMax(bytes: number) {
    this.#bytesMax = bytes;
  }

  /** Pages that were loaded ahead and went without having been read, so far. */
  get wasted(): number {
    return this.#wasted;
  }

  /** Enters a run that was just loaded; returns how many pages went for it. */
  add(runId: number, run: CachedRun): number {
    const evicted = this.#makeRoom(run.size);
    this.#enter(runId, run);
    return evicted;
  }

  #enter(runId: number, run: CachedRun): void {
    this.#runs.set(runId, { ...run, isSpared: false });
    const siblings = this.#runsOf.get(run.objectId);
    if (siblings) siblings.add(runId);
    else this.#runsOf.set(run.objectId, new Set([runId]));
  }

  #makeRoom(size: number): number {
    let evicted = 0;
    let chances = this.#runs.size * 3;
    while (this.#runs.calculatedSize + size > this.#bytesMax && this.#runs.size > 0 && chances-- > 0) {
      const runId = this.#runs.rkeys().next().value as number;
      const run = this.#runs.get(runId)!; // makes it the newest
      if (this.#native.calls.ls_run_touched(runId) === 1) continue;
      const unread = this.#native.calls.ls_run_count(runId, FLAG.ahead, FLAG.used);
      if (unread > 0 && !run.isSpared) {
        run.isSpared = true;
        continue;
      }
      if (!this.#free(runId)) continue;
      evicted += run.pageCount;
      this.#wasted += unread;
    }
    return evicted;
  }

  #free(runId: number): boolean {
    if (this.#native.calls.ls_run_free(runId) === LS.BUSY) return false;
    this.#forget(runId);
    return true;
  }

  #forget(runId: number): void {
    const { objectId } = this.#runs.peek(runId)!;
    this.#runs.delete(runId);
    const siblings = this.#runsOf.get(objectId);
    siblings?.delete(runId);
    if (siblings?.size === 0) this.#runsOf.delete(objectId);
  }

  /** The runs of an object, as they are now. */
  runsOf(objectId: number): [runId: number, run: CachedRun][] {
    return [...this.#runsOf.get(objectId) ?? []].map((runId) => [runId, this.#runs.peek(runId)!]);
  }

  /** Whether a run is still the one that {@link runsOf} told: its handle may have been freed and given to another. */
  has(runId: number, run: CachedRun): boolean {
    return this.#runs.peek(runId) === run;
  }

  /** Has a run stand for the same pages in another object; false when it stays where it is. */
  move(runId: number, to: { readonly objectId: number; readonly frame: number }): boolean {
    if (this.#native.calls.ls_run_move(runId, to.objectId, to.frame) !== 0) return false;
    const run = this.#runs.peek(runId)!;
    this.#forget(runId);
    this.#enter(runId, { ...run, ...to });
    return true;
  }

  /** Frees all runs of an object; those being copied from right now go with the object's last view. */
  dropObject(objectId: number): void {
    for (const runId of [...this.#runsOf.get(objectId) ?? []]) {
      if (!this.#free(runId)) this.#forget(runId);
    }
  }
}
