import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { DeadlineError, ObjectExistsError, StorageError } from "../../src/errors.ts";
import { CredentialsSource } from "../../src/storage/credentials.ts";
import {
  anyObject,
  type BareStore,
  type PartUploads,
  type WritableStore,
} from "../../src/storage/object_store.ts";
import { openStore, type OpenStoreOptions } from "../../src/storage/open_store.ts";
import { parseReplicaUrl, type S3Location } from "../../src/storage/replica_url.ts";
import { RetryingStore } from "../../src/storage/retrying_store.ts";
import { S3Store } from "../../src/storage/s3.ts";
import { patternBytes } from "../../src/contract/object_store_contract.ts";
import { ChunkSource, repeated } from "../../src/contract/chunk_source.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { type Fault, type FaultRule, FaultSchedule } from "../support/faults.ts";

const MiB = 1024 * 1024;
const PART = 1_000;
const OURS = patternBytes(2 * PART + 500, 1);
const THEIRS = patternBytes(2 * PART + 500, 2);
const COMPLETION = { method: "POST", target: "uploadId=" } as const;
/** What an upload of three parts asks for. */
const UPLOAD = ["POST", "PUT", "PUT", "PUT", "POST"];

/** A store whose parts have 1,000 bytes, unless given. */
async function storeAt(
  fake: FakeS3,
  { partSize = PART, concurrency = 5, ...options }: OpenStoreOptions & {
    partSize?: number;
    concurrency?: number;
  } = {},
): Promise<WritableStore> {
  const { accessKeyId, secretAccessKey } = fake.options;
  const credentials = { accessKeyId, secretAccessKey };
  const location = parseReplicaUrl(fake.url("/db", `&partSize=${partSize}&concurrency=${concurrency}`));
  return await openStore(location, { credentials, baseDelayMs: 1, maxDelayMs: 5, ...options });
}

function plan(fake: FakeS3, ...rules: FaultRule[]): void {
  fake.options.faults = new FaultSchedule(rules);
}

function methods(fake: FakeS3): string[] {
  return fake.log.map(({ method }) => method);
}

function ours(): ChunkSource {
  return new ChunkSource(OURS, [300]);
}

function assertStored(fake: FakeS3, bytes: Uint8Array): void {
  assert.ok(Buffer.compare(fake.get("db/k")!, bytes) === 0);
  assert.equal(fake.openUploads, 0);
}

test("putChunks() puts whole what fits in one part, and the condition on what makes the object", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake);
  for (
    const [size, expected] of [[1, ["PUT"]], [PART, ["PUT"]], [PART + 1, [
      "POST",
      "PUT",
      "PUT",
      "POST",
    ]]] as const
  ) {
    for (const replace of [false, true]) {
      fake.log.length = 0;
      const { chunks } = new ChunkSource(OURS.subarray(0, size), [300]);
      await store.putChunks(`k${size}`, chunks, { replace, timestampMs: 0 });
      assert.deepEqual(methods(fake), expected);
      const conditions = fake.log.map(({ headers }) => headers.get("if-none-match"));
      assert.deepEqual(
        conditions,
        expected.map((_, i) => !replace && i === expected.length - 1 ? "*" : undefined),
      );
      assert.equal(fake.headersOf(`db/k${size}`)["x-amz-meta-litestream-timestamp"], "1970-01-01T00:00:00Z");
    }
  }
});

test("putChunks() sends a part again alone that was cut, and asks for no chunk twice", async () => {
  for (const fault of [{ kind: "reset" }, { kind: "status", status: 503, code: "SlowDown" }] as const) {
    await using fake = await FakeS3.start();
    plan(fake, { fault, target: "partNumber=2", times: 2 });
    const source = ours();
    await (await storeAt(fake)).putChunks("k", source.chunks);
    assert.deepEqual([fake.count("PUT"), source.begun, source.ended], [5, 1, 1]);
    assertStored(fake, OURS);
  }
});

test("putChunks() of which a part is refused removes the others, and asks for no more chunks", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "status", status: 403, code: "AccessDenied" }, target: "partNumber=2" });
  const source = new ChunkSource(patternBytes(100 * PART), [300]);
  const store = await storeAt(fake, { concurrency: 1 });
  await assert.rejects(store.putChunks("k", source.chunks), { name: "StorageError", code: "AccessDenied" });
  assert.deepEqual([fake.openUploads, fake.keys(), source.ended], [0, [], 1]);
  assert.ok(source.given < 5 * PART, `${source.given} given`);
});

