/**
 * SftpUploads: objects that are made, at once or in parts written into an unfinished file.
 *
 * @module
 */

import { ObjectExistsError, StorageError } from "../../errors.ts";
import type { Part, PartUpload, PartUploads, PutOptions, RequestOptions } from "../object_store.ts";
import type { StoragePut, StoredNow } from "../storage.ts";
import { type KnownTags, tagOf, TAIL_BYTES } from "./object_tag.ts";
import { type Handle, MAKE, READ, type SftpConnection, UPDATE, type Watch } from "./sftp_connection.ts";
import { checkPath, faultOf, isAbsent, notImplemented, statusOf } from "./sftp_fault.ts";
import { type FileFacts, STATUS } from "./ssh_library.ts";

const MiB = 1024 * 1024;
const NEVER = new AbortController().signal;
const WRITABLE = "a folder that can be written to";

/** Where objects are made. */
export interface UploadPlace {
  readonly name: string;
  readonly tags: KnownTags;
  connection(signal: AbortSignal): Promise<SftpConnection>;
  pathOf(key: string): string;
}

/** How a file gets its name. */
interface Naming {
  readonly what: string;
  readonly key: string;
  readonly temporary: string;
  readonly size: number;
  readonly ifAbsent: boolean;
  readonly timestampMs: number | undefined;
}

/** Makes objects: a file beside its place, named `*.tmp` until all of it is there. */
export class SftpUploads implements PartUploads {
  readonly partSize: number = 4 * MiB;
  readonly partsAtOnce = 2;
  readonly partsMax: number = Infinity;
  readonly #place: UploadPlace;

  constructor(place: UploadPlace) {
    this.#place = place;
  }

