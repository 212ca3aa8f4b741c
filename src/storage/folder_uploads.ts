/**
 * FolderUploads: files that are made, at once or piece by piece.
 *
 * @module
 */

import { stat } from "node:fs/promises";
import { StorageError } from "../errors.ts";
import { etagOf, modifiedMsOf } from "./file_facts.ts";
import { putError } from "./folder_fault.ts";
import { checkNewKey } from "./folder_key.ts";
import { makeFile, type NewFileOptions, UnfinishedFile } from "./new_file.ts";
import type {
  Part,
  PartUpload,
  PartUploads,
  PutOptions,
  RequestCounts,
  RequestOptions,
} from "./object_store.ts";

/** What is written at once, in bytes. */
const PART_SIZE = 4 * 1024 * 1024;

/** The folder that files are made in. */
export interface FolderPlace {
  readonly name: string;
  readonly counts: RequestCounts;
  pathOf(key: string): string;
  /** Throws where `what` is not to be done any more. */
  check(what: string, options: RequestOptions): void;
}

/** What is known of a file that was made. */
interface Made {
  readonly etag: string;
  readonly size: number;
  readonly modifiedMs: number;
}

/** Makes files; parts are written into an unfinished one, each behind the other. */
export class FolderUploads implements PartUploads {
  readonly partSize = PART_SIZE;
  readonly partsAtOnce = 1;
  readonly partsMax = Infinity;
  readonly #place: FolderPlace;
  readonly #unfinished = new Map<string, UnfinishedFile>();

  constructor(place: FolderPlace) {
    this.#place = place;
  }

  async putWhole(key: string, bytes: Uint8Array, options: PutOptions): Promise<Made> {
    return await this.#request("put", { key, options }, async (path) => {
      await makeFile(path, bytes, newFileOptions(options));
      return await madeAt(path);
    });
  }

  async begin(key: string, options: PutOptions): Promise<PartUpload> {
    return await this.#request("begin to put", { key, options }, async (path) => {
      const id = crypto.randomUUID();
      const file = await UnfinishedFile.begin(path);
      this.#unfinished.set(id, file);
      await this.#checkWanted(id, options);
      return { key, id };
    });
  }

  async put(upload: PartUpload, { number, offset, bytes }: Part, options: RequestOptions): Promise<string> {
    const act = `put part ${number} of`;
    return await this.#request(act, { key: upload.key, options }, async () => {
      await this.#fileOf(upload, act).write(bytes, offset);
      return String(number);
    });
  }

  async complete(upload: PartUpload, etags: readonly string[], options: PutOptions): Promise<Made> {
    const { key, id } = upload;
    const act = `make of ${etags.length} parts`;
    return await this.#request(act, { key, options }, async (path) => {
      const file = this.#fileOf(upload, act);
      await file.finish(newFileOptions(options));
      const made = await madeAt(path);
      await file.drop();
      this.#unfinished.delete(id);
      return made;
    });
  }

  async abort({ key, id }: PartUpload, options: RequestOptions): Promise<void> {
    const { name, counts } = this.#place;
    options.signal?.throwIfAborted();
    counts.remove = (counts.remove ?? 0) + 1;
    await this.#drop(id).catch((error) => {
      throw putError(error, `remove the parts of "${key}" in ${name}`, key);
    });
  }

  /** Removes what is unfinished. */
  async close(): Promise<void> {
    await Promise.all([...this.#unfinished.keys()].map((id) => this.#drop(id)));
  }

  /** What was made while nobody waited for it any more would stay. */
  async #checkWanted(id: string, options: RequestOptions): Promise<void> {
    try {
      this.#place.check("go on", options);
    } catch (error) {
      await this.#drop(id);
      throw error;
    }
  }

  async #drop(id: string): Promise<void> {
    await this.#unfinished.get(id)?.drop();
    this.#unfinished.delete(id);
  }

  #fileOf({ key, id }: PartUpload, act: string): UnfinishedFile {
    const file = this.#unfinished.get(id);
    if (file !== undefined) return file;
    const details = { key, status: 0, code: "NoSuchUpload", retryable: false };
    const found = "it was finished or removed before";
    throw new StorageError(
      `Cannot ${act} "${key}" in ${this.#place.name}: ${found}, expected neither`,
      details,
    );
  }

  async #request<T>(
    act: string,
    { key, options }: { key: string; options: RequestOptions },
    make: (path: string) => Promise<T>,
  ): Promise<T> {
    const { name, counts } = this.#place;
    const what = `${act} "${key}" in ${name}`;
    checkNewKey(key, what);
    this.#place.check(what, options);
    counts.put = (counts.put ?? 0) + 1;
    try {
      return await make(this.#place.pathOf(key));
    } catch (error) {
      throw putError(error, what, key);
    }
  }
}

function newFileOptions({ replace = false, timestampMs }: PutOptions): NewFileOptions {
  return { replace, timestampMs };
}

async function madeAt(path: string): Promise<Made> {
  const facts = await stat(path, { bigint: true });
  return { etag: etagOf(facts), size: Number(facts.size), modifiedMs: modifiedMsOf(facts) };
}
