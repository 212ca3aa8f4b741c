/**
 * WebdavStorage: a replica on a WebDAV server.
 *
 * @see RFC 4918
 * @module
 */

import { StorageError } from "../../errors.ts";
import { mapAtOnce } from "../at_once.ts";
import type { OpenBackend } from "../backend.ts";
import type { WebdavLocation } from "../backend_location.ts";
import { type FileFacts, isTimeTag, tagOf, timeTagOf } from "../file_tag.ts";
import type { RequestCounts } from "../object_store.ts";
import { removeEach } from "../removal.ts";
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
import { type DavAsk, DavClient } from "./dav_client.ts";
import { ExclusiveMove } from "./exclusive_move.ts";
import type { DavEntry } from "./multistatus.ts";

/** Requests of one listing or removal at once. */
const AT_ONCE = 8;
/** Folders within folders. */
const DEPTH_MAX = 16;
/** For what is put in order after a request that was given up. */
const CLEANUP_MS = 5_000;
/** What names of things begun end with; they are no objects. */
export const TEMPORARY = ".tmp";

/** Makes it of a location. */
export const open: OpenBackend<WebdavLocation> = (location, context) =>
  new WebdavStorage(location.name, new DavClient(location, context));

/** Objects are files below the replica's folder; those named `*.tmp`, and such folders, are none. */
class WebdavStorage implements Storage {
  readonly traits = { conditionalPut: true, cheapList: false, listsInOrder: false };
  readonly #name: string;
  readonly #client: DavClient;
  readonly #move: ExclusiveMove;
  /** Some servers send ETags with files and not in listings: then time and size tell files apart. */
  #listsEtags = true;

  constructor(name: string, client: DavClient) {
    this.#name = name;
    this.#client = client;
    this.#move = new ExclusiveMove(client);
  }

  get counts(): RequestCounts {
    return this.#client.counts;
  }

  async *list(prefix: string, request: StorageList): AsyncGenerator<StoredObject[]> {
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    const objects = await this.#collect(folder, { prefix, request, depth: 0 });
    if (objects.length > 0) yield objects;
  }

