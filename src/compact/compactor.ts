/**
 * Compaction, snapshots and retention of one replica, as a Litestream daemon does them.
 *
 * What is due is what the replica says; each run looks anew, makes what is due, then deletes what may go. A
 * run can be killed anywhere: what it made is whole and says nothing new, and what it did not come to is due
 * the next time.
 *
 * @module
 */
import {
  LtxFormatError,
  ObjectExistsError,
  ObjectGoneError,
  ReplicaError,
  RestorePlanError,
  StorageError,
} from "../errors.ts";
import { decodeHeader, HEADER_SIZE } from "../ltx/header.ts";
import type { Lz4 } from "../ltx/lz4.ts";
import { levelsPrefix } from "../storage/layout.ts";
import type { LayoutName, ListedObject } from "../storage/object_store.ts";
import { Suspects } from "../storage/second_reading.ts";
import { LEVELS } from "../view/listing.ts";
import { type ReplicaFile, replicaFiles, SNAPSHOT_LEVEL } from "../view/restore_plan.ts";
import { type CompactionStep, dueMerge, dueSnapshot, stepKey } from "./compaction_plan.ts";
import { checkSchedule, COMPACTION_SCHEDULE, type CompactionSchedule } from "./compaction_schedule.ts";
import type { CompactionStore } from "./compaction_store.ts";
import { FileLedger, type ForeignFile } from "./file_ledger.ts";
import { mergeFiles } from "./ltx_merge.ts";
import { type MergedObject, putCollected, putStreamed } from "./merged_object.ts";
import { planRetention } from "./retention_plan.ts";

/** Sources of a file that is collected in memory before it is put, in bytes together: a part's usual size. */
const COLLECTED_SIZE_MAX = 5 * 1024 * 1024;

/** How a replica is compacted. */
export interface CompactorOptions {
  readonly store: CompactionStore;
  readonly layout: LayoutName;
  readonly lz4: Lz4;
  /** Litestream's defaults unless given. */
  readonly schedule?: CompactionSchedule;
  /** Gives the time in ms since the Unix epoch; `Date.now` unless given. */
  readonly now?: () => number;
  /** Bytes of sources, together, whose merge is collected before it is put; 5 MiB unless given. */
  readonly collectedSizeMax?: number;
}

/** What a run did. */
export interface CompactionReport {
  /** Files made, in order; those too that were to be made and found to be there. */
  readonly made: readonly string[];
  /** Files deleted. */
  readonly removed: readonly string[];
  /** Files of another compactor, noticed now or before. While there are any, nothing is made or deleted. */
  readonly foreign: readonly ForeignFile[];
  /** What could not be made, and why; it is tried again in the next run. */
  readonly failures: readonly ReplicaError[];
}

/** What is due by these files. */
type Due = (files: readonly ReplicaFile[]) => CompactionStep | null;

/** A report under way. */
interface Progress {
  readonly made: string[];
  readonly removed: string[];
  readonly failures: ReplicaError[];
}

/** Compacts a replica that nobody else compacts. Remembers its files from one run to the next. */
export class Compactor {
  readonly #options: CompactorOptions;
  readonly #schedule: CompactionSchedule;
  readonly #now: () => number;
  readonly #sizeMax: number;
  readonly #ledger: FileLedger;
  /** Found in the last run; read anew in the next one. */
  #suspects = new Suspects();
  #running: Promise<CompactionReport> | null = null;

