/**
 * The pages of one replica: the pool, what fills it, and what is asked for ahead.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import type { ObjectStore } from "../storage/object_store.ts";
import { nextTurn, type PlanFile } from "../view/plan_file.ts";
import { viewInfo } from "../view/view_info.ts";
import { carryOver } from "./carry_over.ts";
import { addTo, addToConnection } from "./counters.ts";
import { PageCache } from "./page_cache.ts";
import { PageIntake } from "./page_intake.ts";
import { PageLoader } from "./page_loader.ts";
import { Prefetcher } from "./prefetcher.ts";
import { preload } from "./preload.ts";

/** Connections whose chains of requests are remembered; the oldest are forgotten. */
const CHAINS_MAX = 4096;

/** Share of the buffer pool that pages which came with the indexes may take. */
export const PRELOAD_SHARE: number = 1 / 4;

/** Work before the loop may turn, in ms. */
const SLICE_MS = 2;

/** What pages are loaded with. */
export interface PagesOptions {
  readonly native: Native;
  readonly store: ObjectStore;
  /** The shim's handle of the replica. */
  readonly replicaId: number;
  /** Bound on decoded pages in memory, in bytes. */
  readonly cacheBytesMax: number;
  /** Bound on pages loaded ahead for one reader, in bytes; 0: nothing is loaded ahead. */
  readonly aheadBytesMax: number;
  /** Whether all pages will be fetched anyway: then it costs little to have some of them first. */
  readonly areAllWanted?: boolean;
  readonly fileOf: (objectId: number) => PlanFile | undefined;
  /** Takes sentences for a person. */
  readonly onNotice: (text: string) => void;
  /** Whether somebody wants to know for which transaction each range is fetched. */
  readonly isObserved?: boolean | undefined;
}

/** A page that a reader waits for, or took. */
export interface PageRequest {
  readonly objectId: number;
  readonly frame: number;
  readonly pgno: number;
  /** The view it is read from, held until the answer. */
  readonly viewId: number;
  /** The reader's connection: its misses follow one another. */
  readonly connection: number;
  /** The index's leaf that it has read since the request before, which may have led here; 0 for none. */
  readonly indexLeaf: number;
}

/** A page that a reader took. */
export type TakenPage = Omit<PageRequest, "objectId" | "frame">;

/** Pages of one replica in memory, and on their way there. */
export class Pages {
  readonly #options: PagesOptions;
  readonly #cache: PageCache;
  readonly #intake: PageIntake;
  readonly #loader: PageLoader;
  readonly #chains = new Map<number, number>();
  #prefetcher: Prefetcher | undefined;
  #longestChain = 0;