/** What an answer can be like that does not tell whether the object was made. */
const LOST_ANSWERS: Record<string, Fault> = {
  "reset": { kind: "reset" },
  "status 500": { kind: "status", status: 500 },
  "status 503": { kind: "status", status: 503, code: "SlowDown" },
  "an error under status 200": { kind: "status", status: 200, code: "InternalError" },
  "silence": { kind: "silence" },
};

for (const [name, then] of Object.entries(LOST_ANSWERS)) {
  for (const replace of [false, true]) {
    const how = replace ? "a replacement" : "an object";
    test(`putChunks() of ${how} that was made, answered by ${name}, makes the chunks anew`, async () => {
      await using fake = await FakeS3.start();
      if (replace) fake.put("db/k", THEIRS);
      plan(fake, { fault: { kind: "doneBut", then }, ...COMPLETION, nth: 1 });
      const source = ours();
      const store = await storeAt(fake, { attemptTimeoutMs: 2_000 });
      const { etag, size } = await store.putChunks("k", source.chunks, { replace });
      assert.deepEqual(methods(fake).slice(0, 7), [...UPLOAD, "POST", "GET"]);
      assert.deepEqual([fake.count("PUT"), source.begun, source.ended], [3, 2, 2]);
      assertStored(fake, OURS);
      await store.read({ key: "k", etag, size }, { offset: 0, size });
    });
  }
}

test("putChunks() finds its own bytes under the key: they are ours, and the parts are removed", async () => {
  await using fake = await FakeS3.start();
  fake.put("db/k", OURS);
  const source = ours();
  await (await storeAt(fake)).putChunks("k", source.chunks);
  assert.deepEqual(methods(fake), [...UPLOAD, "GET", "DELETE"]);
  assert.deepEqual([source.begun, source.ended], [2, 2]);
  assertStored(fake, OURS);
});

test("putChunks() finds other bytes under the key: they stay, and the parts are removed", async () => {
  const last = OURS.slice();
  last[last.length - 1]! ^= 1;
  for (const theirs of [THEIRS, last, OURS.subarray(1), patternBytes(2 * PART + 501, 1), new Uint8Array(0)]) {
    await using fake = await FakeS3.start();
    fake.put("db/k", theirs);
    const source = ours();
    await assert.rejects((await storeAt(fake)).putChunks("k", source.chunks), (error) => {
      assert.ok(error instanceof ObjectExistsError);
      assert.match(error.message, /^Cannot put "k" in .*: the key has another object, expected none$/);
      return true;
    });
    assert.deepEqual([source.begun, source.ended], [2, 2]);
    assertStored(fake, theirs);
  }
});

test("putChunks() reads an object back piece by piece, and only up to what differs", async () => {
  await using fake = await FakeS3.start();
  const content = patternBytes(3 * MiB);
  fake.put("db/k", content);
  const store = await storeAt(fake, { partSize: MiB });
  const source = new ChunkSource(content, [100_000]);
  await store.putChunks("k", source.chunks, { inParts: true });
  const sizeOf = (range: string) =>
    range.split(/[=-]/).slice(1).map(Number).reduce((from, to) => to - from + 1);
  const reads = fake.log.filter(({ method }) => method === "GET");
  assert.deepEqual(reads.map(({ range }) => sizeOf(range)), [MiB, MiB, MiB]);
  fake.log.length = 0;
  content[MiB]! ^= 1;
  fake.put("db/k", content.slice());
  content[MiB]! ^= 1;
  await assert.rejects(store.putChunks("k", source.chunks), ObjectExistsError);
  assert.equal(fake.count("GET"), 3); // the part that differs is read twice
});

test("putChunks() compares through failing reads", async () => {
  await using fake = await FakeS3.start();
  fake.put("db/k", OURS);
  plan(fake, { fault: { kind: "status", status: 503 }, method: "GET", times: 3 });
  const source = ours();
  await (await storeAt(fake)).putChunks("k", source.chunks);
  assert.deepEqual([fake.count("GET"), source.begun], [4, 2]);
});

test("putChunks() that is told of a conflict begins anew, three times at most", async () => {
  await using fake = await FakeS3.start();
  const conflict: Fault = { kind: "status", status: 409, code: "ConditionalRequestConflict" };
  plan(fake, { fault: conflict, ...COMPLETION, nth: 1 });
  const store = await storeAt(fake);
  const source = ours();
  await store.putChunks("k", source.chunks);
  assert.equal(fake.count("PUT"), 6);
  assertStored(fake, OURS);
  plan(fake, { fault: conflict, ...COMPLETION });
  fake.log.length = 0;
  await assert.rejects(store.putChunks("l", source.chunks), { code: conflict.code });
  assert.deepEqual([fake.count("PUT"), fake.openUploads, fake.get("db/l")], [9, 0, undefined]);
});

