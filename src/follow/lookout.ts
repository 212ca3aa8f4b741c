/**
 * How a follower sees a replica: the next file by its name, and listings. Each request is one attempt.
 *
 * @module
 */
import { ObjectGoneError, StorageError } from "../errors.ts";
import { formatLtxFileName } from "../ltx/txid.ts";
import { NO_FOLDER } from "../storage/folder_fault.ts";
import { ltxKey } from "../storage/layout.ts";
import {
  anyObject,
  type LayoutName,
  type ObjectStore,
  type RequestOptions,
} from "../storage/object_store.ts";
import { LEVELS, listLevel } from "../view/listing.ts";
import { WHOLE_FILE_SIZE_MAX } from "../view/plan_file.ts";
import { type ReplicaFile, SNAPSHOT_LEVEL } from "../view/restore_plan.ts";
import { Catalog } from "./catalog.ts";

/**
 * Files of level 0 before our own position that are listed again: one that was overwritten is seen by its ETag, where the next
 * one, met by its name, begins in the WAL right where it ended.
 */
const TOLD_AGAIN = 8;

/** Listings without news after which only the least is listed: by then level 0 has been compacted. */
const QUIET_LOOKS = 10;

/**
 * How long a refusal by name is taken for absence after something was read or listed, in ms: longer, and a right that is
 * taken away would not be noticed in time.
 */
const PROOF_MS = 5_000;

/** One attempt, which fails when nothing comes for 3 s: the next look is its retry. */
export const ONCE = {
  attemptsMax: 1,
  attemptTimeoutMs: 3_000,
  timeoutMs: 9_000,
} as const satisfies RequestOptions;

/** What listing a level told: all that sorts after a key. */
export interface LevelListing {
  readonly level: number;
  readonly after: string;
  readonly files: ReplicaFile[];
}

/** Where a follower stands. */
export interface Position {
  readonly txid: bigint;
  /** The file that ends there. */
  readonly file: ReplicaFile;
}

/** A file that was read by its name. */
export interface NextFile {
  readonly file: ReplicaFile;
  /** Its first bytes, up to 256 KiB. */
  readonly head: Uint8Array;
}

/** What a lookout needs. */
export interface LookoutOptions {
  readonly store: ObjectStore;
  readonly layout: LayoutName;
  /** All files of the replica as the opening listed them. */
  readonly listed: readonly ReplicaFile[];
  /** Ends requests. */
  readonly signal: AbortSignal;
}

/** The name under which a transaction appears on level 0. */
export function nextKey(layout: LayoutName, txid: bigint): string {
  return ltxKey(layout, 0, formatLtxFileName({ minTxid: txid, maxTxid: txid }));
}

/** Looks at one replica. */
export class Lookout {
  /** What listings have told. */
  readonly catalog: Catalog = new Catalog();
  readonly #options: LookoutOptions;
  #absentIsForbidden = false;
  /** Since the last listing the store has told of an absence as such. */
  #absentIsTold = false;
  /** When something was last read or listed. */
  #answeredMs = -Infinity;
  #rotation = 0;
  #quietLooks = 0;
  #lookedAt = 0n;

  constructor(options: LookoutOptions) {
    this.#options = options;
    this.learn(options.listed);
  }

