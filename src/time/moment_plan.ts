/**
 * Which files make up the state of a moment.
 *
 * @module
 */
import { RestorePlanError } from "../errors.ts";
import { DATE_MS_MAX } from "../ltx/header.ts";
import { makeRestorePlan, type ReplicaFile, SNAPSHOT_LEVEL } from "../view/restore_plan.ts";
import type { CreatedAt } from "./created_at.ts";

/** Rounds of reading around where the listing's times put the moment, before plain division. */
const GUESSES_MAX = 2;

/** What {@link planForMoment} may be told. */
export interface MomentPlanOptions {
  /** Ends the search; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called with a sentence for a person where timestamps do not rise, once a level. */
  readonly onNotice?: (text: string) => void;
  /**
   * Whether the timestamps of the plan's own files are read too where the search has not; true where nothing is said.
   *
   * Who opens the plan's files next sees their headers anyway and may say false: then it looks itself that each
   * `timestampMs` is below the moment, and if one is not, remembers them and plans again with true.
   */
  readonly checkPlan?: boolean;
  /**
   * Whether a gap is believed that files from before the moment lie beyond: then the plan ends before it. Else it is an
   * error, as the listing may be torn. True where nothing is said.
   */
  readonly believesGap?: boolean;
}

/**
 * Makes the restore plan of a moment: the newest state whose every contributing file was created before `momentMs`,
 * strictly. The plan ends before the first gap among those files (see `believesGap`).
 *
 * `momentMs` is in ms since the Unix epoch and may have a fraction. All levels are searched at the same time, by at
 * most {@link readsMax} reads each, as timestamps rise within a level. Where they are seen to fall, as when a clock
 * was set back, all timestamps of that level and of the snapshots are read and each file is judged by its own. The
 * plan's files are read themselves (see `checkPlan`), and so is every file that could take the plan further; so a fall
 * nobody saw can at most hide a snapshot, and only among more than ten.
 *
 * @throws {RestorePlanError} `"unreachable"` no state is that old; `"empty"` no files at all; `"gap"` one that is not believed
 * @throws {ObjectGoneError} a file was deleted meanwhile: list and plan anew
 * @throws {RangeError} `momentMs` is NaN
 * @see Litestream VFS reference, section 6 "Restore plan algorithm" and section 11 "Time travel"
 */
export async function planForMoment(
  files: readonly ReplicaFile[],
  momentMs: number,
  createdAt: CreatedAt,
  options: MomentPlanOptions = {},
): Promise<ReplicaFile[]> {
  if (Number.isNaN(momentMs)) {
    throw new RangeError("Cannot plan for moment: NaN, expected milliseconds since the Unix epoch");
  }
  if (files.length === 0) return makeRestorePlan([]);
  const finished = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, finished.signal]) : finished.signal;
  try {
    const levels = LevelTimes.of(files, createdAt, { signal, onNotice: options.onNotice });
    await Promise.all(levels.map((level) => level.findCutoff(momentMs)));
    const plan = await planOf(levels, momentMs, options);
    if (plan.length > 0) return plan;
    throw unreachable(levels, momentMs);
  } finally {
    finished.abort(); // after a failure on one level the others ask no further
  }
}

/**
 * How many timestamps of a level with `count` files the search for a moment reads at most: 2·log₂ count + 4, or all
 * where that is no more.
 */
export function readsMax(count: number): number {
  return count === 0 ? 0 : Math.min(count, Math.floor(2 * Math.log2(count) + 4));
}

/** The plan of the files before the moment, once every file it hangs on has been read. */
async function planOf(
  levels: LevelTimes[],
  momentMs: number,
  { checkPlan = true, believesGap = true }: MomentPlanOptions,
): Promise<ReplicaFile[]> {
  for (;;) {
    await readFalling(levels);
    const before = levels.flatMap((level) => level.filesBefore(momentMs));
    const plan = planBeforeGap(before);
    const reached = plan.at(-1)?.maxTxid ?? 0n;
    const chosen = new Set(checkPlan ? plan : []);
    const unread = levels.map((level) => level.unread((file) => chosen.has(file) || leadsOn(file, reached)));
    if (unread.every((indexes) => indexes.length === 0)) {
      return believesGap || plan.length === 0 ? plan : makeRestorePlan(before);
    }
    // A file that is not what it was taken for makes its level fall, or else the plan stays as it is.
    await Promise.all(levels.map((level, i) => level.read(unread[i]!)));
  }
}

/** Reads the whole of the levels that fall; a clock that was set back is in doubt for the snapshots too. */
async function readFalling(levels: LevelTimes[]): Promise<void> {
  if (!levels.some(({ falls }) => falls)) return;
  const doubtful = levels.filter(({ falls, level }) => falls || level === SNAPSHOT_LEVEL);
  await Promise.all(doubtful.map((level) => level.readAll()));
}

