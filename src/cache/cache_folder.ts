/**
 * Where the disk cache keeps what: paths, and files that appear whole or not at all.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { access, appendFile, constants, mkdir, rename, stat, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { LocalFileError } from "../errors.ts";
import { codeOf } from "../storage/folder_fault.ts";
import type { ByteRange, ObjectIdentity } from "../storage/object_store.ts";

/** What is cached may be secret: it is its user's alone. */
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;

/** The folder of one cache; several processes may use it at once. */
export class CacheFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Below it a folder for each object, by the first two digits of its name. */
  get objects(): string {
    return join(this.path, "objects");
  }

  /** What is just being written. */
  get unfinished(): string {
    return join(this.path, "tmp");
  }

  /**
   * Has a byte for each block of 4 KiB that is kept, as far as processes have told since one of them looked.
   */
  get total(): string {
    return join(this.path, "total");
  }

  /** When one of them has looked through all of it. */
  get looked(): string {
    return join(this.path, "looked");
  }

  /** Is there while one of them does so. */
  get looking(): string {
    return join(this.path, "looking");
  }

  objectPath(object: string): string {
    return join(this.objects, object.slice(0, 2), object);
  }

  rangePath(object: string, { offset, size }: ByteRange): string {
    return join(this.objectPath(object), `${offset}-${size}`);
  }

  /** The last state of the replica at a place, or another file of that. */
  planPath(place: string, ending: string): string {
    return join(this.path, "plans", hashOf(place) + ending);
  }

  /** Appends to a file. */
  async append(path: string, bytes: Uint8Array): Promise<void> {
    await inFolder(path, () => appendFile(path, bytes, { mode: FILE_MODE }));
  }

  /** Writes a file beside, then gives it its name. */
  async write(path: string, bytes: Uint8Array): Promise<void> {
    const unfinished = join(this.unfinished, crypto.randomUUID());
    try {
      await inFolder(unfinished, () => writeFile(unfinished, bytes, { mode: FILE_MODE, flag: "wx" }));
      await inFolder(path, () => rename(unfinished, path));
    } catch (error) {
      await unlink(unfinished).catch(() => {});
      throw error;
    }
  }
}

/**
 * Asserts that nobody else can have put something into a folder: what is kept there is believed.
 *
 * Where it is not there yet it is made later, for this user alone.
 *
 * @throws {LocalFileError} everybody may write there, or it is another user's
 */
export async function assertPrivate(path: string): Promise<void> {
  if (process.platform === "win32") return; // modes say nothing there
  const facts = await stat(path).catch((error) => {
    if (codeOf(error) === "ENOENT") return undefined;
    throw new LocalFileError(`Cannot keep ranges in "${path}": ${error.message}`, { cause: error });
  });
  if (facts === undefined) return;
  const isShared = (facts.mode & 0o002) !== 0;
  // Where others may not write and we may, it is ours; asking for our own number needs a permission in one runtime.
  const isKnown = facts.uid === 0 || await access(path, constants.W_OK).then(() => true, () => false);
  if (!isShared && isKnown) return;
  const found = isShared ? "everybody may write there" : "it is another user's, or cannot be written";
  throw new LocalFileError(
    `Cannot keep ranges in "${path}": ${found}, expected a folder of this user's alone`,
  );
}

/** Tries again when the folder of a path had to be made first, or was removed by another process just now. */
async function inFolder(path: string, act: () => Promise<void>): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      return await act();
    } catch (error) {
      if (codeOf(error) !== "ENOENT" || attempt > 3) throw error;
      await mkdir(dirname(path), { recursive: true, mode: FOLDER_MODE });
    }
  }
}

/** Names an object by place, key and content. */
export function objectName(place: string, { key, etag, size }: ObjectIdentity): string {
  return hashOf(`${place}\n${key}\n${etag}\n${size}`).slice(0, 40);
}

/** The range that a file's name tells; undefined where it is none of ours. */
export function parseRangeName(name: string): ByteRange | undefined {
  const [, offset, size] = /^(\d{1,15})-(\d{1,15})$/.exec(name) ?? [];
  return offset === undefined || Number(size) < 1
    ? undefined
    : { offset: Number(offset), size: Number(size) };
}

/** SHA-256 in hex digits. */
export function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
