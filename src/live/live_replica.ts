/**
 * A replica as the core holds it: its files in the shim, its newest state, its pages on demand.
 *
 * @module
 */
import { cString } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import { unkept } from "../cache/caching_store.ts";
import type { LastState, LastStates } from "../cache/last_states.ts";
import type { StaleOpening } from "../cache/offline.ts";
import type { Change } from "../diff/change.ts";
import type { DiffOptions } from "../diff/diff.ts";
import {
  ObjectGoneError,
  ReplacedError,
  ReplicaClosedError,
  ReplicaError,
  RestorePlanError,
} from "../errors.ts";
import { type Followed, Follower } from "../follow/follower.ts";
import type { Hydrated, Hydration, HydrationOptions, HydrationProgress } from "../hydrate/hydration.ts";
import type { LeftCopy } from "../hydrate/left_copy.ts";
import { formatTxid } from "../ltx/txid.ts";
import { addLook, type RequestMeter } from "../pages/counters.ts";
import type { PageRequest, Pages, TakenPage } from "../pages/pages.ts";
import type { RestoreRequest } from "../restore/restore.ts";
import { sleep } from "../sleep.ts";
import type { RequestOptions } from "../storage/object_store.ts";
import { PurposeStore, readsFor } from "../storage/purpose_store.ts";
import type { Point, PointsOptions } from "../time/points.ts";
import type { LevelSummary } from "../view/level_summary.ts";
import { type Listing, listReplica } from "../view/listing.ts";
import type { PlanFile } from "../view/plan_file.ts";
import { makeRestorePlan, type ReplicaFile } from "../view/restore_plan.ts";
import { viewInfo } from "../view/view_info.ts";
import { locate } from "../view/view_map.ts";
import type { DatabaseHead } from "../write/logged_file.ts";
import type { Stored, Writer, Written } from "../write/writer.ts";
import { type FileSet, identity } from "./file_set.ts";
import { type FirstLook, lookFirst } from "./first_look.ts";
import { checkPageSize, isAnew, unfit } from "./fit.ts";
import {
  type LiveParts,
  type LiveReplicaOptions,
  type LiveReplicaSource,
  makeParts,
  openApart,
  placeOfSource,
  planning,
  requestOf,
  type WriteOptions,
} from "./live_parts.ts";
import type { Moments, RestoredView } from "./moments.ts";
import { Opening } from "./opening.ts";
import { PinWatch } from "./pin_watch.ts";
import { Presence } from "./presence.ts";
import { Relocation } from "./relocation.ts";
import { StaleWatch } from "./stale_watch.ts";
import type { State, States } from "./states.ts";
import { ViewPages } from "./view_pages.ts";

/** In place of a frame of the write log: the state is not of our making. */
const FOREIGN = 0xffff_ffff;

/** How long the end of an opening that failed waits for the probe's object to be removed, in ms. */
const PROBE_GRACE_MS = 1_000;

/** A replica that is followed and was not seen for this long is told of where the user sets no bound, in ms. */
const STALE_MS = 10_000;
/** Or, where looks are rarer than that, so many of them. */
const LOOKS_MISSED = 2;

/** One open replica in the core. */
export class LiveReplica implements Followed {
  /** The shim's handle. */
  readonly id: number;
  readonly #parts: LiveParts;
  readonly #source: LiveReplicaSource;
  readonly #options: LiveReplicaOptions;
  readonly #pages: Pages;
  readonly #meter: RequestMeter;
  readonly #files: FileSet;
  readonly #states: States;
  readonly #pins: PinWatch;
  readonly #stale: StaleWatch;
  readonly #lastStates: LastStates | undefined;
  readonly #relocation: Relocation;
  readonly #readers = new Presence();
  #past: Promise<Moments> | undefined;
  #writer: Writer | undefined;
  #hydration: Hydration | undefined;
  /** The local copy that the opening was made of. */
  #left: LeftCopy | undefined;
  /** Frames of the write log that the newest state has; undefined where the replica is read only. */
  #logged: number | undefined;
  #refused: Error | undefined;
  #follower: Follower | undefined;
  #publishing: Promise<unknown> = Promise.resolve();
  #closed = false;

