/**
 * Wanted pages → few ranged reads → buffers; one flight a range.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { LtxFormatError } from "../errors.ts";
import type { ObjectStore } from "../storage/object_store.ts";
import { checkShim, nextTurn, type PlanFile } from "../view/plan_file.ts";
import { locate } from "../view/view_map.ts";
import { addTo } from "./counters.ts";
import { type FrameRange, type FrameState, neighbourhood } from "./neighbourhood.ts";
import type { CachedRun, PageCache } from "./page_cache.ts";

/** What a first miss fetches at most, the wanted page and its neighbours, in bytes as stored. */
const NEIGHBOURHOOD_BYTES = 16 * 1024;

/** Frames looked at on either side of a wanted one. */
const NEIGHBOURHOOD_FRAMES = 64;

/** Runs taken over to other files before the loop may turn: about 2 ms. */
const CARRIED_A_SLICE = 500;

/** Words of one frame as the shim tells it. */
const FRAME_WORDS = 4;

/** A range that is being fetched; whoever needs a page of it waits for `done`. */
interface Flight extends FrameRange {
  readonly done: Promise<void>;
  /** Its place in the chain of requests that waited for one another. */
  readonly depth: number;
}

/** Who wants a page. */
export interface PageReader {
  /** The view it is read from: what is near it there may come along. */
  readonly viewId: number;
  /** Length of the reader's chain of requests so far. */
  readonly depth: number;
}

/** In place of a view: the newest one. */
const NEWEST = 0;

/** Loads pages of one replica's files into the buffer pool. */
export class PageLoader {
  readonly #native: Native;
  readonly #store: ObjectStore;
  readonly #cache: PageCache;
  readonly #replicaId: number;
  readonly #flights = new Map<PlanFile, Set<Flight>>();
  readonly #abort = new AbortController();

  constructor(native: Native, store: ObjectStore, cache: PageCache, replicaId: number) {
    this.#native = native;
    this.#store = store;
    this.#cache = cache;
    this.#replicaId = replicaId;
  }

  /** Aborts when the loader is closed. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Ends what is under way. */
  close(reason: Error): void {
    this.#abort.abort(reason);
  }

  /**
   * Brings a frame's page into the pool, with neighbours where they come cheaply.
   *
   * The promise gives the length of the reader's chain with this page.
   *
   * @throws {ObjectGoneError} the file is not there any more
   * @throws {LtxFormatError} the frame breaks the format
   * @throws {StorageError} it cannot be fetched
   */
  async load(file: PlanFile, frame: number, reader: PageReader): Promise<number> {
    const { depth } = reader;
    const flight = this.#flightOf(file, frame) ?? this.#fly(file, frame, reader);
    if (flight === undefined) return depth;
    try {
      await flight.done;
    } catch (error) {
      if (!(error instanceof LtxFormatError) || flight.count === 1) throw error;
      // A neighbour may be the damaged one, which is nothing to this reader.
      const only = { first: frame, count: 1 };
      const alone = this.#flightOf(file, frame) ?? this.#begin(file, only, flight.depth + 1);
      await alone.done;
      return alone.depth;
    }
    return Math.max(depth, flight.depth);
  }

  /** Takes over what of a file's frames was fetched with its index; returns bytes of the decoded pages. */
  preload(file: PlanFile, bytesMax: number): number {
    let loaded = 0;
    for (const { range, bytes } of this.#fetchedRuns(file)) {
      if (loaded >= bytesMax) break;
      try {
        this.#enter(file, range, bytes);
      } catch (error) {
        if (!(error instanceof LtxFormatError)) throw error;
        break; // nobody asked for these pages yet; who does will fetch them again and be told
      }
      loaded += range.count * file.header.pageSize;
    }
    return loaded;
  }

