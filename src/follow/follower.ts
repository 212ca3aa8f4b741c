/**
 * Follower: looks for new transactions and has them applied.
 *
 * @module
 */
import {
  DeadlineError,
  LtxFormatError,
  ObjectGoneError,
  ReplacedError,
  ReplicaError,
  RestorePlanError,
  StorageError,
} from "../errors.ts";
import { decodeHeader, HEADER_SIZE } from "../ltx/header.ts";
import { formatTxid } from "../ltx/txid.ts";
import { sleep } from "../sleep.ts";
import type { LayoutName, ObjectStore } from "../storage/object_store.ts";
import { LEVELS } from "../view/listing.ts";
import type { PlanFile } from "../view/plan_file.ts";
import { makeRestorePlan, type ReplicaFile } from "../view/restore_plan.ts";
import { compareFiles, continuesWal, isSameObject } from "./continuity.ts";
import type { FollowEvent } from "./follow_event.ts";
import { followStep } from "./follow_step.ts";
import { type LevelListing, Lookout, type NextFile, nextKey, ONCE } from "./lookout.ts";
import { rebasePlan } from "./rebase.ts";
import { Waiters } from "./waiters.ts";

/** How often the replica is listed, in ms: whether it is still the same, and what names alone do not tell. */
const LOOK_MS = 30_000;

/** The same where a listing goes through all there is, however little is new. */
const DEAR_LOOK_MS = 2 * LOOK_MS;

/** Transactions fetched by name, one after the other, before the replica is listed to fetch the rest at once. */
const BY_NAME_MAX = 3;

/** Files applied at once, so that not all of a long backlog is held in memory. */
const ADVANCE_FILES = 256;

/** How often a look begins anew because files vanished meanwhile. */
const LOOK_ATTEMPTS_MAX = 5;

/** A wait that took this much longer than it should, in ms: the process or the machine was asleep. */
const PAUSE_MS = 2_000;

/** How often the replica is listed for a transaction that somebody waits for, in ms: its name may be gone already. */
const AWAITED_LOOK_MS = 1_000;

/** How often it is looked for a transaction that somebody waits for, in ms. */
const AWAITED_INTERVAL_MS = 100;

/** Longest pause between looks at a gap, unless looks are further apart anyway, in ms. */
const GAP_INTERVAL_MAX_MS = 10_000;

/** Looks after which the pauses between them grow. */
const GAP_LOOKS_MAX = 3;

/**
 * Between two listings this close, in ms, a replica without new transactions does not lose all files that the first one
 * told: Litestream keeps the newest of each level.
 */
const TURNOVER_MS = 60_000;

/** Looks, and pauses before them in ms, until it is believed that another database has taken the replica's place. */
const DOUBTS_MAX = 3;
const DOUBT_MS = 300;

/** A look that somebody on another thread asks for lists the replica when it was listed longer ago than this, in ms. */
const NUDGED_LOOK_MS = 1_000;

/** The states a follower leads on. */
export interface Followed {
  /** TXID of the newest state. */
  readonly position: bigint;
  /** The files of the newest state that have pages left in it; the last is the one that ends at the position. */
  readonly files: readonly PlanFile[];
  /** Applies files to the newest state; `head` is the beginning of the first where it is here already. */
  advance(files: readonly ReplicaFile[], head?: Uint8Array): Promise<void>;
  /** Makes the newest state of a whole plan; with `isOther` it may be another database's. */
  rebuild(plan: readonly ReplicaFile[], isOther: boolean): Promise<void>;
  /** Has the newest state lie in other files. */
  rebase(plan: readonly ReplicaFile[]): Promise<void>;
  /** Whether a file that was written again has the content it had; undefined when that cannot be known. */
  isRewritten(known: ReplicaFile, listed: ReplicaFile): Promise<boolean | undefined>;
}

