/**
 * The search for other files of a state whose own are gone: compaction moves content, retention deletes it.
 *
 * @module
 */
import { ObjectGoneError, ReplicaError, RestorePlanError, StateGoneError, StorageError } from "../errors.ts";
import { compareFiles } from "../follow/continuity.ts";
import { formatTxid } from "../ltx/txid.ts";
import { listLevel, listReplica } from "../view/listing.ts";
import type { PlanFile } from "../view/plan_file.ts";
import { makeRestorePlan, type ReplicaFile } from "../view/restore_plan.ts";
import { type ViewInfo, viewInfo } from "../view/view_info.ts";
import { identity } from "./file_set.ts";
import { type LiveParts, planning, requestOf } from "./live_parts.ts";
import type { State } from "./states.ts";

/** What is asked of the replica. */
export interface RelocationSource {
  /** Files that are in storage, as far as is known. */
  known(): Iterable<ReplicaFile>;
  /** Whether a file has other content now; undefined where nobody can tell. */
  isRewritten(known: ReplicaFile, listed: ReplicaFile): Promise<boolean | undefined>;
  /** Applies all that is in storage now. */
  refresh(): Promise<unknown>;
  /** Does what changes the newest state, one after the other. */
  exclusively<T>(act: () => Promise<T>): Promise<T>;
  /** Publishes the newest state in other places than a view of it has; takes the reference over. */
  publishInPlaceOf(viewId: number, state: State): Promise<void>;
  closedError(): Error;
}

/** Leads readers whose files are gone to others. */
export class Relocation {
  readonly #parts: LiveParts;
  readonly #replica: RelocationSource;
  /** By the views whose readers wait; one for all that a state was shown by while it was the newest. */
  readonly #searches = new Map<string, Promise<void>>();

  constructor(parts: LiveParts, replica: RelocationSource) {
    this.#parts = parts;
    this.#replica = replica;
  }

  /**
   * A failed read of a file as one of a file that is gone. Where the reader may not list a whole bucket, S3 refuses what
   * is not there: then a listing tells.
   *
   * @throws what it was given, when the file is there
   */
  async goneOf(error: unknown, { file }: PlanFile): Promise<ObjectGoneError> {
    if (error instanceof ObjectGoneError) return error;
    if (!(error instanceof StorageError) || error.status !== 403 || error.code !== "AccessDenied") {
      throw error;
    }
    const { store, layout } = this.#parts.source;
    const { files } = await listLevel(store, layout, file.level, requestOf(this.#parts, "replan")).catch(
      () => {
        throw error;
      },
    );
    if (files.some((listed) => identity(listed) === identity(file))) throw error;
    const { key, status, code } = error;
    return new ObjectGoneError(error.message, { key, status, code, retryable: false, cause: error });
  }

  /** Finds other files that make up what a view shows; several readers share one search. */
  find(viewId: number, cause: ObjectGoneError): Promise<void> {
    const view = viewInfo(this.#parts.source.native, viewId);
    if (view === undefined) return Promise.reject(this.#replica.closedError());
    const gone = this.#parts.states.lostBy(view.stamp);
    // For the newest state the files may be back; an older one has been given up.
    if (gone && view.stamp !== this.#parts.states.newest?.stamp) return Promise.reject(gone);
    // Another state may have become the newest before a search has ended, and a view's number may be another one's by then.
    const who = this.#parts.states.isShown(viewId, view) ? "shown" : viewId;
    const key = `${who} ${view.stamp}`;
    const search = this.#searches.get(key) ?? this.#findOnce(viewId, view, cause).finally(() => {
      this.#searches.delete(key);
    });
    this.#searches.set(key, search);
    return search;
  }

  /** The view is held meanwhile: were its readers to leave, its number would be another one's. */
  async #findOnce(viewId: number, view: ViewInfo, cause: ObjectGoneError): Promise<void> {
    const { calls } = this.#parts.source.native;
    if (calls.ls_view_hold(viewId) < 0) throw this.#replica.closedError();
    try {
      await this.#findHeld(viewId, view, cause);
    } finally {
      calls.ls_view_release(viewId);
    }
  }

  async #findHeld(viewId: number, view: ViewInfo, cause: ObjectGoneError): Promise<void> {
    const found = await this.#replica.exclusively(() => planning(() => this.#leadOn(viewId, view))).catch(
      unplanned,
    );
    if (found === undefined) return;
    const text = `Cannot read TXID ${formatTxid(view.txid)} of ${this.#name}: ${found}`;
    // That state is lost to us. The next transaction may see the newest one; this one may not be mixed with it.
    const gone = new StateGoneError(`${text}; the next transaction sees the newest state`, { cause });
    this.#parts.states.lose(view.stamp, gone);
    if (view.stamp !== this.#parts.states.newest?.stamp) throw gone;
    try {
      await this.#replica.refresh();
    } catch (error) {
      if (!(error instanceof RestorePlanError)) throw error;
      throw new ReplicaError(
        `${text} ("${cause.key}"), and what is left makes up no state: ${error.message}`,
        {
          cause: error,
        },
      );
    }
    throw gone;
  }

  /**
   * Leads a view's readers to other files of the same content; gives why that cannot be done, if so.
   *
   * @throws {RestorePlanError} no files that are listed make it up
   */
  async #leadOn(viewId: number, view: ViewInfo): Promise<string | undefined> {
    const { store, layout } = this.#parts.source;
    const { files: listed } = await listReplica(store, layout, requestOf(this.#parts, "replan"));
    const { isSame: isThere, changed } = compareFiles(this.#replica.known(), listed);
    let isSame = isThere;
    for (const { known, listed: now } of changed) {
      const isRewritten = await this.#replica.isRewritten(known, now);
      if (isRewritten === false) return "the replica was made anew under the same names";
      isSame ||= isRewritten === true;
    }
    if (!isSame || !this.#parts.states.isOurs(view.stamp)) {
      return "its files were deleted, and nothing tells that what is there now is the same database";
    }
    const plan = makeRestorePlan(listed, { upTo: view.txid });
    await this.#parts.files.use(plan, requestOf(this.#parts, "replan"), async (files) => {
      const state = await this.#parts.states.make(files, view.stamp);
      if (this.#parts.states.isShown(viewId, view)) await this.#replica.publishInPlaceOf(viewId, state);
      else this.#parts.states.lead(viewId, state);
    });
    return undefined;
  }

  get #name(): string {
    return this.#parts.source.store.name;
  }
}

/** Why no others were found, where none are listed. */
function unplanned(error: unknown): string {
  if (!(error instanceof RestorePlanError)) throw error;
  return "its files were deleted, and no others end there";
}