  /**
   * The file of the next transaction with its first bytes; undefined when there is none, `"doubt"` when only a listing
   * can tell.
   */
  async next(position: Position): Promise<NextFile | "doubt" | undefined> {
    const { store, layout } = this.#options;
    const txid = position.txid + 1n;
    const key = nextKey(layout, txid);
    try {
      const range = { offset: 0, size: WHOLE_FILE_SIZE_MAX };
      const { bytes, etag, objectSize } = await store.read(anyObject(key), range, this.#once());
      this.#answeredMs = performance.now();
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
      if (error instanceof ObjectGoneError) {
        // That nothing is there at all says nothing of what is new.
        if (error.code === NO_FOLDER) {
          throw new StorageError(error.message, {
            key,
            status: 0,
            code: NO_FOLDER,
            retryable: true,
            cause: error,
          });
        }
        this.#absentIsTold = true;
        return undefined;
      }
      if (!mayMeanAbsent(error)) throw error;
      return await this.#mayRead(position.file) ? undefined : "doubt";
    }
  }

  /** Whether a refusal by name means absence, since the store lets us read; false says that only a listing can tell. */
  async #mayRead(own: ReplicaFile): Promise<boolean> {
    if (!this.#absentIsForbidden || this.#absentIsTold) return false;
    if (performance.now() - this.#answeredMs < PROOF_MS) return true;
    if (!await this.isThere(own)) return false;
    this.#answeredMs = performance.now();
    return true;
  }

  /** Whether an object is still there as it was. */
  async isThere(file: ReplicaFile): Promise<boolean> {
    try {
      await this.#options.store.read(file, { offset: 0, size: 1 }, this.#once());
      return true;
    } catch (error) {
      if (error instanceof ObjectGoneError || this.#absentIsForbidden && mayMeanAbsent(error)) return false;
      throw error;
    }
  }

  #once(): RequestOptions {
    return { ...ONCE, signal: this.#options.signal };
  }

  /** The store has answered a look's listings. */
  listed(): void {
    this.#absentIsForbidden = true; // it answers listings, so a refusal by name means no such file
    this.#absentIsTold = false;
    this.#answeredMs = performance.now();
  }

  /** Takes these for all files that there are. */
  learn(files: readonly ReplicaFile[]): void {
    for (const level of LEVELS) this.catalog.replace(level, files.filter((file) => file.level === level));
  }

  /** Lists everything: all levels at once, or, to be sure of what is missing, each after the ones below it. */
  async listAll(inOrder: boolean): Promise<LevelListing[]> {
    if (!inOrder) return await Promise.all(LEVELS.map((level) => this.#list(level, "")));
    const levels: LevelListing[] = [];
    for (const level of LEVELS) levels.push(await this.#list(level, ""));
    return levels;
  }

  /**
   * Lists what is new: on level 0 from a little before our own position on, and on every other level, or only where it is likely: among
   * the snapshots, on level 1, and on one more in turn.
   */
  async listDue(position: bigint, everyLevel: boolean): Promise<LevelListing[]> {
    this.#quietLooks = position === this.#lookedAt ? this.#quietLooks + 1 : 0;
    this.#lookedAt = position;
    this.#rotation = this.#rotation % (SNAPSHOT_LEVEL - 2) + 1;
    const others = everyLevel
      ? LEVELS.slice(1)
      : this.#quietLooks > QUIET_LOOKS
      ? [SNAPSHOT_LEVEL]
      : [1, SNAPSHOT_LEVEL, 1 + this.#rotation];
    return await Promise.all([
      this.#list(0, this.catalog.markBelow(0, position, TOLD_AGAIN)),
      ...others.map((level) => this.#list(level, this.catalog.mark(level))),
    ]);
  }

  async #list(level: number, after: string): Promise<LevelListing> {
    const { store, layout } = this.#options;
    const options = { ...this.#once(), ...(after !== "" && { after }) };
    return { level, after, files: (await listLevel(store, layout, level, options)).files };
  }

  /**
   * Forgets files that higher levels cover: no plan wants them any more, many are deleted, and they would add up. The last
   * of each level stays, for what comes next on it.
   */
  dropCovered(position: bigint): void {
    let covered = 0n;
    for (const level of [...LEVELS].reverse()) {
      const files = this.catalog.level(level);
      const isKept = ({ maxTxid }: ReplicaFile, i: number) =>
        i === files.length - 1 || maxTxid > covered || maxTxid >= position;
      const kept = files.filter(isKept);
      if (kept.length < files.length) this.catalog.replace(level, kept);
      const last = files.at(-1)?.maxTxid ?? 0n;
      if (last > covered && last <= position) covered = last;
    }
  }
}

/** Whether a store may answer so where there is nothing: some do without the right to list. */
export function mayMeanAbsent(error: unknown): boolean {
  return error instanceof StorageError && error.status === 403 && error.code === "AccessDenied";
}
