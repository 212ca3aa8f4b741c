/**
 * A replica in memory and somebody who is followed there, for tests of the follower alone.
 *
 * @module
 */
import { LtxFormatError, ObjectGoneError, StorageError } from "../../src/errors.ts";
import type { FollowEvent } from "../../src/follow/follow_event.ts";
import { type Followed, Follower, type FollowerOptions } from "../../src/follow/follower.ts";
import { decodeHeader, HEADER_SIZE } from "../../src/ltx/header.ts";
import { formatLtxFileName, parseLtxFileName } from "../../src/ltx/txid.ts";
import { levelPrefix, ltxKey } from "../../src/storage/layout.ts";
import type {
  ByteRange,
  ListedObject,
  ListOptions,
  ObjectIdentity,
  ObjectStore,
  ReadResult,
  RequestOptions,
} from "../../src/storage/object_store.ts";
import type { PlanFile } from "../../src/view/plan_file.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { sampleFile } from "../support/ltx_files.ts";

/** How a file is written. */
export interface FakeFile {
  /** Tells databases, and contents, apart. */
  readonly lineage?: number;
  /** In place of one that follows from lineage and TXIDs: another object of the same content. */
  readonly etag?: string;
  /** Its pages break the format. */
  readonly damaged?: boolean;
  /** Its header does too. */
  readonly headless?: boolean;
  /** Where in the source's WAL it begins: such files follow one another. */
  readonly walOffset?: number;
}

interface Stored {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly damaged: boolean;
  readonly lineage: number;
}

function keyOf(level: number, min: number, max: number): string {
  return ltxKey("s3", level, formatLtxFileName({ minTxid: BigInt(min), maxTxid: BigInt(max) }));
}

/** The store. */
export class FakeStore implements ObjectStore {
  readonly name = "fake";
  readonly traits = { conditionalPut: true, conditionalReplace: true, cheapList: true, listsInOrder: true };
  readonly counts = { list: 0, get: 0, bytes: 0, retries: 0 };
  readonly objects = new Map<string, Stored>();
  /** What was asked: `GET level min-max` and `LIST level`, with ` +` when it begins after a mark. */
  readonly asked: string[] = [];
  /** Keys that listings do not tell yet. */
  readonly unlisted = new Set<string>();
  /** What listings show in place of what is there. */
  frozen: Map<string, Stored> | undefined;
  /** Whether a missing object is refused. */
  forbids = false;
  /** What every request fails with. */
  failure: Error | undefined;
  /** Awaited by each request before it is answered. */
  hold: Promise<void> | undefined;

  put(level: number, min: number, max: number, file: FakeFile = {}): ReplicaFile {
    const { lineage = 0, damaged = false, headless = false, walOffset = 0 } = file;
    const wal = walOffset > 0 ? { walOffset, walSize: 10, walSalt1: 1 + lineage, walSalt2: 2 } : {};
    const bytes = sampleFile({
      minTxid: BigInt(min),
      maxTxid: BigInt(max),
      timestampMs: 1_700_000_000_000 + lineage * 1000,
      ...wal,
    });
    if (headless) bytes.fill(0, 0, 8);
    const key = keyOf(level, min, max);
    const etag = file.etag ?? `${lineage}.${min}.${max}.${damaged || headless}`;
    this.objects.set(key, { bytes, etag, damaged: damaged || headless, lineage });
    return this.#file(key);
  }

  remove(level: number, min: number, max: number): void {
    this.objects.delete(keyOf(level, min, max));
  }

  hide(level: number, min: number, max: number): void {
    this.unlisted.add(keyOf(level, min, max));
  }

