/**
 * A replica as the core holds it: its files in the shim, its newest state, its pages on demand.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { cString } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import {
  DeadlineError,
  ObjectGoneError,
  ReplacedError,
  ReplicaClosedError,
  ReplicaError,
  RestorePlanError,
  StateGoneError,
  StorageError,
} from "../errors.ts";
import {
  BRIEFLY,
  fromDisk,
  isOutage,
  lastStatesOf,
  staleError,
  staleNotice,
  type StaleOpening,
  staleOpening,
  unwritableError,
} from "../cache/offline.ts";
import { unkept } from "../cache/caching_store.ts";
import type { LastState, LastStates } from "../cache/last_states.ts";
import type { Change } from "../diff/change.ts";
import type { DiffOptions } from "../diff/diff.ts";
import { compareFiles } from "../follow/continuity.ts";
import type { FollowEvent } from "../follow/follow_event.ts";
import { type Followed, Follower } from "../follow/follower.ts";
import { formatTxid } from "../ltx/txid.ts";
import { addTo, RequestMeter } from "../pages/counters.ts";
import { type PageRequest, Pages, PRELOAD_SHARE, type TakenPage } from "../pages/pages.ts";
import type { LayoutName, RequestOptions, WritableStore } from "../storage/object_store.ts";
import { explainEmpty, type Listing, listLevel, listReplica } from "../view/listing.ts";
import { checkShim, type PlanFile } from "../view/plan_file.ts";
import { makeRestorePlan, type ReplicaFile } from "../view/restore_plan.ts";
import { type ViewInfo, viewInfo } from "../view/view_info.ts";
import { locate } from "../view/view_map.ts";
import type { RestoreRequest } from "../restore/restore.ts";
import type { Point, PointsOptions } from "../time/points.ts";
import { FileSet, identity } from "./file_set.ts";
import { type FirstLook, lookFirst } from "./first_look.ts";
import type { PastStates } from "./past_states.ts";
import { PinWatch } from "./pin_watch.ts";
import { Presence } from "./presence.ts";
import { StaleWatch } from "./stale_watch.ts";
import type { Hydrated, Hydration, HydrationOptions, HydrationProgress } from "../hydrate/hydration.ts";
import type { LeftCopy, WholeRecord } from "../hydrate/left_copy.ts";
import type { DatabaseHead } from "../write/logged_file.ts";
import type { Stored, Writer, Written } from "../write/writer.ts";
import { type State, States } from "./states.ts";
import { ViewPages } from "./view_pages.ts";

/** Page size of a new database until its first page is written, in bytes. */
const NEW_PAGE_SIZE = 4096;

/** In place of a frame of the write log: the state is not of our making. */
const FOREIGN = 0xffff_ffff;

/** How long the end of an opening that failed waits for the probe's object to be removed, in ms. */
const PROBE_GRACE_MS = 1_000;

/** How often a plan is made anew because files of it were deleted meanwhile. */
const PLAN_ATTEMPTS_MAX = 5;

/** How long to wait before looking again for the first files of an empty replica. */
const EMPTY_RETRY_MS = 500;

/** States that were lost and are remembered; the oldest are forgotten. */
const GONE_MAX = 4096;

/** A replica that is followed and was not seen for this long is told of where the user sets no bound, in ms. */
const STALE_MS = 10_000;

/** What {@link LiveReplica.open} needs to know. */
export interface LiveReplicaOptions {
  /** Bound on decoded pages in memory, in bytes. */
  readonly cacheBytesMax: number;
  /** Longest wait of a read in ms, unless its connection says otherwise. */
  readonly readTimeoutMs: number;
  /** How long to wait for the first files of an empty replica, in ms; 0 fails at once. */
  readonly waitForReplicaMs: number;
  /** Pause between looks for new transactions, in ms; 0: only when asked to. */
  readonly pollIntervalMs: number;
  /** No transaction begins when the replica was last seen longer ago, in ms; 0: any age will do. */
  readonly maxStaleMs: number;
  /** What to do when another database has taken the replica's place. */
  readonly onReplaced: "error" | "follow";
  /** Whether pages are loaded before they are asked for. */
  readonly prefetch: "auto" | "off";
  /** Bound on pages loaded ahead for one reader, in bytes. */
  readonly prefetchBytesMax: number;
  /**
   * Whether the last state that was seen will do where the replica cannot be reached; it will not unless
   * given.
   */
  readonly offline?: "error" | "serve-stale" | undefined;
  /** How it is written to; read only unless given. */
  readonly write?: WriteOptions | undefined;
  /** How it is brought to a local file; not at all unless given. */
  readonly hydrate?: HydrationOptions | undefined;
  /** How long a transaction may see a state that is not the newest before it is told of, in ms; a minute unless given. */
  readonly stalePinMs?: number | undefined;
}

