/**
 * SpooledParts: objects in parts where a place takes them whole only. Parts are gathered in a file.
 *
 * @module
 */

import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { writeAll } from "../disk_write.ts";
import { temporaryFolder } from "../drivers/permissions.ts";
import { ReplicaClosedError, StorageError } from "../errors.ts";
import type { Part, PartUpload, PartUploads, PutOptions, RequestOptions } from "./object_store.ts";

const MiB = 1024 * 1024;
/** What is read of the file at once. */
const CHUNK_BYTES = MiB;

/** An object whose parts have all come. */
export interface Spooled {
  readonly key: string;
  readonly size: number;
  /** All its bytes from the beginning, as often as it is called. */
  chunks(): AsyncIterable<Uint8Array>;
}

/** What is known of an object that was made. */
interface Made {
  readonly etag: string;
  readonly modifiedMs: number;
}

/** Puts an object whose bytes lie in a file. */
export type PutSpooled = (spooled: Spooled, options: PutOptions) => Promise<Made>;

interface Upload {
  readonly file: FileHandle;
  readonly folder: string;
  size: number;
}

/** Gathers parts in private files below the system's folder for temporary ones. */
export class SpooledParts implements PartUploads {
  readonly partSize: number = 5 * MiB;
  readonly partsAtOnce = 1;
  readonly partsMax = 10_000;
  readonly isSentAtEnd = true;
  readonly #put: PutSpooled;
  readonly #uploads = new Map<string, Upload>();
  #isClosed = false;

  /** `put` makes an object of what was gathered. */
  constructor(put: PutSpooled) {
    this.#put = put;
  }

  async begin(key: string, { signal }: RequestOptions = {}): Promise<PartUpload> {
    const folder = await mkdtemp(join(temporaryFolder(), "litestream-vfs-put-"));
    try {
      const file = await open(join(folder, "object"), "wx+", 0o600);
      this.#uploads.set(folder, { file, folder, size: 0 });
      await hide(folder);
      signal?.throwIfAborted();
      if (this.#isClosed) throw new ReplicaClosedError(`Cannot begin to put "${key}": the store was closed`);
    } catch (error) {
      // nobody waits for it any more, and a file that is collected open ends the whole thread in Bun
      await this.abort({ key, id: folder });
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
    return { key, id: folder };
  }

  async put(upload: PartUpload, { offset, bytes, number }: Part, options: RequestOptions): Promise<string> {
    const found = this.#find(upload);
    await writeAll(found.file, bytes, offset);
    found.size = Math.max(found.size, offset + bytes.length);
    options.onProgress?.(new Uint8Array(0));
    return String(number);
  }

  async complete(upload: PartUpload, _etags: readonly string[], options: PutOptions): Promise<Made> {
    const { file, size } = this.#find(upload);
    const made = await this.#put({ key: upload.key, size, chunks: () => chunksOf(file, size) }, options);
    await this.abort(upload);
    return made;
  }

  async abort({ id }: PartUpload): Promise<void> {
    const upload = this.#uploads.get(id);
    this.#uploads.delete(id);
    if (upload === undefined) return;
    await upload.file.close();
    await rm(upload.folder, { recursive: true, force: true });
  }

  /** Removes what was begun and not completed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const id of [...this.#uploads.keys()]) await this.abort({ key: "", id });
  }

  #find({ key, id }: PartUpload): Upload {
    const upload = this.#uploads.get(id);
    if (upload !== undefined) return upload;
    const details = { key, status: 404, code: "NoSuchUpload", retryable: false };
    throw new StorageError(
      `Cannot put part of "${key}": its upload has ended, expected one that goes on`,
      details,
    );
  }
}

/**
 * Takes the name from an open file, whose handle is enough: nobody would remove what a killed process leaves. Where
 * names of open files stay, on Windows and NFS, it goes at the end.
 */
async function hide(folder: string): Promise<void> {
  if (process.platform !== "win32") await rm(folder, { recursive: true }).catch(() => {});
}

async function* chunksOf(file: FileHandle, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let offset = 0; offset < size;) {
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, size - offset));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, offset);
    if (bytesRead === 0) {
      throw new Error(`Cannot put: its file ended after ${offset} bytes, expected ${size}`);
    }
    yield bytes.subarray(0, bytesRead);
    offset += bytesRead;
  }
}