  /** Makes an object; undefined where there is one already. */
  async putWhole(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    const what = `put "${key}" in ${this.#place.name}`;
    checkPath(key, what, true);
    if (request.ifMatch !== undefined) {
      throw notImplemented(
        { what, key, wanted: "no such condition" },
        "SFTP cannot replace a certain object only",
      );
    }
    const { ifAbsent, timestampMs } = request;
    return await this.#asked(what, key, request, async (connection) => {
      const { temporary, handle } = await this.#make(connection, key, request.signal);
      try {
        await connection.write(handle, bytes, 0, request);
        const naming = { what, key, temporary, size: bytes.length, ifAbsent, timestampMs };
        return await this.#finish(connection, handle, { ...naming, watch: request });
      } catch (error) {
        unlinkUnheard(connection, temporary);
        throw error;
      }
    });
  }

  async begin(key: string, options: PutOptions): Promise<PartUpload> {
    const what = `begin to put "${key}" in ${this.#place.name}`;
    checkPath(key, what, true);
    const watch = watchOf(options);
    return await this.#asked(what, key, watch, async (connection) => {
      const { temporary, handle } = await this.#make(connection, key, watch.signal);
      connection.close(handle);
      return { key, id: temporary };
    });
  }

  /** Gives where the part ends, of which the object's size is known. */
  async put(
    { key, id }: PartUpload,
    { number, offset, bytes }: Part,
    options: RequestOptions,
  ): Promise<string> {
    const what = `put part ${number} of "${key}" in ${this.#place.name}`;
    const watch = watchOf(options);
    return await this.#asked(what, key, watch, async (connection) => {
      await connection.with(
        id,
        UPDATE,
        watch.signal,
        (handle) => connection.write(handle, bytes, offset, watch),
      );
      return String(offset + bytes.length);
    });
  }

  async complete({ key, id }: PartUpload, etags: readonly string[], options: PutOptions): Promise<StoredNow> {
    const what = `make "${key}" of ${etags.length} parts in ${this.#place.name}`;
    const watch = watchOf(options);
    const { replace = false, timestampMs } = options;
    const naming = {
      what,
      key,
      temporary: id,
      size: Math.max(...etags.map(Number)),
      ifAbsent: !replace,
      timestampMs,
    };
    const made = await this.#asked(what, key, watch, async (connection) => {
      const handle = await connection.open(id, UPDATE, watch.signal).catch((error) => {
        throw isAbsent(error) ? lostUpload(what, key) : error;
      });
      return await this.#finish(connection, handle, { ...naming, watch });
    });
    if (made !== undefined) return made;
    const details = { key, status: 412, code: "PreconditionFailed", retryable: false };
    throw new ObjectExistsError(`Cannot ${what}: the key has another object, expected none`, details);
  }

  async abort({ key, id }: PartUpload, options: RequestOptions): Promise<void> {
    const watch = watchOf(options);
    await this.#asked(
      `remove the parts of "${key}" in ${this.#place.name}`,
      key,
      watch,
      async (connection) => {
        await unlink(connection, id, watch.signal);
      },
    );
  }

  /** A new file beside the object's place, in folders that are made where there are none. */
  async #make(
    connection: SftpConnection,
    key: string,
    signal: AbortSignal,
  ): Promise<{ temporary: string; handle: Handle }> {
    const path = this.#place.pathOf(key);
    const temporary = `${path}.${crypto.randomUUID()}.tmp`;
    try {
      return { temporary, handle: await connection.open(temporary, MAKE, signal) };
    } catch (error) {
      if (!isAbsent(error)) throw error;
      await makeFolder(connection, folderOf(path), signal);
      return { temporary, handle: await connection.open(temporary, MAKE, signal) };
    }
  }

  /**
   * Makes a file durable, sets its time and gives it its name; undefined where the name is taken. The file
   * is closed.
   */
  async #finish(
    connection: SftpConnection,
    handle: Handle,
    naming: Naming & { readonly watch: Watch },
  ): Promise<StoredNow | undefined> {
    const { what, key, temporary, size, watch: { signal } } = naming;
    const path = this.#place.pathOf(key);
    const folder = openedFolder(connection, folderOf(path));
    try {
      const made = await this.#seal(connection, handle, naming);
      const isNamed = await nameFile(connection, { ...naming, path, signal });
      await Promise.all([
        isNamed
          ? folder.then((opened) => opened && sync(connection, opened, signal).catch(() => {}))
          : undefined,
        unlink(connection, temporary, signal),
      ]);
      if (!isNamed) return undefined;
      if (made.size !== size) throw wrongSize(what, key, made.size, size);
      this.#place.tags.learn(key, made, made.etag);
      return { etag: made.etag, modifiedMs: made.mtime * 1000 };
    } finally {
      folder.then((opened) => opened && connection.close(opened));
    }
  }

  /** The file's content is on the disk, its time is set, and both are known when this returns. */
  async #seal(
    connection: SftpConnection,
    handle: Handle,
    { what, key, size, timestampMs, watch }: Naming & { readonly watch: Watch },
  ): Promise<{ etag: string; size: number; mtime: number }> {
    const { signal } = watch;
    try {
      const tailSize = Math.min(size, TAIL_BYTES);
      const seconds = Math.floor((timestampMs ?? 0) / 1000);
      // They are sent at once and done in this order.
      const [, , facts, tail] = await Promise.all([
        sync(connection, handle, signal),
        timestampMs === undefined
          ? undefined
          : connection.ask(signal, (session, answer) => session.futimes(handle, seconds, seconds, answer)),
        connection.facts(handle, signal),
        connection.read(handle, { offset: size - tailSize, size: tailSize }, {
          signal,
          onProgress: () => {},
        }),
      ]);
      const { size: found = 0, mtime = 0 } = facts;
      if (found !== size) throw wrongSize(what, key, found, size);
      return { etag: tagOf({ size, mtime }, tail), size, mtime };
    } finally {
      connection.close(handle);
    }
  }

  async #asked<T>(
    what: string,
    key: string,
    { signal }: { readonly signal: AbortSignal },
    act: (connection: SftpConnection) => Promise<T>,
  ): Promise<T> {
    try {
      return await act(await this.#place.connection(signal));
    } catch (error) {
      throw signal.aborted ? signal.reason : faultOf(error, { what, key, wanted: WRITABLE });
    }
  }
}