/** What a follower needs. */
export interface FollowerOptions {
  readonly store: ObjectStore;
  readonly layout: LayoutName;
  readonly followed: Followed;
  /** Pause between looks in ms; 0: it only looks when it is asked to. */
  readonly intervalMs: number;
  /** What to do when another database has taken the replica's place. */
  readonly onReplaced: "error" | "follow";
  /** All files of the replica as the opening listed them. */
  readonly listed: readonly ReplicaFile[];
  readonly onEvent: (event: FollowEvent) => void;
  /** Called after each look, with the reason of one that failed; of others, how long ago they asked what there is, in ms. */
  readonly onLooked: (error: Error | undefined, ageMs: number) => void;
  /** When the files that were listed were seen, in ms since the Unix epoch, where that was not just now. */
  readonly seenMs?: number | undefined;
  /** How often the replica is listed, in ms; {@link LOOK_MS} unless given, or longer where that costs more. */
  readonly lookMs?: number | undefined;
  /** In place of {@link DOUBT_MS}. */
  readonly doubtMs?: number | undefined;
}

/** A file that breaks the format, and how. */
interface Damage {
  readonly file: ReplicaFile;
  readonly error: LtxFormatError;
  /** The look in which it was read last. */
  readonly look: number;
}

/** Follows one replica. */
export class Follower {
  readonly #options: FollowerOptions;
  readonly #lookout: Lookout;
  readonly #stopping = new AbortController();
  readonly #waiters = new Waiters();
  /**
   * Files that break the format, by key: something else must lead past them. Each look reads them once more, for it may have
   * happened on the way.
   */
  readonly #damaged = new Map<string, Damage>();
  /** What was listed last where nothing of it was known, until it is what is followed. */
  #anew: readonly ReplicaFile[] = [];
  /** Looks that were begun. */
  #looks = 0;
  /** How often this look has found another database. */
  #doubts = 0;
  #polling: Promise<void> | undefined;
  /** Tells how long ago it was asked last what there is, in ms: what was stored since may be missing. */
  #asked: () => number = () => 0;
  #wake: (() => void) | undefined;
  #isNudged = false;
  #isRunning = false;
  #wantsLook = false;
  /** What the last look failed with. */
  #away: Error | undefined;
  /** When listings were last begun. */
  #triedMs = -Infinity;
  #lookedMs = performance.now();
  /** When the files that were known were last seen; -Infinity once the replica was found empty. */
  #sameDate = Date.now();
  #listsAll = false;
  #looksWide = false;
  #gapLooks = 0;
  /** Looks in a row that failed or found a gap. */
  #vainLooks = 0;
  #toldError = "";
  #ended: Error | undefined;

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#lookout = new Lookout({ ...options, signal: this.#stopping.signal });
    if (options.seenMs === undefined) return;
    this.#sameDate = options.seenMs;
    this.#wantsLook = this.#listsAll = true; // names tell nothing of what was compacted meanwhile
  }

  /** Looks from now on. */
  start(): void {
    if (this.#options.intervalMs > 0) void this.#run();
  }

  /** Ends it; who waits is told the reason. */
  stop(reason: Error): void {
    this.#end(reason);
    this.#stopping.abort(reason);
  }

  #end(reason: Error): void {
    this.#ended ??= reason;
    this.#wake?.();
    this.#waiters.fail(reason);
  }

  /** Looks now, in the background. */
  nudge(): void {
    this.#isNudged = true;
    if (this.#isRunning) this.#wake?.();
    else this.poll().catch(() => {}); // onLooked() has heard of it
  }

  /** The same for somebody who cannot ask for a listing: there is one unless the last was a moment ago. */
  nudgeFromAfar(): void {
    if (performance.now() - this.#lookedMs > NUDGED_LOOK_MS) {
      this.#wantsLook = true;
      this.#vainLooks = 0; // else what was found by an earlier look might be told for what is there now
    }
    this.nudge();
  }

  /**
   * All files that are known to be the followed database's. Whether what a listing shows is still that database is judged
   * by these alone: a file that was opened for another reason may be another's.
   */
  *known(): Generator<ReplicaFile> {
    for (const { file } of this.#options.followed.files) yield file;
    for (const level of LEVELS) yield* this.#lookout.catalog.level(level);
  }

  /** Lists the replica and applies all there is. */
  async refresh(): Promise<void> {
    await this.#polling?.catch(() => {});
    this.#wantsLook = this.#looksWide = true;
    this.#vainLooks = 0;
    await this.poll();
  }

  /**
   * Resolves when the newest state is that of `txid` or a later one.
   *
   * @throws the signal's reason
   */
  waitFor(txid: bigint, signal: AbortSignal): Promise<void> {
    if (this.#options.followed.position >= txid) return Promise.resolve();
    if (this.#ended) return Promise.reject(this.#ended);
    if (signal.aborted) return Promise.reject(signal.reason);
    const wait = this.#waiters.wait(txid, signal);
    this.nudge();
    void this.#run();
    return wait;
  }

  /** Looks at intervals, or, where there are none, while somebody waits. */
  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (!this.#ended && (this.#options.intervalMs > 0 || this.#waiters.count > 0)) {
      await this.#pause();
      if (!this.#ended) await this.poll().catch(() => {}); // onLooked() has heard of it
    }
    this.#isRunning = false;
  }

  #intervalMs(): number {
    const intervalMs = this.#options.intervalMs || AWAITED_INTERVAL_MS;
    return this.#waiters.count > 0 ? Math.min(intervalMs, AWAITED_INTERVAL_MS) : intervalMs;
  }

  /** Pause between listings while they lead nowhere; the next file's name is asked for all the while. */
  #vainPauseMs(): number {
    if (this.#vainLooks <= GAP_LOOKS_MAX) return 0;
    const intervalMs = this.#options.intervalMs || AWAITED_INTERVAL_MS;
    return Math.min(GAP_INTERVAL_MAX_MS, intervalMs * 2 ** (this.#vainLooks - GAP_LOOKS_MAX));
  }

  get #mayList(): boolean {
    return performance.now() - this.#triedMs >= this.#vainPauseMs();
  }

  /** Whether names alone may not tell what is new. */
  get #wantsListing(): boolean {
    const sinceMs = performance.now() - this.#lookedMs;
    const isAwaited = this.#waiters.count > 0 && sinceMs > AWAITED_LOOK_MS;
    const lookMs = this.#options.lookMs ?? (this.#options.store.traits.cheapList ? LOOK_MS : DEAR_LOOK_MS);
    return this.#wantsLook || isAwaited || this.#gapLooks > 0 || sinceMs > lookMs;
  }

  /** Waits for the next look. Whoever slept much longer lists the replica: much may have happened. */
  async #pause(): Promise<void> {
    const ms = this.#isNudged ? 0 : this.#intervalMs();
    const tookMs = stopwatch();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
    this.#isNudged = false;
    if (tookMs() > ms + PAUSE_MS) this.#wantsLook = this.#listsAll = true;
  }

  /** Looks once; whoever asks while a look is under way shares it. */
  poll(): Promise<void> {
    this.#polling ??= this.#poll().finally(() => this.#polling = undefined);
    return this.#polling;
  }

  async #poll(): Promise<void> {
    if (this.#ended) {
      // A thread that joined the replica counts looks to learn what came of the one it asked for.
      if (!this.#stopping.signal.aborted) this.#options.onLooked(this.#ended, 0);
      throw this.#ended;
    }
    const startMs = performance.now();
    try {
      if (this.#away && !this.#mayList) throw this.#away;
      if (this.#wantsListing && this.#mayList || !await this.#fetchByName()) await this.#look();
      if (this.#gapLooks === 0) this.#vainLooks = 0;
      else if (this.#triedMs >= startMs) this.#vainLooks++;
      this.#toldError = "";
      this.#away = undefined;
      this.#options.onLooked(undefined, this.#asked());
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new ReplicaError(String(thrown));
      if (this.#ended && (error !== this.#ended || this.#stopping.signal.aborted)) throw this.#ended;
      const isOutage = error instanceof StorageError || error instanceof DeadlineError;
      if (!isOutage && this.#triedMs >= startMs) this.#vainLooks++; // what was seen will be the same in a moment
      this.#away = error;
      this.#options.onLooked(error, 0);
      const reason = reasonOf(error);
      if (reason !== this.#toldError) this.#options.onEvent({ type: "error", error });
      this.#toldError = reason;
      throw error;
    } finally {
      this.#settleWaiters();
    }
  }

  #settleWaiters(): void {
    this.#waiters.reached(this.#options.followed.position);
  }

  // ------------------------------------------------------------------------------------------------- by name

  /** Fetches the next transactions by their names; false when the replica must be listed to go on. */
  async #fetchByName(): Promise<boolean> {
    for (let count = 0; count < BY_NAME_MAX; count++) {
      const tookMs = stopwatch();
      const { followed, layout } = this.#options;
      if (followed.position === 0n) return false; // a new database: there is no file to go on from
      if (this.#damaged.has(nextKey(layout, followed.position + 1n))) return false;
      this.#asked = stopwatch();
      const next = await this.#lookout.next({ txid: followed.position, file: followed.files.at(-1)!.file });
      // Whoever was away or asleep may have missed the files of level 0 that led on from here.
      if (next === undefined) return this.#away === undefined && tookMs() <= ONCE.attemptTimeoutMs + PAUSE_MS;
      if (next === "doubt") return false;
      try {
        if (!await this.#follows(next)) {
          this.#listsAll = true;
          return false;
        }
        await followed.advance([next.file], next.head);
      } catch (error) {
        if (!(error instanceof ObjectGoneError) && !this.#isDamage(error, next.file)) throw error;
        return false;
      }
      this.#sameDate = Date.now();
      this.#lookout.catalog.add(next.file);
      this.#settleWaiters();
    }
    return false;
  }

  /** Whether a file is the next transaction of the database that is followed, not of another in its place. */
  async #follows({ file, head }: NextFile): Promise<boolean> {
    const last = this.#options.followed.files.at(-1)!;
    if (head.length < HEADER_SIZE) return true; // its opening says what is wrong
    const header = decodeHeader(head.subarray(0, HEADER_SIZE), { key: file.key });
    if (last.file.level === 0 && continuesWal(last.header, header)) return true;
    // The files of another database were written before this one: ours under its name tells that it is not so.
    return await this.#lookout.isThere(last.file);
  }

  // ------------------------------------------------------------------------------------------------ by listing

  /** Lists what may be new and applies it; begins anew when files vanish meanwhile. */
  async #look(): Promise<void> {
    this.#triedMs = performance.now();
    this.#doubts = 0;
    this.#looks++;
    for (let attempt = 1;; attempt++) {
      try {
        await this.#lookOnce(attempt > 1);
        break;
      } catch (error) {
        this.#listsAll = true;
        const isOver = attempt >= LOOK_ATTEMPTS_MAX || !(error instanceof ObjectGoneError);
        if (isOver && !this.#isDamage(error, this.#fileOf(error))) throw error;
      }
    }
    this.#wantsLook = false;
    this.#listsAll = this.#looksWide = false;
    this.#lookedMs = performance.now();
    this.#tellDamage();
  }

  #fileOf(error: unknown): ReplicaFile | undefined {
    if (!(error instanceof LtxFormatError)) return undefined;
    return [...this.#lookout.catalog.files(), ...this.#anew].find(({ key }) => key === error.key);
  }

  /** Notes a file that breaks the format; false when this look has read it before. */
  #isDamage(error: unknown, file: ReplicaFile | undefined): boolean {
    if (!(error instanceof LtxFormatError) || file === undefined || error.key !== file.key) return false;
    const isKnown = this.#isDamaged(file);
    this.#damaged.set(file.key, { file, error, look: this.#looks });
    return !isKnown;
  }

  /** Whether this look has found that a file breaks the format. */
  #isDamaged(file: ReplicaFile): boolean {
    const known = this.#damaged.get(file.key);
    return known !== undefined && known.look === this.#looks && isSameObject(known.file, file);
  }

  /** Fails while a damaged file is what keeps the next transaction from being seen. */
  #tellDamage(): void {
    const { position } = this.#options.followed;
    const there = [...this.#lookout.catalog.files(), ...this.#anew];
    for (const [key, { file, error }] of this.#damaged) {
      const isThere = there.some((other) => other.key === key && isSameObject(other, file));
      if (file.maxTxid <= position || !isThere) this.#damaged.delete(key);
      else if (file.minTxid <= position + 1n) {
        this.#gapLooks++;
        throw error;
      }
    }
  }

  async #lookOnce(isSecond: boolean): Promise<void> {
    const listsAll = this.#listsAll;
    this.#asked = stopwatch();
    const levels = listsAll
      ? await this.#lookout.listAll(isSecond)
      : await this.#lookout.listDue(this.#options.followed.position, this.#looksWide);
    const listed = levels.flatMap(({ files }) => files);
    this.#lookout.listed();
    if (this.#options.followed.position === 0n) return await this.#lookFirst(levels);
    const { isSame: isThere, changed } = compareFiles(this.known(), listed);
    let isSame = isThere;
    for (const { known, listed: now } of changed) {
      const isRewritten = await this.#options.followed.isRewritten(known, now);
      if (isRewritten === false) return await this.#replaced();
      isSame ||= isRewritten === true;
    }
    if (!isSame && !listsAll) {
      this.#listsAll = true;
      return await this.#lookOnce(isSecond);
    }
    if (isSame) this.#sameDate = Date.now();
    else if (this.#isOther(listed)) return await this.#behind(isSecond, listed);
    else return await this.#takeAnew(listed, isSecond);
    for (const { level, after, files } of levels) this.#lookout.catalog.extend(level, after, files);
    await this.#step(listsAll && isSecond, listed);
    this.#lookout.dropCovered(this.#options.followed.position);
  }

  /**
   * Takes what is listed where nothing of what was known is left: nothing says that it follows on that, and so it is known
   * only once it is what is followed.
   */
  async #takeAnew(listed: readonly ReplicaFile[], isSure: boolean): Promise<void> {
    const { followed } = this.#options;
    this.#anew = listed;
    const files = listed.filter((file) => !this.#isDamaged(file));
    const step = followStep(followed.position, files);
    if (step.kind !== "gap") this.#gapLooks = 0;
    if (step.kind === "behind") return await this.#behind(isSure, listed);
    if (step.kind === "gap") return await this.#gap(step.next, isSure);
    await followed.rebuild(makeRestorePlan(files), true);
    this.#sameDate = Date.now();
    this.#lookout.learn(listed);
    this.#lookout.dropCovered(followed.position);
    this.#anew = [];
  }

  /** Of a new database that has nothing stored: what there is by now is another's. */
  async #lookFirst(levels: readonly LevelListing[]): Promise<void> {
    for (const { level, after, files } of levels) this.#lookout.catalog.extend(level, after, files);
    const files = this.#lookout.catalog.files();
    if (files.length > 0) await this.#options.followed.rebuild(makeRestorePlan(files), false);
    this.#sameDate = Date.now();
  }

  /** Whether files of which none was known can be no later ones of the same replica. */
  #isOther(listed: readonly ReplicaFile[]): boolean {
    const { position } = this.#options.followed;
    if (listed.length === 0 || this.#sameDate === -Infinity) return true;
    return Date.now() - this.#sameDate < TURNOVER_MS && listed.every(({ maxTxid }) => maxTxid <= position);
  }

  async #step(isSure: boolean, listed: readonly ReplicaFile[]): Promise<void> {
    const { followed } = this.#options;
    const files = this.#lookout.catalog.files().filter((file) => !this.#isDamaged(file));
    const step = followStep(followed.position, files);
    if (step.kind !== "gap") this.#gapLooks = 0;
    if (step.kind === "behind") return await this.#behind(isSure, listed);
    if (step.kind === "gap") return await this.#gap(step.next, isSure);
    if (step.kind === "replan") return await followed.rebuild(step.plan, false);
    if (step.kind === "advance") await this.#advance(step.files);
    await this.#rebase(files); // where transactions never cease there is something to apply at each look
  }

  async #advance(files: readonly ReplicaFile[]): Promise<void> {
    for (let first = 0; first < files.length; first += ADVANCE_FILES) {
      await this.#apply(files.slice(first, first + ADVANCE_FILES));
      this.#settleWaiters();
    }
  }

  /** Applies files together; one by one where they lead to no state, to find out which of them is at fault. */
  async #apply(files: readonly ReplicaFile[]): Promise<void> {
    const { followed } = this.#options;
    try {
      await followed.advance(files);
    } catch (error) {
      if (!(error instanceof LtxFormatError) || files.some(({ key }) => key === error.key)) throw error;
      for (const file of files) await followed.advance([file]);
    }
  }

  async #rebase(files: readonly ReplicaFile[]): Promise<void> {
    const { followed } = this.#options;
    const plan = rebasePlan(followed.position, followed.files.map(({ file }) => file), files, Date.now());
    if (plan) await followed.rebase(plan);
  }

  /** Nothing listed leads to what was seen: the replica is another one, unless the listings are torn or old. */
  async #behind(isSure: boolean, listed: readonly ReplicaFile[]): Promise<void> {
    if (!isSure) {
      this.#listsAll = true;
      return await this.#lookOnce(true);
    }
    const { files } = this.#options.followed;
    for (const { file } of [files.at(-1)!, files[0]!]) if (await this.#isStillThere(file, listed)) return;
    await this.#replaced();
  }

  /** Whether a file is there as it was, or was written again with the same content. */
  async #isStillThere(file: ReplicaFile, listed: readonly ReplicaFile[]): Promise<boolean> {
    if (await this.#lookout.isThere(file)) return true;
    const now = listed.find(({ key }) => key === file.key);
    return now !== undefined && await this.#options.followed.isRewritten(file, now) === true;
  }

  async #gap(next: ReplicaFile, isSure: boolean): Promise<void> {
    if (!isSure) {
      this.#listsAll = true;
      return await this.#lookOnce(true);
    }
    const txid = this.#options.followed.position;
    if (this.#gapLooks++ === 0) this.#options.onEvent({ type: "gap", txid, nextTxid: next.minTxid });
  }

  async #replaced(): Promise<void> {
    const { followed, onEvent, onReplaced, store } = this.#options;
    const all = (await this.#lookout.listAll(true)).flatMap(({ files }) => files);
    const [txid, nowTxid] = [
      followed.position,
      all.reduce((max, { maxTxid }) => maxTxid > max ? maxTxid : max, 0n),
    ];
    if (nowTxid === 0n) {
      // Deleted, or moved away for a while. What comes in its place, if not ours, is another one.
      this.#sameDate = -Infinity;
      throw new RestorePlanError(
        `Cannot follow ${store.name}: there are no LTX files any more, expected those up to TXID ${
          formatTxid(txid)
        }`,
        "empty",
      );
    }
    // A folder may be synchronised just now: files away for a moment, others written again.
    if (this.#doubts++ < DOUBTS_MAX) {
      await sleep(this.#options.doubtMs ?? DOUBT_MS, this.#stopping.signal);
      this.#listsAll = true;
      return await this.#lookOnce(true);
    }
    if (onReplaced === "error") {
      const error = new ReplacedError(
        `Cannot follow ${store.name}: another database has taken its place: what is there now ends at TXID ` +
          `${formatTxid(nowTxid)}, expected the one that was seen at TXID ${formatTxid(txid)}`,
      );
      onEvent({ type: "replaced", txid, nowTxid });
      this.#end(error);
      throw error;
    }
    await followed.rebuild(makeRestorePlan(all), true);
    this.#sameDate = Date.now();
    this.#lookout.learn(all);
    onEvent({ type: "replaced", txid, nowTxid });
  }
}

/** A failure's message without what differs from look to look: times, and names of files. */
function reasonOf({ message }: Error): string {
  return message.replaceAll(/[\d.]+/g, "0");
}

/** Tells the ms since it was made, those that the machine slept too. */
function stopwatch(): () => number {
  const [startMs, startDate] = [performance.now(), Date.now()];
  return () => Math.max(performance.now() - startMs, Date.now() - startDate);
}
