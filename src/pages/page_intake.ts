/**
 * Fetched bytes → pages in the pool.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { checkShim, type PlanFile } from "../view/plan_file.ts";
import { addTo } from "./counters.ts";
import { type FrameRange, frameStates, NEWEST } from "./frames.ts";
import { FLAG, type PageCache } from "./page_cache.ts";

/** What hears of pages that came into the pool. */
export type LoadedListener = (file: PlanFile, runId: number, range: FrameRange, by: LoadedBy) => void;

/** What brought pages. */
export interface LoadedBy {
  /** The connection that they came for; 0 for none. */
  readonly connection: number;
  /** Length of the chain of requests with theirs. */
  readonly depth: number;
}

/** Whom pages are for. */
export interface IntakeOptions {
  /** Frames that this view sees elsewhere are passed over. */
  readonly viewId: number;
  /** One that is taken even so. */
  readonly wanted?: number | undefined;
  /** Nobody has asked for them yet. */
  readonly isAhead?: boolean;
  /** Nobody's unless given. */
  readonly by?: LoadedBy;
}

/** Takes in pages of one replica. */
export class PageIntake {
  readonly #native: Native;
  readonly #cache: PageCache;
  readonly #replicaId: number;
  readonly #onLoaded: LoadedListener;
  /** Frames to be marked as they come. */
  readonly #marks = new WeakMap<PlanFile, Set<number>>();

  /** `onLoaded` hears of each run of pages as it comes into the pool. */
  constructor(native: Native, cache: PageCache, replicaId: number, onLoaded: LoadedListener = () => {}) {
    this.#native = native;
    this.#cache = cache;
    this.#replicaId = replicaId;
    this.#onLoaded = onLoaded;
  }

  /**
   * Takes neighbouring frames, whose stored bytes are `bytes`: those that are in the pool already stay as they are.
   *
   * @throws {LtxFormatError} one of them breaks the format; none of its run is in the pool then
   */
  enter(file: PlanFile, range: FrameRange, bytes: Uint8Array, options: IntakeOptions): void {
    const states = frameStates(this.#native, file, range, options.viewId);
    let [start, at] = [0, 0];
    const entered: (FrameRange & { runId: number })[] = [];
    let run: { first: number; count: number } | undefined;
    const finish = () => {
      if (run) entered.push({ ...run, runId: this.#enterRun(file, run, bytes.subarray(start, at), options) });
      run = undefined;
    };
    try {
      for (const [i, { size, cached, current }] of states.entries()) {
        const frame = range.first + i;
        if (cached || (!current && frame !== options.wanted)) finish();
        else if (run) run.count++;
        else [run, start] = [{ first: frame, count: 1 }, at];
        at += size;
      }
      finish();
    } finally {
      // Who hears of them may have other frames taken in: not before these are done.
      const by = options.by ?? { connection: 0, depth: 0 };
      for (const { runId, first, count } of entered) this.#onLoaded(file, runId, { first, count }, by);
    }
  }

  #enterRun(
    file: PlanFile,
    { first, count }: FrameRange,
    bytes: Uint8Array,
    { isAhead = false }: IntakeOptions,
  ): number {
    const { calls } = this.#native;
    const stored = bytes as Uint8Array<ArrayBuffer>;
    const result = calls.ls_run_load(file.objectId, first, count, stored, stored.length);
    const act = result < 0 ? `decode ${this.#pagesOf(file, { first, count })} of` : "";
    const runId = checkShim(this.#native, result, act, file.file.key);
    if (isAhead) calls.ls_run_flag(runId, first, count, FLAG.ahead);
    this.#markRun(file, runId, { first, count });
    const size = count * file.header.pageSize;
    const wasted = this.#cache.wasted;
    const evicted = this.#cache.add(runId, { objectId: file.objectId, frame: first, pageCount: count, size });
    addTo(this.#native, this.#replicaId, "pagesLoaded", count);
    addTo(this.#native, this.#replicaId, "pagesEvicted", evicted);
    addTo(this.#native, this.#replicaId, "aheadPages", isAhead ? count : 0);
    addTo(this.#native, this.#replicaId, "aheadWasted", this.#cache.wasted - wasted);
    return runId;
  }

  #pagesOf(file: PlanFile, range: FrameRange): string {
    const frames = frameStates(this.#native, file, range, NEWEST);
    const { pgno } = frames[0]!;
    return range.count === 1 ? `page ${pgno}` : `pages ${pgno} to ${frames.at(-1)!.pgno}`;
  }

  /** Has the core told when a reader takes a page: one in the pool, or, once it comes, one that is not there yet. */
  mark(file: PlanFile, frame: number): void {
    if (this.#native.calls.ls_object_flag(file.objectId, frame, FLAG.mark) !== 0) return;
    const marks = this.#marks.get(file) ?? new Set();
    this.#marks.set(file, marks.add(frame));
  }

  #markRun(file: PlanFile, runId: number, { first, count }: FrameRange): void {
    const marks = this.#marks.get(file);
    if (marks === undefined) return;
    for (let frame = first; frame < first + count; frame++) {
      if (marks.delete(frame)) this.#native.calls.ls_run_flag(runId, frame, 1, FLAG.mark);
    }
    if (marks.size === 0) this.#marks.delete(file);
  }
}
