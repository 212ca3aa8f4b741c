/**
 * The moments of an open replica: views of them, lists of them, what differs between them, plain files of them.
 *
 * @module
 */
import { unkept } from "../cache/caching_store.ts";
import type { Change } from "../diff/change.ts";
import type { DiffOptions } from "../diff/diff.ts";
import { ObjectGoneError, ReplicaError, RestorePlanError, StateGoneError } from "../errors.ts";
import { formatTxid } from "../ltx/txid.ts";
import type { PageRequest } from "../pages/pages.ts";
import type { RestoreRequest } from "../restore/restore.ts";
import { PurposeStore, readsFor } from "../storage/purpose_store.ts";
import type { Point, PointsOptions } from "../time/points.ts";
import type { LevelSummary } from "../view/level_summary.ts";
import { makeRestorePlan, type ReplicaFile } from "../view/restore_plan.ts";
import { type ViewInfo, viewInfo } from "../view/view_info.ts";
import { type LiveParts, openApart, placeOfSource, planning, requestOf } from "./live_parts.ts";
import type { PastStates } from "./past_states.ts";
import { ViewPages } from "./view_pages.ts";

/** What was made a plain file of. */
export type RestoredView = Pick<ViewInfo, "txid" | "commit" | "pageSize">;

/** What is asked of the replica. */
export interface MomentSource {
  /** Files that are in storage, as far as is known. */
  known(): Iterable<ReplicaFile>;
  /** Brings a page into the pool. */
  serve(request: PageRequest): Promise<"loaded" | "moved">;
  /** Applies all that is in the replica now. */
  refresh(): Promise<unknown>;
}

/** How many states in a row may vanish while they are restored. */
const NEWEST_LOST_MAX = 5;

/** How often a replica is listed whose files do not lead to what was seen. */
const LISTINGS_MAX = 3;

/** Whether files make up a state, and one that is no older than a transaction. */
function leadsTo(files: readonly ReplicaFile[], txid: bigint): boolean {
  try {
    return makeRestorePlan(files).at(-1)!.maxTxid >= txid;
  } catch (error) {
    if (error instanceof RestorePlanError) return false;
    throw error;
  }
}

/** Reaches the states of a replica by their moments. */
export class Moments {
  readonly #parts: LiveParts;
  readonly #replica: MomentSource;
  readonly #restores = new Set<Promise<unknown>>();
  #past: Promise<PastStates> | undefined;

  constructor(parts: LiveParts, replica: MomentSource) {
    this.#parts = parts;
    this.#replica = replica;
  }