  /** @throws {RangeError} the schedule cannot be */
  constructor(options: CompactorOptions) {
    this.#options = options;
    this.#schedule = options.schedule ?? COMPACTION_SCHEDULE;
    this.#now = options.now ?? Date.now;
    this.#sizeMax = options.collectedSizeMax ?? COLLECTED_SIZE_MAX;
    this.#ledger = new FileLedger(options.store);
    checkSchedule(this.#schedule);
  }

  /**
   * Makes and deletes all that is due now; to be called when a writer opens and at each `nextBoundaryMs()`. A
   * call during another one gets that one's report.
   *
   * @throws {StorageError} the store failed; what was done until then stands
   * @throws {DeadlineError} it did not answer in time
   */
  run(options: { signal?: AbortSignal } = {}): Promise<CompactionReport> {
    this.#running ??= this.#run(options.signal).finally(() => this.#running = null);
    return this.#running;
  }

  async #run(signal: AbortSignal | undefined): Promise<CompactionReport> {
    const progress: Progress = { made: [], removed: [], failures: [] };
    let files = await this.#look(signal);
    if (this.#ledger.foreign.length === 0) {
      await this.#compact(files, progress, signal);
      // What is deleted goes by what is seen to be there.
      if (progress.made.length > 0) files = await this.#look(signal);
      await this.#retain(files, progress, signal);
    }
    if (progress.failures.length === 0) this.#suspects = new Suspects();
    return { ...progress, foreign: this.#ledger.foreign };
  }

  /** Lists all levels, and notices what is foreign. */
  async #look(signal: AbortSignal | undefined): Promise<ReplicaFile[]> {
    const nowMs = this.#now();
    const files = await this.#list(signal);
    await this.#ledger.look(files, nowMs, { signal });
    return files;
  }

