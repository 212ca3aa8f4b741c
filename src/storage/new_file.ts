/**
 * New files: one appears under its name whole, or not at all.
 *
 * @module
 */

import { type FileHandle, link, mkdir, open, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "../disk_sync.ts";
import { writeAll } from "../disk_write.ts";

/** How a file is made. */
export interface NewFileOptions {
  /** Replaces what has the name. */
  readonly replace: boolean;
  /** Its time in ms since the Unix epoch; that of writing where it is not given. */
  readonly timestampMs: number | undefined;
}

/**
 * Writes a file and gives it its name: all at once, as an {@link UnfinishedFile} piece by piece.
 *
 * @throws what the system fails with: EEXIST where the name is taken (what has it is on the disk then, too)
 */
export async function makeFile(path: string, bytes: Uint8Array, options: NewFileOptions): Promise<void> {
  const file = await UnfinishedFile.begin(path);
  try {
    await file.write(bytes, 0);
    await file.finish(options);
  } finally {
    await file.drop();
  }
}

/**
 * A file that lies beside its place, under a name of its own that ends in `.tmp`, until it is whole.
 *
 * What is done to it is done in the order it was asked for: whoever gave up waiting for a write may ask for
 * it again.
 */
export class UnfinishedFile {
  readonly #path: string;
  readonly #temporary: string;
  readonly #file: FileHandle;
  /** The first of the folders that were made for it. */
  readonly #madeFirst: string | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #isNamed = false;
  #isClosed = false;

  private constructor(
    path: string,
    { temporary, file, madeFirst }: { temporary: string; file: FileHandle; madeFirst: string | undefined },
  ) {
    this.#path = path;
    this.#temporary = temporary;
    this.#file = file;
    this.#madeFirst = madeFirst;
  }

  /** Makes the file that is to be at `path`, and folders that are not there. */
  static async begin(path: string): Promise<UnfinishedFile> {
    const madeFirst = await mkdir(dirname(path), { recursive: true });
    const temporary = `${path}.${crypto.randomUUID()}.tmp`;
    return new UnfinishedFile(path, { temporary, madeFirst, file: await open(temporary, "wx") });
  }

  /** Writes bytes at `offset`. */
  async write(bytes: Uint8Array, offset: number): Promise<void> {
    await this.#inTurn(() => writeAll(this.#file, bytes, offset));
  }

  /**
   * Gives the file its name: by a link, which fails where the name is taken, or by a rename, which replaces.
   * It is on the disk when this returns; where this fails, it can be called again.
   */
  async finish(options: NewFileOptions): Promise<void> {
    await this.#inTurn(async () => {
      if (!this.#isNamed) await this.#name(options);
      await unlinkPresent(this.#temporary);
      await syncFolders(dirname(this.#path), this.#madeFirst);
    });
  }

  /** Closes the file, and removes it unless it has its name. */
  async drop(): Promise<void> {
    await this.#inTurn(async () => {
      if (!this.#isClosed) await this.#file.close();
      this.#isClosed = true;
      await unlinkPresent(this.#temporary);
    });
  }

  async #name({ replace, timestampMs }: NewFileOptions): Promise<void> {
    // As floating seconds, a time may come out a nanosecond early, in the millisecond before.
    if (timestampMs !== undefined) await this.#file.utimes(new Date(), (timestampMs + 0.001) / 1000);
    await this.#file.sync();
    if (replace) await rename(this.#temporary, this.#path);
    else await linkFile(this.#temporary, this.#path);
    this.#isNamed = true;
  }

  async #inTurn(act: () => Promise<void>): Promise<void> {
    const acting = this.#turn.then(act);
    this.#turn = acting.catch(() => {});
    await acting;
  }
}

/** Whoever finds the name taken may find there what is its own, and count on it: so that is made durable first. */
async function linkFile(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    if ((error as { code?: unknown }).code === "EEXIST") await syncFolder(dirname(path));
    throw error;
  }
}

async function unlinkPresent(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ENOENT") throw error;
  }
}

/** From `folder` up to the one that holds the first that was made. */
async function syncFolders(folder: string, madeFirst: string | undefined): Promise<void> {
  const last = madeFirst === undefined ? folder : dirname(madeFirst);
  for (let at = folder;; at = dirname(at)) {
    await syncFolder(at);
    if (at === last || at === dirname(at)) return;
  }
}
