/**
 * A replica as the core holds it: its files in the shim, its newest view, its pages on demand.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import {
  DeadlineError,
  ObjectGoneError,
  ReplicaClosedError,
  ReplicaError,
  RestorePlanError,
} from "../errors.ts";
import { formatTxid } from "../ltx/txid.ts";
import { addTo, RequestMeter } from "../pages/counters.ts";
import { PageCache } from "../pages/page_cache.ts";
import { PageLoader } from "../pages/page_loader.ts";
import type { LayoutName, ObjectStore, RequestOptions } from "../storage/object_store.ts";
import { explainEmpty, listReplica } from "./listing.ts";
import { checkShim, nextTurn, openPlanFile, type PlanFile } from "./plan_file.ts";
import { makeRestorePlan, type ReplicaFile } from "./restore_plan.ts";

/** How often an opening begins anew because files of its plan were deleted meanwhile. */
const PLAN_ATTEMPTS_MAX = 5;

/** Frames entered into a page map before the loop may turn: about 1 ms. */
const FRAMES_A_SLICE = 100_000;

/** Share of the buffer pool that pages which came with the indexes may take. */
const PRELOAD_SHARE = 1 / 4;

/** In place of what was fetched of a file's frames, once it is used or where too much would be held. */
const NOTHING_FETCHED: PlanFile["fetched"] = { offset: 0, bytes: new Uint8Array(0) };

/** How long to wait before looking again for the first files of an empty replica. */
const EMPTY_RETRY_MS = 500;

/** Connections whose chains of requests are remembered; the oldest are forgotten. */
const CHAINS_MAX = 4096;

/** What {@link LiveReplica.open} needs to know. */
export interface LiveReplicaOptions {
  /** Bound on decoded pages in memory, in bytes. */
  readonly cacheBytesMax: number;
  /** Longest wait of a read in ms, unless its connection says otherwise. */
  readonly readTimeoutMs: number;
  /** How long to wait for the first files of an empty replica, in ms; 0 fails at once. */
  readonly waitForReplicaMs: number;
}

/** A page that a reader waits for. */
export interface PageRequest {
  readonly objectId: number;
  readonly frame: number;
  /** The reader's connection: its misses follow one another. */
  readonly connection: number;
}

/** A plan whose files stand in the shim, and the view made of it. */
interface Built {
  readonly files: PlanFile[];
  readonly viewId: number;
  readonly stamp: number;
  readonly depth: number;
}

/** One open replica in the core. */
export class LiveReplica {
  /** The shim's handle. */
  readonly id: number;
  readonly #native: Native;
  readonly #store: ObjectStore;
  readonly #layout: LayoutName;
  readonly #cache: PageCache;
  readonly #loader: PageLoader;
  readonly #meter: RequestMeter;
  readonly #files = new Map<number, PlanFile>();
  /** The files of the newest view. */
  #plan: readonly PlanFile[] = [];
  readonly #chains = new Map<number, number>();
  #longestChain = 0;
  #txid = 0n;
  #stamp = 0;
  #viewId = 0;
  #replanning: Promise<void> | undefined;
  #closed = false;

  /** Opens a replica: lists it, plans, reads the plan's indexes, publishes the first view. */
  static async open(
    native: Native,
    coreId: number,
    store: ObjectStore,
    layout: LayoutName,
    options: LiveReplicaOptions,
    request: RequestOptions,
  ): Promise<LiveReplica> {
    const replica = new LiveReplica(native, coreId, store, layout, options);
    try {
      await replica.#openFirst(options.waitForReplicaMs, request);
      return replica;
    } catch (error) {
      await replica.close();
      throw error;
    }
  }

  private constructor(
    native: Native,
    coreId: number,
    store: ObjectStore,
    layout: LayoutName,
    options: LiveReplicaOptions,
  ) {
    this.#native = native;
    this.#store = store;
    this.#layout = layout;
    this.id = checkShim(
      native,
      native.calls.ls_replica_new(coreId, options.readTimeoutMs),
      "open replica",
      store.name,
    );
    this.#cache = new PageCache(native, options.cacheBytesMax);
    this.#loader = new PageLoader(native, store, this.#cache, this.id);
    this.#meter = new RequestMeter(native, store.counts);
  }

