/**
 * A lane that asks the store alone: by far the cheapest way to meet a fault, and what comes back is known to the byte.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { LtxFormatError } from "../../src/errors.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import type { Lz4 } from "../../src/ltx/lz4.ts";
import type { ListedObject, WritableStore } from "../../src/storage/object_store.ts";
import { GRACE_MS, type Lane, type LaneParts } from "./lane.ts";
import { BrokenPromise, PromiseCheck } from "./promise_check.ts";

/** Files that are there all the time, by key. */
export type StoredFiles = ReadonlyMap<string, Uint8Array>;

/** How long a lane of the store waits. */
export const STORE_TIMES = {
  attemptTimeoutMs: 700,
  totalTimeoutMs: 2_500,
  baseDelayMs: 5,
  maxDelayMs: 50,
} as const;
/** Of all attempts, where the sizes are small. */
const REQUEST_MS = STORE_TIMES.totalTimeoutMs + 1_000;
const PUT_SIZE_MAX = 3_000;
/** An object that was put, or may have been. */
interface Put {
  readonly key: string;
  readonly bytes: Uint8Array;
  /** Set where the store said so. */
  stored?: ListedObject;
  /** Its removal was asked for; `true`: and done. */
  removed?: boolean;
}

/** What a lane of the store is told besides. */
export interface StoreLaneOptions {
  readonly files: StoredFiles;
  readonly lz4: Lz4;
  /** The place as the lane reaches it, with {@link STORE_TIMES}. */
  readonly store: WritableStore;
  /** The same place past any fault. */
  readonly trueStore: WritableStore;
  /** Where what it puts lies, and nobody else puts anything. */
  readonly putPrefix: string;
}

/** Reads, lists, puts and removes objects. */
export class StoreLane implements Lane {
  readonly #parts: Omit<LaneParts, "folder" | "hasThread">;
  readonly #what: StoreLaneOptions;
  readonly #check: PromiseCheck;
  #listed: ListedObject[] = [];
  #puts: Put[] = [];
  #putCount = 0;
  /** Faults up to the last calm after which something that was removed may be there. */
  #returningCount = 0;

  constructor(parts: Omit<LaneParts, "folder" | "hasThread">, what: StoreLaneOptions) {
    this.#parts = parts;
    this.#what = what;
    this.#check = new PromiseCheck(parts.place.faults, parts.outcomes, parts.label);
  }

  /** Learns what is there: before anything goes wrong. */
  async begin(): Promise<void> {
    for await (const page of this.#what.trueStore.list("ltx/")) this.#listed.push(...page);
  }

  async round(): Promise<void> {
    const { random } = this.#parts;
    const turn = random.next(10);
    if (turn < 3) await this.#list();
    else if (turn < 6) await this.#read();
    else if (turn < 9) await this.#put();
    else await this.#remove();
  }

  async #list(): Promise<void> {
    await this.#check.run({
      name: "store: list",
      deadlineMs: REQUEST_MS + GRACE_MS,
      act: async () => {
        for await (const page of this.#what.store.list(this.#what.putPrefix)) {
          for (const { key } of page) {
            if (!key.startsWith(this.#what.putPrefix)) throw new BrokenPromise(`"${key}" is listed`);
          }
        }
      },
    });
  }

  async #read(): Promise<void> {
    const { random } = this.#parts;
    const object = this.#listed[random.next(this.#listed.length)]!;
    const bytes = this.#what.files.get(object.key)!;
    const isWhole = random.next(2) === 0;
    const offset = isWhole ? 0 : 1 + random.next(bytes.length - 2);
    const size = isWhole ? bytes.length : 1 + random.next(bytes.length - offset);
    await this.#check.run({
      name: isWhole ? "store: read a file" : "store: read a range",
      deadlineMs: REQUEST_MS + GRACE_MS,
      act: async () => {
        const found = await this.#what.store.read(object, { offset, size });
        if (Buffer.compare(found.bytes, bytes.subarray(offset, offset + size)) === 0) return;
        if (isWhole) return this.#refuse(object.key, found.bytes);
        throw new BrokenPromise(`bytes ${offset}-${offset + size - 1} of "${object.key}" are others`);
      },
    });
  }

  /** Of a whole file other bytes are known by its checksum, unless they are the same pages, packed otherwise. */
  #refuse(key: string, bytes: Uint8Array): void {
    const wanted = decodeFile(this.#what.files.get(key)!, this.#what.lz4);
    let found: typeof wanted;
    try {
      found = decodeFile(bytes, this.#what.lz4, { key });
    } catch (error) {
      if (error instanceof LtxFormatError) throw error;
      throw new BrokenPromise(`a damaged file is refused by ${error}`);
    }
    const isSame = found.frames.length === wanted.frames.length &&
      found.frames.every(({ page }, i) => Buffer.compare(page, wanted.frames[i]!.page) === 0);
    if (!isSame) throw new BrokenPromise(`"${key}" is taken for whole, with other pages`);
  }

  async #put(): Promise<void> {
    const { random } = this.#parts;
    const key = `${this.#what.putPrefix}${++this.#putCount}`;
    const put: Put = { key, bytes: random.bytes(1 + random.next(PUT_SIZE_MAX)) };
    this.#puts.push(put);
    const stored = await this.#check.run({
      name: "store: put",
      deadlineMs: REQUEST_MS + GRACE_MS,
      also: ["ObjectExistsError"],
      act: async () => await this.#what.store.put(key, put.bytes),
    });
    if (stored) put.stored = stored;
  }

  async #remove(): Promise<void> {
    const there = this.#puts.filter(({ stored, removed }) => stored && removed === undefined);
    if (there.length === 0) return;
    for (const put of there) put.removed = false;
    await this.#check.run({
      name: "store: remove",
      deadlineMs: REQUEST_MS + GRACE_MS,
      act: async () => {
        await this.#what.store.remove(there.map(({ key }) => key));
        for (const put of there) put.removed = true;
      },
    });
  }

  /** What the store has said is so. */
  async recover(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 500)); // late writes are over
    const store = this.#what.trueStore;
    const found = new Map<string, ListedObject>();
    for await (const page of store.list(this.#what.putPrefix)) {
      for (const object of page) found.set(object.key, object);
    }
    for (const put of this.#puts) this.#settle(put, found.get(put.key));
    await store.remove([...found.keys()]);
    this.#puts = [];
    this.#returningCount = this.#returning;
  }

  get #returning(): number {
    const counts = this.#parts.place.faults.counts();
    return (counts["late write"] ?? 0) + (counts["404"] ?? 0);
  }

  /** A put that comes late brings back what was removed since; a server that lies about what is absent keeps it. */
  get #mayReturn(): boolean {
    return this.#returning > this.#returningCount;
  }

  #settle({ key, bytes, stored, removed }: Put, found: ListedObject | undefined): void {
    if (found && found.size !== bytes.length) this.#check.broken(`"${key}" has ${found.size} bytes`);
    if (stored && removed === undefined && found?.etag !== stored.etag) {
      this.#check.broken(`"${key}" was stored as ${stored.etag}, and ${found?.etag} is there`);
    }
    if (removed && found && !this.#mayReturn) this.#check.broken(`"${key}" was removed, and is there`);
  }

  async close(): Promise<void> {
    for (const store of [this.#what.store, this.#what.trueStore]) await store.close();
  }
}
