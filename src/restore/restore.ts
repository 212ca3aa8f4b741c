/**
 * One state of a replica → a plain SQLite file.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import {
  LocalFileError,
  LtxFormatError,
  ObjectGoneError,
  RestorePlanError,
  StateGoneError,
} from "../errors.ts";
import { compareFiles } from "../follow/continuity.ts";
import type { HydrationRecord } from "../hydrate/hydration_record.ts";
import { Transfer } from "../hydrate/transfer.ts";
import { formatTxid } from "../ltx/txid.ts";
import { Pace } from "../pace.ts";
import type { ObjectStore } from "../storage/object_store.ts";
import { Suspects } from "../storage/second_reading.ts";
import type { PlanFile } from "../view/plan_file.ts";
import { makeRestorePlan, type ReplicaFile } from "../view/restore_plan.ts";
import type { ViewInfo } from "../view/view_info.ts";
import { PartialFile } from "./partial_file.ts";
import { Progress, type RestoreProgress } from "./progress.ts";

/** Requests under way at once, and bytes of one. */
const REQUESTS_AT_ONCE = 16;
const REQUEST_BYTES = 2 * 1024 * 1024;

/** How often a plan is made anew without anything coming in between: for deleted files, and for listings that are torn. */
const VAIN_PLANS_MAX = 5;
const TORN_LISTINGS_MAX = 3;

/** What is restored, and from where. */
export interface RestoreSource {
  readonly native: Native;
  /** The shim's handle of the replica. */
  readonly replicaId: number;
  /** The place the replica lies, without secrets; for messages. */
  readonly name: string;
  /** What tells that place from all others, without secrets. */
  readonly place: string;
  readonly store: Pick<ObjectStore, "read">;
  /** The state. */
  readonly state: ViewInfo;
  /** Files that are known to be the replica's. */
  readonly known: readonly ReplicaFile[];
  /** Lists it anew. */
  list(): Promise<ReplicaFile[]>;
  /** Opens a plan's files, and has `act` make something of them and of a view of the state that they make up. */
  open(
    plan: readonly ReplicaFile[],
    act: (viewId: number, files: PlanFile[]) => Promise<void>,
  ): Promise<void>;
}

/** How it is restored. */
export interface RestoreRequest {
  /** Absolute path of the file that is to be. */
  readonly path: string;
  /** A file that is there is replaced. */
  readonly force: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: RestoreProgress) => void;
}

/** Restores one state. */
export class Restore {
  readonly #source: RestoreSource;
  readonly #request: RestoreRequest;
  readonly #progress: Progress;
  readonly #ending = new AbortController();
  readonly #suspects = new Suspects();
  #listed: readonly ReplicaFile[];

  constructor(source: RestoreSource, request: RestoreRequest) {
    this.#source = source;
    this.#request = request;
    this.#listed = source.known;
    this.#progress = new Progress(source.state.commit, request.onProgress);
  }

  /**
   * Makes the file: whole in its place, or not there at all.
   *
   * @throws {LocalFileError} it cannot be written there
   * @throws {LtxFormatError} a file of the replica is damaged
   * @throws {StateGoneError} no files make up the state any more
   */
  async run(): Promise<void> {
    const { native, replicaId, state: { pageSize, commit } } = this.#source;
    const { path, force } = this.#request;
    let partial: PartialFile | undefined;
    try {
      const options = { native, replicaId, path, force, pageSize };
      partial = await PartialFile.open(options, (record) => this.#isOurs(record));
      await this.#bringAll(partial);
      this.#request.signal.throwIfAborted();
      await partial.finish(commit);
    } catch (error) {
      const isKept = partial?.isKept && !(error instanceof LtxFormatError); // then what came may be damaged
      if (!isKept) await partial?.discard();
      throw restoreError(path, error, isKept);
    } finally {
      this.#ending.abort(new Error("Cannot read: nobody waits for it"));
      await partial?.close();
    }
    this.#progress.end();
  }

  /** Whether what was left is surely of this state of this replica. */
  #isOurs({ name, txid, pageSize, commit, files }: HydrationRecord): boolean {
    const { place, state } = this.#source;
    if (name !== place || txid !== state.txid || pageSize !== state.pageSize) return false;
    return commit === state.commit && isSameReplica(files, this.#listed);
  }

  /** Brings all pages; out of other files where some are deleted meanwhile. */
  async #bringAll(partial: PartialFile): Promise<void> {
    for (let vain = 0, bytes = 0;;) {
      try {
        return await this.#bring(partial);
      } catch (error) {
        const isNews = this.#suspects.note(error);
        if (isNews || (error instanceof LtxFormatError && partial.isResumed)) {
          await partial.begin(); // what was left, or is on the cache's disk, may be at fault
          continue;
        }
        const isGone = error instanceof ObjectGoneError;
        if (!isGone && !(error instanceof RestorePlanError)) throw error;
        vain = this.#progress.bytes > bytes ? 1 : vain + 1;
        bytes = this.#progress.bytes;
        if (vain >= (isGone ? VAIN_PLANS_MAX : TORN_LISTINGS_MAX)) {
          throw this.#gone("no files make it up", error);
        }
      }
      await this.#list();
    }
  }