function watchOf({ signal = NEVER, onProgress = () => {} }: RequestOptions): Watch {
  return { signal, onProgress };
}

/** The folder that a path lies in. */
function folderOf(path: string): string {
  const at = path.lastIndexOf("/");
  return at < 0 ? "." : path.slice(0, at) || "/";
}

async function makeFolder(connection: SftpConnection, path: string, signal: AbortSignal): Promise<void> {
  const make = () => connection.ask(signal, (session, answer) => session.mkdir(path, answer));
  try {
    await make();
  } catch (error) {
    if (isAbsent(error) && folderOf(path) !== path) {
      await makeFolder(connection, folderOf(path), signal);
      await make().catch((again) => unlessThere(connection, path, { error: again, signal }));
    } else await unlessThere(connection, path, { error, signal });
  }
}

/** Somebody else may have made it meanwhile. */
async function unlessThere(
  connection: SftpConnection,
  path: string,
  { error, signal }: { error: unknown; signal: AbortSignal },
): Promise<void> {
  if (!await isThere(connection, path, signal)) throw error;
}

async function isThere(connection: SftpConnection, path: string, signal: AbortSignal): Promise<boolean> {
  try {
    await connection.ask<FileFacts>(signal, (session, answer) => session.lstat(path, answer));
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}

/**
 * Gives a file its name: by a link, which is made only where the name is free, whoever else makes one at
 * that moment; or in place of what has it. False: it is taken.
 */
async function nameFile(
  connection: SftpConnection,
  { what, key, temporary, path, ifAbsent, signal }: Naming & { path: string; signal: AbortSignal },
): Promise<boolean> {
  try {
    await connection.ask(
      signal,
      (session, answer) =>
        ifAbsent
          ? session.ext_openssh_hardlink(temporary, path, answer)
          : session.ext_openssh_rename(temporary, path, answer),
    );
    return true;
  } catch (error) {
    if (ifAbsent && statusOf(error) === STATUS.FAILURE && await isThere(connection, path, signal)) {
      return false;
    }
    const isLinkless = statusOf(error) === STATUS.OP_UNSUPPORTED ||
      (ifAbsent && statusOf(error) === STATUS.PERMISSION_DENIED);
    if (!isLinkless) throw error;
    const wanted = ifAbsent
      ? "hard links (hardlink@openssh.com, and a file system that has them)"
      : "renaming onto a file (posix-rename@openssh.com)";
    throw notImplemented({ what, key, wanted }, `the server says "${(error as Error).message}"`, error);
  }
}

/** Puts on the disk; not every server knows how. */
async function sync(connection: SftpConnection, handle: Handle, signal: AbortSignal): Promise<void> {
  try {
    await connection.ask(signal, (session, answer) => session.ext_openssh_fsync(handle, answer));
  } catch (error) {
    if (statusOf(error) !== STATUS.OP_UNSUPPORTED) throw error;
  }
}

/** A folder as a file that can be put on the disk; undefined where the server does not open it so. */
async function openedFolder(connection: SftpConnection, path: string): Promise<Handle | undefined> {
  return await connection.open(path, READ, NEVER).catch(() => undefined);
}

async function unlink(connection: SftpConnection, path: string, signal: AbortSignal): Promise<void> {
  try {
    await connection.ask(signal, (session, answer) => session.unlink(path, answer));
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

/** What cannot be removed any more stays as a file that is no object. */
function unlinkUnheard(connection: SftpConnection, path: string): void {
  unlink(connection, path, NEVER).catch(() => {});
}

function wrongSize(what: string, key: string, found: number, size: number): StorageError {
  const details = { key, status: 0, code: "WrongSize", retryable: true };
  return new StorageError(`Cannot ${what}: the server has ${found} bytes of it, expected ${size}`, details);
}

function lostUpload(what: string, key: string): StorageError {
  const details = { key, status: 0, code: "NoSuchUpload", retryable: false };
  return new StorageError(`Cannot ${what}: its parts are gone, expected an upload that goes on`, details);
}
