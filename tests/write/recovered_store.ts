/**
 * A store in memory, as it was when a writer crashed; what its successor's recovery makes of it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import type { Native } from "../../ffi/native.ts";
import { ObjectExistsError } from "../../src/errors.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { parseLtxFileName } from "../../src/ltx/txid.ts";
import type { ListedObject, WritableStore } from "../../src/storage/object_store.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { NEW_HEAD } from "../../src/write/logged_file.ts";
import { shimLz4 } from "../../src/write/shim_lz4.ts";
import { Writer, type Written } from "../../src/write/writer.ts";
import { openLocal } from "../support/local_database.ts";
import { checkDatabase } from "./numbered_work.ts";

/** An object, and its file among the replica's. */
export interface StoredFile {
  readonly file: ReplicaFile;
  readonly bytes: Uint8Array;
}

/** A database as its pages make it. */
type Image = Uint8Array;

/** Has writers recover, and says which transaction they come to. */
export class Recoveries {
  readonly #native: Native;
  readonly #store: string;
  readonly #folder: string;
  /** By TXID less one. */
  readonly #images: Image[] = [];
  readonly #numbers = new Map<string, number>();

  /** `store` is the replica's name; databases to be checked are made in `folder`. */
  constructor(native: Native, { store, folder }: { store: string; folder: string }) {
    this.#native = native;
    this.#store = store;
    this.#folder = folder;
  }

  /** How many different databases were looked at. */
  get databases(): number {
    return this.#numbers.size;
  }

  /**
   * Recovers the log at `path` on top of what was stored: TXIDs from 1 on, at each call the same as far as
   * they go. Gives the number of the last transaction that is there then.
   */
  async recover(path: string, stored: readonly StoredFile[]): Promise<number> {
    const files = [...stored];
    const replica: Written = {
      get position() {
        return BigInt(files.length);
      },
      head: () => Promise.resolve(NEW_HEAD),
      known: () => files.map(({ file }) => file),
      list: () => Promise.resolve(files.map(({ file }) => file)),
      refresh: () => Promise.resolve(),
      stored: () => Promise.reject(new Error("nothing is stored but what is recovered")),
      isRewritten: () => Promise.resolve(undefined),
      block: () => {},
    };
    const lock = () => {
      writeFileSync(`${path}.lock`, "", { flag: "a" });
      return 0;
    };
    const notLocked = { ls_writer_open: lock, ls_writer_close: () => 0 };
    await Writer.open({
      native: { ...this.#native, calls: { ...this.#native.calls, ...notLocked } },
      coreId: 0,
      replicaId: 0,
      store: storeOf(this.#store, files),
      place: this.#store,
      layout: "folder",
      replica,
      path,
      syncIntervalMs: 0,
      unsyncedBytesMax: 2 ** 30,
      isUnconditional: false,
      probing: undefined,
      listedMs: Date.now(),
      isCompacting: false,
      isLeased: false,
      signal: new AbortController().signal,
      uncounted: (act) => act(),
      onLocked: () => {},
      onError: () => {},
      onNotice: () => {},
    });
    let image = this.#storedImage(stored);
    for (const { bytes } of files.slice(stored.length)) image = this.#over(image, bytes);
    return await this.#numberOf(image);
  }

  #storedImage(stored: readonly StoredFile[]): Image {
    while (this.#images.length < stored.length) {
      const before = this.#images.at(-1) ?? new Uint8Array(0);
      this.#images.push(this.#over(before, stored[this.#images.length]!.bytes));
    }
    return this.#images[stored.length - 1] ?? new Uint8Array(0);
  }

  #over(before: Image, bytes: Uint8Array): Image {
    const { header, frames } = decodeFile(bytes, shimLz4(this.#native));
    const { commit, pageSize } = header;
    const image = new Uint8Array(commit * pageSize);
    image.set(before.subarray(0, image.length));
    for (const { pgno, page } of frames) image.set(page, (pgno - 1) * pageSize);
    return image;
  }

  async #numberOf(image: Image): Promise<number> {
    if (image.length === 0) return 0;
    const hash = createHash("sha1").update(image).digest("hex");
    const known = this.#numbers.get(hash);
    if (known !== undefined) return known;
    const path = `${this.#folder}/check-${this.#numbers.size}.db`;
    writeFileSync(path, image);
    const database = await openLocal(path);
    try {
      const number = checkDatabase(database);
      this.#numbers.set(hash, number);
      return number;
    } finally {
      database.close();
    }
  }
}

/** Objects are made only where there are none; one that is there with equal bytes counts as just made. */
function storeOf(name: string, files: StoredFile[]): WritableStore {
  const others = new Map<string, Uint8Array>();
  return {
    traits: { conditionalPut: true, conditionalReplace: true, cheapList: true, listsInOrder: true },
    name,
    counts: { list: 0, get: 0, bytes: 0, retries: 0 },
    async *list() {},
    read: () => Promise.reject(new Error("nothing is read to recover")),
    async putChunks(key, chunks, options) {
      const pieces: Uint8Array[] = [];
      for await (const piece of chunks()) pieces.push(piece.slice());
      return await this.put(key, Buffer.concat(pieces), options);
    },
    put(key, bytes) {
      const there = files.find(({ file }) => file.key === key);
      const content = there?.bytes ?? others.get(key);
      if (content !== undefined && !isEqual(content, bytes)) {
        const details = { key, status: 412, retryable: false };
        return Promise.reject(
          new ObjectExistsError(`Cannot put "${key}": it is there, expected none`, details),
        );
      }
      const object: ListedObject = there?.file ??
        { key, etag: `made-${key}`, size: bytes.length, modifiedMs: 0 };
      const range = parseLtxFileName(key.slice(key.lastIndexOf("/") + 1));
      if (range === null) others.set(key, bytes);
      else if (!there) files.push({ file: { ...object, level: 0, ...range }, bytes });
      return Promise.resolve(object);
    },
    remove(keys) {
      for (const key of keys) others.delete(key);
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