test("putChunks() whose key was taken by what is gone now begins anew", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "status", status: 412, code: "PreconditionFailed" }, ...COMPLETION, nth: 1 });
  await (await storeAt(fake)).putChunks("k", ours().chunks);
  assert.equal(fake.count("PUT"), 6);
  assertStored(fake, OURS);
});

test("putChunks() compared with what is replaced meanwhile begins anew", async () => {
  await using fake = await FakeS3.start();
  const content = patternBytes(2 * MiB);
  fake.put("db/k", content);
  let begun = 0;
  const chunks = async function* () {
    begun++;
    for await (const chunk of new ChunkSource(content, [MiB / 2]).chunks()) {
      yield chunk;
      if (begun === 2 && fake.count("GET") === 1) fake.put("db/k", THEIRS);
    }
  };
  await assert.rejects((await storeAt(fake, { partSize: MiB })).putChunks("k", chunks), ObjectExistsError);
  assert.deepEqual([begun, fake.count("PUT"), fake.count("GET")], [4, 4, 4]);
  assertStored(fake, THEIRS);
});

test("putChunks() given up leaves no parts, whatever it waits for", async () => {
  for (const waitsFor of ["a chunk", "a part", "the completion", "a look"]) {
    await using fake = await FakeS3.start();
    const controller = new AbortController();
    const options = { signal: controller.signal };
    if (waitsFor === "a part") plan(fake, { fault: { kind: "silence" }, target: "partNumber=2" });
    if (waitsFor === "the completion") plan(fake, { fault: { kind: "silence" }, ...COMPLETION });
    if (waitsFor === "a look") {
      fake.put("db/k", OURS);
      plan(fake, { fault: { kind: "silence" }, method: "GET" });
    }
    const chunks = async function* () {
      yield* ours().chunks();
      if (waitsFor === "a chunk") await new Promise(() => {});
    };
    const putting = (await storeAt(fake)).putChunks("k", chunks, options);
    const failing = assert.rejects(putting, /enough/, waitsFor);
    const awaited = { "a chunk": 3, "a part": 4, "the completion": 5, "a look": 6 }[waitsFor]!;
    while (fake.log.length < awaited) await new Promise((resolve) => setTimeout(resolve, 1));
    controller.abort(new Error("enough"));
    await failing;
    assert.equal(fake.openUploads, 0, waitsFor);
    assert.deepEqual(fake.keys(), waitsFor === "a look" ? ["db/k"] : [], waitsFor);
  }
});

test("putChunks() keeps within its timeoutMs as a whole", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "silence" }, ...COMPLETION });
  const putting = (await storeAt(fake)).putChunks("k", ours().chunks, { timeoutMs: 300 });
  await assert.rejects(putting, DeadlineError);
  assert.deepEqual([fake.openUploads, fake.keys()], [0, []]);
});

test("putChunks() holds no place while chunks are made of what the same store reads", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake, { requestsMax: 1 });
  await store.put("source", OURS);
  const copied = async function* () {
    for (let offset = 0; offset < OURS.length; offset += 500) {
      yield (await store.read(anyObject("source"), { offset, size: 500 })).bytes;
    }
  };
  await store.putChunks("k", copied);
  await store.putChunks("k", copied); // Now they are compared.
  assertStored(fake, OURS);
  assert.equal(Math.max(...fake.log.map(({ concurrency }) => concurrency)), 1);
});

const STORM: FaultRule[] = [
  { fault: { kind: "doneBut", then: { kind: "reset" } }, on: "object", probability: 0.1 },
  { fault: { kind: "doneBut", then: { kind: "status", status: 500 } }, probability: 0.1 },
  { fault: { kind: "status", status: 503, code: "SlowDown" }, probability: 0.2 },
  { fault: { kind: "reset" }, probability: 0.1 },
];

test("two writers in chunks in a storm make one history, and leave no parts", async () => {
  const seed = 11;
  await using fake = await FakeS3.start({ faults: new FaultSchedule(STORM, seed) });
  const stores = [await storeAt(fake), await storeAt(fake)];
  const wins = [0, 0];
  for (let round = 0; round < 40; round++) {
    const contents = [patternBytes(2_500, round), patternBytes(2_500, round + 7)];
    const results = await Promise.allSettled(stores.map((store, i) => {
      const { chunks } = new ChunkSource(contents[i]!, [700, 100]);
      return store.putChunks(`${round}`, chunks, { timeoutMs: 30_000 });
    }));
    const winner = results.findIndex(({ status }) => status === "fulfilled");
    const loser = results.find((result) => result.status === "rejected");
    assert.ok(winner >= 0 && loser !== undefined, `seed ${seed}, round ${round}: one wins, one does not`);
    assert.ok(loser.reason instanceof ObjectExistsError, `seed ${seed}, round ${round}: ${loser.reason}`);
    assert.ok(
      Buffer.compare(fake.get(`db/${round}`)!, contents[winner]!) === 0,
      `seed ${seed}, round ${round}`,
    );
    wins[winner]!++;
  }
  assert.ok(Math.min(...wins) > 0, `seed ${seed}: each wins some, ${wins}`);
});

