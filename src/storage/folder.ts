/**
 * FolderStore: an ObjectStore over a folder.
 *
 * A file is opened, looked at and read anew for each range: keeping handles open was measured and saves less than
 * 0.1 ms a read (0.20 → 0.11 ms in both runtimes, Linux, warm cache).
 *
 * @module
 */

import type { BigIntStats } from "node:fs";
import { type FileHandle, lstat, open, readdir, stat, unlink } from "node:fs/promises";
import { ObjectGoneError, ReplicaClosedError, StorageError } from "../errors.ts";
import { etagOf, modifiedMsOf } from "./file_facts.ts";
import { codeOf, failureOf, isAbsent, listError, noFolder, readError, WRITABLE } from "./folder_fault.ts";
import { checkKey } from "./folder_key.ts";
import { FolderUploads } from "./folder_uploads.ts";
import { compareKeys, sortKeys } from "./key_order.ts";
import { putChunksOnce } from "./multipart.ts";
import {
  type BareStore,
  type ByteRange,
  checkContent,
  checkRange,
  type ListedObject,
  type ListOptions,
  type ObjectIdentity,
  type PartUploads,
  type PutOptions,
  type ReadResult,
  type RequestCounts,
  type RequestOptions,
} from "./object_store.ts";
import { RemovalError } from "./removal.ts";
import type { FolderLocation } from "./replica_url.ts";

const PAGE_OBJECTS = 1000;
const STATS_AT_ONCE = 32;
/** Folders within folders; a symbolic link to a folder above would go on for ever. */
const DEPTH_MAX = 16;
const NO_BYTES = new Uint8Array(0);

/** A replica's objects in a folder; symbolic links are followed, files named `*.tmp` are not objects. */
export class FolderStore implements BareStore {
  readonly name: string;
  readonly traits = {
    conditionalPut: true,
    conditionalReplace: false,
    cheapList: true,
    listsInOrder: true,
  } as const;
  readonly counts: RequestCounts = { list: 0, get: 0, bytes: 0, retries: 0 };
  readonly #path: string;
  readonly #uploads: FolderUploads;
  #closed = false;

