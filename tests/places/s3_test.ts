import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { testObjectStore } from "../../src/contract/object_store_contract.ts";
import { testWritableStore } from "../../src/contract/writable_store_contract.ts";
import { StorageError } from "../../src/errors.ts";
import type { WritableStore } from "../../src/storage/object_store.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { motoFolder, type MotoServer, startMoto } from "../support/moto_server.ts";
import { s3Places } from "../support/all_places.ts";
import { testPlace } from "../support/place_suite.ts";
import { s3ServerBinary, skipWithout, startS3Server } from "../support/real.ts";

testPlace("S3 on versitygw", () => s3Places(startS3Server), {
  writes: true,
  parts: { "S3 server": s3ServerBinary() },
});

testPlace("S3 on moto", () => s3Places(startMoto), {
  writes: true,
  parts: { moto: motoFolder() },
});

const skip = skipWithout({ moto: motoFolder() });
let moto: MotoServer | undefined;
let places = 0;
before(async () => {
  if (!skip) moto = await startMoto();
});
after(() => moto?.close());

async function storesAt(path: string): Promise<[WritableStore, WritableStore]> {
  const credentials = { accessKeyId: moto!.accessKey, secretAccessKey: moto!.secretKey };
  const open = () => openStore(parseReplicaUrl(moto!.url(path)), { credentials });
  return [await open(), await open()];
}

testObjectStore("S3Store on moto", async () => {
  const [store, other] = await storesAt(`reading ${++places}`);
  return {
    store,
    put: async (key, bytes) => void await other.put(key, bytes, { replace: true }),
    remove: (key) => other.remove([key]),
    close: async () => {
      await Promise.all([store.close(), other.close()]);
    },
  };
}, { listedCount: 250, skip });

testWritableStore("S3Store on moto", async () => {
  const [store, other] = await storesAt(`writing ${++places}`);
  return {
    store,
    other,
    close: async () => {
      await Promise.all([store.close(), other.close()]);
    },
  };
}, { manyCount: 200, skip });

test("S3Store tells what moto refuses, once and without a secret", { skip }, async () => {
  const { accessKey, secretKey } = moto!;
  const cases = [
    { keys: [accessKey, `${secretKey}x`], url: moto!.url("db"), expected: /SignatureDoesNotMatch/ },
    { keys: ["AKIAUNKNOWN", secretKey], url: moto!.url("db"), expected: /InvalidAccessKeyId/ },
    {
      keys: [accessKey, secretKey],
      url: moto!.url("db").replace("s3://replicas", "s3://absent"),
      expected: /NoSuchBucket/,
    },
  ] as const;
  for (const { keys: [accessKeyId, secretAccessKey], url, expected } of cases) {
    const store = await openStore(parseReplicaUrl(url), { credentials: { accessKeyId, secretAccessKey } });
    const error = await store.list("0000/")[Symbol.asyncIterator]().next().then(
      () => undefined,
      (error) => error,
    );
    assert.ok(error instanceof StorageError && !error.retryable, String(error));
    assert.match(error.message, expected);
    assert.ok(!error.message.includes(secretKey), error.message);
    assert.equal(store.counts.list, 1);
    await store.close();
  }
});