  async #list(signal: AbortSignal | undefined): Promise<ReplicaFile[]> {
    const { store, layout } = this.#options;
    const objects: ListedObject[] = [];
    for await (const page of store.list(levelsPrefix(layout), { signal })) {
      for (const object of page) objects.push(object);
    }
    return LEVELS.flatMap((level) => replicaFiles(objects, layout, level));
  }

  /** Makes what is due, from the lowest level to the snapshot. */
  async #compact(files: ReplicaFile[], progress: Progress, signal: AbortSignal | undefined): Promise<void> {
    const { levelsMs, snapshotMs } = this.#schedule;
    const nowMs = this.#now();
    const known = [...files];
    const made: ReplicaFile[] = [];
    const makeAll = async (due: Due) => {
      while (this.#ledger.foreign.length === 0) {
        const file = await this.#attempt(
          async () => {
            const step = due(known);
            return step?.isBehindGap && !await this.#isGap(step, due, made, signal) ? null : step;
          },
          progress,
          signal,
        );
        if (file === null) break;
        made.push(file);
        known.push(file);
      }
    };
    for (const [i, intervalMs] of levelsMs.entries()) {
      await makeAll((of) => dueMerge(of, i + 1, { nowMs, intervalMs, sizeMax: Infinity }));
    }
    await makeAll((of) => dueSnapshot(of, { nowMs, intervalMs: snapshotMs }));
  }

  /** Whether a second listing has the gap, too, that a step is behind: one alone may lack what is there. */
  async #isGap(
    { minTxid }: CompactionStep,
    due: Due,
    made: readonly ReplicaFile[],
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    return due([...await this.#list(signal), ...made])?.minTxid === minTxid;
  }

  /** Makes the file that is due; null where none is or it cannot be made. */
  async #attempt(
    due: () => Promise<CompactionStep | null>,
    progress: Progress,
    signal: AbortSignal | undefined,
  ): Promise<ReplicaFile | null> {
    try {
      const step = await due();
      const object = step === null ? null : await this.#make(step, signal);
      if (step === null || object === null) return null;
      progress.made.push(object.key);
      const { level, minTxid, maxTxid } = step;
      return { ...object, level, minTxid, maxTxid };
    } catch (error) {
      if (!(error instanceof ReplicaError) || !isOfFiles(error)) throw error;
      this.#suspects.note(error); // the next run reads it anew
      progress.failures.push(error);
      return null;
    }
  }

  /** Reads what is merged. */
  get #sources(): Pick<CompactionStore, "read"> {
    const { store } = this.#options;
    return {
      read: (of, range, options) => store.read(of, range, { ...options, ...this.#suspects.reading(of.key) }),
    };
  }

  /** Merges a step's sources and puts the file; null when somebody else has put another one. */
  async #make(step: CompactionStep, signal: AbortSignal | undefined): Promise<ListedObject | null> {
    const { layout, lz4 } = this.#options;
    const key = stepKey(layout, step);
    const timestampMs = await this.#timestampMs(step, signal);
    const file: MergedObject = {
      key,
      timestampMs,
      merge: () => mergeFiles(step.sources, { store: this.#sources, lz4, timestampMs, signal }),
      onKnown: (merged) => this.#ledger.intend(key, merged),
    };
    try {
      const object = await this.#put(file, step, signal);
      this.#ledger.made(object);
      return object;
    } catch (error) {
      if (!(error instanceof ObjectExistsError)) throw error;
      return await this.#existing(key, signal);
    }
  }

  /** As Litestream does: a merge has the time of its last transaction, a snapshot that of its making. */
  async #timestampMs({ level, sources }: CompactionStep, signal: AbortSignal | undefined): Promise<number> {
    const last = sources.at(-1)!;
    const { bytes } = await this.#sources.read(last, { offset: 0, size: HEADER_SIZE }, { signal });
    const { timestampMs } = decodeHeader(bytes, { key: last.key });
    return level === SNAPSHOT_LEVEL ? Math.max(timestampMs, this.#now()) : timestampMs;
  }

  async #put(
    file: MergedObject,
    { sources }: CompactionStep,
    signal: AbortSignal | undefined,
  ): Promise<ListedObject> {
    const { store } = this.#options;
    const sizeEstimate = sources.reduce((sum, { size }) => sum + size, 0);
    const put = sizeEstimate <= this.#sizeMax ? putCollected : putStreamed;
    return await put(store, file, { sizeEstimate, signal });
  }

  /** The object that has a key we wanted, which a listing may have lacked, if it is ours. */
  async #existing(key: string, signal: AbortSignal | undefined): Promise<ListedObject | null> {
    const files = await this.#look(signal);
    return files.find((file) => file.key === key && this.#ledger.isOurs(file)) ?? null;
  }

  /** Deletes what may go by two listings: one alone may be damaged, and name a file that covers what nothing covers. */
  async #retain(
    files: readonly ReplicaFile[],
    progress: Progress,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (this.#ledger.foreign.length > 0) return;
    const plan = this.#doomed(files);
    if (plan.flat().length === 0) return;
    const again = new Set(this.#doomed(await this.#list(signal)).flat().map(identity));
    for (const doomed of plan) {
      const keys = doomed.filter((file) => again.has(identity(file))).map(({ key }) => key);
      if (keys.length === 0) continue;
      await this.#options.store.remove(keys, { signal });
      this.#ledger.removed(keys);
      for (const key of keys) progress.removed.push(key); // there may be more than a call takes arguments
    }
  }

  /** What may go, by one listing: of level 0, of the levels above, snapshots; in the order of their removal. */
  #doomed(files: readonly ReplicaFile[]): (readonly ReplicaFile[])[] {
    const plan = planRetention(files, { schedule: this.#schedule, nowMs: this.#now() });
    return [plan.level0, plan.levels, plan.snapshots];
  }
}

function identity({ key, etag, size, modifiedMs }: ReplicaFile): string {
  return JSON.stringify([key, etag, size, modifiedMs]);
}

/** Whether an error is of the files at hand, and other steps may go well all the same. */
function isOfFiles(error: ReplicaError): boolean {
  return error instanceof LtxFormatError || error instanceof ObjectGoneError ||
    error instanceof RestorePlanError || isTooLarge(error);
}

/** Whether an object has more bytes than the store takes of one. */
function isTooLarge(error: ReplicaError): boolean {
  return error instanceof StorageError && error.code === "EntityTooLarge";
}