/** Whether a file takes a plan further that has reached a TXID. */
function leadsOn(file: ReplicaFile, reached: bigint): boolean {
  return file.level !== SNAPSHOT_LEVEL && file.minTxid <= reached + 1n && file.maxTxid > reached;
}

/** The restore plan up to the first gap; empty where the files begin with one. */
function planBeforeGap(files: ReplicaFile[]): ReplicaFile[] {
  let reached = 0n;
  for (const { level, maxTxid } of files) {
    if (level === SNAPSHOT_LEVEL && maxTxid > reached) reached = maxTxid;
  }
  const rest = files.filter(({ level }) => level !== SNAPSHOT_LEVEL);
  for (const { minTxid, maxTxid } of rest.sort((a, b) => compareTxids(a.minTxid, b.minTxid))) {
    if (minTxid > reached + 1n) break;
    if (maxTxid > reached) reached = maxTxid;
  }
  return reached === 0n ? [] : makeRestorePlan(files, { upTo: reached });
}

/** Every plan begins with a file from TXID 1 on: the oldest of those is the oldest state. */
function unreachable(levels: LevelTimes[], momentMs: number): RestorePlanError {
  const bases = levels.flatMap((level) => level.timesOf((file) => file.minTxid === 1n));
  const known = bases.filter((time) => time !== undefined);
  const found = bases.length === 0
    ? "no file begins at TXID 1, expected a snapshot"
    : known.length === 0
    ? "the replica's files are younger, expected a later time"
    : `the replica's oldest state is of ${formatTime(Math.min(...known))}, expected a later time`;
  return new RestorePlanError(`Cannot find a state before ${formatTime(momentMs)}: ${found}`, "unreachable");
}

/** As RFC 3339, to the millisecond; as a number where no date is that far. */
function formatTime(ms: number): string {
  return Math.abs(ms) <= DATE_MS_MAX ? new Date(ms).toISOString() : `${ms} ms`;
}

