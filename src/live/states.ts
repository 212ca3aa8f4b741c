/**
 * States of the database as the core knows them: made of plan files, published, led to other files.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { ReplicaClosedError, type StateGoneError } from "../errors.ts";
import { addTo } from "../pages/counters.ts";
import { checkShim, type PlanFile } from "../view/plan_file.ts";
import { type ViewInfo, viewInfo } from "../view/view_info.ts";
import { makeView } from "../view/view_map.ts";

/** Stamps that are remembered, for states that are seen again. */
const STAMPS_MAX = 1024;

/** States that were lost and are remembered; the oldest are forgotten. */
const LOST_MAX = 4096;

/** One state: what the database was after a transaction. */
export interface State {
  /** The shim's handle; whoever made the state holds a reference. */
  readonly viewId: number;
  readonly txid: bigint;
  /** What its content is known by to SQLite; states of one stamp are equal. */
  readonly stamp: number;
  /** The files it was made of, in order, less those of which no page is left; at least the last. */
  readonly files: readonly PlanFile[];
}

/** What a view is known to be before it is made. */
type ViewShape = Pick<ViewInfo, "txid" | "commit" | "pageSize" | "timeMs">;

/** Makes states of one replica and keeps the newest. */
export class States {
  readonly #native: Native;
  readonly #replicaId: number;
  readonly #name: string;
  readonly #isWritten: boolean;
  readonly #stamps = new Map<bigint, number>();
  readonly #foreign = new Set<number>();
  /** By stamp, why states that no files make up are given up. */
  readonly #lost = new Map<number, StateGoneError>();
  #oldestStamp = 0;
  #newest: State | undefined;
  /** Views that the newest state was shown by, one after the other. */
  readonly #shown = new Set<number>();

  /** `isWritten`: transactions may be written on top of its states. */
  constructor(native: Native, replicaId: number, { name, isWritten }: { name: string; isWritten: boolean }) {
    this.#native = native;
    this.#isWritten = isWritten;
    this.#replicaId = replicaId;
    this.#name = name;
  }

  /** The state that the next transaction sees; undefined before the first. */
  get newest(): State | undefined {
    return this.#newest;
  }

  /** What the state after a transaction is known by; a new number unless it was seen before. */
  stampOf(txid: bigint): number {
    const stamp = this.#stamps.get(txid) ?? this.newStamp();
    this.#keepStamp(txid, stamp);
    return stamp;
  }

  #keepStamp(txid: bigint, stamp: number): void {
    this.#stamps.delete(txid); // so that it becomes the newest
    this.#stamps.set(txid, stamp);
    if (this.#stamps.size > STAMPS_MAX) this.#stamps.delete(this.#stamps.keys().next().value!);
  }