  constructor(options: PagesOptions) {
    const { native, store, replicaId, cacheBytesMax, isObserved = false } = options;
    this.#options = options;
    this.#cache = new PageCache(native, cacheBytesMax);
    this.#intake = new PageIntake(
      native,
      this.#cache,
      replicaId,
      (...loaded) => this.#guess((prefetcher) => prefetcher.loaded(...loaded)),
    );
    const intake = this.#intake;
    this.#loader = new PageLoader({ native, store, intake, replicaId, cacheBytesMax, isObserved });
  }

  /** Aborts when they are closed. */
  get signal(): AbortSignal {
    return this.#loader.signal;
  }

  /** Begins with a database, of which nothing is in memory yet. */
  begin(viewId: number): void {
    const { native, fileOf, aheadBytesMax, cacheBytesMax, areAllWanted = false } = this.#options;
    const bytesMax = Math.min(aheadBytesMax, cacheBytesMax);
    const pageSize = viewInfo(native, viewId)?.pageSize;
    if (aheadBytesMax === 0 || pageSize === undefined) return;
    const loader = this.#loader;
    this.#prefetcher = new Prefetcher({
      native,
      loader,
      fileOf,
      pageSize,
      bytesMax,
      cacheBytesMax,
      areAllWanted,
    });
  }

  /** A database was opened by a chain of `depth` requests: what its schema names will be wanted. */
  opened(viewId: number, depth: number): void {
    this.lengthen(depth);
    this.#guess((prefetcher) => prefetcher.opened(viewId, depth));
  }

  /**
   * Takes in what came with the indexes of files: of the first at once, then the newest before others, for their pages are
   * the ones that changed last. What a reader wants in the meantime is taken from there.
   */
  async preload(files: readonly PlanFile[], drop: (file: PlanFile) => void): Promise<void> {
    let left = this.#cache.bytesMax * PRELOAD_SHARE;
    let sliceEnd = performance.now() + SLICE_MS;
    for (const file of [...files.slice(0, 1), ...files.slice(1).reverse()]) {
      if (file.fetched.bytes.length === 0) continue;
      if (left > 0) left -= preload(this.#options.native, this.#intake, file, left);
      drop(file);
      if (performance.now() < sliceEnd) continue;
      await nextTurn();
      sliceEnd = performance.now() + SLICE_MS;
    }
  }

  /** See {@link carryOver}. */
  async carryOver(files: readonly PlanFile[], fromViewId: number, toViewId: number): Promise<void> {
    await carryOver(this.#options.native, this.#cache, files, { fromViewId, toViewId });
  }

  /** Leaves half of the room for pages to those that are read from a local file; gives its bytes. */
  leaveHalf(): number {
    const bytes = Math.floor(this.#options.cacheBytesMax / 2);
    this.#cache.bytesMax = this.#options.cacheBytesMax - bytes;
    return bytes;
  }

  /** Frees the pages of a file that is given up. */
  dropObject(objectId: number): void {
    this.#cache.dropObject(objectId);
  }

  /**
   * Brings a page into the pool, and what follows on its reader's way.
   *
   * @throws {ObjectGoneError} the file is not there any more
   * @throws {LtxFormatError} the frame breaks the format
   * @throws {StorageError} it cannot be fetched
   */
  async load(file: PlanFile, request: PageRequest): Promise<void> {
    const { viewId, connection, frame } = request;
    const depth = this.#depthOf(connection);
    const loaded = this.#loader.load(file, frame, { viewId, connection, depth });
    this.#guess((prefetcher) => prefetcher.reached({ ...request, depth, isMiss: true }));
    const chain = await loaded;
    this.#chains.delete(connection); // so that it becomes the newest
    this.#chains.set(connection, chain);
    if (this.#chains.size > CHAINS_MAX) this.#chains.delete(this.#chains.keys().next().value!);
    this.lengthen(chain);
    addToConnection(this.#options.native, this.#options.replicaId, connection, "roundTrips", chain - depth);
    this.#guess((prefetcher) => prefetcher.arrived({ ...request, depth: chain, isMiss: true }));
  }

  /** A reader took a page that was marked: it has come so far. */
  taken(request: TakenPage): void {
    const reached = { ...request, depth: this.#depthOf(request.connection), isMiss: false };
    this.#guess((prefetcher) => {
      prefetcher.reached(reached);
      prefetcher.arrived(reached);
    });
  }

  /** Guesses are never a reader's business: one that fails is told, and there are none from then on. */
  #guess(act: (prefetcher: Prefetcher) => void): void {
    if (this.#prefetcher === undefined) return;
    try {
      act(this.#prefetcher);
    } catch (error) {
      this.#prefetcher = undefined;
      this.#options.onNotice(`Reading ahead has failed, and is off now: ${(error as Error).stack ?? error}`);
    }
  }

  #depthOf(connection: number): number {
    return this.#chains.get(connection) ?? this.#longestChain;
  }

  /** A chain of requests became so long. */
  lengthen(chain: number): void {
    if (chain <= this.#longestChain) return;
    const { native, replicaId } = this.#options;
    addTo(native, replicaId, "roundTrips", chain - this.#longestChain);
    this.#longestChain = chain;
  }

  /** Ends what is under way. */
  close(reason: Error): void {
    this.#loader.close(reason);
  }
}