  /** The states that were asked for; few processes ask. */
  #pastStates(): Promise<PastStates> {
    const { store, layout, onNotice } = this.#parts.source;
    const known = () => this.#replica.known();
    return this.#past ??= import("./past_states.ts").then(({ PastStates }) =>
      new PastStates({
        store: new PurposeStore(store, "past"),
        layout,
        files: this.#parts.files,
        states: this.#parts.states,
        isHydrated: this.#parts.options.hydrate !== undefined,
        known,
        onNotice,
      })
    );
  }

  /**
   * Hands the view that a connection at a moment sees, 0 for the newest state, to `take`, with the moment as it is
   * shown. The view is the core's: `take` has its reader take a reference at once.
   *
   * @throws {TypeError} the moment cannot be understood
   * @throws {RestorePlanError} the replica does not reach back to it
   */
  async at<T>(text: string, take: (viewId: number, text: string) => T): Promise<T> {
    const past = await this.#pastStates();
    try {
      return await planning(async () => {
        try {
          return await this.#atListed(past, text, take);
        } catch (error) {
          if (error instanceof ObjectGoneError) past.forget();
          throw error;
        }
      });
    } finally {
      this.#parts.meter.carry(this.#parts.id);
    }
  }

  /** Lists anew, a few times, where what is listed lacks what was seen or what lies before the moment. */
  async #atListed<T>(past: PastStates, text: string, take: (viewId: number, text: string) => T): Promise<T> {
    for (let listing = 1;; listing++) {
      const believesGap = listing === LISTINGS_MAX;
      try {
        return await past.at(text, { ...requestOf(this.#parts, "past"), believesGap }, take);
      } catch (error) {
        const isGap = error instanceof RestorePlanError && error.fault === "gap";
        if (!isGap || believesGap) throw error;
      }
    }
  }

  /**
   * Lists the TXIDs and times that can be reached, oldest first.
   *
   * @throws {StorageError} the replica cannot be listed
   */
  async points(options: PointsOptions = {}): Promise<Point[]> {
    const [past, { points }] = await Promise.all([this.#pastStates(), import("../time/points.ts")]);
    try {
      return await planning(async () => {
        const { onNotice } = this.#parts.source;
        const listed = await this.#listAnew(past);
        return await points(listed, past.times.createdAt, { onNotice, ...options });
      });
    } finally {
      this.#parts.meter.carry(this.#parts.id);
    }
  }

  /**
   * Lists the replica, a few times where what is listed does not lead to what was seen: what was moved between two listings,
   * or replaced while a folder was read, stands in neither. What is really missing is missing in the last one, too.
   */
  async #listAnew(past: PastStates): Promise<readonly ReplicaFile[]> {
    const seen = this.#parts.states.newest?.txid ?? 0n;
    for (let listing = 1;; listing++) {
      past.forget();
      const listed = await past.list(requestOf(this.#parts, "past"));
      if (listing === LISTINGS_MAX || leadsTo(listed, seen)) return listed;
    }
  }

  /**
   * Tells what lies on each level, lowest first.
   *
   * @throws {StorageError} the replica cannot be listed
   */
  async levels(): Promise<LevelSummary[]> {
    const [past, { summarizeLevels }] = await Promise.all([
      this.#pastStates(),
      import("../view/level_summary.ts"),
    ]);
    try {
      return summarizeLevels(await this.#listAnew(past));
    } finally {
      this.#parts.meter.carry(this.#parts.id);
    }
  }

  /**
   * Compares the states of two moments.
   *
   * @throws {TypeError} a moment cannot be understood
   * @throws {RestorePlanError} the replica does not reach back to it
   */
  async *diff(from: string, to: string, options: DiffOptions = {}): AsyncGenerator<Change> {
    const { diffDatabases } = await import("../diff/diff.ts");
    const held: ViewPages[] = [];
    try {
      for (const moment of [from, to]) held.push(await this.#hold(moment));
      const [before, after] = held as [ViewPages, ViewPages];
      if (before.pageSize !== after.pageSize) {
        throw new ReplicaError(
          `Cannot compare states of ${this.#name}: pages of ${before.pageSize} and of ${after.pageSize} bytes, ` +
            "expected one page size",
        );
      }
      const changed = await this.#changedBetween(before, after);
      yield* diffDatabases({ from: before, to: after, changed }, options);
    } finally {
      for (const view of held) view.close();
      this.#parts.files.sweep();
    }
  }

  /** Pages that may differ; those that other files have, and no later transaction wrote, do not. */
  async #changedBetween(before: ViewPages, after: ViewPages): Promise<Uint32Array> {
    const changed = await after.changedFrom(before);
    if (![before, after].every(({ stamp }) => this.#parts.states.isOurs(stamp))) return changed;
    const [older, newer] = before.txid <= after.txid ? [before, after] : [after, before];
    return await newer.writtenAfter(older.txid, changed, (objectId) => this.#parts.files.get(objectId)?.file);
  }

  async #hold(asked: string): Promise<ViewPages> {
    // A local copy has no places that could be compared with those of another state.
    const newest = this.#parts.states.newest!;
    const isNewest = asked === "latest" && this.#parts.states.isLocal(newest);
    const moment = isNewest ? `txid:${formatTxid(newest.txid)}` : asked;
    return await this.at(moment, (viewId) => {
      const serve = (request: PageRequest) => this.#replica.serve(request);
      return new ViewPages(this.#parts.source.native, viewId || this.#parts.states.newest!.viewId, serve);
    });
  }

  /**
   * Makes a plain file of the state of a moment; gives what it is. Where the newest state is asked for and its files were
   * deleted, of the one that is the newest then.
   *
   * @throws {RestorePlanError} the replica does not reach back to the moment, or nothing is stored yet
   * @throws {LocalFileError} the file cannot be written
   */
  async restore(moment: string, request: RestoreRequest): Promise<RestoredView> {
    const restoring = this.#restoreCurrent(moment, request);
    this.#restores.add(restoring);
    try {
      return await restoring;
    } finally {
      this.#restores.delete(restoring);
      this.#parts.meter.carry(this.#parts.id);
    }
  }

  async #restoreCurrent(moment: string, request: RestoreRequest): Promise<RestoredView> {
    for (let lost = 1;; lost++) {
      const before = this.#parts.states.newest?.stamp;
      try {
        return await this.#restore(moment, request);
      } catch (error) {
        const isNewest = moment === "latest" && error instanceof StateGoneError;
        if (!isNewest || lost === NEWEST_LOST_MAX || !await this.#isLedOn(before)) throw error;
      }
    }
  }

  /** Looks for a newer state; whether there is another than before. */
  async #isLedOn(before: number | undefined): Promise<boolean> {
    await this.#replica.refresh().catch(() => {}); // a look that fails is told by itself, and leaves the state
    return this.#parts.states.newest?.stamp !== before;
  }

  async #restore(moment: string, request: RestoreRequest): Promise<RestoredView> {
    const { native, store } = this.#parts.source;
    const [past, { Restore }] = await Promise.all([this.#pastStates(), import("../restore/restore.ts")]);
    const isNewest = moment === "latest"; // all of its files are known
    const known = isNewest ? this.#replica.known() : await past.list(requestOf(this.#parts, "restore"));
    const files = [...new Map([...known].map((file) => [file.key, file])).values()];
    const state = await this.at(moment, (viewId) => {
      return viewInfo(native, viewId || this.#parts.states.newest!.viewId)!;
    });
    const { txid, commit, pageSize } = state;
    if (txid === 0n) {
      throw new RestorePlanError(`Cannot restore ${this.#name}: nothing is stored yet`, "empty");
    }
    const signal = AbortSignal.any([request.signal, this.#parts.pages.signal]);
    await new Restore({
      native,
      replicaId: this.#parts.id,
      name: this.#name,
      place: placeOfSource(this.#parts.source),
      store: readsFor(unkept(store), "restore"),
      state,
      known: files,
      list: () => {
        past.forget();
        return past.list(requestOf(this.#parts, "restore"));
      },
      open: (plan, act) => openApart(this.#parts, plan, act),
    }, { ...request, signal }).run();
    return { txid, commit, pageSize };
  }

  /** Waits for what is under way, which ends with the replica's requests; gives up the states. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#restores);
    (await this.#past)?.close();
  }

  get #name(): string {
    return this.#parts.source.store.name;
  }
}
