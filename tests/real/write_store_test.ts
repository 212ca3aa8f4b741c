import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, before, test } from "node:test";
import { AwsClient } from "aws4fetch";
import { ObjectExistsError } from "../../src/errors.ts";
import { anyObject, type WritableStore } from "../../src/storage/object_store.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { patternBytes } from "../../src/contract/object_store_contract.ts";
import { testWritableStore } from "../../src/contract/writable_store_contract.ts";
import { ChunkSource } from "../../src/contract/chunk_source.ts";
import { type S3Server, s3ServerBinary, skipWithout, startS3Server } from "../support/real.ts";

const skip = skipWithout({ "S3 server": s3ServerBinary() });
const MiB = 1024 * 1024;

let server: S3Server | undefined;
let places = 0;
before(async () => {
  if (!skip) server = await startS3Server();
});
after(() => server?.close());

function storeAt(path: string, parameters = ""): Promise<WritableStore> {
  const { accessKey, secretKey } = server!;
  const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
  return openStore(parseReplicaUrl(server!.url(path) + parameters), { credentials });
}

testWritableStore("S3Store on versitygw", async () => {
  const path = `contract/${++places}`;
  const [store, other] = [await storeAt(path), await storeAt(path)];
  return {
    store,
    other,
    close: async () => {
      await Promise.all([store.close(), other.close()]);
    },
  };
}, { manyCount: 1_100, skip });

/** The object's headers, asked for by another client. */
async function headersOf(key: string): Promise<Headers> {
  const { accessKey, secretKey, region, endpoint, bucket } = server!;
  const client = new AwsClient({ accessKeyId: accessKey, secretAccessKey: secretKey, region, service: "s3" });
  const answer = await client.fetch(`${endpoint}/${bucket}/${key}`, { method: "HEAD" });
  assert.equal(answer.status, 200, key);
  return answer.headers;
}

test("S3Store.put() leaves Litestream's time in the metadata, with parts too", { skip }, async () => {
  const store = await storeAt("time");
  const timestampMs = Date.parse("2026-11-21T02:15:56.242Z");
  await store.put("whole", patternBytes(10), { timestampMs });
  await store.put("parts", patternBytes(10), { timestampMs, inParts: true });
  for (const key of ["whole", "parts"]) {
    const headers = await headersOf(`time/${key}`);
    assert.equal(headers.get("x-amz-meta-litestream-timestamp"), "2026-11-21T02:15:56.242Z", key);
    assert.equal(headers.get("content-type"), "application/octet-stream", key);
  }
  await store.close();
});

test("S3Store.put() of 23 MiB in parts of 5 MiB, against a rival's", { skip }, async () => {
  const [store, rival] = [await storeAt("parts"), await storeAt("parts")];
  const contents = [1, 2].map((seed) => new Uint8Array(23 * MiB + 1).map((_, i) => (i >> 10) * 7 + i + seed));
  const results = await Promise.allSettled([store, rival].map((each, i) => each.put("k", contents[i]!)));
  const winner = results.findIndex(({ status }) => status === "fulfilled");
  const loser = results.find((result) => result.status === "rejected");
  assert.ok(winner >= 0 && loser?.reason instanceof ObjectExistsError, String(loser?.reason));
  for (const offset of [0, 5 * MiB - 10, 23 * MiB - 19]) {
    const { bytes, objectSize } = await store.read(anyObject("k"), { offset, size: 20 });
    assert.deepEqual(bytes, contents[winner]?.slice(offset, offset + 20));
    assert.equal(objectSize, 23 * MiB + 1);
  }
  await Promise.all([store.close(), rival.close()]);
});

test(
  "S3Store.putChunks() of 23 MiB, against a rival's, against itself and with its parts given up",
  { skip },
  async () => {
    const [store, rival] = [await storeAt("chunks"), await storeAt("chunks")];
    const contents = [1, 2].map((seed) =>
      new Uint8Array(23 * MiB + 1).map((_, i) => (i >> 10) * 7 + i + seed)
    );
    const sources = contents.map((content) => new ChunkSource(content, [300_000, 7 * MiB]));
    const timestampMs = Date.parse("2026-11-21T02:15:56.242Z");
    const results = await Promise.allSettled(
      [store, rival].map((each, i) => each.putChunks("k", sources[i]!.chunks, { timestampMs })),
    );
    const winner = results.findIndex(({ status }) => status === "fulfilled");
    const loser = results.find((result) => result.status === "rejected");
    assert.ok(winner >= 0 && loser?.reason instanceof ObjectExistsError, String(loser?.reason));
    const again = await rival.putChunks("k", sources[winner]!.chunks);
    assert.equal(again.size, 23 * MiB + 1);
    const { bytes } = await store.read(anyObject("k"), { offset: 0, size: 23 * MiB + 1 });
    assert.equal(Buffer.compare(bytes, contents[winner]!), 0);
    const headers = await headersOf("chunks/k");
    assert.equal(headers.get("x-amz-meta-litestream-timestamp"), "2026-11-21T02:15:56.242Z");
    const controller = new AbortController();
    const hanging = async function* () {
      yield* sources[0]!.chunks();
      controller.abort(new Error("enough"));
      await new Promise(() => {});
    };
    await assert.rejects(store.putChunks("l", hanging, { signal: controller.signal }), /enough/);
    assert.deepEqual(await openUploads(), []);
    await Promise.all([store.close(), rival.close()]);
  },
);

/** Keys of the bucket's uploads that are open, asked for by another client. */
async function openUploads(): Promise<string[]> {
  const { accessKey, secretKey, region, endpoint, bucket } = server!;
  const client = new AwsClient({ accessKeyId: accessKey, secretAccessKey: secretKey, region, service: "s3" });
  const answer = await client.fetch(`${endpoint}/${bucket}?uploads=`);
  assert.equal(answer.status, 200);
  const text = await answer.text();
  assert.match(text, /ListMultipartUploadsResult/);
  return [...text.matchAll(/<Upload>.*?<Key>([^<]*)<\/Key>/gs)].map(([, key = ""]) => key);
}