  /** All files that are there. */
  files(): ReplicaFile[] {
    return [...this.objects.keys()].sort().map((key) => this.#file(key));
  }

  #file(key: string, objects = this.objects): ReplicaFile {
    const [level, name] = key.split("/") as [string, string];
    const { etag, bytes } = objects.get(key)!;
    return { key, etag, size: bytes.length, modifiedMs: 0, level: Number(level), ...parseLtxFileName(name)! };
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject[], void, undefined> {
    this.counts.list++;
    const level = Array.from({ length: 10 }, (_, i) => i).find((i) => levelPrefix("s3", i) === prefix);
    this.asked.push(`LIST ${level}${options.after ? " +" : ""}`);
    const objects = this.frozen ?? this.objects;
    await this.#answers(options);
    yield [...objects.keys()]
      .filter((key) => key.startsWith(prefix) && key > (options.after ?? "") && !this.unlisted.has(key))
      .sort().map((key) => this.#file(key, objects));
  }

  async read(
    of: ObjectIdentity,
    { offset, size }: ByteRange,
    options: RequestOptions = {},
  ): Promise<ReadResult> {
    this.counts.get++;
    const { minTxid, maxTxid } = parseLtxFileName(of.key.split("/")[1]!)!;
    this.asked.push(`GET ${Number(of.key.split("/")[0])} ${minTxid}-${maxTxid}`);
    await this.#answers(options);
    const found = this.objects.get(of.key);
    const details = { key: of.key, status: 404, retryable: false };
    if (found === undefined && this.forbids) {
      throw new StorageError("Cannot read: refused", { ...details, status: 403, code: "AccessDenied" });
    }
    if (found === undefined || (of.etag !== "" && of.etag !== found.etag)) {
      throw new ObjectGoneError(`Cannot read "${of.key}": gone`, details);
    }
    return {
      bytes: found.bytes.slice(offset, offset + size),
      etag: found.etag,
      objectSize: found.bytes.length,
    };
  }

  async #answers({ signal }: RequestOptions): Promise<void> {
    await (this.hold ?? Promise.resolve());
    signal?.throwIfAborted();
    if (this.failure) throw this.failure;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Who is followed: applies files by their names alone. */
export class FakeFollowed implements Followed {
  position = 0n;
  files: PlanFile[] = [];
  /** What was done: `advance min-max…`, `rebuild …`, `other …`, `rebase …`. */
  readonly done: string[] = [];
  readonly #store: FakeStore;

  constructor(store: FakeStore, files: readonly ReplicaFile[]) {
    this.#store = store;
    this.files = files.map((file) => this.#open(file));
    this.position = files.at(-1)!.maxTxid;
  }

  #open(file: ReplicaFile): PlanFile {
    const found = this.#store.objects.get(file.key);
    if (found === undefined || found.etag !== file.etag) {
      throw new ObjectGoneError("gone", { key: file.key, status: 404, retryable: false });
    }
    if (found.damaged) throw new LtxFormatError(`Cannot open "${file.key}": damaged`, { key: file.key });
    const header = decodeHeader(found.bytes.subarray(0, HEADER_SIZE));
    const fetched = { offset: 0, bytes: new Uint8Array(0) };
    return { file, header, checksum: BigInt(found.lineage), objectId: 0, fetched, depth: 1, closed: false };
  }

  #apply(how: string, files: readonly ReplicaFile[], before: PlanFile[]): Promise<void> {
    return Promise.resolve().then(() => {
      this.files = [...before, ...files.map((file) => this.#open(file))];
      this.position = files.at(-1)!.maxTxid;
      this.done.push(`${how} ${files.map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`).join(" ")}`);
    });
  }

  advance(files: readonly ReplicaFile[]): Promise<void> {
    return this.#apply("advance", files, this.files);
  }

  rebuild(plan: readonly ReplicaFile[], isOther: boolean): Promise<void> {
    return this.#apply(isOther ? "other" : "rebuild", plan, []);
  }

  rebase(plan: readonly ReplicaFile[]): Promise<void> {
    return this.#apply("rebase", plan, []);
  }

  isRewritten(known: ReplicaFile, listed: ReplicaFile): Promise<boolean | undefined> {
    const open = this.files.find(({ file }) => file.key === known.key && file.etag === known.etag);
    return Promise.resolve(open && open.checksum === BigInt(this.#store.objects.get(listed.key)!.lineage));
  }
}

/** A follower of a store's present files, whose plan are all of them unless `plan` says otherwise. */
export function follow(store: FakeStore, more: Partial<FollowerOptions> & { plan?: ReplicaFile[] } = {}) {
  const listed = store.files();
  const plan = more.plan ?? [...listed].sort((a, b) => a.maxTxid < b.maxTxid ? -1 : 1);
  const followed = new FakeFollowed(store, plan);
  const events: FollowEvent[] = [];
  const looked: (Error | undefined)[] = [];
  const follower = new Follower({
    store,
    layout: "s3",
    followed,
    intervalMs: 0,
    doubtMs: 0,
    onReplaced: "error",
    listed,
    onEvent: (event) => events.push(event),
    onLooked: (error) => looked.push(error),
    ...more,
  });
  store.asked.length = 0;
  return { follower, followed, events, looked };
}
