/**
 * Keeps the disk cache within its bound: looks through it in the background, the least recently used files go
 * first.
 *
 * @module
 */
import { readdir, rmdir, stat, truncate, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { CacheFolder } from "./cache_folder.ts";

/** What a small file takes on most disks. */
export const BLOCK: number = 4096;

/**
 * Shares of the bound: how full the cache seems when it is looked through, how full it may be then without
 * anything being removed, and what is left where it was fuller; and what a process may add before it tells
 * the others.
 */
const FULL = 15 / 16;
const KEPT_MAX = 7 / 8;
const KEPT = 13 / 16;
const ADDED_UNTOLD = 1 / 256;

/** What one may add untold whatever the bound: it is forgotten when the process is killed. */
const UNTOLD_MAX = 256 * 1024;

/**
 * How often it is asked whether another process has made room, and how long one may take to look through, in
 * ms.
 */
const ASK_MS = 100;
const LOOKING_MS = 30_000;

/** How often it is looked through even where nobody has added much, in ms. */
const LOOKED_MS = 86_400_000;

/** Files looked at at the same time: reads go beside. */
const LOOKS_AT_ONCE = 4;

/**
 * How long a process lives before it looks, in ms: its opening comes first. Those that live shorter look when
 * they end.
 */
const FIRST_LOOK_MS = 1_000;

/** How long a look that is due when a process ends may take, in ms; what it leaves is left to the next. */
const LAST_LOOK_MS = 1_000;

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

/** A file that is about to be written, as it was counted. */
export interface Room {
  readonly size: number;
  readonly lookedMs: number;
}

/** Bytes that a file counts for. */
export function diskBytes(size: number): number {
  return Math.max(1, Math.ceil(size / BLOCK)) * BLOCK;
}

/** The bound of one cache, as one of its processes keeps it. */
export class CacheBound {
  readonly #options: CacheBoundOptions;
  readonly #first: ReturnType<typeof setTimeout>;
  #looking: Promise<void> | undefined;
  #alone: Promise<void> | undefined;
  /** Counted since the others were told. */
  #untold = 0;
  /** So much was added by all that the cache has to be looked through before there is more. */
  #isDue = false;
  #askedMs = -Infinity;
  /** When a look must be over. */
  #endMs = Infinity;

  constructor(options: CacheBoundOptions) {
    this.#options = options;
    this.#first = setTimeout(() => void this.#lookAgain(), FIRST_LOOK_MS);
  }

  /** Whether nothing more should be written until some was removed, by whichever process. */
  get isFull(): boolean {
    const isAsked = !this.#isDue && this.#askedMs > -Infinity;
    if (!isAsked && performance.now() - this.#askedMs > ASK_MS) void this.#ask();
    return this.#isDue;
  }

  /**
   * Counts a file that is to be written; undefined where it must not be. It is told of before it is written:
   * else all processes would find that there is room, and fill it at the same moment.
   */
  async take(size: number): Promise<Room | undefined> {
    const room = { size, lookedMs: await this.#lookedMs() };
    await this.#add(size);
    await this.#ask();
    return this.#isDue ? undefined : room;
  }

  /** The file is there. Who looked through the cache meanwhile may not have found it, and no more counts it. */
  async wrote({ size, lookedMs }: Room): Promise<void> {
    const isLooking = await stat(this.#options.folder.looking).then(() => true, () => false);
    if (isLooking || await this.#lookedMs() !== lookedMs) await this.#add(size);
  }

  async #add(size: number): Promise<void> {
    this.#untold += diskBytes(size);
    if (this.#untold >= Math.min(this.#options.bytesMax * ADDED_UNTOLD, UNTOLD_MAX)) await this.#tell();
  }

  /** When somebody has looked through it last. */
  async #lookedMs(): Promise<number> {
    return (await stat(this.#options.folder.looked).catch(() => ({ mtimeMs: -Infinity }))).mtimeMs;
  }

  /** Tells the others what was added. */
  async #tell(): Promise<void> {
    const blocks = Math.ceil(this.#untold / BLOCK);
    this.#untold = 0;
    await this.#options.folder.append(this.#options.folder.total, new Uint8Array(blocks));
  }

  /** Asks how full the cache seems, and looks where it is time and nobody else does. */
  async #ask(): Promise<void> {
    this.#askedMs = performance.now();
    this.#isDue = await this.#told() * BLOCK >= this.#options.bytesMax * FULL;
    if (this.#isDue) void this.#lookAlone();
  }

  /** Blocks that all have told of. */
  async #told(): Promise<number> {
    return (await stat(this.#options.folder.total).catch(() => ({ size: 0 }))).size;
  }

  /** Looks where it was never done, or long ago: what others were told may be wrong by now. */
  async #lookAgain(): Promise<void> {
    if (Math.abs(Date.now() - await this.#lookedMs()) > LOOKED_MS) await this.#lookAlone();
  }

  /** Looks unless another process is just looking. */
  #lookAlone(): Promise<void> {
    this.#alone ??= this.#lookOnce().finally(() => this.#alone = undefined);
    return this.#alone;
  }

  async #lookOnce(): Promise<void> {
    const { looking } = this.#options.folder;
    try {
      const { mtimeMs } = await stat(looking).catch(() => ({ mtimeMs: -Infinity }));
      if (Math.abs(Date.now() - mtimeMs) > LOOKING_MS) await unlink(looking).catch(() => {});
      await writeFile(looking, "", { mode: 0o600, flag: "wx" });
    } catch {
      return; // another one does, or nothing can be written here
    }
    await this.look();
    await unlink(looking).catch(() => {});
  }

  /** Looks through the cache now, and removes what is too much; fails for no reason. */
  look(): Promise<void> {
    this.#looking ??= this.#look().catch(() => {}).finally(() => this.#looking = undefined);
    return this.#looking;
  }

  async #look(): Promise<void> {
    const { folder } = this.#options;
    const before = await this.#told();
    await this.#removeAbandoned();
    const total = await this.#removeOldest(await this.#list());
    if (this.#isOver) return; // another process will find that it is time
    await writeFile(folder.looked, "", { mode: 0o600 });
    await folder.append(folder.total, new Uint8Array(0));
    const since = Math.max(0, await this.#told() - before); // some of it may count twice
    await truncate(folder.total, total / BLOCK + since);
    this.#isDue = false;
  }

  get #isOver(): boolean {
    return performance.now() > this.#endMs;
  }

  /** Gives what is left, in bytes. */
  async #removeOldest(files: CachedFile[]): Promise<number> {
    const { folder, bytesMax, onRemoved } = this.#options;
    let total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    if (total <= bytesMax * KEPT_MAX) return total;
    files.sort((a, b) => a.usedMs - b.usedMs);
    const objects = new Set<string>();
    for (const file of files) {
      if (total <= bytesMax * KEPT || this.#isOver) break;
      await unlink(file.path).catch(() => {});
      onRemoved(file.object, file.name);
      objects.add(file.object);
      total -= file.bytes;
    }
    for (const object of objects) await rmdir(folder.objectPath(object)).catch(() => {}); // others stay
    return total;
  }

  async #list(): Promise<CachedFile[]> {
    const { folder } = this.#options;
    const files: CachedFile[] = [];
    for (const digits of await namesIn(folder.objects)) {
      for (const object of await namesIn(join(folder.objects, digits))) {
        const path = join(folder.objects, digits, object);
        const names = await namesIn(path);
        for (let first = 0; first < names.length && !this.#isOver; first += LOOKS_AT_ONCE) {
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

  /** Tells the others what was added, and looks once more where that is due. */
  async close(): Promise<void> {
    clearTimeout(this.#first);
    this.#endMs = performance.now() + LAST_LOOK_MS;
    if (this.#untold > 0) {
      await this.#tell().catch(() => {});
      await this.#ask();
    }
    await this.#alone;
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
