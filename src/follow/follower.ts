/**
 * Follower: looks for new transactions and has them applied.
 *
 * @module
 */
import {
  LtxFormatError,
  ObjectGoneError,
  ReplacedError,
  ReplicaError,
  RestorePlanError,
  StorageError,
} from "../errors.ts";
import { decodeHeader, HEADER_SIZE } from "../ltx/header.ts";
import { formatLtxFileName, formatTxid } from "../ltx/txid.ts";
import { ltxKey } from "../storage/layout.ts";
import {
  anyObject,
  type LayoutName,
  type ObjectStore,
  type RequestOptions,
} from "../storage/object_store.ts";
import { LEVELS, listLevel } from "../view/listing.ts";
import { type PlanFile, WHOLE_FILE_SIZE_MAX } from "../view/plan_file.ts";
import { makeRestorePlan, type ReplicaFile, SNAPSHOT_LEVEL } from "../view/restore_plan.ts";
import { Catalog } from "./catalog.ts";
import { compareFiles, continuesWal, isSameObject } from "./continuity.ts";
import type { FollowEvent } from "./follow_event.ts";
import { followStep } from "./follow_step.ts";
import { rebasePlan } from "./rebase.ts";

/** How often the replica is listed, in ms: whether it is still the same, and what names alone do not tell. */
const LOOK_MS = 30_000;

/** Listings without news after which only the least is listed: by then level 0 has been compacted. */
const QUIET_LOOKS = 10;

/** Transactions fetched by name, one after the other, before the replica is listed to fetch the rest at once. */
const BY_NAME_MAX = 3;

/** Files applied at once, so that not all of a long backlog is held in memory. */
const ADVANCE_FILES = 256;

/** How often a look begins anew because files vanished meanwhile. */
const LOOK_ATTEMPTS_MAX = 5;

/** A wait that took this much longer than it should, in ms: the process or the machine was asleep. */
const PAUSE_MS = 2_000;

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

/** A look that somebody on another thread asks for lists the replica when it was listed longer ago than this, in ms. */
const NUDGED_LOOK_MS = 1_000;

/** One attempt, which fails when nothing comes for 3 s: the next look is its retry. */
const ONCE: RequestOptions = { attemptsMax: 1, attemptTimeoutMs: 3_000, timeoutMs: 9_000 };

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
  /** Called after each look, with the reason of one that failed. */
  readonly onLooked: (error: Error | undefined) => void;
  /** In place of {@link LOOK_MS}. */
  readonly lookMs?: number | undefined;
}

/** Somebody who waits for a transaction. */
interface Waiter {
  readonly txid: bigint;
  readonly settle: (error?: Error) => void;
}

/** A file that breaks the format, and how. */
interface Damage {
  readonly file: ReplicaFile;
  readonly error: LtxFormatError;
}

/** What listing a level told: all that sorts after a key. */
interface LevelListing {
  readonly level: number;
  readonly after: string;
  readonly files: ReplicaFile[];
}

