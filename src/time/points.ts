/**
 * Which states of a replica can be reached, and by which moments.
 *
 * @module
 */
import { type ReplicaFile, SNAPSHOT_LEVEL } from "../view/restore_plan.ts";
import type { CreatedAt } from "./created_at.ts";
import { compareTxids, LevelTimes } from "./moment_plan.ts";

/** A state that can be reached. */
export interface Point {
  /** The last transaction in it. */
  readonly txid: bigint;
  /**
   * The time from which on the replica has this state: a moment shows it, or a newer one, if it is later than this,
   * by however little.
   *
   * That is the time of the transaction, as the files of levels 0–8 carry it. Only where a snapshot alone leads here
   * it is when that was taken, which can be later.
   */
  readonly time: Date;
  /** Of the file that ends here, the lowest where there are several; low levels are deleted first. */
  readonly level: number;
  /** From the point before it in the list to this one, in ms; 0 for the first, and where time does not rise. */
  readonly granularityMs: number;
}

/** Which points are wanted, and how exactly. */
export interface PointsOptions {
  /**
   * Whether times are those in the files' headers, one request a file. Otherwise they are those of the listing, which
   * cost nothing: the upload. For level 0 that is seconds after the transaction, for compacted files up to their
   * level's interval, for all files of a replica that was copied the time of the copy. It may be up to a second too
   * early where a store tells whole seconds, and further by what the clocks differ. False where nothing is said.
   */
  readonly exact?: boolean;
  /**
   * Only points from `from` on and before `to`, in ms since the Unix epoch. With `exact`, headers are read of files
   * in the range, and a few more to find it.
   */
  readonly range?: { readonly from?: number; readonly to?: number };
  /** Ends reading; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called with a sentence for a person where timestamps do not rise, once a level. */
  readonly onNotice?: (text: string) => void;
}

/**
 * Lists the TXIDs at which a restore plan can end exactly, oldest first.
 *
 * To choose a moment: the state of a moment T is the last point of the list whose `time` is before T, strictly. So a
 * point is shown by every moment after its `time` up to and including that of the next one. Where the next one's is
 * the same or earlier (two files of one millisecond, a clock set back), no moment shows the point, only its TXID
 * does. All this holds to the millisecond with `exact`; without, a moment may show a newer point than the list says.
 *
 * @throws {ObjectGoneError} a file was deleted meanwhile: list anew
 * @throws {RangeError} a bound is NaN
 */
export async function points(
  files: readonly ReplicaFile[],
  createdAt: CreatedAt,
  options: PointsOptions = {},
): Promise<Point[]> {
  const { from = -Infinity, to = Infinity } = options.range ?? {};
  if (Number.isNaN(from) || Number.isNaN(to)) {
    throw new RangeError(`Cannot list points: the range is ${from} to ${to}, expected milliseconds`);
  }
  const times = options.exact
    ? await exactTimes(files, createdAt, { from, to, options })
    : files.map((file): FileTime => [file, file.modifiedMs]);
  const ends = reachableEnds(times).filter(({ timeMs }) => timeMs >= from && timeMs < to);
  return ends.map(({ txid, timeMs, level }, i) => {
    const granularityMs = Math.max(0, timeMs - (ends[i - 1]?.timeMs ?? timeMs));
    return { txid, time: new Date(timeMs), level, granularityMs };
  });
}

/** A file and when it was created, in ms. */
type FileTime = readonly [ReplicaFile, number];

/** A TXID at which a plan can end. */
interface End {
  readonly txid: bigint;
  /** When the newest file was created of the plan that could be made first. */
  readonly timeMs: number;
  readonly level: number;
}

/** The timestamps in a range, -Infinity before it and Infinity behind it, which is as good for what lies in it. */
async function exactTimes(
  files: readonly ReplicaFile[],
  createdAt: CreatedAt,
  { from, to, options }: { from: number; to: number; options: PointsOptions },
): Promise<FileTime[]> {
  const finished = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, finished.signal]) : finished.signal;
  try {
    const levels = LevelTimes.of(files, createdAt, { signal, onNotice: options.onNotice });
    await Promise.all(levels.map(async (level) => {
      await level.findCutoff(from);
      await level.findCutoff(to);
      await level.readBetween(from, to);
    }));
    return levels.flatMap((level) => level.timesAround(from));
  } finally {
    finished.abort(); // after a failure on one level the others ask no further
  }
}

/**
 * The TXIDs at which plans can end, ascending.
 *
 * A file leads to its last TXID from every end at or behind the TXID before its first; a snapshot leads there from
 * nothing. What is before a snapshot never has to be asked: a file that leads across it leads on from it as well.
 */
function reachableEnds(times: readonly FileTime[]): End[] {
  const sorted = [...times].sort(([a], [b]) => compareTxids(a.maxTxid, b.maxTxid) || a.level - b.level);
  const ends: End[] = [];
  const earliest = new EarliestFrom();
  for (let i = 0; i < sorted.length;) {
    const txid = sorted[i]![0].maxTxid;
    let end: End | undefined;
    for (; sorted[i]?.[0].maxTxid === txid; i++) {
      const [{ level, minTxid }, created] = sorted[i]!;
      const base = level === SNAPSHOT_LEVEL ? -Infinity : earliest.get(minTxid - 1n);
      if (base === undefined) continue;
      const timeMs = Math.max(created, base);
      if (end === undefined || timeMs < end.timeMs) end = { txid, timeMs, level };
    }
    if (end === undefined) continue;
    ends.push(end);
    earliest.add(end);
  }
  return ends;
}

/** The earliest time among the ends at or behind a TXID. */
class EarliestFrom {
  /** Ascending in TXID and in time: an end that is not earlier than a later one is never the answer. */
  readonly #ends: { readonly txid: bigint; readonly timeMs: number }[] = [{ txid: 0n, timeMs: -Infinity }];

  /** Adds an end behind all others. */
  add(end: End): void {
    while (this.#ends.length > 0 && this.#ends.at(-1)!.timeMs >= end.timeMs) this.#ends.pop();
    this.#ends.push(end);
  }

  /** Undefined where there is no end at or behind `txid`. */
  get(txid: bigint): number | undefined {
    let low = 0;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ends[middle]!.txid < txid) low = middle + 1;
      else high = middle;
    }
    return this.#ends[low]?.timeMs;
  }
}