  /** Keeps what the state after a transaction is known by, where a writer of this process has said so. */
  know(txid: bigint, stamp: number): void {
    this.#keepStamp(txid, stamp);
    if (this.#oldestStamp === 0) this.#oldestStamp = stamp;
  }

  /** A number that no content was ever known by. */
  newStamp(): number {
    const { calls } = this.#native;
    const given = this.#isWritten ? calls.ls_writer_stamp() : calls.ls_stamp();
    const stamp = checkShim(this.#native, given, "stamp", this.#name);
    if (this.#oldestStamp === 0) this.#oldestStamp = stamp;
    return stamp;
  }

  /** The same for content that may be another database's. */
  foreignStamp(): number {
    const stamp = this.newStamp();
    this.#foreign.add(stamp);
    return stamp;
  }

  /** From `stamp` on equal TXIDs mean nothing: another database has taken the replica's place, or may have. */
  renew(txid: bigint, stamp: number): void {
    this.renewSchema();
    this.#stamps.clear();
    for (const foreign of this.#foreign) if (foreign < stamp) this.#foreign.delete(foreign);
    this.#stamps.set(txid, stamp);
    this.#oldestStamp = stamp;
  }

  /** From the view on that is published next, equal schema versions mean nothing: it may not follow from the one before. */
  renewSchema(): void {
    this.#native.calls.ls_replica_renew(this.#replicaId);
  }

  /** Whether a stamp was given since the last {@link renew}, and to nothing foreign. */
  isOurs(stamp: number): boolean {
    return this.#oldestStamp !== 0 && stamp >= this.#oldestStamp && !this.#foreign.has(stamp);
  }

  /** A database without pages, of which nothing is stored yet. */
  empty(pageSize: number): State {
    const { calls } = this.#native;
    const mapId = checkShim(this.#native, calls.ls_map_new(0, pageSize), "map pages of", this.#name);
    const stamp = this.newStamp();
    const viewId = calls.ls_map_view(mapId, this.#replicaId, 0n, 0, stamp, 0n);
    return { viewId: checkShim(this.#native, viewId, "begin", this.#name), txid: 0n, stamp, files: [] };
  }

  /** Makes a state of a whole plan; it is not lost any more. */
  async make(files: readonly PlanFile[], stamp: number): Promise<State> {
    const state = await this.#state(files, stamp, 0);
    this.#lost.delete(stamp);
    return state;
  }

  /** Gives a state up that no files make up any more. */
  lose(stamp: number, why: StateGoneError): void {
    this.#lost.set(stamp, why);
    if (this.#lost.size > LOST_MAX) this.#lost.delete(this.#lost.keys().next().value!);
  }

  /** Why a state was given up; undefined unless it was. */
  lostBy(stamp: number): StateGoneError | undefined {
    return this.#lost.get(stamp);
  }

  /** Makes a state of another one and the files that follow it. */
  async extend(state: State, files: readonly PlanFile[], stamp: number): Promise<State> {
    const made = await this.#state(files, stamp, state.viewId);
    return { ...made, files: [...state.files.filter(({ closed }) => !closed), ...files] };
  }

  /** Makes a state of a local copy alone; `enter` enters all its pages into a page map. */
  async ofCopy(
    { txid, commit, pageSize, timeMs }: ViewShape,
    files: readonly PlanFile[],
    enter: (mapId: number) => Promise<void>,
  ): Promise<State> {
    const mapId = checkShim(
      this.#native,
      this.#native.calls.ls_map_new(0, pageSize),
      "map pages of",
      this.#name,
    );
    const stamp = this.stampOf(txid);
    const viewId = await this.#viewOf(mapId, { txid, commit, timeMs, stamp }, enter);
    return { viewId, txid, stamp, files };
  }

  /** A view that was just made: one that had its number before is nobody's any more. */
  #new(viewId: number): number {
    this.#shown.delete(viewId);
    return viewId;
  }

  async #viewOf(
    mapId: number,
    { txid, commit, timeMs, stamp }: Omit<ViewShape, "pageSize"> & { readonly stamp: number },
    enter: (mapId: number) => Promise<void>,
  ): Promise<number> {
    const { calls } = this.#native;
    try {
      await enter(mapId);
      const viewId = calls.ls_map_view(mapId, this.#replicaId, txid, commit, stamp, BigInt(timeMs));
      return this.#new(checkShim(this.#native, viewId, "make a view of", this.#name));
    } catch (error) {
      calls.ls_map_free(mapId); // answers LS_MISUSE when the view has used it up
      throw error;
    }
  }

  /** The same state with what `enter` enters into its page map: the same content at other places. */
  async relocate(state: State, enter: (mapId: number) => Promise<void>): Promise<State> {
    const { ls_map_new } = this.#native.calls;
    const info = viewInfo(this.#native, state.viewId)!;
    const mapId = checkShim(
      this.#native,
      ls_map_new(state.viewId, info.pageSize),
      "map pages of",
      this.#name,
    );
    return { ...state, viewId: await this.#viewOf(mapId, info, enter) };
  }

  async #state(files: readonly PlanFile[], stamp: number, base: number): Promise<State> {
    const source = { replicaId: this.#replicaId, name: this.#name, files, base, stamp };
    const viewId = this.#new(await makeView(this.#native, source));
    return { viewId, txid: files.at(-1)!.file.maxTxid, stamp, files };
  }

  /**
   * Makes a state the newest. One of the same stamp as the newest leads its readers on; the reference goes with it.
   *
   * @throws {ReplicaClosedError} the replica was closed
   */
  publish(state: State, show: (viewId: number) => number = this.#native.calls.ls_view_publish): void {
    const { calls } = this.#native;
    if (show(state.viewId) < 0) {
      calls.ls_view_release(state.viewId);
      throw new ReplicaClosedError(`Cannot open replica ${this.#name}: it was closed`);
    }
    if (this.#newest?.stamp !== state.stamp) {
      addTo(this.#native, this.#replicaId, "views", 1);
      this.#shown.clear();
    }
    this.#shown.add(state.viewId);
    if (this.#newest) calls.ls_view_release(this.#newest.viewId);
    this.#newest = state;
  }

  /**
   * Whether the readers of a view are led wherever the newest state is published. A view of a past moment has readers of
   * its own, though its content may be the newest state's; and a view's number may have become another replica's.
   */
  isShown(viewId: number, { stamp }: Pick<ViewInfo, "stamp">): boolean {
    return stamp === this.#newest?.stamp && this.#shown.has(viewId);
  }

  /** Leads the readers of a view to a state of the same stamp, and gives that state's reference up. */
  lead(viewId: number, to: State): void {
    const { calls } = this.#native;
    calls.ls_view_relocate(viewId, to.viewId); // refused when nobody holds the view any more
    calls.ls_view_release(to.viewId);
  }

  /**
   * Whether a view of the newest state lies beside the local copy in which the newest one lies: what it has lost the copy has
   * not, and need not be given up for it.
   */
  isBesideLocal(viewId: number): boolean {
    const newest = this.#newest;
    return newest !== undefined && this.isLocal(newest) && this.#native.calls.ls_view_local(viewId) === 0;
  }

  /** Whether pages of a state lie in the local copy, which whoever sees them keeps from being brought up to date. */
  isLocal({ viewId }: State): boolean {
    return this.#native.calls.ls_view_local(viewId) > 0;
  }

  /** Gives a state's reference up. */
  release(state: State): void {
    this.#native.calls.ls_view_release(state.viewId);
  }

  /** Gives the newest state up. */
  close(): void {
    if (this.#newest) this.release(this.#newest);
    this.#newest = undefined;
  }
}