test("S3Store.putChunks() of a bare store asks once for each thing, and compares nothing", async () => {
  await using fake = await FakeS3.start();
  const store = bareStoreAt(fake);
  await store.putChunks("k", ours().chunks);
  assertStored(fake, OURS);
  const source = ours();
  await assert.rejects(store.putChunks("k", source.chunks), ObjectExistsError);
  assert.deepEqual([source.begun, fake.count("GET"), fake.openUploads], [1, 0, 0]);
  plan(fake, { fault: { kind: "status", status: 503 }, target: "partNumber=1" });
  fake.log.length = 0;
  await assert.rejects(store.putChunks("l", ours().chunks), { status: 503 });
  assert.equal(fake.log.filter(({ target }) => target.includes("partNumber=1&")).length, 1);
  assert.equal(fake.openUploads, 0);
});

function bareStoreAt(fake: FakeS3): BareStore {
  const { accessKeyId, secretAccessKey } = fake.options;
  const credentials = CredentialsSource.of({ accessKeyId, secretAccessKey }, {});
  const location = parseReplicaUrl(fake.url("/db", `&partSize=${PART}`)) as S3Location;
  return new S3Store(location, { credentials });
}

test("putChunks() makes larger parts for a large estimate, and fails where it was too small", async () => {
  await using fake = await FakeS3.start();
  const bare = bareStoreAt(fake);
  const store = new RetryingStore(
    Object.defineProperty(bare, "parts", { value: fewer(bare.parts, 4) }),
    { baseDelayMs: 1 },
  );
  const content = patternBytes(8_000);
  const chunksOf = (size: number) => new ChunkSource(content.subarray(0, size), [300]).chunks;
  await store.putChunks("k", chunksOf(8_000), { sizeEstimate: 8_000 });
  assert.deepEqual(methods(fake), ["POST", "PUT", "PUT", "PUT", "PUT", "POST"]);
  assertStored(fake, content);
  await store.putChunks("l", chunksOf(4_000));
  await assert.rejects(store.putChunks("m", chunksOf(4_001)), (error) => {
    assert.ok(error instanceof StorageError);
    assert.equal(error.code, "EntityTooLarge");
    assert.match(
      error.message,
      /^Cannot put "m" in .*: it has more than 4 parts of 1000 bytes, expected at most/,
    );
    return true;
  });
  assert.deepEqual([fake.openUploads, fake.keys()], [0, ["db/k", "db/l"]]);
});

/** The same uploads, of fewer parts. */
function fewer(parts: PartUploads, partsMax: number): PartUploads {
  return {
    partSize: parts.partSize,
    partsAtOnce: parts.partsAtOnce,
    partsMax,
    begin: (...given) => parts.begin(...given),
    put: (...given) => parts.put(...given),
    complete: (...given) => parts.complete(...given),
    abort: (...given) => parts.abort(...given),
  };
}

test("putChunks() of 300 MB in parts holds partsAtOnce + 1 of them", async () => {
  let [given, sent, heldMax] = [0, 0, 0];
  const partSize = 5 * MiB;
  /** A bucket that keeps nothing. */
  const fetch = async (url: string, { method, body }: RequestInit): Promise<Response> => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (method === "PUT") sent += (body as Uint8Array).length;
    if (method === "PUT") return new Response(null, { headers: { etag: '"0"' } });
    const name = url.includes("uploadId=")
      ? "CompleteMultipartUploadResult"
      : "InitiateMultipartUploadResult";
    return new Response(`<${name}><UploadId>u</UploadId><ETag>"0-1"</ETag></${name}>`);
  };
  const location = parseReplicaUrl(
    `s3://bucket/db?endpoint=http://localhost:1&concurrency=3&partSize=${partSize}`,
  );
  const store = await openStore(location, { credentials: "anonymous", fetch });
  const source = repeated(new Uint8Array(MiB), 300);
  const counted = async function* () {
    for await (const chunk of source()) {
      given += chunk.length;
      heldMax = Math.max(heldMax, given - sent);
      yield chunk;
    }
  };
  const { size } = await store.putChunks("k", counted);
  assert.deepEqual([size, sent], [300 * MiB, 300 * MiB]);
  assert.ok(heldMax >= partSize && heldMax <= 4 * partSize + MiB, `${heldMax} bytes held`);
});