/** Follows one replica. */
export class Follower {
  readonly #options: FollowerOptions;
  readonly #catalog = new Catalog();
  readonly #stopping = new AbortController();
  readonly #waiters = new Set<Waiter>();
  /** Files that break the format, by key: something else must lead past them. */
  readonly #damaged = new Map<string, Damage>();
  #polling: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #isNudged = false;
  #isRunning = false;
  #wantsLook = false;
  #absentIsForbidden = false;
  #lookedMs = performance.now();
  /** When the files that were known were last seen; -Infinity once the replica was found empty. */
  #sameDate = Date.now();
  #listsAll = false;
  #rotation = 0;
  #quietLooks = 0;
  #lookedAt = 0n;
  #gapLooks = 0;
  /** Looks in a row that failed or found a gap. */
  #vainLooks = 0;
  #toldError = "";
  #ended: Error | undefined;

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#learn(options.listed);
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
    for (const { settle } of [...this.#waiters]) settle(reason);
  }

  /** Looks now, in the background. */
  nudge(): void {
    this.#isNudged = true;
    if (this.#isRunning) this.#wake?.();
    else this.poll().catch(() => {}); // onLooked() has heard of it
  }

  /** The same for somebody who cannot ask for a listing: there is one unless the last was a moment ago. */
  nudgeFromAfar(): void {
    if (performance.now() - this.#lookedMs > NUDGED_LOOK_MS) this.#wantsLook = true;
    this.nudge();
  }

  /** Lists the replica and applies all there is. */
  async refresh(): Promise<void> {
    await this.#polling?.catch(() => {});
    this.#wantsLook = true;
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
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const onAbort = () => waiter.settle(signal.reason);
      const waiter: Waiter = {
        txid,
        settle: (error) => {
          this.#waiters.delete(waiter);
          signal.removeEventListener("abort", onAbort);
          if (error) reject(error);
          else resolve();
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(waiter);
      this.nudge();
      void this.#run();
    });
  }

  /** Looks at intervals, or, where there are none, while somebody waits. */
  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (!this.#ended && (this.#options.intervalMs > 0 || this.#waiters.size > 0)) {
      await this.#pause();
      if (!this.#ended) await this.poll().catch(() => {}); // onLooked() has heard of it
    }
    this.#isRunning = false;
  }

  #intervalMs(): number {
    const intervalMs = this.#options.intervalMs || AWAITED_INTERVAL_MS;
    if (this.#vainLooks > GAP_LOOKS_MAX) {
      const grownMs = intervalMs * 2 ** (this.#vainLooks - GAP_LOOKS_MAX);
      return Math.max(intervalMs, Math.min(GAP_INTERVAL_MAX_MS, grownMs));
    }
    return this.#waiters.size > 0 ? Math.min(intervalMs, AWAITED_INTERVAL_MS) : intervalMs;
  }

  /** Waits for the next look. Whoever slept much longer lists the replica: much may have happened. */
  async #pause(): Promise<void> {
    const ms = this.#isNudged ? 0 : this.#intervalMs();
    const [startMs, startDate] = [performance.now(), Date.now()];
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
    this.#isNudged = false;
    const tookMs = Math.max(performance.now() - startMs, Date.now() - startDate);
    if (tookMs > ms + PAUSE_MS) this.#wantsLook = this.#listsAll = true;
  }

  /** Looks once; whoever asks while a look is under way shares it. */
  poll(): Promise<void> {
    this.#polling ??= this.#poll().finally(() => this.#polling = undefined);
    return this.#polling;
  }

  async #poll(): Promise<void> {
    if (this.#ended) throw this.#ended;
    try {
      const isDue = performance.now() - this.#lookedMs > (this.#options.lookMs ?? LOOK_MS);
      if (this.#wantsLook || isDue || !await this.#fetchByName()) await this.#look();
      this.#vainLooks = this.#gapLooks > 0 ? this.#vainLooks + 1 : 0;
      this.#toldError = "";
      this.#options.onLooked(undefined);
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new ReplicaError(String(thrown));
      if (this.#ended && error !== this.#ended) throw this.#ended;
      if (!(error instanceof StorageError)) this.#vainLooks++; // what was seen will be the same in a moment
      this.#options.onLooked(error);
      if (error.message !== this.#toldError) this.#options.onEvent({ type: "error", error });
      this.#toldError = error.message;
      throw error;
    } finally {
      this.#settleWaiters();
    }
  }

  #settleWaiters(): void {
    const { position } = this.#options.followed;
    for (const { txid, settle } of [...this.#waiters]) if (position >= txid) settle();
  }

  // ------------------------------------------------------------------------------------------------- by name

  /** Fetches the next transactions by their names; false when the replica must be listed to go on. */
  async #fetchByName(): Promise<boolean> {
    for (let count = 0; count < BY_NAME_MAX; count++) {
      const next = await this.#readNext();
      if (next === undefined) return true;
      if (next === "doubt") return false;
      try {
        if (!await this.#follows(next)) {
          this.#listsAll = true;
          return false;
        }
        await this.#options.followed.advance([next.file], next.head);
      } catch (error) {
        if (!(error instanceof ObjectGoneError) && !this.#isDamage(error, next.file)) throw error;
        return false;
      }
      this.#sameDate = Date.now();
      this.#catalog.add(next.file);
      this.#settleWaiters();
    }
    return false;
  }

  /** The file of the next transaction with its first bytes; undefined when there is none. */
  async #readNext(): Promise<{ file: ReplicaFile; head: Uint8Array } | "doubt" | undefined> {
    const { store, layout, followed } = this.#options;
    const txid = followed.position + 1n;
    const key = ltxKey(layout, 0, formatLtxFileName({ minTxid: txid, maxTxid: txid }));
    if (this.#damaged.has(key)) return "doubt";
    try {
      const range = { offset: 0, size: WHOLE_FILE_SIZE_MAX };
      const { bytes, etag, objectSize } = await store.read(anyObject(key), range, this.#once());
      const file = {
        key,
        etag,
        size: objectSize,
        modifiedMs: Date.now(),
        level: 0,
        minTxid: txid,
        maxTxid: txid,
      };
      return { file, head: bytes };
    } catch (error) {
      if (error instanceof ObjectGoneError) return undefined;
      if (!mayMeanAbsent(error)) throw error;
      return this.#absentIsForbidden ? undefined : "doubt";
    }
  }

  /** Whether a file is the next transaction of the database that is followed, not of another in its place. */
  async #follows({ file, head }: { file: ReplicaFile; head: Uint8Array }): Promise<boolean> {
    const last = this.#options.followed.files.at(-1)!;
    if (head.length < HEADER_SIZE) return true; // its opening says what is wrong
    const header = decodeHeader(head.subarray(0, HEADER_SIZE), { key: file.key });
    if (last.file.level === 0 && continuesWal(last.header, header)) return true;
    // The files of another database were written before this one: ours under its name tells that it is not so.
    return await this.#isThere(last.file);
  }

  /** Whether an object is still there as it was. */
  async #isThere(file: ReplicaFile): Promise<boolean> {
    try {
      await this.#options.store.read(file, { offset: 0, size: 1 }, this.#once());
      return true;
    } catch (error) {
      if (error instanceof ObjectGoneError || this.#absentIsForbidden && mayMeanAbsent(error)) return false;
      throw error;
    }
  }

  #once(): RequestOptions {
    return { ...ONCE, signal: this.#stopping.signal };
  }

  // ------------------------------------------------------------------------------------------------ by listing

  /** Lists what may be new and applies it; begins anew when files vanish meanwhile. */
  async #look(): Promise<void> {
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
    this.#wantsLook = this.#gapLooks > 0;
    this.#listsAll = false;
    this.#lookedMs = performance.now();
    this.#tellDamage();
  }

  #fileOf(error: unknown): ReplicaFile | undefined {
    if (!(error instanceof LtxFormatError)) return undefined;
    return this.#catalog.files().find(({ key }) => key === error.key);
  }

  /** Notes a file that breaks the format; false when that is nothing new. */
  #isDamage(error: unknown, file: ReplicaFile | undefined): boolean {
    if (!(error instanceof LtxFormatError) || file === undefined || error.key !== file.key) return false;
    const known = this.#damaged.get(file.key);
    this.#damaged.set(file.key, { file, error });
    return known === undefined || !isSameObject(known.file, file);
  }

  /** Fails while a damaged file is what keeps the next transaction from being seen. */
  #tellDamage(): void {
    const { position } = this.#options.followed;
    for (const [key, { file, error }] of this.#damaged) {
      if (file.maxTxid <= position) this.#damaged.delete(key);
      else if (file.minTxid <= position + 1n) {
        this.#gapLooks++;
        throw error;
      }
    }
  }

  async #lookOnce(isSecond: boolean): Promise<void> {
    const listsAll = this.#listsAll;
    const levels = listsAll ? await this.#listAll(isSecond) : await this.#listDue();
    const listed = levels.flatMap(({ files }) => files);
    this.#absentIsForbidden = true; // the store answers listings, so a refusal by name means no such file
    const { isSame: isThere, changed } = compareFiles(this.#known(), listed);
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
    else if (this.#isOther(listed)) return await this.#behind(isSecond);
    for (const { level, after, files } of levels) this.#catalog.extend(level, after, files);
    await this.#step(isSame, listsAll && isSecond);
    this.#dropCovered();
  }

  /** Whether files of which none was known can be no later ones of the same replica. */
  #isOther(listed: readonly ReplicaFile[]): boolean {
    const { position } = this.#options.followed;
    if (listed.length === 0 || this.#sameDate === -Infinity) return true;
    return Date.now() - this.#sameDate < TURNOVER_MS && listed.every(({ maxTxid }) => maxTxid <= position);
  }

  /** All that is known of the replica's files. */
  *#known(): Generator<ReplicaFile> {
    for (const { file } of this.#options.followed.files) yield file;
    for (const level of LEVELS) yield* this.#catalog.level(level);
  }

  async #step(isSame: boolean, isSure: boolean): Promise<void> {
    const { followed } = this.#options;
    const files = this.#catalog.files().filter((file) => {
      const damage = this.#damaged.get(file.key);
      return damage === undefined || !isSameObject(damage.file, file);
    });
    const step = followStep(followed.position, files);
    if (step.kind !== "gap") this.#gapLooks = 0;
    if (step.kind === "behind") return await this.#behind(isSure);
    if (step.kind === "gap") return await this.#gap(step.next, isSure);
    // Where nothing of what was known is left, nothing says that what is there now follows on it.
    if (!isSame) {
      await followed.rebuild(makeRestorePlan(files), true);
      this.#sameDate = Date.now();
      return;
    }
    if (step.kind === "replan") return await followed.rebuild(step.plan, false);
    if (step.kind === "advance") await this.#advance(step.files);
    await this.#rebase(files); // where transactions never cease there is something to apply at each look
  }

