/**
 * Files that a web server serves, put behind its back.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { mkdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeIndex } from "../../src/storage/http/folder_index.ts";

/** A folder of files; `hasIndex`: with `index.json`, up to date. */
export class PublishedFolder {
  readonly #path: string;
  readonly #hasIndex: boolean;
  #latestMs = Math.floor(Date.now() / 1000) * 1000;
  #indexing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(path: string, hasIndex: boolean) {
    this.#path = path;
    this.#hasIndex = hasIndex;
  }

  /** Puts a file; one that replaces another is seconds younger, since servers tell no less. */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    const path = join(this.#path, key);
    await mkdir(dirname(path), { recursive: true });
    if (await stat(path).catch(() => undefined)) this.#latestMs += 2_000;
    const temporary = join(this.#path, `${randomUUID()}.tmp`);
    await writeFile(temporary, bytes);
    await utimes(temporary, this.#latestMs / 1000, this.#latestMs / 1000);
    await rename(temporary, path);
    if (this.#hasIndex) await this.index();
  }

  async remove(key: string): Promise<void> {
    await rm(join(this.#path, key), { force: true });
    if (this.#hasIndex) await this.index();
  }

  /** Makes the index anew; those who come while one is being made wait for the next together. */
  async index(): Promise<void> {
    const made = this.#next ??= this.#indexing.then(async () => {
      this.#indexing = made!;
      this.#next = undefined;
      await writeIndex(this.#path);
      await utimes(join(this.#path, "index.json"), this.#latestMs / 1000, this.#latestMs / 1000);
    });
    await made;
  }
}