  /** The place the replica lies, without secrets. */
  get name(): string {
    return this.#store.name;
  }

  async #openFirst(waitMs: number, request: RequestOptions): Promise<void> {
    const deadline = performance.now() + waitMs;
    for (;;) {
      try {
        await this.#build(undefined, request);
        return;
      } catch (error) {
        if (!(error instanceof RestorePlanError) || error.fault !== "empty" || waitMs === 0) throw error;
        if (performance.now() >= deadline) {
          throw new DeadlineError(`Cannot open replica ${this.name}: still empty after ${waitMs} ms`, {
            cause: error,
          });
        }
      } finally {
        this.#meter.carry(this.id);
      }
      await sleep(Math.min(EMPTY_RETRY_MS, Math.max(1, deadline - performance.now())), request.signal);
    }
  }

  /** Plans, builds and publishes; begins anew when files vanish in between. */
  async #build(upTo: bigint | undefined, request: RequestOptions): Promise<void> {
    for (let attempt = 1;; attempt++) {
      try {
        const listing = await listReplica(this.#store, this.#layout, request);
        if (listing.files.length === 0) throw await explainEmpty(this.#store, request);
        const plan = makeRestorePlan(listing.files, { upTo });
        this.#checkForward(plan.at(-1)!.maxTxid);
        const built = await this.#buildView(plan, listing.files, request);
        this.#publish(built, listing.depth + built.depth);
        return;
      } catch (error) {
        // Ten listings are not one moment: what compaction moved between two of them stands in neither.
        const isTorn = error instanceof RestorePlanError && error.fault !== "empty" && error.fault !== "v0.3";
        if (attempt >= (isTorn ? 2 : error instanceof ObjectGoneError ? PLAN_ATTEMPTS_MAX : 0)) throw error;
      }
    }
  }

  async #openFiles(
    plan: ReplicaFile[],
    request: RequestOptions,
  ): Promise<{ files: PlanFile[]; fresh: PlanFile[] }> {
    const known = new Map([...this.#files.values()].map((file) => [identity(file.file), file]));
    const fresh: PlanFile[] = [];
    let held = 0;
    const results = await Promise.allSettled(plan.map(async (file, index) => {
      const open = known.get(identity(file));
      if (open) return open;
      const opened = await openPlanFile(this.#native, this.#store, this.id, file, index === 0, request);
      fresh.push(opened);
      held += opened.fetched.bytes.length;
      if (held > this.#cache.bytesMax * PRELOAD_SHARE) opened.fetched = NOTHING_FETCHED;
      return opened;
    }));
    const failed = results.filter((result) => result.status === "rejected").map(({ reason }) => reason);
    if (failed.length > 0) {
      for (const file of fresh) this.#release(file);
      throw failed.find((reason) => reason instanceof ObjectGoneError) ?? failed[0];
    }
    return { files: results.map((result) => (result as PromiseFulfilledResult<PlanFile>).value), fresh };
  }

  async #buildView(plan: ReplicaFile[], listed: ReplicaFile[], request: RequestOptions): Promise<Built> {
    const { files, fresh } = await this.#openFiles(plan, request);
    try {
      const isSame = files.at(-1)!.file.maxTxid === this.#txid && !this.#isReplaced(files, listed);
      const stamp = isSame
        ? this.#stamp
        : checkShim(this.#native, this.#native.calls.ls_stamp(), "stamp", this.name);
      const viewId = await this.#mapFiles(files, stamp);
      return { files, viewId, stamp, depth: Math.max(...files.map(({ depth }) => depth)) };
    } catch (error) {
      for (const file of fresh) this.#release(file);
      throw error;
    }
  }

  /**
   * Whether the same TXID has another size than in the newest view, or a file of that view has another under its name
   * now: then the replica was made anew, and equal TXIDs mean nothing. A file that was only written again, with the
   * same content, is no sign of that.
   */
  #isReplaced(files: PlanFile[], listed: ReplicaFile[]): boolean {
    const [old, now] = [this.#plan.at(-1)!.header, files.at(-1)!.header];
    if (old.commit !== now.commit || old.pageSize !== now.pageSize) return true;
    const objects = new Map(listed.map((file) => [file.key, file]));
    const opened = new Map(files.map((file) => [file.file.key, file]));
    return this.#plan.some((old) => {
      const object = objects.get(old.file.key);
      if (object === undefined || identity(object) === identity(old.file)) return false;
      return opened.get(old.file.key)?.checksum !== old.checksum;
    });
  }

  async #mapFiles(files: PlanFile[], stamp: number): Promise<number> {
    const { calls } = this.#native;
    const last = files.at(-1)!;
    const { pageSize, commit } = last.header;
    const odd = files.find(({ header }) => header.pageSize !== pageSize);
    if (odd) {
      throw new RestorePlanError(
        `Cannot open replica ${this.name}: "${odd.file.key}" has pages of ${odd.header.pageSize} bytes, ` +
          `"${last.file.key}" of ${pageSize}, expected one page size`,
        "gap",
      );
    }
    const mapId = checkShim(this.#native, calls.ls_map_new(0, pageSize), "map pages of", this.name);
    try {
      for (const file of files) {
        await this.#mapFile(mapId, file);
      }
      const txid = last.file.maxTxid;
      const time = BigInt(Math.max(0, Math.trunc(last.header.timestampMs)));
      const viewId = calls.ls_map_view(mapId, this.id, txid, commit, stamp, time);
      return checkShim(this.#native, viewId, `make a view of TXID ${formatTxid(txid)} of`, this.name);
    } catch (error) {
      calls.ls_map_free(mapId); // answers LS_MISUSE when the view has used it up
      throw error;
    }
  }

  async #mapFile(mapId: number, file: PlanFile): Promise<void> {
    const { calls } = this.#native;
    for (let frame = 0;;) {
      const next = calls.ls_map_apply(mapId, file.objectId, frame, FRAMES_A_SLICE);
      frame = checkShim(this.#native, next, "map pages of", file.file.key);
      if (frame === 0) break;
      await nextTurn();
    }
    checkShim(this.#native, calls.ls_map_truncate(mapId, file.header.commit), "map pages of", file.file.key);
  }

  #publish(built: Built, depth: number): void {
    const { calls } = this.#native;
    const published = this.#closed ? LS.GONE : calls.ls_view_publish(built.viewId);
    if (published < 0) {
      calls.ls_view_release(built.viewId);
      for (const file of built.files) this.#release(file);
      throw new ReplicaClosedError(`Cannot open replica ${this.name}: it was closed`);
    }
    if (this.#viewId) calls.ls_view_release(this.#viewId);
    this.#viewId = built.viewId;
    this.#txid = built.files.at(-1)!.file.maxTxid;
    this.#stamp = built.stamp;
    this.#plan = built.files;
    for (const file of built.files) this.#files.set(file.objectId, file);
    this.#sweep(new Set(built.files));
    this.#preload(built.files);
    this.#lengthen(depth);
  }

  /** Newest files first: their pages are the ones that changed last. */
  #preload(files: PlanFile[]): void {
    let left = this.#cache.bytesMax * PRELOAD_SHARE;
    for (const file of [...files.slice(0, 1), ...files.slice(1).reverse()]) {
      if (left > 0 && file.fetched.bytes.length > 0) left -= this.#loader.preload(file, left);
      file.fetched = NOTHING_FETCHED;
    }
  }

  /** Gives up the files that neither the newest view nor any pinned one names. */
  #sweep(newest: Set<PlanFile>): void {
    for (const file of [...this.#files.values()]) {
      if (newest.has(file) || this.#native.calls.ls_object_refs(file.objectId) > 1) continue;
      this.#files.delete(file.objectId);
      this.#release(file);
    }
  }

  /** Gives a file's frames up; views that still name them keep them. */
  #release(file: PlanFile): void {
    if (file.closed) return;
    file.closed = true;
    this.#cache.dropObject(file.objectId);
    this.#native.calls.ls_object_free(file.objectId);
  }

  #lengthen(chain: number): void {
    if (chain <= this.#longestChain) return;
    addTo(this.#native, this.id, "roundTrips", chain - this.#longestChain);
    this.#longestChain = chain;
  }

  /**
   * Brings a page into the pool; `"moved"` when the reader must look again because its view lies elsewhere now.
   *
   * @throws {ReplicaError} the page cannot be had; the message says why
   */
  async serve(request: PageRequest): Promise<"loaded" | "moved"> {
    const file = this.#files.get(request.objectId);
    if (file === undefined) return "moved";
    try {
      const depth = this.#chains.get(request.connection) ?? this.#longestChain;
      const reached = await this.#loader.load(file, request.frame, depth);
      this.#chains.delete(request.connection); // so that it becomes the newest
      this.#chains.set(request.connection, reached);
      if (this.#chains.size > CHAINS_MAX) this.#chains.delete(this.#chains.keys().next().value!);
      this.#lengthen(reached);
      return "loaded";
    } catch (error) {
      if (!(error instanceof ObjectGoneError)) throw error;
      if (file.lost) throw file.lost;
      await this.#replan(error);
      return "moved";
    } finally {
      this.#meter.carry(this.id);
    }
  }

  /** Finds other files that end at the same TXID; several readers share one search. */
  #replan(cause: ObjectGoneError): Promise<void> {
    this.#replanning ??= this.#replanOnce(cause).finally(() => this.#replanning = undefined);
    return this.#replanning;
  }

  async #replanOnce(cause: ObjectGoneError): Promise<void> {
    const { txid, stamp } = { txid: this.#txid, stamp: this.#stamp };
    let found = "its files were deleted, and no others end there";
    try {
      await this.#build(txid, {});
      if (this.#stamp === stamp) return;
      found = "the replica was made anew under the same names";
    } catch (error) {
      if (!(error instanceof RestorePlanError)) throw error;
      await this.#buildNewest(txid, cause);
    }
    // That state is lost to us. The next transaction may see the newest one; this one may not be mixed with it.
    const lost = new ReplicaError(
      `Cannot read TXID ${
        formatTxid(txid)
      } of ${this.name}: ${found}; the next transaction sees the newest state`,
      { cause },
    );
    for (const file of this.#files.values()) if (!this.#plan.includes(file)) file.lost = lost;
    throw lost;
  }

  /** Publishes the newest state in place of one whose files are gone; says so when there is none either. */
  async #buildNewest(txid: bigint, cause: ObjectGoneError): Promise<void> {
    try {
      await this.#build(undefined, {});
    } catch (error) {
      if (!(error instanceof RestorePlanError)) throw error;
      throw new ReplicaError(
        `Cannot read TXID ${
          formatTxid(txid)
        } of ${this.name}: "${cause.key}" was deleted, and what is left makes up no ` +
          `state: ${error.message}`,
        { cause: error },
      );
    }
  }

  /** Refuses to go back: a replica that ends before what was seen is not the one that was opened. */
  #checkForward(txid: bigint): void {
    if (txid >= this.#txid) return;
    throw new ReplicaError(
      `Cannot follow ${this.name}: it ends at TXID ${formatTxid(txid)}, expected ${
        formatTxid(this.#txid)
      } or later; ` +
        "the replica was replaced",
    );
  }

  /** Ends what is under way and gives up all that the core holds; open files fail from now on. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#loader.close(new ReplicaClosedError(`Cannot read ${this.name}: the replica was closed`));
    for (const file of this.#files.values()) this.#release(file);
    this.#files.clear();
    if (this.#viewId) this.#native.calls.ls_view_release(this.#viewId);
    this.#native.calls.ls_replica_close(this.id);
    await this.#store.close();
  }
}

/** What names a file's content: names are reused when a replica is made anew. */
function identity(file: ReplicaFile): string {
  return `${file.key}\n${file.etag}\n${file.size}`;
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
