/**
 * SftpStorage: a replica's objects as files of a host that is reached by SSH.
 *
 * @see https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02 version 3 of the protocol
 * @see https://github.com/openssh/openssh-portable/blob/master/PROTOCOL section 4, OpenSSH's additions
 * @module
 */

import type { BackendContext, OpenBackend } from "../backend.ts";
import type { SftpLocation } from "../backend_location.ts";
import type { ByteRange } from "../object_store.ts";
import { StorageError } from "../../errors.ts";
import { compareKeys } from "../key_order.ts";
import { RemovalError } from "../removal.ts";
import type {
  Storage,
  StorageList,
  StoragePut,
  StorageRead,
  StorageRequest,
  StoredBytes,
  StoredNow,
  StoredObject,
} from "../storage.ts";
import { factsOf, isFile, isFolder, readObject } from "./object_read.ts";
import { KnownTags, type ObjectFacts, TAIL_BYTES } from "./object_tag.ts";
import { SharedConnection } from "./shared_connection.ts";
import { READ, type SftpConnection, type Watch } from "./sftp_connection.ts";
import { checkPath, faultOf, isAbsent } from "./sftp_fault.ts";
import { SftpSettings } from "./sftp_settings.ts";
import { SftpUploads } from "./sftp_uploads.ts";
import type { FileFacts, FolderEntry } from "./ssh_library.ts";

/** Objects of a page: each is a request with time of its own. */
const PAGE_OBJECTS = 1000;
const OBJECTS_AT_ONCE = 128;
const REMOVALS_AT_ONCE = 64;
/** Folders within folders; a symbolic link to a folder above would go on for ever. */
const DEPTH_MAX = 16;
const NO_BYTES = new Uint8Array(0);

/** Opens a replica below the folder that the user comes to at sign-in, or at an absolute path. */
export const open: OpenBackend<SftpLocation> = (location, context) => new SftpStorage(location, context);

/** One place in a folder, and how it is listed. */
interface Walk {
  readonly prefix: string;
  readonly after: string | undefined;
  readonly watch: Watch;
  readonly depth: number;
}

/** A file of a listing, or a folder where the key ends in a slash. */
interface FoundFile {
  readonly key: string;
  readonly facts: ObjectFacts;
}

class SftpStorage implements Storage {
  readonly traits = {
    conditionalPut: true,
    conditionalReplace: false,
    cheapList: false,
    listsInOrder: true,
  };
  readonly parts: SftpUploads;
  readonly #name: string;
  readonly #path: string;
  readonly #connection: SharedConnection;
  readonly #tags: KnownTags;

  constructor(location: SftpLocation, context: BackendContext) {
    this.#name = location.name;
    this.#path = location.path.replace(/\/+$/, "");
    this.#connection = new SharedConnection(new SftpSettings(location, context));
    this.#tags = new KnownTags(context.now);
    this.parts = new SftpUploads({
      name: this.#name,
      tags: this.#tags,
      connection: (signal) => this.#connection.get(signal),
      pathOf: (key) => this.#pathOf(key),
    });
  }

  async *list(prefix: string, request: StorageList): AsyncGenerator<readonly StoredObject[]> {
    const what = `list "${prefix}" in ${this.#name}`;
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    if (folder !== "") checkPath(folder.slice(0, -1), what);
    try {
      const connection = await this.#connection.get(request.signal);
      const walk = { prefix, after: request.after, watch: request, depth: 0 };
      let some: FoundFile[] = [];
      for await (const file of this.#filesBelow(connection, folder, walk)) {
        some.push(file);
        if (some.length < PAGE_OBJECTS) continue;
        yield await this.#describe(connection, some, request);
        some = [];
      }
      yield await this.#describe(connection, some, request);
    } catch (error) {
      if (request.signal.aborted) throw request.signal.reason;
      throw faultOf(error, { what, key: prefix, wanted: "a folder that can be read" });
    }
  }