  async #collect(
    folder: string,
    { prefix, request, depth }: { prefix: string; request: StorageRequest; depth: number },
  ): Promise<StoredObject[]> {
    const listing = await this.#client.find(folder, 1, request);
    const children = childrenOf(listing?.entries ?? [])
      .map(({ name, entry }) => ({ key: folder + name + (entry.isFolder ? "/" : ""), name, entry }))
      .filter(({ key, name }) => key.startsWith(prefix) && !name.endsWith(TEMPORARY));
    const files = children.filter(({ entry }) => !entry.isFolder).map(({ key, entry }) =>
      this.#objectOf(key, entry)
    );
    const folders = depth === DEPTH_MAX ? [] : children.filter(({ entry }) => entry.isFolder);
    const inner = await mapAtOnce(
      folders,
      AT_ONCE,
      ({ key }) => this.#collect(key, { prefix, request, depth: depth + 1 }),
    );
    return [...files, ...inner.flat()];
  }

  #objectOf(key: string, entry: DavEntry): StoredObject {
    if (!Number.isNaN(entry.size)) this.#listsEtags = entry.etag !== ""; // without a size it tells nothing
    return { key, size: entry.size, etag: tagOf(entry), modifiedMs: entry.modifiedMs };
  }

  async read(
    key: string,
    range: { readonly offset: number; readonly size: number },
    request: StorageRead,
  ): Promise<StoredBytes | undefined> {
    const found = await this.#client.read(key, range, request);
    if (found === undefined) return undefined;
    if (found === "outside") {
      if (request.etag !== undefined) return undefined; // the listed object has such bytes: it is another one
      const details = { key, status: 416, code: "InvalidRange", retryable: false };
      throw new StorageError(
        `Cannot read "${key}" in ${this.#name}: it ends before byte ${range.offset}, expected a range inside`,
        details,
      );
    }
    const { bytes, facts } = found;
    const etag = this.#tagFor(key, facts, request.etag);
    return { bytes, etag, objectSize: facts.size };
  }

  #tagFor(key: string, facts: FileFacts, wanted: string | undefined): string {
    if (wanted === undefined ? !this.#listsEtags : isTimeTag(wanted)) return timeTagOf(facts);
    if (facts.etag !== "" || wanted === undefined) return tagOf(facts);
    const details = { key, status: 200, code: "WrongAnswer", retryable: false };
    throw new StorageError(
      `Cannot read "${key}" in ${this.#name}: no ETag, expected the one that the server shows in listings`,
      details,
    );
  }

  put(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    return this.#put(key, { body: bytes }, request);
  }

  putStream(
    key: string,
    chunks: AsyncIterable<Uint8Array>,
    request: StoragePut & { readonly size: number },
  ): Promise<StoredNow | undefined> {
    return this.#put(key, { stream: chunks }, request);
  }

  /** The bytes go under a name of their own, which then becomes the key: an object is there whole or not. */
  async #put(
    key: string,
    content: Pick<DavAsk, "body" | "stream">,
    request: StoragePut,
  ): Promise<StoredNow | undefined> {
    const temporary = `${key}.${crypto.randomUUID()}${TEMPORARY}`;
    try {
      await this.#send(temporary, content, request);
      if (!request.ifAbsent) await this.#move.replacing(temporary, key, request);
      else if (!await this.#move.ifAbsent(temporary, key, request)) {
        await this.#discard(temporary);
        return undefined;
      }
    } catch (error) {
      await this.#discard(temporary);
      throw error;
    }
    const [entry] = (await this.#client.find(key, 0, request))?.entries ?? [];
    if (entry === undefined) throw new Error("it is gone again");
    const { etag, modifiedMs } = this.#objectOf(key, entry);
    return { etag, modifiedMs };
  }

  /** Folders are made where there are none: before a stream, which cannot be sent twice. */
  async #send(key: string, content: Pick<DavAsk, "body" | "stream">, request: StorageRequest): Promise<void> {
    const folder = this.#client.pathOf(key.slice(0, key.lastIndexOf("/") + 1));
    const isStream = content.stream !== undefined;
    if (isStream) await this.#makeFolder(folder, request);
    const ask = {
      method: "PUT",
      kind: "put",
      key,
      headers: { "content-type": "application/octet-stream" },
      ...content,
    } as const;
    const response = await this.#client.send({ ...ask, accepts: isStream ? [] : [404, 409] }, request);
    if (response.ok) return;
    await this.#makeFolder(folder, request);
    await this.#client.send(ask, request);
  }

  /** Makes a folder and those it lies in, the replica's own and above too. */
  async #makeFolder(path: string, request: StorageRequest): Promise<void> {
    if (path === "/" || await this.#client.find(path, 0, request) !== undefined) return;
    await this.#makeFolder(path.replace(/[^/]+\/$/, ""), request);
    const ask = { method: "MKCOL", kind: "put", key: path } as const;
    const { ok } = await this.#client.send({ ...ask, accepts: [403, 405] }, request);
    if (ok || await this.#client.find(path, 0, request) !== undefined) return; // others make it too
    await this.#client.send(ask, request);
  }

  /** Removes what was begun, whatever has become of the request; what stays is no object. */
  async #discard(temporary: string): Promise<void> {
    const request = { signal: AbortSignal.timeout(CLEANUP_MS), onProgress: () => {} };
    await this.#client.send({ method: "DELETE", kind: "remove", key: temporary }, request).catch(() => {});
  }

  async remove(keys: readonly string[], request: StorageRequest): Promise<void> {
    const removal = { place: this.#name, keys, count: AT_ONCE, signal: request.signal };
    await removeEach(removal, async (key) => {
      await this.#client.send({ method: "DELETE", kind: "remove", key, accepts: [404] }, request);
    });
  }

  close(): void {
    this.#client.close();
  }
}

/** What lies in a folder, without the folder itself; behind a proxy its own path may begin otherwise. */
function childrenOf(entries: readonly DavEntry[]): { name: string; entry: DavEntry }[] {
  const own = entries.reduce((least, { path }) => Math.min(least, path.length), Infinity);
  return entries.filter(({ path }) => path.length > own)
    .map((entry) => ({ name: entry.path.slice(entry.path.lastIndexOf("/") + 1), entry }));
}
