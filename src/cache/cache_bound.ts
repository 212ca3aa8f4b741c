/**
 * Keeps the disk cache within its bound: looks through it in the background, the least recently used files go first.
 *
 * @module
 */
import { appendFile, readdir, rmdir, stat, truncate, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { CacheFolder } from "./cache_folder.ts";

/** What a small file takes on most disks. */
export const BLOCK: number = 4096;

/**
 * Shares of the bound: what may be there after a look without anything being removed, and what is left where there was more;
 * what all processes together may add before one of them looks again, and what one may before it tells the others.
 */
const KEPT_MAX = 7 / 8;
const KEPT = 13 / 16;
const ADDED_MAX = 1 / 16;
const ADDED_UNTOLD = 1 / 64;

/** Files looked at at the same time. */
const LOOKS_AT_ONCE = 16;

/** An unfinished file this old was left by a process that ended, in ms. */
const ABANDONED_MS = 10 * 60_000;

interface CachedFile {
  readonly object: string;
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  readonly usedMs: number;
}

/** What the bound is kept with. */
export interface CacheBoundOptions {
  readonly folder: CacheFolder;
  /** Bound on all files together, each counted in whole blocks. */
  readonly bytesMax: number;
  /** Called when a file of an object was removed. */
  readonly onRemoved: (object: string, name: string) => void;
}

/** Bytes that a file counts for. */
export function diskBytes(size: number): number {
  return Math.max(1, Math.ceil(size / BLOCK)) * BLOCK;
}

/** The bound of one cache, as one of its processes keeps it. */
export class CacheBound {
  readonly #options: CacheBoundOptions;
  #looking: Promise<void> | undefined;
  /** Added since the others were told. */
  #untold = 0;
  /** Added while it is being looked through. */
  #added = 0;
  #isClosed = false;

  constructor(options: CacheBoundOptions) {
    this.#options = options;
  }

  /** Whether nothing more should be written until some was removed. */
  get isFull(): boolean {
    return this.#looking !== undefined && this.#added > this.#options.bytesMax * ADDED_MAX;
  }

  /** A file came. Looks through the cache when all processes together have written much. */
  async wrote(size: number): Promise<void> {
    const { folder, bytesMax } = this.#options;
    this.#untold += diskBytes(size);
    this.#added += diskBytes(size);
    if (this.#untold < bytesMax * ADDED_UNTOLD) return;
    const blocks = Math.ceil(this.#untold / BLOCK);
    this.#untold = 0;
    await appendFile(folder.growth, new Uint8Array(blocks), { mode: 0o600 });
    if ((await stat(folder.growth)).size * BLOCK >= bytesMax * ADDED_MAX) void this.look();
  }

  /** Looks through the cache now, and removes what is too much; fails for no reason. */
  look(): Promise<void> {
    this.#looking ??= this.#look().catch(() => {}).finally(() => this.#looking = undefined);
    return this.#looking;
  }

  async #look(): Promise<void> {
    const { folder, bytesMax } = this.#options;
    this.#added = 0;
    await truncate(folder.growth).catch(() => {});
    await this.#removeAbandoned();
    const files = await this.#list();
    let total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    if (total <= bytesMax * KEPT_MAX) return;
    files.sort((a, b) => a.usedMs - b.usedMs);
    const objects = new Set<string>();
    for (const file of files) {
      if (total <= bytesMax * KEPT || this.#isClosed) break;
      await unlink(file.path).catch(() => {});
      this.#options.onRemoved(file.object, file.name);
      objects.add(file.object);
      total -= file.bytes;
    }
    for (const object of objects) await rmdir(folder.objectPath(object)).catch(() => {}); // only an empty one goes
  }

  async #list(): Promise<CachedFile[]> {
    const { folder } = this.#options;
    const files: CachedFile[] = [];
    for (const digits of await namesIn(folder.objects)) {
      for (const object of await namesIn(join(folder.objects, digits))) {
        const path = join(folder.objects, digits, object);
        const names = await namesIn(path);
        for (let first = 0; first < names.length && !this.#isClosed; first += LOOKS_AT_ONCE) {
          const some = names.slice(first, first + LOOKS_AT_ONCE);
          const found = await Promise.all(
            some.map((name) => lookAt({ object, name, path: join(path, name) })),
          );
          for (const file of found) if (file) files.push(file);
        }
      }
    }
    return files;
  }

  async #removeAbandoned(): Promise<void> {
    const { unfinished } = this.#options.folder;
    for (const name of await namesIn(unfinished)) {
      const path = join(unfinished, name);
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Infinity }));
      if (Date.now() - mtimeMs > ABANDONED_MS) await unlink(path).catch(() => {});
    }
  }

  /** Ends a look that is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#looking;
  }
}

async function lookAt(file: Pick<CachedFile, "object" | "name" | "path">): Promise<CachedFile | undefined> {
  try {
    const { size, mtimeMs } = await stat(file.path);
    return { ...file, bytes: diskBytes(size), usedMs: mtimeMs };
  } catch {
    return undefined; // another process has removed it
  }
}

async function namesIn(path: string): Promise<string[]> {
  return await readdir(path).catch(() => []);
}
