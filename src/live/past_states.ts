/**
 * States of past moments, for connections that look back.
 *
 * @module
 */
import { RestorePlanError } from "../errors.ts";
import { compareFiles } from "../follow/continuity.ts";
import { formatTxid } from "../ltx/txid.ts";
import type { LayoutName, ObjectStore, RequestOptions } from "../storage/object_store.ts";
import { CreationTimes } from "../time/created_at.ts";
import { type MomentPlanOptions, planForMoment } from "../time/moment_plan.ts";
import { type Moment, parseMoment } from "../time/time_expression.ts";
import { listReplica } from "../view/listing.ts";
import { makeRestorePlan, type ReplicaFile } from "../view/restore_plan.ts";
import type { FileSet } from "./file_set.ts";
import type { State, States } from "./states.ts";

/** Past states that are kept for whoever asks for the same moment next. */
const KEPT_MAX = 8;

/** How long a listing is good for moments that are asked for at once, in ms. */
const LISTING_MS = 500;

/** Where past states come from. */
export interface PastStatesSource {
  readonly store: ObjectStore;
  readonly layout: LayoutName;
  readonly files: FileSet;
  readonly states: States;
  /** Whether there is, or will be, a local copy of the newest state. */
  readonly isHydrated: boolean;
  /** The files that are known to be the followed database's. */
  readonly known: () => Iterable<ReplicaFile>;
  /** Takes sentences for a person. */
  readonly onNotice: (text: string) => void;
}

/** A moment, and what makes up its state. */
interface Found {
  readonly moment: Moment;
  readonly listed: ReplicaFile[];
  readonly plan: ReplicaFile[];
}

/** How a moment is looked for. */
export interface MomentRequest extends RequestOptions {
  /** Whether a listing is believed that lacks what lies before the moment, or the newest state that was seen. */
  readonly believesGap: boolean;
}

/** Has a reader take a reference to a view. */
type Take<T> = (viewId: number, text: string) => T;

/** What the replica held at one time. */
interface Listing {
  readonly atMs: number;
  /** The newest TXID that was known then. */
  readonly position: bigint;
  readonly files: Promise<ReplicaFile[]>;
}

/** Finds and keeps the states of moments. */
export class PastStates {
  readonly #source: PastStatesSource;
  readonly #kept = new Map<bigint, State>();
  readonly times: CreationTimes;
  #listing: Listing | undefined;
  #closed = false;

  constructor(source: PastStatesSource) {
    this.#source = source;
    this.times = new CreationTimes(source.store);
  }