/** Compares two TXIDs: negative, 0 or positive. */
export function compareTxids(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** What {@link LevelTimes} may be told. */
export interface LevelTimesOptions {
  /** Ends reading between two requests, and is passed on to them. */
  readonly signal?: AbortSignal | undefined;
  /** Called once with a sentence where the timestamps do not rise. */
  readonly onNotice?: ((text: string) => void) | undefined;
}

/** Two neighbours among the known timestamps around a moment: the last file before it, the first not before it. */
interface Bracket {
  /** From -1. */
  readonly low: number;
  /** Up to the count of files. */
  readonly high: number;
}

/** One level's files in order of their TXIDs, and what is known of their timestamps. */
export class LevelTimes {
  /** 0–9. */
  readonly level: number;
  readonly #files: readonly ReplicaFile[];
  readonly #times: (number | undefined)[];
  readonly #createdAt: CreatedAt;
  readonly #options: LevelTimesOptions;
  #falls = false;

  /** One for each level that has files. */
  static of(
    files: readonly ReplicaFile[],
    createdAt: CreatedAt,
    options: LevelTimesOptions = {},
  ): LevelTimes[] {
    const levels = new Map<number, ReplicaFile[]>();
    for (const file of files) {
      const level = levels.get(file.level);
      if (level) level.push(file);
      else levels.set(file.level, [file]);
    }
    return [...levels.values()].map((level) => new LevelTimes(level, createdAt, options));
  }

  private constructor(files: ReplicaFile[], createdAt: CreatedAt, options: LevelTimesOptions) {
    files.sort((a, b) => compareTxids(a.minTxid, b.minTxid) || compareTxids(a.maxTxid, b.maxTxid));
    this.level = files[0]!.level;
    this.#files = files;
    this.#times = files.map(() => undefined);
    this.#createdAt = createdAt;
    this.#options = options;
  }

  /** Whether a known timestamp is below one before it. */
  get falls(): boolean {
    return this.#falls;
  }

  /**
   * Reads until the first file that is not before the moment is known, at most {@link readsMax} timestamps; stops
   * where they fall.
   */
  async findCutoff(momentMs: number): Promise<void> {
    let left = readsMax(this.#files.length);
    if (!Number.isFinite(momentMs)) return;
    if (left === this.#files.length) return await this.readAll();
    for (let round = 0; !this.#falls; round++) {
      const bracket = this.#bracket(momentMs);
      if (bracket.low + 1 === bracket.high) return;
      const probes = this.#probes(momentMs, bracket, { round, left });
      left -= await this.read(probes);
    }
  }

  /** Reads all timestamps. */
  async readAll(): Promise<void> {
    await this.read(this.unread(() => true));
  }

  /** Reads the timestamps of files, given by index, at the same time; returns how many that were. */
  async read(indexes: readonly number[]): Promise<number> {
    this.#options.signal?.throwIfAborted();
    const { signal } = this.#options;
    await Promise.all(indexes.map(async (index) => {
      this.#times[index] = await this.#createdAt(this.#files[index]!, signal ? { signal } : {});
    }));
    this.#checkOrder();
    return indexes.length;
  }

  /** The indexes of files whose timestamps are not known. */
  unread(wanted: (file: ReplicaFile) => boolean): number[] {
    const indexes: number[] = [];
    for (const [index, file] of this.#files.entries()) {
      if (this.#times[index] === undefined && wanted(file)) indexes.push(index);
    }
    return indexes;
  }

  /** The files created before a moment whose cutoff was found: those not read by their place, others by their time. */
  filesBefore(momentMs: number): ReplicaFile[] {
    const { low } = this.#bracket(momentMs);
    return this.#files.filter((_, index) => {
      const time = this.#times[index];
      return time === undefined ? index <= low : time < momentMs;
    });
  }

  /** The timestamps of files, as far as they are known. */
  timesOf(wanted: (file: ReplicaFile) => boolean): (number | undefined)[] {
    return this.#times.filter((_, index) => wanted(this.#files[index]!));
  }

  /**
   * Reads the timestamps of the files created from one moment on and before another, whose cutoffs were found; all
   * where the level falls.
   */
  async readBetween(fromMs: number, toMs: number): Promise<void> {
    const first = this.#bracket(fromMs).high;
    const end = this.#bracket(toMs).high;
    if (!this.#falls) await this.read(this.unread(() => true).filter((i) => i >= first && i < end));
    if (this.#falls) await this.readAll();
  }

  /** All files with their timestamps; -Infinity or Infinity for one not read that lies before or behind a moment. */
  timesAround(momentMs: number): [ReplicaFile, number][] {
    const { low } = this.#bracket(momentMs);
    return this.#files.map((file, i) => [file, this.#times[i] ?? (i <= low ? -Infinity : Infinity)]);
  }

  #bracket(momentMs: number): Bracket {
    const count = this.#files.length;
    if (momentMs === -Infinity) return { low: -1, high: 0 };
    if (momentMs === Infinity) return { low: count - 1, high: count };
    const high = this.#times.findIndex((time) => time !== undefined && time >= momentMs);
    const end = high < 0 ? count : high;
    const low = this.#times.findLastIndex((time, i) => i < end && time !== undefined);
    return { low, high: end };
  }

  /** The indexes to read next: so many that whatever they show, halving finds the rest with the reads left. */
  #probes(momentMs: number, bracket: Bracket, { round, left }: { round: number; left: number }): number[] {
    const { low, high } = bracket;
    const isInside = (index: number) => index > low && index < high;
    const fits = (indexes: number[]) =>
      indexes.length > 0 && indexes.length + halvings(widestGap(indexes, bracket)) <= left;
    const around = round < GUESSES_MAX ? this.#guess(momentMs, bracket, round).filter(isInside) : [];
    const spread = [1, 2, 3].map((part) => low + Math.ceil((high - low) * part / 4)).filter(isInside);
    return [around, [...new Set(spread)]].find(fits) ?? [low + Math.ceil((high - low) / 2)];
  }

  /**
   * Where the listing's times put the moment, with its neighbours. They are those of the upload: some time after the
   * creation, and how long is first unknown, then taken from the file that was read last before the moment.
   */
  #guess(momentMs: number, { low, high }: Bracket, round: number): number[] {
    const near = this.#files[low] ? low : high;
    const lagMs = this.#times[near] === undefined ? 0 : this.#files[near]!.modifiedMs - this.#times[near]!;
    const count = this.#files.filter(({ modifiedMs }) => modifiedMs - lagMs < momentMs).length;
    const reach = 4 ** round;
    return [...new Set([-reach, -1, 0, 1, reach])].map((step) => count + step);
  }

  #checkOrder(): void {
    if (this.#falls) return;
    let before = -1;
    for (const [index, time] of this.#times.entries()) {
      if (time === undefined) continue;
      const last = this.#times[before];
      if (last !== undefined && time < last) return this.#noteFall(before, index);
      before = index;
    }
  }

  #noteFall(before: number, index: number): void {
    this.#falls = true;
    const named = (i: number) => `"${this.#files[i]!.key}" is of ${formatTime(this.#times[i]!)}`;
    this.#options.onNotice?.(
      `Timestamps of level ${this.level} do not rise, as when a clock was set back: ${named(before)}, ` +
        `${named(index)} after it; each of its ${this.#files.length} files is judged by its own`,
    );
  }
}

/** How often `count` unknown files must be halved until none is left. */
function halvings(count: number): number {
  return 32 - Math.clz32(count);
}

/** The most files in a row that stay unknown between ascending probes. */
function widestGap(indexes: readonly number[], { low, high }: Bracket): number {
  let widest = 0;
  let last = low;
  for (const index of [...indexes, high]) {
    widest = Math.max(widest, index - last - 1);
    last = index;
  }
  return widest;
}
