/**
 * NatsStorage: replicas in an object store of NATS JetStream. The bucket is the replica; it must be there.
 *
 * @see Litestream 0.5.17, NATS replicas
 * @module
 */

import { StorageError } from "../../errors.ts";
import type { OpenBackend } from "../backend.ts";
import type { NatsLocation } from "../backend_location.ts";
import type { Asked } from "../http_fault.ts";
import type { RequestCounts } from "../object_store.ts";
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
import { ChunkReader } from "./chunk_reader.ts";
import { NatsClient } from "./nats_client.ts";
import { secretsOf, signInOptions } from "./nats_sign_in.ts";
import { ObjectCatalog } from "./object_catalog.ts";
import type { ObjectMeta } from "./object_meta.ts";
import { ObjectStream } from "./object_stream.ts";
import { type ObjectContent, ObjectWriter } from "./object_writer.ts";

const PAGE_OBJECTS = 1_000;
const REMOVED_AT_ONCE = 32;

/** Opens a bucket; nothing is asked of a server yet. */
export const open: OpenBackend<NatsLocation> = (location, context) => {
  const secrets = secretsOf(location, context.env);
  const { servers } = location;
  let connections = 0;
  const client = new NatsClient({
    options: async () => ({
      ...await signInOptions(servers[connections++ % servers.length]!, location, context),
      name: "litestream-vfs",
    }),
    redact: (text) => secrets.reduce((shown, secret) => shown.replaceAll(secret, "***"), text),
  });
  return new NatsStorage(client, location, (error) => {
    context.log?.debug(`Left behind in ${location.name}: ${error instanceof Error ? error.message : error}`);
  });
};

class NatsStorage implements Storage {
  readonly traits = { conditionalPut: true, conditionalReplace: true, cheapList: true, listsInOrder: false };
  readonly #name: string;
  readonly #client: NatsClient;
  readonly #catalog: ObjectCatalog;
  readonly #reader: ChunkReader;
  readonly #writer: ObjectWriter;

  constructor(
    client: NatsClient,
    { name, bucket }: { name: string; bucket: string },
    onLeftBehind: (error: unknown) => void,
  ) {
    this.#name = name;
    this.#client = client;
    const stream = new ObjectStream(client, bucket);
    this.#catalog = new ObjectCatalog(stream);
    this.#reader = new ChunkReader(stream);
    this.#writer = new ObjectWriter({
      stream,
      messageSizeMax: (asked, request) => client.messageSizeMax(asked, request),
      onLeftBehind,
    });
  }

  get counts(): RequestCounts {
    return this.#client.counts;
  }

  async *list(prefix: string, request: StorageList): AsyncGenerator<StoredObject[], void, undefined> {
    const asked: Asked = { what: `list "${prefix}" in ${this.#name}`, key: prefix, kind: "list" };
    for await (const all of this.#catalog.list(asked, request)) {
      if (all === undefined) {
        yield [];
        continue;
      }
      const objects = Array.from(all).filter(({ key }) => key.startsWith(prefix));
      for (let first = 0; first < objects.length; first += PAGE_OBJECTS) {
        yield objects.slice(first, first + PAGE_OBJECTS);
      }
    }
  }

  async read(
    key: string,
    { offset, size }: { offset: number; size: number },
    request: StorageRead,
  ): Promise<StoredBytes | undefined> {
    const { etag } = request;
    const asked: Asked = { what: `read "${key}" in ${this.#name}`, key, kind: "get" };
    const known = this.#catalog.get(key);
    let object = etag !== undefined && known?.etag === etag ? known : await this.#look(key, asked, request);
    for (;;) {
      if (object === undefined) return undefined;
      const whole = { etag: object.etag, objectSize: object.size };
      const to = Math.min(offset + size, object.size);
      const isWanted = (etag ?? object.etag) === object.etag && offset < to;
      if (!isWanted) return { ...whole, bytes: new Uint8Array(0) };
      const bytes = await this.#reader.read(object, { from: offset, to }, asked, request);
      if (bytes !== undefined) return { ...whole, bytes };
      this.#catalog.forgetAll();
      const now = await this.#look(key, asked, request);
      if (now?.sequence === object.sequence) throw this.#incomplete(asked);
      object = now;
    }
  }

  async put(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    return await this.#put({ key, size: bytes.length, chunks: [bytes] }, request);
  }

  async putStream(
    key: string,
    chunks: AsyncIterable<Uint8Array>,
    request: StoragePut & { readonly size: number },
  ): Promise<StoredNow | undefined> {
    return await this.#put({ key, size: request.size, chunks }, request);
  }

  async remove(keys: readonly string[], request: StorageRequest): Promise<void> {
    const failures: StorageError[] = [];
    const left = keys.values();
    const removeSome = async () => {
      for (const key of left) {
        const asked: Asked = { what: `remove "${key}" in ${this.#name}`, key, kind: "remove" };
        try {
          await this.#writer.remove(key, this.#catalog.get(key), asked, request);
        } catch (error) {
          if (!(error instanceof StorageError)) throw error;
          failures.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: REMOVED_AT_ONCE }, removeSome));
    if (failures.length > 0) throw new RemovalError(this.#name, keys.length, failures);
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async #put(content: ObjectContent, request: StoragePut): Promise<StoredNow | undefined> {
    const { key } = content;
    const asked: Asked = { what: `put "${key}" in ${this.#name}`, key, kind: "put" };
    const made = await this.#writer.put(content, asked, request);
    if (made === undefined) return undefined;
    this.#catalog.remember(made);
    return { etag: made.etag, modifiedMs: made.modifiedMs };
  }

  /** The object as it is now. */
  async #look(key: string, asked: Asked, request: StorageRequest): Promise<ObjectMeta | undefined> {
    const object = await this.#writer.look(key, asked, request);
    if (object === undefined || object.isRemoved) return undefined;
    const known = this.#catalog.get(key);
    if (known?.sequence === object.sequence) return known; // With what is known of its chunks.
    this.#catalog.remember(object);
    return object;
  }

  /** Another server of a cluster may not have them yet. */
  #incomplete({ what, key }: Asked): StorageError {
    const details = { key, status: 200, code: "Incomplete", retryable: true };
    return new StorageError(`Cannot ${what}: its chunks are not there, expected all of them`, details);
  }
}