  async #advance(files: readonly ReplicaFile[]): Promise<void> {
    for (let first = 0; first < files.length; first += ADVANCE_FILES) {
      await this.#options.followed.advance(files.slice(first, first + ADVANCE_FILES));
      this.#settleWaiters();
    }
  }

  async #rebase(files: readonly ReplicaFile[]): Promise<void> {
    const { followed } = this.#options;
    const plan = rebasePlan(followed.position, followed.files.map(({ file }) => file), files, Date.now());
    if (plan) await followed.rebase(plan);
  }

  /** Nothing listed leads to what was seen: the replica is another one, unless the listings are torn or old. */
  async #behind(isSure: boolean): Promise<void> {
    if (!isSure) {
      this.#listsAll = true;
      return await this.#lookOnce(true);
    }
    const { files } = this.#options.followed;
    for (const { file } of [files.at(-1)!, files[0]!]) if (await this.#isThere(file)) return;
    await this.#replaced();
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
    const all = (await this.#listAll(true)).flatMap(({ files }) => files);
    const [txid, nowTxid] = [
      followed.position,
      all.reduce((max, { maxTxid }) => maxTxid > max ? maxTxid : max, 0n),
    ];
    if (nowTxid === 0n) {
      // Deleted, or moved away for a while. What comes in its place, if not ours, is another one.
      this.#sameDate = -Infinity;
      throw new RestorePlanError(
        `Cannot follow ${store.name}: there are no LTX files any more, expected those up to TXID ${formatTxid(txid)}`,
        "empty",
      );
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
    this.#learn(all);
    onEvent({ type: "replaced", txid, nowTxid });
  }

  // -------------------------------------------------------------------------------------------------- listings

  #learn(files: readonly ReplicaFile[]): void {
    for (const level of LEVELS) this.#catalog.replace(level, files.filter((file) => file.level === level));
  }

  /** Lists everything: all levels at once, or, to be sure of what is missing, each after the ones below it. */
  async #listAll(inOrder: boolean): Promise<LevelListing[]> {
    if (!inOrder) return await Promise.all(LEVELS.map((level) => this.#list(level, "")));
    const levels: LevelListing[] = [];
    for (const level of LEVELS) levels.push(await this.#list(level, ""));
    return levels;
  }

  /** Lists what is new where it is likely: level 0 from our own position on, snapshots, level 1, and one more in turn. */
  async #listDue(): Promise<LevelListing[]> {
    const { position } = this.#options.followed;
    this.#quietLooks = position === this.#lookedAt ? this.#quietLooks + 1 : 0;
    this.#lookedAt = position;
    this.#rotation = this.#rotation % (SNAPSHOT_LEVEL - 2) + 1;
    const others = this.#quietLooks > QUIET_LOOKS
      ? [SNAPSHOT_LEVEL]
      : [1, SNAPSHOT_LEVEL, 1 + this.#rotation];
    return await Promise.all([
      this.#list(0, this.#catalog.markBelow(0, position)),
      ...others.map((level) => this.#list(level, this.#catalog.mark(level))),
    ]);
  }

  async #list(level: number, after: string): Promise<LevelListing> {
    const { store, layout } = this.#options;
    const options = { ...this.#once(), ...(after !== "" && { after }) };
    return { level, after, files: (await listLevel(store, layout, level, options)).files };
  }

  /** Forgets level-0 files that a compacted one has: no plan wants them any more, and they would add up. */
  #dropCovered(): void {
    const { position } = this.#options.followed;
    const covered = this.#catalog.level(1).at(-1)?.maxTxid ?? 0n;
    const kept = this.#catalog.level(0).filter(({ maxTxid }) => maxTxid > covered || maxTxid >= position);
    this.#catalog.replace(0, kept);
  }
}

/** Whether a store may answer so where there is nothing: some do without the right to list. */
function mayMeanAbsent(error: unknown): boolean {
  return error instanceof StorageError && error.status === 403 && error.code === "AccessDenied";
}