  async read(key: string, range: ByteRange, request: StorageRead): Promise<StoredBytes | undefined> {
    const what = `read bytes ${range.offset}-${range.offset + range.size - 1} of "${key}" in ${this.#name}`;
    checkPath(key, what);
    const { signal, etag } = request;
    try {
      const connection = await this.#connection.get(signal);
      return await connection.with(this.#pathOf(key), READ, signal, async (handle) => {
        const watch = { signal, onProgress: (bytes: Uint8Array) => request.onProgress(bytes, etag) };
        const found = await readObject(connection, handle, { range, etag, watch });
        if (found === undefined) return undefined;
        this.#tags.learn(key, found.facts, found.etag);
        return { bytes: found.bytes, etag: found.etag, objectSize: found.facts.size };
      });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (isAbsent(error)) return undefined;
      throw faultOf(error, { what, key, wanted: "a file that can be read" });
    }
  }

  async put(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    return await this.parts.putWhole(key, bytes, request);
  }

  async remove(keys: readonly string[], request: StorageRequest): Promise<void> {
    for (const key of keys) checkPath(key, `remove "${key}" from ${this.#name}`);
    const connection = await this.#connection.get(request.signal);
    const failures: StorageError[] = [];
    await atOnce(keys, REMOVALS_AT_ONCE, async (key) => {
      try {
        await connection.ask(request.signal, (session, answer) => session.unlink(this.#pathOf(key), answer));
      } catch (cause) {
        if (isAbsent(cause)) return;
        request.signal.throwIfAborted();
        const what = `remove "${key}" from ${this.#name}`;
        const error = faultOf(cause, { what, key, wanted: "a folder that can be written to" });
        if (!(error instanceof StorageError)) throw error;
        failures.push(error);
      } finally {
        this.#tags.forget(key);
        request.onProgress(NO_BYTES);
      }
    });
    if (failures.length > 0) throw new RemovalError(this.#name, keys.length, failures);
  }

  close(): void {
    this.#connection.close();
  }

  #pathOf(key: string): string {
    return this.#path === "" ? key || "." : `${this.#path}/${key}`;
  }

  /**
   * Files below a folder (empty, or ending in a slash) in ascending order of their keys. No such folder:
   * none.
   */
  async *#filesBelow(
    connection: SftpConnection,
    folder: string,
    walk: Walk,
  ): AsyncGenerator<FoundFile, void, undefined> {
    const { prefix, after, watch, depth } = walk;
    if (depth > DEPTH_MAX) throw tooDeep(folder);
    for (const file of await this.#namesIn(connection, folder, watch)) {
      const { key } = file;
      if (!key.startsWith(prefix) && !prefix.startsWith(key)) continue;
      const isPassed = after !== undefined && compareKeys(key, after) <= 0;
      if (!key.endsWith("/")) {
        if (!isPassed && key.startsWith(prefix)) yield file;
      } else if (!isPassed || after.startsWith(key)) {
        yield* this.#filesBelow(connection, key, { ...walk, depth: depth + 1 });
      }
    }
  }

  /** What lies in one folder, as keys in ascending order; folders end in a slash. */
  async #namesIn(connection: SftpConnection, folder: string, watch: Watch): Promise<FoundFile[]> {
    const path = this.#pathOf(folder).replace(/(?<=.)\/$/, "");
    const entries = await connection.readFolder(path, watch).catch((error): FolderEntry[] => {
      if (isAbsent(error)) return [];
      throw error;
    });
    const files: FoundFile[] = [];
    await atOnce(entries, OBJECTS_AT_ONCE, async ({ filename, attrs }) => {
      if (filename === "." || filename === ".." || filename.endsWith(".tmp")) return;
      const key = folder + filename;
      const facts = await this.#followed(connection, key, { attrs, watch });
      if (isFolder(facts)) files.push({ key: `${key}/`, facts: factsOf(facts) });
      else if (isFile(facts)) files.push({ key, facts: factsOf(facts) });
    });
    return files.sort((a, b) => compareKeys(a.key, b.key));
  }

  /** Links are followed, as in folders; what a server says of others is enough. */
  async #followed(
    connection: SftpConnection,
    key: string,
    { attrs, watch }: { attrs: FileFacts; watch: Watch },
  ): Promise<FileFacts> {
    if (isFile(attrs) || isFolder(attrs)) return attrs;
    const path = this.#pathOf(key);
    return await connection.ask<FileFacts>(watch.signal, (session, answer) => session.stat(path, answer))
      .catch((error) => {
        if (isAbsent(error)) return {};
        throw error;
      });
  }

  /** Objects of a listing, without those that have gone meanwhile. */
  async #describe(
    connection: SftpConnection,
    files: readonly FoundFile[],
    watch: Watch,
  ): Promise<StoredObject[]> {
    const objects: (StoredObject | undefined)[] = files.map(() => undefined);
    await atOnce(files.entries(), OBJECTS_AT_ONCE, async ([i, file]) => {
      objects[i] = await this.#describeOne(connection, file, watch);
    });
    return objects.filter((object) => object !== undefined);
  }

  async #describeOne(
    connection: SftpConnection,
    { key, facts }: FoundFile,
    watch: Watch,
  ): Promise<StoredObject | undefined> {
    const known = this.#tags.find(key, facts);
    if (known !== undefined) return { key, size: facts.size, etag: known, modifiedMs: facts.mtime * 1000 };
    const range = { offset: Math.max(0, facts.size - TAIL_BYTES), size: TAIL_BYTES };
    try {
      return await connection.with(this.#pathOf(key), READ, watch.signal, async (handle) => {
        const silently = { signal: watch.signal, onProgress: () => {} };
        const found = await readObject(connection, handle, { range, etag: undefined, watch: silently });
        watch.onProgress(NO_BYTES);
        if (found === undefined) return undefined;
        this.#tags.learn(key, found.facts, found.etag);
        return { key, size: found.facts.size, etag: found.etag, modifiedMs: found.facts.mtime * 1000 };
      });
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }
}

async function atOnce<T>(
  things: Iterable<T>,
  countMax: number,
  act: (thing: T) => Promise<void>,
): Promise<void> {
  const left = things[Symbol.iterator]();
  const goOn = async () => {
    for (let next = left.next(); !next.done; next = left.next()) await act(next.value);
  };
  await Promise.all(Array.from({ length: countMax }, goOn));
}

function tooDeep(folder: string): StorageError {
  const details = { key: folder, status: 0, code: "TooDeep", retryable: false };
  return new StorageError(
    `Cannot list "${folder}": folders nested deeper than ${DEPTH_MAX}, expected no loop of links`,
    details,
  );
}