  /**
   * Hands the view of a moment, 0 for the newest state, to `take`, with the moment as it is shown. The view is the
   * core's: `take` has a reader take a reference at once.
   *
   * @throws {TypeError} the moment cannot be understood
   * @throws {RestorePlanError} the replica does not reach back to it; `"gap"` what is listed is not believed: try again
   * @throws {ObjectGoneError} a file was deleted meanwhile: try again
   */
  async at<T>(text: string, request: MomentRequest, take: Take<T>): Promise<T> {
    const moment = await parseMoment(text, Date.now());
    if (moment === "latest") return take(0, "");
    const listed = await this.list(request);
    // The files' own headers come with their opening, so the plan need not ask for them; they are looked at below.
    const plan = await this.#plan(moment, listed, { ...request, checkPlan: false });
    const opened = await this.#open({ moment, listed, plan }, request, take);
    if (opened) return opened.value;
    const exact = await this.#plan(moment, listed, request);
    return (await this.#open({ moment, listed, plan: exact }, request, take))!.value;
  }

  /** Opens a plan's state; undefined when a file of it turns out to be younger than the moment. */
  async #open<T>(
    { moment, listed, plan }: Found,
    request: RequestOptions,
    take: Take<T>,
  ): Promise<{ value: T } | undefined> {
    if (this.#known(plan, listed)) {
      if (!await this.#isBefore(plan, moment, request)) return undefined;
      const known = this.#known(plan, listed); // it may have been given up meanwhile
      if (known) return { value: take(known.viewId, moment.text) };
    }
    return await this.#source.files.use(plan, request, async (files) => {
      for (const { file, header } of files) this.times.remember(file, header.timestampMs);
      const limitMs = moment.ms ?? Infinity;
      if (files.some(({ header }) => header.timestampMs >= limitMs)) return undefined;
      const { txid, stamp } = this.#nameOf(plan, listed);
      const state = await this.#source.states.make(files, stamp);
      try {
        return { value: take(state.viewId, moment.text) };
      } finally {
        this.#keep(txid, state);
      }
    });
  }

  /** Whether all files of a plan were created before a moment; asks for no header that an open file has told. */
  async #isBefore(plan: ReplicaFile[], { ms }: Moment, request: RequestOptions): Promise<boolean> {
    if (ms === undefined) return true;
    for (const { file, header } of this.#source.files.all()) this.times.remember(file, header.timestampMs);
    const times = await Promise.all(plan.map((file) => this.times.createdAt(file, request)));
    return times.every((time) => time < ms);
  }

  /**
   * Lists the replica; those who ask at nearly the same time share a listing, unless a transaction was seen meanwhile,
   * which may be what is asked for.
   */
  list(request: RequestOptions): Promise<ReplicaFile[]> {
    const nowMs = performance.now();
    const { store, layout, states } = this.#source;
    const position = states.newest?.txid ?? 0n;
    const known = this.#listing;
    if (known && nowMs - known.atMs < LISTING_MS && known.position === position) return known.files;
    const files = listReplica(store, layout, request).then(({ files }) => files);
    const listing = { atMs: nowMs, position, files };
    listing.files.catch(() => this.forget());
    this.#listing = listing;
    return listing.files;
  }

  /** Has the next moment list anew: a file that was listed is gone. */
  forget(): void {
    this.#listing = undefined;
  }

  async #plan(
    moment: Moment,
    listed: ReplicaFile[],
    options: MomentRequest & MomentPlanOptions,
  ): Promise<ReplicaFile[]> {
    const { onNotice } = this.#source;
    try {
      if (moment.txid !== undefined) return makeRestorePlan(listed, { upTo: moment.txid });
      const plan = await planForMoment(listed, moment.ms, this.times.createdAt, { ...options, onNotice });
      if (!options.believesGap) this.#checkReach(plan, moment.ms);
      return plan;
    } catch (error) {
      if (error instanceof RestorePlanError) this.forget(); // the listing may be torn: whoever tries again has another
      throw error;
    }
  }

  /** Fails where a plan ends before the newest state that was seen, though that is from before the moment. */
  #checkReach(plan: ReplicaFile[], ms: number): void {
    const { newest } = this.#source.states;
    const { maxTxid } = plan.at(-1)!;
    if (newest === undefined || newest.txid <= maxTxid) return;
    if (newest.files.length === 0 || newest.files.at(-1)!.header.timestampMs >= ms) return;
    throw new RestorePlanError(
      `Cannot find the state of a moment: what is listed reaches TXID ${formatTxid(maxTxid)}, expected ${
        formatTxid(newest.txid)
      }, which was seen`,
      "gap",
    );
  }

  /** A state of the plan's TXID that is there already, unless another database may have taken the replica's place. */
  #known(plan: ReplicaFile[], listed: ReplicaFile[]): State | undefined {
    const { states } = this.#source;
    const { txid, isOurs } = this.#nameOf(plan, listed, true);
    // a local copy draws those into it that see the newest state, and is kept from going on by a moment that stays
    const newest = states.newest?.txid === txid && !this.#source.isHydrated ? states.newest : undefined;
    const state = this.#kept.get(txid) ?? newest;
    if (state === undefined || states.lostBy(state.stamp)) return undefined; // others may make it up by now
    return isOurs && states.isOurs(state.stamp) ? state : undefined;
  }

  /** What a plan's state is known by: what it was known by before, when the replica is surely the same. */
  #nameOf(plan: ReplicaFile[], listed: ReplicaFile[], onlyLooks = false) {
    const { known, states } = this.#source;
    const { isSame, changed } = compareFiles(known(), listed);
    const isOurs = isSame && changed.length === 0;
    const txid = plan.at(-1)!.maxTxid;
    const stamp = onlyLooks ? 0 : isOurs ? states.stampOf(txid) : states.foreignStamp();
    return { txid, stamp, isOurs };
  }

  #keep(txid: bigint, state: State): void {
    const { states } = this.#source;
    const before = this.#kept.get(txid);
    this.#kept.delete(txid); // so that it becomes the newest
    if (before) states.release(before);
    if (this.#closed) return states.release(state);
    this.#kept.set(txid, state);
    if (this.#kept.size <= KEPT_MAX) return;
    const [oldest, first] = this.#kept.entries().next().value!;
    this.#kept.delete(oldest);
    states.release(first);
  }

  /** Gives all states up; connections that see one keep it. */
  close(): void {
    this.#closed = true;
    for (const state of this.#kept.values()) this.#source.states.release(state);
    this.#kept.clear();
  }
}
