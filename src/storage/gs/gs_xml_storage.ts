/**
 * GsXmlStorage: a bucket of Google Cloud Storage over its XML interface, which takes S3's requests and pairs
 * of keys.
 *
 * The same objects as over the JSON interface. Listings show when an object was put, not Litestream's own
 * time. Google documents `If-None-Match` for reading only; whether a put honors it, the probe before the
 * first write finds out.
 *
 * @see https://cloud.google.com/storage/docs/interoperability
 * @module
 */

import type { BackendContext } from "../backend.ts";
import { type Credentials, CredentialsSource } from "../credentials.ts";
import type { ByteRange, PartUploads, RequestCounts } from "../object_store.ts";
import type { S3Location } from "../replica_url.ts";
import { S3Store } from "../s3.ts";
import type { Storage, StorageList, StoragePut, StorageRead, StorageRequest } from "../storage.ts";
import type { StoredBytes, StoredNow, StoredObject } from "../storage.ts";
import type { GsAddress } from "./gs_address.ts";

const MiB = 1024 * 1024;

/** A bucket, spoken to like one of S3's. */
export class GsXmlStorage implements Storage {
  readonly traits = { conditionalPut: true, conditionalReplace: false } as const;
  readonly #store: S3Store;

  constructor(
    address: GsAddress,
    keys: Credentials,
    { credentialsSource, fetch, fetchInit, now }: Partial<BackendContext>,
  ) {
    const credentials = credentialsSource ?? CredentialsSource.of(keys, { now });
    this.#store = new S3Store(locationOf(address), { credentials, fetch, fetchInit, now });
  }

  get counts(): RequestCounts {
    return this.#store.counts;
  }

  get parts(): PartUploads {
    return this.#store.parts;
  }

  list(prefix: string, request: StorageList): AsyncIterable<readonly StoredObject[]> {
    return this.#store.list(prefix, request);
  }

  async read(key: string, range: ByteRange, request: StorageRead): Promise<StoredBytes> {
    const { signal, etag = "" } = request;
    const onProgress = (received: Uint8Array) => request.onProgress(received, etag);
    return await this.#store.read({ key, etag, size: 0 }, range, { signal, onProgress });
  }

  async put(key: string, bytes: Uint8Array, { ifAbsent, ...request }: StoragePut): Promise<StoredNow> {
    return await this.#store.put(key, bytes, { ...request, replace: !ifAbsent });
  }

  async remove(keys: readonly string[], request: StorageRequest): Promise<void> {
    await this.#store.remove(keys, request);
  }

  async close(): Promise<void> {
    await this.#store.close();
  }
}

function locationOf({ name, bucket, origin }: GsAddress): S3Location {
  return {
    scheme: "s3",
    name,
    layout: "folder",
    prefixes: [""],
    bucket,
    region: "auto",
    endpoint: origin,
    provider: "google",
    pathStyle: true,
    skipVerify: false,
    signPayload: true,
    requireContentMd5: false,
    uploadConcurrency: 5,
    partSize: 5 * MiB,
    storageClass: "",
    customerKey: undefined,
    kmsKeyId: "",
  };
}
