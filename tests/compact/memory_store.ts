/**
 * A store in memory with its own clock, whose operations can be made to fail before or after they had their
 * effect.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { ObjectExistsError, ObjectGoneError } from "../../src/errors.ts";
import type { CompactionPutOptions, CompactionStore } from "../../src/compact/compaction_store.ts";
import { compareKeys } from "../../src/storage/key_order.ts";
import type {
  ByteRange,
  ListedObject,
  ListOptions,
  ObjectIdentity,
  ReadResult,
} from "../../src/storage/object_store.ts";

export type OperationName = "list" | "read" | "put" | "remove";

/** An operation about to begin, or one that had its effect on the store. */
export interface Operation {
  readonly name: OperationName;
  readonly key: string;
  readonly phase: "before" | "after";
}

interface Stored {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly modifiedMs: number;
}

export class MemoryStore implements CompactionStore {
  readonly objects = new Map<string, Stored>();
  nowMs: number;
  /** Largest read, and the bytes of all reads. */
  readonly reads = { sizeMax: 0, bytes: 0, count: 0 };
  /** What `put` was told of its objects' times. */
  readonly timestamps = new Map<string, number | undefined>();
  /** What came in chunks. */
  readonly chunkedKeys: string[] = [];
  /** Called with each operation; what it throws is what the caller gets. */
  onOperation: (operation: Operation) => void | Promise<void> = () => {};
  #etags = 0;

  constructor(nowMs: number) {
    this.nowMs = nowMs;
  }

  /** The same objects in a store of their own. */
  copy(): MemoryStore {
    const copy = new MemoryStore(this.nowMs);
    for (const [key, stored] of this.objects) copy.objects.set(key, stored);
    copy.#etags = this.#etags;
    return copy;
  }

  keys(): string[] {
    return [...this.objects.keys()].sort(compareKeys);
  }

  /** All objects, as a listing gives them. */
  listed(): ListedObject[] {
    return this.keys().map((key) => this.#describe(key));
  }

  /** Stores an object behind the back of whoever uses the store. */
  set(key: string, bytes: Uint8Array): ListedObject {
    this.objects.set(key, { bytes: bytes.slice(), etag: `"${++this.#etags}"`, modifiedMs: this.nowMs });
    return this.#describe(key);
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject[], void, undefined> {
    await this.#operate("list", prefix, "before");
    const after = options.after ?? "";
    const keys = this.keys().filter((key) => key.startsWith(prefix) && compareKeys(key, after) > 0);
    const objects = keys.map((key) => this.#describe(key));
    for (let first = 0; first < objects.length; first += 7) yield objects.slice(first, first + 7);
  }

  async read(of: ObjectIdentity, range: ByteRange): Promise<ReadResult> {
    await this.#operate("read", of.key, "before");
    const stored = this.objects.get(of.key);
    if (stored === undefined || (of.etag !== "" && of.etag !== stored.etag)) {
      throw new ObjectGoneError(`Cannot read "${of.key}": gone`, {
        key: of.key,
        status: 404,
        retryable: false,
      });
    }
    const size = of.size === 0 ? Math.min(range.size, stored.bytes.length - range.offset) : range.size;
    if (range.offset + size > stored.bytes.length) throw new RangeError(`past the end of ${of.key}`);
    this.reads.sizeMax = Math.max(this.reads.sizeMax, size);
    this.reads.bytes += size;
    this.reads.count++;
    const bytes = stored.bytes.slice(range.offset, range.offset + size);
    return { bytes, etag: stored.etag, objectSize: stored.bytes.length };
  }

  async put(key: string, bytes: Uint8Array, options: CompactionPutOptions = {}): Promise<ListedObject> {
    await this.#operate("put", key, "before");
    if (this.objects.has(key)) {
      throw new ObjectExistsError(`Cannot put "${key}": exists`, { key, status: 412, retryable: false });
    }
    const object = this.set(key, bytes);
    this.timestamps.set(key, options.timestampMs);
    await this.#operate("put", key, "after");
    return object;
  }

  /** Chunks are asked for twice, once in vain: as a store does that fails in the middle. */
  async putChunks(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    options: CompactionPutOptions = {},
  ): Promise<ListedObject> {
    for await (const _ of chunks()) break;
    const collected: Uint8Array[] = [];
    for await (const chunk of chunks()) collected.push(chunk);
    this.chunkedKeys.push(key);
    return await this.put(key, Buffer.concat(collected), options);
  }

  /** One key after the other, each an operation: so it can end between them. */
  async remove(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      await this.#operate("remove", key, "before");
      this.objects.delete(key);
      await this.#operate("remove", key, "after");
    }
  }

  async #operate(name: OperationName, key: string, phase: Operation["phase"]): Promise<void> {
    await this.onOperation({ name, key, phase });
  }

  #describe(key: string): ListedObject {
    const { bytes, etag, modifiedMs } = this.objects.get(key)!;
    return { key, etag, modifiedMs, size: bytes.length };
  }
}