/** How a replica is written to. */
export interface WriteOptions {
  /** Path of the write log's files, less their endings. */
  readonly path: string;
  /** Pause between uploads, in ms; 0: only when asked to. */
  readonly syncIntervalMs: number;
  /** Bound on what waits to be stored, in bytes. */
  readonly unsyncedBytesMax: number;
  /** Writes even where another writer's transactions could be overwritten. */
  readonly isUnconditional: boolean;
  /** Whether it is compacted, too. */
  readonly isCompacting: boolean;
  /** Whether a lease is taken first. */
  readonly isLeased: boolean;
}

/** Where a replica lies, and who hears of it. */
export interface LiveReplicaSource {
  readonly native: Native;
  /** The shim's handle of the core. */
  readonly coreId: number;
  readonly store: WritableStore;
  readonly layout: LayoutName;
  readonly onEvent: (event: FollowEvent) => void;
  /** Takes sentences for a person. */
  readonly onNotice: (text: string) => void;
  /** An error as the shim keeps it. */
  readonly textOf: (error: Error) => string;
}

/** What was made a plain file of. */
export type RestoredView = Pick<ViewInfo, "txid" | "commit" | "pageSize">;

/** One open replica in the core. */
export class LiveReplica implements Followed {
  /** The shim's handle. */
  readonly id: number;
  readonly #source: LiveReplicaSource;
  readonly #options: LiveReplicaOptions;
  readonly #pages: Pages;
  readonly #meter: RequestMeter;
  readonly #files: FileSet;
  readonly #states: States;
  readonly #pins: PinWatch;
  readonly #stale: StaleWatch;
  readonly #lastStates: LastStates | undefined;
  readonly #replans = new Map<number, Promise<void>>();
  readonly #gone = new Map<number, StateGoneError>();
  readonly #readers = new Presence();
  #past: Promise<PastStates> | undefined;
  #writer: Writer | undefined;
  #hydration: Hydration | undefined;
  /** The local copy that the opening was made of. */
  #left: LeftCopy | undefined;
  /** Frames of the write log that the newest state has; undefined where the replica is read only. */
  #logged: number | undefined;
  #refused: Error | undefined;
  #follower: Follower | undefined;
  #publishing: Promise<unknown> = Promise.resolve();
  readonly #restores = new Set<Promise<unknown>>();
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
      const opening = replica.#openReachable(request, look.listing);
      const parts = loadParts(options, look);
      parts.catch(() => {}); // where the opening fails before
      const { listing, stale } = await opening;
      replica.#follow(listing.files, stale);
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
    const { native, store, coreId } = source;
    this.#source = source;
    this.#options = options;
    this.id = checkShim(
      native,
      native.calls.ls_replica_new(coreId, options.readTimeoutMs),
      "open replica",
      store.name,
    );
    native.calls.ls_replica_limit(this.id, options.maxStaleMs);
    this.#pages = new Pages({
      native,
      store,
      replicaId: this.id,
      cacheBytesMax: options.cacheBytesMax,
      aheadBytesMax: options.prefetch === "off" ? 0 : options.prefetchBytesMax,
      areAllWanted: options.hydrate !== undefined,
      fileOf: (objectId) => this.#files.get(objectId),
      onNotice: source.onNotice,
    });
    this.#meter = new RequestMeter(native, store.counts);
    this.#lastStates = lastStatesOf(store);
    this.#files = new FileSet({
      native,
      store,
      replicaId: this.id,
      heldBytesMax: options.cacheBytesMax * PRELOAD_SHARE,
      onRelease: (file) => this.#pages.dropObject(file.objectId),
    });
    this.#states = new States(native, this.id, { name: store.name, isWritten: options.write !== undefined });
    this.#pins = new PinWatch(native, this.id, options.stalePinMs);
    const boundMs = options.maxStaleMs || (options.pollIntervalMs > 0 ? STALE_MS : Infinity);
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

  // -------------------------------------------------------------------------------------------------- opening

  /**
   * Opens the newest state, or the last one that was seen where storage cannot be reached and that will do.
   */
  async #openReachable(
    request: RequestOptions,
    listing: Promise<Listing> | undefined,
  ): Promise<{ listing: Listing; stale?: StaleOpening }> {
    const { offline, write, hydrate } = this.#options;
    if (offline !== "serve-stale") return { listing: await this.#openFirst(request, {}, listing) };
    const last = await this.#lastStates?.load();
    const left = hydrate?.path ? await leftRecord(hydrate.path, this.name) : undefined;
    if (!last && !left) return { listing: await this.#openFirst(request) };
    try {
      return { listing: await this.#openFirst(request, BRIEFLY) };
    } catch (error) {
      if (!isOutage(error)) throw error;
      if (write) throw unwritableError(this.name, error);
      const isNewer = left && left.txid >= (last?.txid ?? 0n);
      const copied = isNewer ? await this.#openLeft(left, error, last === undefined, request) : undefined;
      return copied ?? await this.#openLast(staleOpening(last!, error), request);
    }
  }

  /** Opens a local copy; undefined where it is of no use, and `isOnly` does not have that thrown. */
  async #openLeft(
    found: WholeRecord,
    cause: Error,
    isOnly: boolean,
    request: RequestOptions,
  ): Promise<{ listing: Listing; stale: StaleOpening } | undefined> {
    const { native, onNotice } = this.#source;
    const { openLeftCopy, closedFile } = await import("../hydrate/left_copy.ts");
    try {
      const left = await openLeftCopy(native, this.id, this.#options.hydrate!.path!, found, request);
      this.#left = left;
      const { record, file } = left;
      const last = closedFile(record);
      const enter = (mapId: number) => file.enterAll(mapId, record.commit);
      const state = await this.#states.ofCopy(record, [last], enter);
      this.#pages.begin(state.viewId);
      this.#publish(state);
      const stale = staleOpening({ ...record, plan: [last.file] }, cause);
      onNotice(staleNotice(this.name, stale));
      return { listing: { files: [...record.files], depth: 0 }, stale };
    } catch (error) {
      this.#left?.file.close();
      this.#left = undefined;
      request.signal?.throwIfAborted();
      if (!isOnly) return undefined;
      throw staleError(this.name, staleOpening({ ...found, plan: [] }, cause), error as Error);
    }
  }

  async #openLast(
    stale: StaleOpening,
    request: RequestOptions,
  ): Promise<{ listing: Listing; stale: StaleOpening }> {
    const { plan, files } = stale.state;
    try {
      await this.#openPlan(plan, { files: [...files], depth: 0 }, fromDisk(request));
    } catch (error) {
      request.signal?.throwIfAborted();
      throw staleError(this.name, stale, error as Error);
    } finally {
      this.#meter.carry(this.id);
    }
    this.#source.onNotice(staleNotice(this.name, stale));
    return { listing: { files: [...files], depth: 0 }, stale };
  }

  async #openFirst(
    request: RequestOptions,
    listingOptions: RequestOptions = {},
    listing?: Promise<Listing>,
  ): Promise<Listing> {
    const { waitForReplicaMs } = this.#options;
    const deadline = performance.now() + waitForReplicaMs;
    for (let begun = listing;; begun = undefined) {
      try {
        return await this.#openNewest(request, listingOptions, begun);
      } catch (error) {
        const isEmpty = error instanceof RestorePlanError && error.fault === "empty";
        if (isEmpty && this.#options.write) return this.#openEmpty();
        if (!isEmpty || waitForReplicaMs === 0) throw error;
        if (performance.now() >= deadline) {
          const text = `Cannot open replica ${this.name}: still empty after ${waitForReplicaMs} ms`;
          throw new DeadlineError(text, { cause: error });
        }
      } finally {
        this.#meter.carry(this.id);
      }
      await sleep(Math.min(EMPTY_RETRY_MS, Math.max(1, deadline - performance.now())), request.signal);
    }
  }

  /** Begins a new database. */
  #openEmpty(): Listing {
    const state = this.#states.empty(NEW_PAGE_SIZE);
    this.#pages.begin(state.viewId);
    this.#publish(state);
    return { files: [], depth: 1 };
  }

  /** Plans, makes the newest state and publishes it; begins anew when files vanish in between. */
  async #openNewest(
    request: RequestOptions,
    listingOptions: RequestOptions,
    begun: Promise<Listing> | undefined,
  ): Promise<Listing> {
    const { store, layout } = this.#source;
    return await this.#planning(async (attempt) => {
      const listing = attempt === 1 && begun
        ? await begun
        : await listReplica(store, layout, { ...request, ...listingOptions });
      if (listing.files.length === 0) throw await explainEmpty(store, request);
      await this.#openPlan(makeRestorePlan(listing.files), listing, request);
      return listing;
    });
  }

  async #openPlan(plan: readonly ReplicaFile[], { depth }: Listing, request: RequestOptions): Promise<void> {
    const { counts } = this.#source.store;
    const before = counts.get;
    await this.#files.use(plan, request, async (files) => {
      const state = await this.#states.make(files, this.#states.stampOf(plan.at(-1)!.maxTxid));
      this.#pages.begin(state.viewId);
      this.#publish(state);
      const isFromDisk = counts.get === before;
      this.#pages.opened(
        state.viewId,
        depth + (isFromDisk ? 0 : Math.max(...files.map(({ depth }) => depth))),
      );
    });
  }

  /** Runs what plans by listings again when files vanish meanwhile, or when the listings were not of one moment. */
  async #planning<T>(act: (attempt: number) => Promise<T>): Promise<T> {
    for (let attempt = 1;; attempt++) {
      try {
        return await act(attempt);
      } catch (error) {
        // Ten listings are not one moment: what compaction moved between two of them stands in neither.
        const isTorn = error instanceof RestorePlanError && error.fault !== "empty" && error.fault !== "v0.3";
        if (attempt >= (isTorn ? 2 : error instanceof ObjectGoneError ? PLAN_ATTEMPTS_MAX : 0)) throw error;
      }
    }
  }

  // ------------------------------------------------------------------------------------------------- following

  #follow(listed: readonly ReplicaFile[], stale?: StaleOpening): void {
    const { store, layout, onEvent, native } = this.#source;
    this.#follower = new Follower({
      store,
      layout,
      followed: this,
      intervalMs: this.#options.pollIntervalMs,
      onReplaced: this.#options.onReplaced,
      listed,
      onEvent,
      onLooked: (error) => this.#looked(error),
      ...(stale && { seenMs: stale.state.seenMs }),
    });
    native.calls.ls_replica_polled(this.id, cString("")); // the opening has seen it
    if (stale) this.#seenBefore(stale);
    else this.#stale.seen();
    this.#lastStates?.seen(stale?.state.seenMs);
    this.#follower.start();
  }

  /** Somebody else has seen it, a while ago. */
  #seenBefore({ cause, ageMs }: StaleOpening): void {
    const { native, textOf } = this.#source;
    native.calls.ls_replica_seen(this.id, BigInt(Math.round(ageMs)));
    native.calls.ls_replica_polled(this.id, cString(textOf(cause)));
    this.#stale.seenBefore(ageMs);
  }

  #looked(error: Error | undefined): void {
    if (this.#closed) return;
    const { native, textOf, onEvent } = this.#source;
    addTo(native, this.id, "polls", 1);
    if (error) addTo(native, this.id, "failedPolls", 1);
    native.calls.ls_replica_polled(this.id, cString(error ? textOf(error) : ""));
    if (error instanceof ReplacedError) {
      native.calls.ls_replica_block(this.id, cString(textOf(error)));
      this.#writer?.conflict("another database has taken its place");
    }
    this.#meter.carry(this.id);
    if (error) this.#stale.check();
    else this.#stale.seen();
    if (!error) this.#lastStates?.seen();
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
      await this.#files.use(next, this.#request(), async (opened) => {
        this.#publish(await this.#states.extend(this.#states.newest!, opened, this.#states.stampOf(reached)));
      }, next[0] === files[0] ? head : undefined);
    });
  }

  rebuild(plan: readonly ReplicaFile[], isOther: boolean): Promise<void> {
    return this.#exclusively(async () => {
      const { maxTxid } = plan.at(-1)!;
      if (!isOther && (maxTxid <= this.position || this.#writer?.isStoring(maxTxid))) return;
      await this.#files.use(plan, this.#request(), async (files) => {
        const stamp = isOther ? this.#states.newStamp() : this.#states.stampOf(maxTxid);
        const state = await this.#states.make(files, stamp);
        if (isOther) this.#states.renew(maxTxid, stamp);
        if (isOther) this.#pages.begin(state.viewId);
        if (isOther) this.#hydration?.replaced();
        this.#publish(state);
        if (isOther) this.#pages.opened(state.viewId, 0);
      });
    });
  }

  rebase(plan: readonly ReplicaFile[]): Promise<void> {
    return this.#exclusively(async () => {
      const newest = this.#states.newest!;
      if (plan.at(-1)!.maxTxid !== newest.txid || this.#hydration?.isWhole) return;
      await this.#files.use(plan, this.#request(), async (files) => {
        const state = await this.#overLocal(await this.#states.make(files, newest.stamp), newest.viewId);
        const left = newest.files.filter((file) => !files.includes(file));
        await this.#pages.carryOver(left, newest.viewId, state.viewId);
        this.#publish(state);
      });
    });
  }

  async isRewritten(known: ReplicaFile, listed: ReplicaFile): Promise<boolean | undefined> {
    const name = identity(known);
    const open = [...this.#files.all(), ...this.#states.newest?.files ?? []].find(({ file }) =>
      identity(file) === name
    );
    if (open === undefined) return undefined;
    return await this.#files.use(
      [listed],
      this.#request(),
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

  #request(): RequestOptions {
    return { signal: this.#pages.signal };
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
      throw this.#writer.conflict(`another writer stored TXID ${formatTxid(state.txid)}`);
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
      list: async () => (await listReplica(store, layout, this.#request())).files,
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
      replicaId: this.id,
      store,
      layout,
      replica,
      listedMs,
      probing,
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
    return await this.#planning(async () => {
      const plan = makeRestorePlan((await this.#list()).files, { upTo: newest.txid });
      return await this.#openApart(plan, (viewId) => this.#headOf(viewId));
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
      await this.#files.use([file], this.#request(), async (opened) => {
        const newest = this.#states.newest!;
        this.#states.know(file.maxTxid, stamp);
        const state = newest.files.length === 0
          ? await this.#states.make(opened, stamp)
          : await this.#states.extend(newest, opened, stamp);
        this.#publish(state, frame);
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
      await this.#replan(request.viewId, await this.#goneOf(error, file));
      return "moved";
    } finally {
      this.#meter.carry(this.id);
    }
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
    await this.#replan(viewId, new ObjectGoneError(found, { key: "", status: 0, retryable: false }));
    if (isLost) this.#hydration?.changed(); // nobody is led there any more: it can be made anew
    return "moved";
  }

  /**
   * A failed read of a file as one of a file that is gone. Where the reader may not list a whole bucket, S3 refuses what
   * is not there: then a listing tells.
   *
   * @throws what it was given, when the file is there
   */
  async #goneOf(error: unknown, { file }: PlanFile): Promise<ObjectGoneError> {
    if (error instanceof ObjectGoneError) return error;
    if (!(error instanceof StorageError) || error.status !== 403 || error.code !== "AccessDenied") {
      throw error;
    }
    const { store, layout } = this.#source;
    const { files } = await listLevel(store, layout, file.level, this.#request()).catch(() => {
      throw error;
    });
    if (files.some((listed) => identity(listed) === identity(file))) throw error;
    const { key, status, code } = error;
    return new ObjectGoneError(error.message, { key, status, code, retryable: false, cause: error });
  }

  /** A reader took a page that was marked: it has come so far. */
  marked(request: TakenPage): void {
    if (!this.#closed) this.#pages.taken(request);
    this.#meter.carry(this.id);
  }

  /** Finds other files that make up what a view shows; several readers share one search. */
  #replan(viewId: number, cause: ObjectGoneError): Promise<void> {
    const view = viewInfo(this.#source.native, viewId);
    if (view === undefined) return Promise.reject(this.#closedError());
    const gone = this.#gone.get(view.stamp);
    // For the newest state the files may be back; an older one has been given up.
    if (gone && view.stamp !== this.#states.newest?.stamp) return Promise.reject(gone);
    const replan = this.#replans.get(view.stamp) ?? this.#replanOnce(viewId, view, cause).finally(() => {
      this.#replans.delete(view.stamp);
    });
    this.#replans.set(view.stamp, replan);
    return replan;
  }

  async #replanOnce(viewId: number, view: ViewInfo, cause: ObjectGoneError): Promise<void> {
    const found = await this.#exclusively(() => this.#planning(() => this.#leadOn(viewId, view)));
    if (found === undefined) return;
    const text = `Cannot read TXID ${formatTxid(view.txid)} of ${this.name}: ${found}`;
    // That state is lost to us. The next transaction may see the newest one; this one may not be mixed with it.
    const gone = new StateGoneError(`${text}; the next transaction sees the newest state`, { cause });
    this.#gone.set(view.stamp, gone);
    if (this.#gone.size > GONE_MAX) this.#gone.delete(this.#gone.keys().next().value!);
    if (view.stamp !== this.#states.newest?.stamp) throw gone;
    try {
      await this.#follower!.refresh();
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

  /** Leads a view's readers to other files of the same content; why that cannot be done, if so. */
  async #leadOn(viewId: number, view: ViewInfo): Promise<string | undefined> {
    const { store, layout } = this.#source;
    const { files: listed } = await listReplica(store, layout, this.#request());
    const { isSame: isThere, changed } = compareFiles(this.#follower!.known(), listed);
    let isSame = isThere;
    for (const { known, listed: now } of changed) {
      const isRewritten = await this.isRewritten(known, now);
      if (isRewritten === false) return "the replica was made anew under the same names";
      isSame ||= isRewritten === true;
    }
    if (!isSame || !this.#states.isOurs(view.stamp)) {
      return "its files were deleted, and nothing tells that what is there now is the same database";
    }
    try {
      const plan = makeRestorePlan(listed, { upTo: view.txid });
      await this.#files.use(plan, this.#request(), async (files) => {
        const state = await this.#states.make(files, view.stamp);
        if (this.#states.newest?.stamp === view.stamp) this.#publish(await this.#overLocal(state, viewId));
        else this.#states.lead(viewId, state);
      });
      return undefined;
    } catch (error) {
      if (!(error instanceof RestorePlanError)) throw error;
      return "its files were deleted, and no others end there";
    }
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
      use: (files, act) => this.#files.use(files, this.#request(), act),
      replan: (viewId, cause) => this.#replan(viewId, cause),
    };
    Object.defineProperty(replica, "newest", { get: () => this.#states.newest });
    const onProgress = (progress: HydrationProgress) => onEvent({ type: "hydration", ...progress });
    const source = {
      native,
      replicaId: this.id,
      name: this.name,
      store: unkept(store),
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
    return listReplica(store, layout, this.#request());
  }

  // ------------------------------------------------------------------------------------------------------ past

  /** The states that were asked for; few processes ask. */
  #pastStates(): Promise<PastStates> {
    const { store, layout, onNotice } = this.#source;
    const known = () => this.#follower!.known();
    return this.#past ??= import("./past_states.ts").then(({ PastStates }) =>
      new PastStates({ store, layout, files: this.#files, states: this.#states, known, onNotice })
    );
  }

  /**
   * Hands the view that a connection at a moment sees, 0 for the newest state, to `take`, with the moment as it is
   * shown. The view is the core's: `take` has its reader take a reference at once.
   *
   * @throws {TypeError} the moment cannot be understood
   * @throws {RestorePlanError} the replica does not reach back to it
   */
  async moment<T>(text: string, take: (viewId: number, text: string) => T): Promise<T> {
    const past = await this.#pastStates();
    try {
      return await this.#planning(async () => {
        try {
          return await past.at(text, this.#request(), take);
        } catch (error) {
          if (error instanceof ObjectGoneError) past.forget();
          throw error;
        }
      });
    } finally {
      this.#meter.carry(this.id);
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
      return await this.#planning(async () => {
        past.forget();
        const { onNotice } = this.#source;
        const listed = await past.list(this.#request());
        return await points(listed, past.times.createdAt, { onNotice, ...options });
      });
    } finally {
      this.#meter.carry(this.id);
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
          `Cannot compare states of ${this.name}: pages of ${before.pageSize} and of ${after.pageSize} bytes, ` +
            "expected one page size",
        );
      }
      const changed = await this.#changedBetween(before, after);
      yield* diffDatabases({ from: before, to: after, changed }, options);
    } finally {
      for (const view of held) view.close();
      this.#files.sweep();
    }
  }

  /** Pages that may differ; those that other files have, and no later transaction wrote, do not. */
  async #changedBetween(before: ViewPages, after: ViewPages): Promise<Uint32Array> {
    const changed = await after.changedFrom(before);
    if (![before, after].every(({ stamp }) => this.#states.isOurs(stamp))) return changed;
    const [older, newer] = before.txid <= after.txid ? [before, after] : [after, before];
    return await newer.writtenAfter(older.txid, changed, (objectId) => this.#files.get(objectId)?.file);
  }

  async #hold(asked: string): Promise<ViewPages> {
    // A local copy has no places that could be compared with those of another state.
    const newest = this.#states.newest!;
    const isNewest = asked === "latest" && this.#states.isLocal(newest);
    const moment = isNewest ? `txid:${formatTxid(newest.txid)}` : asked;
    return await this.moment(moment, (viewId) => {
      const serve = (request: PageRequest) => this.serve(request);
      return new ViewPages(this.#source.native, viewId || this.#states.newest!.viewId, serve);
    });
  }

  /**
   * Makes a plain file of the state of a moment; gives what it is.
   *
   * @throws {RestorePlanError} the replica does not reach back to the moment, or nothing is stored yet
   * @throws {LocalFileError} the file cannot be written
   */
  async restore(moment: string, request: RestoreRequest): Promise<RestoredView> {
    const restoring = this.#restore(moment, request);
    this.#restores.add(restoring);
    try {
      return await restoring;
    } finally {
      this.#restores.delete(restoring);
      this.#meter.carry(this.id);
    }
  }

  async #restore(moment: string, request: RestoreRequest): Promise<RestoredView> {
    const { native, store } = this.#source;
    const [past, { Restore }] = await Promise.all([this.#pastStates(), import("../restore/restore.ts")]);
    const isNewest = moment === "latest"; // all of its files are known
    const known = isNewest ? this.#follower!.known() : await past.list(this.#request());
    const files = [...new Map([...known].map((file) => [file.key, file])).values()];
    const state = await this.moment(moment, (viewId) => {
      return viewInfo(native, viewId || this.#states.newest!.viewId)!;
    });
    const { txid, commit, pageSize } = state;
    if (txid === 0n) {
      throw new RestorePlanError(`Cannot restore ${this.name}: nothing is stored yet`, "empty");
    }
    const signal = AbortSignal.any([request.signal, this.#pages.signal]);
    await new Restore({
      native,
      replicaId: this.id,
      name: this.name,
      store,
      state,
      known: files,
      list: () => {
        past.forget();
        return past.list(this.#request());
      },
      open: (plan, act) => this.#openApart(plan, act),
    }, { ...request, signal }).run();
    return { txid, commit, pageSize };
  }

  /** Opens a plan's files, and has `act` use them with a view that nobody else sees. */
  async #openApart<T>(
    plan: readonly ReplicaFile[],
    act: (viewId: number, files: PlanFile[]) => Promise<T>,
  ): Promise<T> {
    return await this.#files.use(plan, this.#request(), async (files) => {
      const state = await this.#states.make(files, this.#states.newStamp());
      try {
        return await act(state.viewId, files);
      } finally {
        this.#states.release(state);
      }
    });
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
    await Promise.allSettled(this.#restores); // they, too
    (await this.#past)?.close();
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
  { listing }: FirstLook,
): Promise<{ Writer?: typeof Writer; Hydration?: typeof Hydration }> {
  await listing?.catch(() => {}); // whoever opens is told
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

async function leftRecord(path: string, name: string): Promise<WholeRecord | undefined> {
  return await (await import("../hydrate/left_copy.ts")).wholeRecord(path, name);
}

function planOf(files: readonly ReplicaFile[], upTo: bigint): ReplicaFile[] {
  try {
    return makeRestorePlan(files, { upTo });
  } catch (error) {
    if (error instanceof RestorePlanError) return [];
    throw error;
  }
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