  /**
   * Opens a replica: lists it, plans, reads the plan's indexes, publishes the first state, follows it from there. `look` is
   * under way; from now on it is this replica's.
   */
  static async open(
    source: LiveReplicaSource,
    options: LiveReplicaOptions,
    request: RequestOptions,
    look: FirstLook = lookFirst(source.store, source.layout, { ...options, ...request }),
  ): Promise<LiveReplica> {
    const replica = new LiveReplica(source, options);
    replica.#pages.signal.addEventListener("abort", () => look.stop(replica.#pages.signal.reason));
    try {
      let onSent = () => {};
      const isSent = new Promise<void>((resolve) => onSent = resolve);
      const opening = new Opening(replica.#parts, (state) => replica.#publish(state)).run(
        { ...request, onSent },
        look.listing,
      );
      const parts = loadParts(options, Promise.race([isSent, opening]));
      parts.catch(() => {}); // where the opening fails before
      const { listing, stale, left } = await opening;
      replica.#left = left;
      replica.#follow(listing, stale);
      const { Writer, Hydration } = await parts;
      if (Writer) {
        await replica.#whileWanted(request, look, replica.#startWriting(Writer, options.write!, look));
      }
      if (Hydration) replica.#hydrate(Hydration, options.hydrate!); // it may wait, and whoever opens may not
      return replica;
    } catch (error) {
      await probeEnd(look);
      await replica.close().catch(() => {}); // why it was not opened says more
      throw error;
    }
  }