  /**
   * Takes the pages of files that a view no longer lies in over to those it lies in now: the same content at other
   * places, so that nothing in memory is fetched again.
   */
  async carryOver(files: readonly PlanFile[], fromViewId: number, toViewId: number): Promise<void> {
    let count = 0;
    for (const file of files) {
      for (const [runId, run] of this.#cache.runsOf(file.objectId)) {
        // Other states may be read from it, and it may be gone from storage: what they have, they keep.
        if (file.closed || this.#native.calls.ls_object_refs(file.objectId) > 2) break;
        if (this.#cache.has(runId, run)) this.#carry(file, runId, run, fromViewId, toViewId);
        if (++count % CARRIED_A_SLICE === 0) await nextTurn();
      }
    }
  }

  /** Frames that are not current, here or there, hold another version of their page, which others may want to see. */
  #carry(file: PlanFile, runId: number, run: CachedRun, fromViewId: number, toViewId: number): void {
    const frames = this.#frames(file, run.frame, run.pageCount, fromViewId);
    if (!frames.every(({ current }) => current)) return;
    const places = frames.map(({ pgno }) => locate(this.#native, toViewId, pgno));
    const to = places[0];
    if (to === undefined || to.objectId === file.objectId) return;
    const isRun = places.every((place, i) => place?.objectId === to.objectId && place.frame === to.frame + i);
    if (isRun) this.#cache.move(runId, to);
  }

  /** The wanted frames that were fetched whole with a file's index, as runs of neighbours. */
  *#fetchedRuns(file: PlanFile): Generator<{ range: FrameRange; bytes: Uint8Array }> {
    const { offset, bytes } = file.fetched;
    let at = 0;
    let run: { first: number; count: number; at: number } | undefined;
    const finished = function* () {
      if (run) yield { range: run, bytes: bytes.subarray(run.at, at) };
      run = undefined;
    };
    if (offset !== this.#offset(file, 0)) return;
    for (let first = 0;; first += NEIGHBOURHOOD_FRAMES) {
      const frames = this.#frames(file, first, NEIGHBOURHOOD_FRAMES, NEWEST);
      for (const [index, { current, cached, size }] of frames.entries()) {
        if (at + size > bytes.length) return yield* finished();
        if (!current || cached) yield* finished();
        else if (run) run.count++;
        else run = { first: first + index, count: 1, at };
        at += size;
      }
      yield* finished();
      if (frames.length < NEIGHBOURHOOD_FRAMES) return;
    }
  }

  #flightOf(file: PlanFile, frame: number): Flight | undefined {
    for (const flight of this.#flights.get(file) ?? []) {
      if (frame >= flight.first && frame < flight.first + flight.count) return flight;
    }
    return undefined;
  }

  #frames(file: PlanFile, first: number, count: number, viewId: number): FrameState[] {
    const words = new Uint32Array(count * FRAME_WORDS);
    const bytes = new Uint8Array(words.buffer);
    const found = checkShim(
      this.#native,
      this.#native.calls.ls_object_frames(file.objectId, viewId, first, count, bytes),
      "look up frames of",
      file.file.key,
    );
    return Array.from({ length: found }, (_, i) => ({
      pgno: words[i * FRAME_WORDS]!,
      size: words[i * FRAME_WORDS + 1]!,
      cached: words[i * FRAME_WORDS + 2] === 1,
      current: words[i * FRAME_WORDS + 3] === 1,
    }));
  }

  /** Begins the flight for a frame; undefined when its page came into the pool after the reader had looked. */
  #fly(file: PlanFile, frame: number, { viewId, depth }: PageReader): Flight | undefined {
    if (this.#frames(file, frame, 1, viewId)[0]?.cached) return undefined;
    return this.#begin(file, this.#choose(file, frame, viewId), depth + 1);
  }

  #choose(file: PlanFile, frame: number, viewId: number): FrameRange {
    const first = Math.max(0, frame - NEIGHBOURHOOD_FRAMES);
    const frames = this.#frames(file, first, NEIGHBOURHOOD_FRAMES * 2, viewId);
    const busy = (other: number) => this.#flightOf(file, other) !== undefined;
    return neighbourhood(frames, first, frame, NEIGHBOURHOOD_BYTES, busy);
  }

  #pagesOf(file: PlanFile, { first, count }: FrameRange): string {
    const frames = this.#frames(file, first, count, NEWEST);
    const { pgno } = frames[0]!;
    return count === 1 ? `page ${pgno}` : `pages ${pgno} to ${frames.at(-1)!.pgno}`;
  }

  #offset(file: PlanFile, frame: number): number {
    const out = new Uint8Array(8);
    const result = this.#native.calls.ls_object_offset(file.objectId, frame, out);
    checkShim(this.#native, result, "look up frames of", file.file.key);
    return Number(new DataView(out.buffer).getBigUint64(0, true));
  }

  #begin(file: PlanFile, range: FrameRange, depth: number): Flight {
    const flights = this.#flights.get(file) ?? new Set();
    this.#flights.set(file, flights);
    const done = this.#fetch(file, range).finally(() => {
      flights.delete(flight);
      if (flights.size === 0) this.#flights.delete(file);
    });
    const flight: Flight = { ...range, depth, done };
    flights.add(flight);
    return flight;
  }

  async #fetch(file: PlanFile, range: FrameRange): Promise<void> {
    const offset = this.#offset(file, range.first);
    const size = this.#offset(file, range.first + range.count) - offset;
    const { bytes } = await this.#store.read(file.file, { offset, size }, { signal: this.#abort.signal });
    this.#abort.signal.throwIfAborted();
    if (file.closed) return; // replaced meanwhile; its handle may name another file by now
    this.#enter(file, range, bytes);
  }

  /** Checks, decodes and publishes the frames of a range, whose stored bytes are `bytes`. */
  #enter(file: PlanFile, range: FrameRange, bytes: Uint8Array): void {
    const stored = bytes as Uint8Array<ArrayBuffer>;
    const result = this.#native.calls.ls_run_load(
      file.objectId,
      range.first,
      range.count,
      stored,
      stored.length,
    );
    const act = result < 0 ? `decode ${this.#pagesOf(file, range)} of` : "";
    const runId = checkShim(this.#native, result, act, file.file.key);
    const size = range.count * file.header.pageSize;
    const evicted = this.#cache.add(runId, {
      objectId: file.objectId,
      frame: range.first,
      pageCount: range.count,
      size,
    });
    addTo(this.#native, this.#replicaId, "pagesLoaded", range.count);
    addTo(this.#native, this.#replicaId, "pagesEvicted", evicted);
  }
}