  constructor(location: FolderLocation) {
    this.name = location.name;
    this.#path = location.path.replace(/\/+$/, "");
    this.#uploads = new FolderUploads({
      name: this.name,
      counts: this.counts,
      pathOf: (key) => this.#pathOf(key),
      check: (what, options) => this.#begin(what, options),
    });
  }

  get parts(): PartUploads {
    return this.#uploads;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject[], void, undefined> {
    const what = `list "${prefix}" in ${this.name}`;
    this.#begin(what, options);
    this.counts.list++;
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    if (folder !== "") checkKey(folder.slice(0, -1), what);
    const keys = this.#keysBelow(folder, { prefix, after: options.after, what, options, depth: 0 });
    let page: string[] = [];
    for await (const key of keys) {
      page.push(key);
      if (page.length < PAGE_OBJECTS) continue;
      const objects = await this.#describe(page, what, options);
      page = [];
      if (objects.length > 0) yield objects;
      this.#begin(what, options);
      this.counts.list++;
    }
    const rest = await this.#describe(page, what, options);
    if (rest.length > 0) yield rest;
  }

  async read(of: ObjectIdentity, range: ByteRange, options: RequestOptions = {}): Promise<ReadResult> {
    const last = range.offset + range.size - 1;
    const what = `read bytes ${range.offset}-${last} of "${of.key}" in ${this.name}`;
    checkRange(range);
    checkKey(of.key, what);
    this.#begin(what, options);
    this.counts.get++;
    let file: FileHandle | undefined;
    try {
      file = await open(this.#pathOf(of.key), "r");
      const facts = await file.stat({ bigint: true });
      const size = checkIdentity(facts, { of, range, what });
      const bytes = await fillFrom(file, range.offset, size, { what, key: of.key });
      options.signal?.throwIfAborted();
      this.counts.bytes += size;
      options.onProgress?.(bytes);
      return { bytes, etag: etagOf(facts), objectSize: Number(facts.size) };
    } catch (error) {
      if (options.signal?.aborted) throw options.signal.reason;
      if (isAbsent(error) && !await this.#holdsAny(of.key)) throw noFolder(what, of.key);
      throw readError(error, what, of.key);
    } finally {
      await file?.close();
    }
  }

  /** Whether the uppermost folder of a key is there, as far as can be told. */
  async #holdsAny(key: string): Promise<boolean> {
    const path = this.#pathOf(key.slice(0, Math.max(0, key.indexOf("/"))));
    return await factsOf(path).then((facts) => facts !== undefined, () => true);
  }

  async put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<ListedObject> {
    checkContent(key, bytes.length);
    return { key, ...await this.#uploads.putWhole(key, bytes, options) };
  }

  async putChunks(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<ListedObject> {
    return await putChunksOnce(this, { key, chunks, options });
  }

  async remove(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    const failures: StorageError[] = [];
    for (const key of keys) checkKey(key, `remove "${key}" from ${this.name}`);
    for (const key of keys) {
      const what = `remove "${key}" from ${this.name}`;
      this.#begin(what, options);
      this.counts.remove = (this.counts.remove ?? 0) + 1;
      try {
        await unlinkFile(this.#pathOf(key));
      } catch (error) {
        if (!isAbsent(error)) failures.push(failureOf(error, { what, key, wanted: WRITABLE }));
      }
      options.onProgress?.(NO_BYTES);
    }
    if (failures.length > 0) throw new RemovalError(this.name, keys.length, failures);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#uploads.close();
  }

  #begin(what: string, options: RequestOptions): void {
    options.signal?.throwIfAborted();
    if (this.#closed) throw new ReplicaClosedError(`Cannot ${what}: the store was closed`);
  }

  #pathOf(key: string): string {
    return `${this.#path}/${key}`;
  }

  /** Keys below `folder` (empty, or ending in a slash) in ascending order, those after `after` only. */
  async *#keysBelow(
    folder: string,
    walk: {
      prefix: string;
      after: string | undefined;
      what: string;
      options: RequestOptions;
      depth: number;
    },
  ): AsyncGenerator<string, void, undefined> {
    const { prefix, after, what, options, depth } = walk;
    if (depth > DEPTH_MAX) throw tooDeep(what, folder);
    for (const name of await this.#namesIn(folder, what)) {
      options.signal?.throwIfAborted();
      if (!name.startsWith(prefix) && !prefix.startsWith(name)) continue;
      const isFolder = name.endsWith("/");
      const passed = after !== undefined && compareKeys(name, after) <= 0;
      if (isFolder && !(passed && !after?.startsWith(name))) {
        yield* this.#keysBelow(name, { ...walk, depth: depth + 1 });
      } else if (!isFolder && !passed && name.startsWith(prefix)) yield name;
    }
  }

  /** What lies in one folder, as keys in ascending order; folders end in a slash. No such folder: nothing. */
  async #namesIn(folder: string, what: string): Promise<string[]> {
    const names: string[] = [];
    try {
      for (const entry of await readdir(this.#pathOf(folder), { withFileTypes: true })) {
        const key = folder + entry.name;
        const facts = entry.isSymbolicLink() ? await factsOf(this.#pathOf(key)) : entry;
        if (facts?.isDirectory()) names.push(`${key}/`);
        else if (facts?.isFile() && !key.endsWith(".tmp")) names.push(key);
      }
    } catch (error) {
      if (codeOf(error) === "ENOENT") return [];
      throw listError(error, what, folder);
    }
    return sortKeys(names);
  }

  /** Identity and age of each key's file; one that has gone meanwhile is left out. */
  async #describe(
    keys: readonly string[],
    what: string,
    { onProgress }: RequestOptions,
  ): Promise<ListedObject[]> {
    const objects: ListedObject[] = [];
    for (let first = 0; first < keys.length; first += STATS_AT_ONCE) {
      const some = keys.slice(first, first + STATS_AT_ONCE);
      const facts = await Promise.all(some.map((key) => factsOf(this.#pathOf(key)))).catch((error) => {
        throw listError(error, what, some[0] ?? "");
      });
      facts.forEach((file, i) => {
        if (file === undefined) return;
        const modifiedMs = modifiedMsOf(file);
        objects.push({ key: some[i] as string, etag: etagOf(file), size: Number(file.size), modifiedMs });
      });
      onProgress?.(NO_BYTES); // a slow disk is at it
    }
    return objects;
  }
}

/** One runtime's unlink() takes empty folders too. */
async function unlinkFile(path: string): Promise<void> {
  const facts = await lstat(path);
  if (facts.isDirectory()) throw Object.assign(new Error("it is a folder"), { code: "EISDIR" });
  await unlink(path);
}

async function factsOf(path: string): Promise<BigIntStats | undefined> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** The number of bytes to read of the file that is open now. */
function checkIdentity(
  facts: BigIntStats,
  { of, range, what }: { of: ObjectIdentity; range: ByteRange; what: string },
): number {
  const { key } = of;
  const size = Number(facts.size);
  const gone = { key, status: 0, code: "Changed", retryable: false };
  if (!facts.isFile()) throw new ObjectGoneError(`Cannot ${what}: it is no file, expected a file`, gone);
  if ((of.etag !== "" && of.etag !== etagOf(facts)) || (of.size > 0 && of.size !== size)) {
    throw new ObjectGoneError(
      `Cannot ${what}: another file has this name now, expected the listed one`,
      gone,
    );
  }
  const end = of.size === 0 ? Math.min(range.offset + range.size, size) : range.offset + range.size;
  if (end > size || end <= range.offset) {
    const details = { key, status: 416, code: "InvalidRange", retryable: false };
    throw new StorageError(`Cannot ${what}: the file has ${size} bytes, expected a range inside`, details);
  }
  return end - range.offset;
}

async function fillFrom(
  file: FileHandle,
  offset: number,
  size: number,
  { what, key }: { what: string; key: string },
): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  let count = 0;
  while (count < size) {
    const { bytesRead } = await file.read(bytes, count, size - count, offset + count);
    if (bytesRead === 0) {
      const details = { key, status: 0, code: "ShortRead", retryable: true };
      throw new StorageError(
        `Cannot ${what}: the file ended after ${count} bytes, expected ${size}`,
        details,
      );
    }
    count += bytesRead;
  }
  return bytes;
}

function tooDeep(what: string, folder: string): StorageError {
  const details = { key: folder, status: 0, code: "ELOOP", retryable: false };
  return new StorageError(
    `Cannot ${what}: folders nested deeper than ${DEPTH_MAX}, expected no loop of links`,
    details,
  );
}