  private constructor(source: LiveReplicaSource, options: LiveReplicaOptions) {
    const { native } = source;
    const parts = this.#parts = makeParts(source, options);
    this.id = parts.id;
    this.#source = source;
    this.#options = options;
    this.#pages = parts.pages;
    this.#meter = parts.meter;
    this.#files = parts.files;
    this.#states = parts.states;
    this.#lastStates = parts.lastStates;
    this.#relocation = new Relocation(parts, {
      known: () => this.#follower!.known(),
      isRewritten: (known, listed) => this.isRewritten(known, listed),
      refresh: () => this.#follower!.refresh(),
      exclusively: (act) => this.#exclusively(act),
      publishInPlaceOf: async (viewId, state) => {
        if (this.#states.isBesideLocal(viewId)) return this.#states.lead(viewId, state);
        this.#publish(await this.#overLocal(state, this.#states.newest!.viewId));
      },
      closedError: () => this.#closedError(),
    });
    this.#pins = new PinWatch(native, this.id, options.stalePinMs);
    const { maxStaleMs, pollIntervalMs } = options;
    const awayMs = pollIntervalMs > 0 ? Math.max(STALE_MS, LOOKS_MISSED * pollIntervalMs) : Infinity;
    const boundMs = maxStaleMs || awayMs;
    const tellStale = (lagMs: number) => source.onEvent({ type: "stale", lagMs });
    this.#stale = new StaleWatch(native, this.id, boundMs, tellStale);
  }

  /** A part of the opening that knows nothing of the request's end. */
  async #whileWanted(
    { signal }: RequestOptions,
    look: FirstLook,
    part: Promise<void>,
  ): Promise<void> {
    const stop = async () => {
      await probeEnd(look);
      this.#follower!.stop(signal!.reason);
      this.#pages.close(signal!.reason);
    };
    if (signal?.aborted) void stop();
    else signal?.addEventListener("abort", stop, { once: true });
    try {
      await part;
    } finally {
      signal?.removeEventListener("abort", stop);
      signal?.throwIfAborted();
    }
  }

  /** The place the replica lies, without secrets. */
  get name(): string {
    return this.#source.store.name;
  }

  // ------------------------------------------------------------------------------------------------- following

  #follow({ files: listed, beganMs }: Listing, stale?: StaleOpening): void {
    const { store, layout, onEvent, native } = this.#source;
    this.#follower = new Follower({
      store: new PurposeStore(store, "follow"),
      layout,
      followed: this,
      intervalMs: this.#options.pollIntervalMs,
      onReplaced: this.#options.onReplaced,
      listed,
      onEvent,
      onLooked: (error, ageMs) => this.#looked(error, ageMs),
      ...(stale && { seenMs: stale.state.seenMs }),
    });
    native.calls.ls_replica_polled(this.id, cString("")); // the opening has seen it
    if (stale) {
      this.#seenBefore(stale);
      this.#lastStates?.seen(stale.state.seenMs);
    } else this.#seen(beganMs === undefined ? 0 : performance.now() - beganMs);
    this.#follower.start();
  }

  /** What was stored until so many ms ago can be seen. */
  #seen(ageMs: number): void {
    this.#source.native.calls.ls_replica_seen(this.id, BigInt(Math.round(ageMs)));
    this.#stale.seen(ageMs);
    this.#lastStates?.seen(Date.now() - ageMs);
  }

  /** Somebody else has seen it, a while ago. */
  #seenBefore({ cause, ageMs }: StaleOpening): void {
    const { native, textOf } = this.#source;
    native.calls.ls_replica_seen(this.id, BigInt(Math.round(ageMs)));
    native.calls.ls_replica_polled(this.id, cString(textOf(cause)));
    this.#stale.seenBefore(ageMs);
  }

  /** A look has ended; one that went well asked so long ago what there is. */
  #looked(error: Error | undefined, ageMs: number): void {
    if (this.#closed) return;
    const { native, textOf, onEvent } = this.#source;
    native.calls.ls_replica_polled(this.id, cString(error ? textOf(error) : ""));
    if (error) this.#stale.check();
    else this.#seen(ageMs);
    addLook(native, this.id, error ? "failed" : "good"); // then whoever waits for its end asks what was found
    if (error instanceof ReplacedError) {
      native.calls.ls_replica_block(this.id, cString(textOf(error)));
      this.#writer?.conflict("another database has taken its place", false);
    }
    this.#meter.carry(this.id);
    for (const pin of this.#pins.check(this.#states.newest?.stamp ?? 0)) {
      onEvent({ type: "stale-pin", ...pin });
    }
  }

  /** Looks for new transactions in the background; stores what is committed. */
  nudge(): void {
    this.#writer?.nudge();
    this.#follower?.nudgeFromAfar();
  }

  /** Applies all that is in the replica now; gives the TXID that is seen then. */
  async refresh(): Promise<bigint> {
    await this.#follower!.refresh();
    await this.#writer?.settled();
    return this.position;
  }

  /** Waits until `txid` or a later one is seen; gives the one that is. */
  async waitFor(txid: bigint, signal: AbortSignal): Promise<bigint> {
    await this.#follower!.waitFor(txid, signal);
    await this.#writer?.settled();
    return this.position;
  }

  get position(): bigint {
    return this.#states.newest?.txid ?? 0n;
  }

  get files(): readonly PlanFile[] {
    const files = this.#states.newest?.files ?? [];
    return files.filter(({ closed }, index) => !closed || index === files.length - 1);
  }

  advance(files: readonly ReplicaFile[], head?: Uint8Array): Promise<void> {
    return this.#exclusively(async () => {
      let reached = this.position;
      const next = files.filter(({ minTxid, maxTxid }) => {
        const leadsOn = minTxid <= reached + 1n && maxTxid > reached;
        if (leadsOn) reached = maxTxid;
        return leadsOn;
      });
      if (next.length === 0 || this.#writer?.isStoring(reached)) return;
      await this.#files.use(next, requestOf(this.#parts, "follow"), async (opened) => {
        const newest = this.#states.newest!;
        checkPageSize(opened, this.#pageSize);
        const stamp = this.#states.stampOf(reached);
        const state = await this.#states.extend(newest, opened, stamp).catch((error) => {
          throw opened.length === 1 ? unfit(error, opened[0]!) : error;
        });
        const isBroken = opened.some((file, i) =>
          isAnew(this.#source.native, opened[i - 1] ?? newest.files.at(-1), file)
        );
        if (isBroken) this.#states.renewSchema();
        this.#publish(state);
      }, next[0] === files[0] ? head : undefined);
    });
  }

  rebuild(plan: readonly ReplicaFile[], isOther: boolean): Promise<void> {
    return this.#exclusively(async () => {
      const { maxTxid } = plan.at(-1)!;
      if (!isOther && (maxTxid <= this.position || this.#writer?.isStoring(maxTxid))) return;
      await this.#files.use(plan, requestOf(this.#parts, "follow"), async (files) => {
        const isResized = files[0]!.header.pageSize !== this.#pageSize;
        const isRenewed = isOther || this.position > 0n && isResized;
        const stamp = isRenewed ? this.#states.newStamp() : this.#states.stampOf(maxTxid);
        const state = await this.#states.make(files, stamp);
        if (isRenewed) this.#states.renew(maxTxid, stamp);
        else this.#states.renewSchema();
        if (isRenewed) this.#hydration?.replaced();
        if (isRenewed || isResized) this.#publishBegun(state);
        else this.#publish(state);
      });
    });
  }

  rebase(plan: readonly ReplicaFile[]): Promise<void> {
    return this.#exclusively(async () => {
      const newest = this.#states.newest!;
      if (plan.at(-1)!.maxTxid !== newest.txid || this.#hydration?.isWhole) return;
      await this.#files.use(plan, requestOf(this.#parts, "follow"), async (files) => {
        const state = await this.#overLocal(await this.#states.make(files, newest.stamp), newest.viewId);
        const left = newest.files.filter((file) => !files.includes(file));
        await this.#pages.carryOver(left, newest.viewId, state.viewId);
        this.#publish(state);
      });
    });
  }

  /** Of the newest state, in bytes. */
  get #pageSize(): number {
    return viewInfo(this.#source.native, this.#states.newest!.viewId)!.pageSize;
  }

  async isRewritten(known: ReplicaFile, listed: ReplicaFile): Promise<boolean | undefined> {
    const name = identity(known);
    const open = [...this.#files.all(), ...this.#states.newest?.files ?? []].find(({ file }) =>
      identity(file) === name
    );
    if (open === undefined) return undefined;
    return await this.#files.use(
      [listed],
      requestOf(this.#parts, "follow"),
      ([now]) => Promise.resolve(now!.checksum === open.checksum),
    );
  }

  /** One after the other: each changes what the newest state is. */
  #exclusively<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#publishing.then(() => {
      if (this.#closed) throw this.#closedError();
      return act();
    });
    this.#publishing = done.catch(() => {});
    return done;
  }

  /** Publishes a state; one that others made, where ours waits to be stored, is a conflict. */
  #show(state: State, frame: number = FOREIGN): void {
    const { calls } = this.#source.native;
    if (this.#logged === undefined) return this.#states.publish(state);
    let found = 0;
    try {
      this.#states.publish(
        state,
        (viewId) => found = calls.ls_writer_base(this.id, viewId, frame, state.txid + 1n),
      );
    } catch (error) {
      if (found !== LS.BUSY || this.#writer === undefined) throw error;
      throw this.#writer.conflict(`another writer stored TXID ${formatTxid(state.txid)}`, true);
    }
    this.#logged = frame === FOREIGN ? this.#logged : frame;
    if (frame === FOREIGN) this.#writer?.follow();
  }

  #publish(state: State, frame?: number): void {
    const { native, onEvent } = this.#source;
    const before = this.#states.newest;
    this.#show(state, before?.stamp === state.stamp ? this.#logged : frame);
    this.#preload(state);
    this.#lastStates?.changed(() => this.#lastState());
    if (before === undefined || before.stamp === state.stamp) return;
    this.#hydration?.changed();
    if (this.#refused === undefined) native.calls.ls_replica_block(this.id, cString(""));
    if (state.files.length === 0) return;
    const { commit, timestampMs } = state.files.at(-1)!.header;
    onEvent({ type: "commit", txid: state.txid, commit, timeMs: timestampMs });
  }

  /** The same of another database, or of pages of another size than an empty one was begun with: its trees are not known yet. */
  #publishBegun(state: State, frame?: number): void {
    this.#pages.begin(state.viewId);
    this.#publish(state, frame);
    this.#pages.opened(state.viewId, 0);
  }

  /** The newest state as it is kept; without a plan where none is known. */
  #lastState(): Omit<LastState, "seenMs"> {
    const txid = this.position;
    const files = [...this.#follower?.known() ?? []];
    // Files that a local copy has all pages of are not open any more.
    const isLocal = this.#states.newest !== undefined && this.#states.isLocal(this.#states.newest);
    return { txid, files, plan: isLocal ? planOf(files, txid) : this.files.map(({ file }) => file) };
  }

  #preload({ files }: State): void {
    const { onNotice } = this.#source;
    this.#pages.preload(files, (file) => this.#files.drop(file)).catch((error) => {
      if (!this.#closed) onNotice(`Pages that came with an index are left: ${error.message}`);
    });
  }

  // --------------------------------------------------------------------------------------------------- writing

  async #startWriting(
    Class: typeof Writer,
    options: WriteOptions,
    { listedMs, probing }: FirstLook,
  ): Promise<void> {
    const { native, store, layout, textOf, onNotice } = this.#source;
    const replica: Written = {
      position: 0n,
      head: () => this.#head(),
      known: () => this.#follower!.known(),
      list: async () => (await listReplica(store, layout, requestOf(this.#parts, "write"))).files,
      refresh: () => this.refresh(),
      isRewritten: (known, listed) => this.isRewritten(known, listed),
      stored: (file, bytes, upTo) => this.#stored(file, bytes, upTo),
      block: (error) => {
        this.#refused = error;
        native.calls.ls_replica_block(this.id, cString(textOf(error)));
      },
    };
    Object.defineProperty(replica, "position", { get: () => this.position });
    this.#writer = await Class.open({
      ...options,
      native,
      coreId: this.#source.coreId,
      replicaId: this.id,
      store: new PurposeStore(store, "write"),
      place: placeOfSource(this.#source),
      layout,
      folder: this.#source.folder,
      replica,
      listedMs,
      probing,
      uncounted: this.#source.uncounted ?? ((act) => act()),
      signal: this.#pages.signal,
      onLocked: () => this.#logged = 0,
      onNotice,
      onError: (error) => onNotice(`What is committed cannot be stored right now: ${error.message}`),
    });
    await this.#writer.settle(); // of a state that came just now
  }

  /** What the newest state's page 1 has as it is stored. */
  async #head(): Promise<DatabaseHead> {
    const newest = this.#states.newest!;
    if (newest.files.length === 0) return (await import("../write/logged_file.ts")).NEW_HEAD;
    if (!this.#states.isLocal(newest)) return await this.#headOf(newest.viewId);
    // A local copy's page 1 names a rollback journal, whatever the database does.
    return await planning(async () => {
      const plan = makeRestorePlan((await this.#list()).files, { upTo: newest.txid });
      return await openApart(this.#parts, plan, (viewId) => this.#headOf(viewId));
    });
  }

  async #headOf(viewId: number): Promise<DatabaseHead> {
    const { headOf } = await import("../write/logged_file.ts");
    const pages = new ViewPages(this.#source.native, viewId, (request) => this.serve(request));
    try {
      return headOf(await pages.page(1));
    } finally {
      pages.close();
    }
  }

  #stored(file: ReplicaFile, bytes: Uint8Array | undefined, { frame, stamp }: Stored): Promise<void> {
    return this.#exclusively(async () => {
      await this.#files.use([file], requestOf(this.#parts, "write"), async (opened) => {
        const newest = this.#states.newest!;
        this.#states.know(file.maxTxid, stamp);
        const state = newest.files.length === 0
          ? await this.#states.make(opened, stamp)
          : await this.#states.extend(newest, opened, stamp);
        const isResized = opened[0]!.header.pageSize !== this.#pageSize;
        if (isResized) this.#publishBegun(state, frame);
        else this.#publish(state, frame);
      }, bytes);
    });
  }

  /**
   * Stores what is committed by now; gives the TXID that is stored then.
   *
   * @throws {ConflictError} another writer has stored something since
   */
  async sync(): Promise<bigint> {
    if (this.#writer === undefined) {
      throw new ReplicaError(`Cannot sync ${this.name}: it is open for reading, expected the option write`);
    }
    try {
      await this.#writer.sync();
      return this.position;
    } finally {
      this.#meter.carry(this.id);
    }
  }

  // --------------------------------------------------------------------------------------------------- reading

  /**
   * Brings a page into the pool; `"moved"` when the reader must look again because its view lies elsewhere now.
   *
   * @throws {StateGoneError} no files make up the state any more
   * @throws {ReplicaError} the page cannot be had; the message says why
   */
  async serve(request: PageRequest): Promise<"loaded" | "moved"> {
    if (this.#closed) throw this.#closedError();
    const file = this.#files.get(request.objectId);
    if (file === undefined) return await this.#serveElsewhere(request);
    try {
      await this.#readers.during(this.#pages.load(file, request));
      return "loaded";
    } catch (error) {
      // Somebody may have led all readers of the state elsewhere meanwhile: hydration, where the copy has the page now.
      if (this.#isMoved(request)) return "moved";
      await this.#relocation.find(request.viewId, await this.#relocation.goneOf(error, file));
      return "moved";
    } finally {
      this.#meter.carry(this.id);
    }
  }

  /** Whether a view has a page elsewhere by now than its reader asked for. */
  #isMoved({ objectId, viewId, pgno }: PageRequest): boolean {
    const place = locate(this.#source.native, viewId, pgno);
    return place !== undefined && place.objectId !== objectId;
  }

  /** The reader has a place that is not in storage, or not open any more. */
  async #serveElsewhere({ objectId, viewId, pgno }: PageRequest): Promise<"moved"> {
    if (this.#source.native.calls.ls_object_local(objectId) !== 1) return "moved";
    const view = viewInfo(this.#source.native, viewId);
    if (view === undefined) return "moved";
    const newest = this.#states.newest;
    const isLost = view.stamp === newest?.stamp; // the file of an older state may be another one
    if (isLost) {
      // Somebody may have led all readers of the state elsewhere since this one asked.
      if (locate(this.#source.native, newest.viewId, pgno)?.objectId !== objectId) return "moved";
      this.#hydration?.lost();
    }
    const found = `Cannot read page ${pgno} from the local copy`;
    await this.#relocation.find(viewId, new ObjectGoneError(found, { key: "", status: 0, retryable: false }));
    if (isLost) this.#hydration?.changed(); // nobody is led there any more: it can be made anew
    return "moved";
  }

  /** A reader took a page that was marked: it has come so far. */
  marked(request: TakenPage): void {
    if (!this.#closed) this.#pages.taken(request);
    this.#meter.carry(this.id);
  }

  // ------------------------------------------------------------------------------------------------- local copy

  #hydrate(Class: typeof Hydration, options: HydrationOptions): void {
    const { native, store, onNotice, onEvent } = this.#source;
    const replica: Hydrated = {
      newest: undefined,
      known: () => this.#follower!.known(),
      exclusively: (act) => this.#exclusively(act),
      relocate: async (enter) => {
        this.#publish(await this.#states.relocate(this.#states.newest!, enter));
        this.#files.sweep();
        this.#meter.carry(this.id);
      },
      quiet: (ms) => this.#readers.quiet(ms),
      use: (files, act) => this.#files.use(files, requestOf(this.#parts, "hydrate"), act),
      refresh: () => this.#follower!.refresh(),
      replan: (viewId, cause) => this.#relocation.find(viewId, cause),
      leaveHalf: () => this.#pages.leaveHalf(),
    };
    Object.defineProperty(replica, "newest", { get: () => this.#states.newest });
    const onProgress = (progress: HydrationProgress) => onEvent({ type: "hydration", ...progress });
    const source = {
      native,
      replicaId: this.id,
      place: placeOfSource(this.#source),
      store: readsFor(unkept(store), "hydrate"),
      replica,
      onNotice,
      onProgress,
    };
    this.#hydration = new Class(source, options, this.#left);
  }

  /** The same state, with what a view of its content has in the local copy; takes the reference over. */
  async #overLocal(state: State, viewId: number): Promise<State> {
    const hydration = this.#hydration;
    if (hydration === undefined) return state;
    try {
      return await this.#states.relocate(state, (mapId) => hydration.enterFrom(mapId, viewId));
    } finally {
      this.#states.release(state);
    }
  }

  #list(): Promise<Listing> {
    const { store, layout } = this.#source;
    return listReplica(store, layout, requestOf(this.#parts, "past"));
  }

  // ------------------------------------------------------------------------------------------------------ past

  /** Its moments; few processes ask for any. */
  #moments(): Promise<Moments> {
    return this.#past ??= import("./moments.ts").then(({ Moments }) =>
      new Moments(this.#parts, {
        known: () => this.#follower!.known(),
        serve: (request) => this.serve(request),
        refresh: () => this.#follower!.refresh(),
      })
    );
  }

  /** See {@link Moments.at}. */
  async moment<T>(text: string, take: (viewId: number, text: string) => T): Promise<T> {
    return await (await this.#moments()).at(text, take);
  }

  /** See {@link Moments.points}. */
  async points(options: PointsOptions = {}): Promise<Point[]> {
    return await (await this.#moments()).points(options);
  }

  /** See {@link Moments.levels}. */
  async levels(): Promise<LevelSummary[]> {
    return await (await this.#moments()).levels();
  }

  /** See {@link Moments.diff}. */
  async *diff(from: string, to: string, options: DiffOptions = {}): AsyncGenerator<Change> {
    yield* (await this.#moments()).diff(from, to, options);
  }

  /** See {@link Moments.restore}. */
  async restore(moment: string, request: RestoreRequest): Promise<RestoredView> {
    return await (await this.#moments()).restore(moment, request);
  }

  // --------------------------------------------------------------------------------------------------- closing

  #closedError(): ReplicaClosedError {
    return new ReplicaClosedError(`Cannot read ${this.name}: the replica was closed`);
  }

  /** Ends what is under way and gives up all that the core holds; open files fail from now on. */
  async close(): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#writer?.close();
    } finally {
      await this.#closeAll();
    }
  }

  async #closeAll(): Promise<void> {
    await this.#hydration?.settle();
    if (this.#closed) return;
    this.#closed = true;
    const kept = this.#lastStates?.close();
    this.#follower?.stop(this.#closedError());
    this.#stale.stop();
    this.#pages.close(this.#closedError());
    await this.#hydration?.close(); // what it waits for ends with the pages' signal
    if (this.#hydration === undefined) this.#left?.file.close();
    await (await this.#past)?.close(); // as restores do
    this.#files.close();
    this.#states.close();
    this.#source.native.calls.ls_replica_close(this.id);
    await kept;
    await this.#source.store.close();
  }
}

/** What an opening needs once the first answer is there, loaded while the next ones are awaited. */
async function loadParts(
  { write, hydrate }: LiveReplicaOptions,
  whenIdle: Promise<unknown>,
): Promise<{ Writer?: typeof Writer; Hydration?: typeof Hydration }> {
  await whenIdle.catch(() => {}); // whoever opens is told
  const [writer, hydration] = await Promise.all([
    write && import("../write/writer.ts"),
    hydrate && import("../hydrate/hydration.ts"),
  ]);
  return { ...writer, ...hydration };
}

/** Waits until a probe's object is removed, but not for long. */
async function probeEnd({ probing }: FirstLook): Promise<void> {
  const cleaned = probing?.then(({ leftover }) => leftover).catch(() => {});
  await Promise.race([cleaned, sleep(PROBE_GRACE_MS)]);
}

function planOf(files: readonly ReplicaFile[], upTo: bigint): ReplicaFile[] {
  try {
    return makeRestorePlan(files, { upTo });
  } catch (error) {
    if (error instanceof RestorePlanError) return [];
    throw error;
  }
}
