/**
 * Which files of levels 1–9 are ours: a foreign compactor on the same replica is noticed by its files.
 *
 * What lies there at the first look is inherited, whoever made it, and whether or not that look's listing has it. From then
 * on nobody else may add or change a file.
 *
 * @module
 */
import { LtxFormatError, ObjectGoneError } from "../errors.ts";
import { decodeHeader, HEADER_SIZE, isNoChecksum } from "../ltx/header.ts";
import { MIN_FILE_SIZE } from "../ltx/page_index.ts";
import { decodeTrailer, TRAILER_SIZE } from "../ltx/trailer.ts";
import type { ListedObject, ObjectIdentity, RequestOptions } from "../storage/object_store.ts";
import { readTwice } from "../storage/second_reading.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";
import type { CompactionStore } from "./compaction_store.ts";

/** A file that another compactor made. */
export interface ForeignFile {
  readonly key: string;
  /** `"added"` a key we never wrote, `"changed"` one that we wrote or inherited, with other content. */
  readonly change: "added" | "changed";
}

/** Size and checksum of a file that we make: known before the store has it. */
export interface IntendedFile {
  readonly size: number;
  readonly fileChecksum: bigint;
}

/** What one compactor knows of a replica's files. */
export class FileLedger {
  readonly #store: Pick<CompactionStore, "read">;
  /** ETags by key. */
  readonly #known = new Map<string, string>();
  /** What was modified before, in ms since the Unix epoch, is inherited; undefined before the first look. */
  #sinceMs: number | undefined;
  /** What was to be put under a key, each time, whether or not it is known to have arrived. */
  readonly #intended = new Map<string, IntendedFile[]>();
  readonly #foreign = new Map<string, ForeignFile>();

  constructor(store: Pick<CompactionStore, "read">) {
    this.#store = store;
  }

  /** The foreign files noticed so far, those that are gone again too. */
  get foreign(): readonly ForeignFile[] {
    return [...this.#foreign.values()];
  }

  /** Looks at a listing that was begun at `nowMs`; what it has that is not ours is {@link foreign} from now on. */
  async look(files: readonly ReplicaFile[], nowMs: number, options: RequestOptions = {}): Promise<void> {
    const made = files.filter((file) => file.level > 0);
    if (this.#sinceMs === undefined) {
      this.#sinceMs = files.reduce((most, { modifiedMs }) => Math.max(most, modifiedMs), nowMs);
      for (const { key, etag } of made) this.#known.set(key, etag);
      return;
    }
    for (const file of made) if (!this.isOurs(file)) await this.#judge(file, options);
  }

  /** Whether a file is inherited, or was made by us. */
  isOurs({ key, etag, modifiedMs }: ListedObject): boolean {
    return this.#known.get(key) === etag || modifiedMs < this.#sinceMs!;
  }

  /** Remembers what is about to be put. */
  intend(key: string, file: IntendedFile): void {
    const { size, fileChecksum } = file;
    this.#intended.set(key, [...(this.#intended.get(key) ?? []), { size, fileChecksum }]);
  }

  /** Remembers what was put. */
  made({ key, etag }: ListedObject): void {
    this.#known.set(key, etag);
  }

  /** Forgets what was removed: whoever makes it again is somebody else. */
  removed(keys: readonly string[]): void {
    for (const key of keys) {
      this.#known.delete(key);
      this.#intended.delete(key);
    }
  }

  async #judge(object: ObjectIdentity, options: RequestOptions): Promise<void> {
    const { key, etag, size } = object;
    const fileChecksum = await this.#fileChecksum(object, options);
    if (fileChecksum === "gone") return;
    const intended = this.#intended.get(key) ?? [];
    if (intended.some((file) => file.size === size && file.fileChecksum === fileChecksum)) {
      this.#known.set(key, etag);
      return;
    }
    // It may have been damaged on its way: then the next look judges.
    if (await this.#fileChecksum(object, { ...options, isFresh: true }) !== fileChecksum) return;
    const wasThere = this.#known.has(key) || intended.length > 0;
    this.#foreign.set(key, { key, change: wasThere ? "changed" : "added" });
  }

  /** The checksum in an object's trailer; null where it is no LTX file. */
  async #fileChecksum(object: ObjectIdentity, options: RequestOptions): Promise<bigint | "gone" | null> {
    if (object.size < MIN_FILE_SIZE) return null;
    const { key, size } = object;
    try {
      return await readTwice(async (reading) => {
        const read = (offset: number, size: number) =>
          this.#store.read(object, { offset, size }, { ...options, ...reading });
        const head = await read(0, HEADER_SIZE);
        const tail = await read(size - TRAILER_SIZE, TRAILER_SIZE);
        const noChecksum = isNoChecksum(decodeHeader(head.bytes, { key }));
        return decodeTrailer(tail.bytes, { noChecksum, fileSize: size, key }).fileChecksum;
      });
    } catch (error) {
      if (error instanceof LtxFormatError) return null;
      if (error instanceof ObjectGoneError) return "gone";
      throw error;
    }
  }
}