  async #list(): Promise<void> {
    const listed = await this.#source.list();
    if (!isSameReplica(this.#listed, listed)) {
      throw this.#gone(
        "its files were deleted, and nothing tells that what is there now is the same database",
      );
    }
    this.#listed = listed;
  }

  #gone(found: string, cause?: unknown): StateGoneError {
    const { name, state: { txid } } = this.#source;
    return new StateGoneError(`Cannot restore TXID ${formatTxid(txid)} of ${name}: ${found}`, { cause });
  }

  async #bring(partial: PartialFile): Promise<void> {
    const plan = makeRestorePlan(this.#listed, { upTo: this.#source.state.txid });
    const { checked } = partial;
    const isUnchecked = checked && checked.frames < checked.count;
    const isThere = plan.some(({ key, etag }) => key === checked?.file.key && etag === checked.file.etag);
    if (isUnchecked && !isThere) await partial.begin(); // the rest would tell whether what came of it is right
    await this.#source.open(plan, async (viewId, files) => {
      const { signal } = this.#request;
      await partial.local.check(viewId, { signal });
      await partial.goOn(files, viewId, { signal });
      signal.throwIfAborted();
      await this.#transfer(partial, viewId).run(files);
    });
  }

  #transfer(partial: PartialFile, viewId: number): Transfer {
    const { native, store } = this.#source;
    const signal = AbortSignal.any([this.#request.signal, this.#ending.signal]);
    return new Transfer({
      native,
      file: partial.local,
      viewId,
      read: async (of, range) =>
        (await store.read(of, range, { signal, ...this.#suspects.reading(of.key) })).bytes,
      pace: new Pace(signal),
      before: () => partial.record(this.#record()),
      after: (pages, bytes) => {
        this.#progress.came(pages, bytes);
        return Promise.resolve();
      },
      isVain: () => false,
      atOnce: REQUESTS_AT_ONCE,
      pieceBytes: REQUEST_BYTES,
      checked: partial.checked,
      onChecked: (part) => partial.check(part),
      onPlan: (wanted) => this.#progress.plan(wanted),
    });
  }

  #record(): HydrationRecord {
    const { place: name, state: { txid, commit, pageSize, timeMs } } = this.#source;
    const files = this.#listed;
    return {
      name,
      txid,
      lastTxid: txid,
      commit,
      pageSize,
      timeMs,
      seenMs: Date.now(),
      isWhole: false,
      files,
    };
  }
}

/** Whether files that were known are there still, and none has become another one. */
function isSameReplica(known: readonly ReplicaFile[], listed: readonly ReplicaFile[]): boolean {
  const { isSame, changed } = compareFiles(known, listed);
  return isSame && changed.length === 0;
}

/** What the system refuses, with the place. */
function restoreError(path: string, error: unknown, isKept = false): unknown {
  if (error instanceof LocalFileError && error.isTaken) {
    const found = "another process or call restores to it";
    return new LocalFileError(`Cannot restore to "${path}": ${found}`, { isTaken: true, cause: error });
  }
  if (error instanceof LocalFileError && error.message.startsWith("Cannot restore")) return error;
  if (!(error instanceof LocalFileError) && typeof (error as { syscall?: unknown }).syscall !== "string") {
    return error;
  }
  const kept = isKept ? "; what has come is kept for the next try" : "";
  return new LocalFileError(`Cannot restore to "${path}": ${(error as Error).message}${kept}`, {
    cause: error,
  });
}
