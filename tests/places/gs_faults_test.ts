import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, before, test } from "node:test";
import { ObjectExistsError, ObjectGoneError, StorageError } from "../../src/errors.ts";
import { ChunkSource } from "../../src/contract/chunk_source.ts";
import { patternBytes } from "../../src/contract/object_store_contract.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import type { FetchFunction } from "../../src/storage/fetch_function.ts";
import { gsAddress } from "../../src/storage/gs/gs_address.ts";
import { GsStorage } from "../../src/storage/gs/gs_storage.ts";
import { anyObject, type ListedObject, type WritableStore } from "../../src/storage/object_store.ts";
import { RetryingStore } from "../../src/storage/retrying_store.ts";
import { type FrontFault, type FrontRequest, GcsFront } from "../support/gcs_front.ts";
import { type GcsServer, gcsServerBinary, startGcsServer } from "../support/gcs_server.ts";
import { skipWithout } from "../support/real.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const NOW_MS = Date.parse("2026-11-21T02:15:56.240Z");
const skip = skipWithout({ "fake-gcs-server": gcsServerBinary() });

let server: GcsServer;
before(async () => {
  if (!skip) server = await startGcsServer();
});
after(() => server?.close());

/** A bucket behind a front that goes wrong. */
interface Faulty {
  readonly front: GcsFront;
  readonly store: WritableStore;
  /** Lets the first requests that `matches` go wrong, each by one of `faults`. */
  fail(matches: (request: FrontRequest) => boolean, ...faults: FrontFault[]): void;
  /** `Content-Range` of all that was sent to uploads. */
  ranges(): (string | undefined)[];
}

function faultyTest(name: string, body: (given: Faulty) => Promise<void>): void {
  test(`gs: ${name}`, { skip }, async () => {
    const bucket = await server.newBucket();
    const front = await GcsFront.start(server.behind);
    front.closesConnections = true;
    const storage = new GsStorage(gsAddress({ bucket, endpoint: front.endpoint }, {}), undefined, {});
    const store = new RetryingStore(new AdaptedStore(`gs://${bucket}/db`, storage, "db/"), {
      baseDelayMs: 1,
    });
    const fail: Faulty["fail"] = (matches, ...faults) => {
      front.onRequest = (request) => matches(request) ? faults.shift() : undefined;
    };
    const ranges = () =>
      front.requests.filter(({ method }) => method === "PUT").map(({ headers }) => headers["content-range"]);
    try {
      await body({ front, store, fail, ranges });
    } finally {
      await store.close();
      await front.close();
    }
  });
}

const isPut = ({ method }: FrontRequest) => method === "PUT";
const isRead = ({ url }: FrontRequest) => url.includes("alt=media");
const isList = ({ method, url }: FrontRequest) => method === "GET" && !url.includes("alt=media");

async function listed(store: WritableStore): Promise<ListedObject[]> {
  const objects: ListedObject[] = [];
  for await (const page of store.list("")) objects.push(...page);
  return objects;
}

async function failureOf(work: Promise<unknown>): Promise<StorageError> {
  const error = await work.then(() => assert.fail("it fails"), (error) => error);
  assert.ok(error instanceof StorageError, String(error));
  assert.doesNotMatch(error.message, /upload_id=\w/);
  return error;
}

const content = patternBytes(9 * MiB + 5);
const inParts = { inParts: true, timestampMs: NOW_MS };
/** Of each part so much is sent at once; the rest waits. */
const FIRST_END = 8 * MiB - 256 * KiB;
const SECOND = `bytes ${FIRST_END}-${9 * MiB - 1}/*`;
const LAST = `bytes ${9 * MiB}-${9 * MiB + 4}/${content.length}`;

/** Puts it in parts of 8 MiB, and looks whether it is there as it should be. */
async function putLarge(store: WritableStore): Promise<void> {
  const made = await store.putChunks("big", new ChunkSource(content, [700_000]).chunks, inParts);
  assert.deepEqual(await listed(store), [{ ...made, key: "big", size: content.length, modifiedMs: NOW_MS }]);
  const { bytes } = await store.read(made, { offset: 0, size: content.length });
  assert.deepEqual(bytes, content);
}

faultyTest(
  "a large object goes in chunks of 256 KiB times something, with its time",
  async ({ store, front, ranges }) => {
    await putLarge(store);
    assert.deepEqual(ranges(), [`bytes 0-${FIRST_END - 1}/*`, SECOND, LAST]);
    const begin = JSON.parse(new TextDecoder().decode(front.requests[0]!.body));
    assert.deepEqual(begin, {
      name: "db/big",
      contentType: "application/octet-stream",
      metadata: { "litestream-timestamp": "2026-11-21T02:15:56.24Z" },
    });
  },
);

faultyTest("after a cut only what has not arrived is sent again", async ({ store, fail, ranges }) => {
  fail(isPut, { kind: "cut", bytesMax: 5 * MiB }, { status: 503 });
  await putLarge(store);
  assert.deepEqual(ranges(), [
    `bytes 0-${FIRST_END - 1}/*`,
    "bytes */*",
    "bytes */*",
    `bytes ${5 * MiB}-${FIRST_END - 1}/*`,
    SECOND,
    LAST,
  ]);
});

faultyTest(
  "an object that was made without an answer is found by its upload",
  async ({ store, front, ranges }) => {
    let puts = 0;
    front.onRequest = (request) => isPut(request) && ++puts === 3 ? { kind: "cut" } : undefined;
    await putLarge(store);
    assert.deepEqual(ranges().slice(2), [LAST, `bytes */${content.length}`]);
  },
);

faultyTest("an upload that is no more is begun anew", async ({ store, fail, ranges }) => {
  for (const status of [410, 404]) {
    fail(isPut, { status });
    await putLarge(store);
    await store.remove(["big"]);
  }
  assert.equal(ranges().length, 2 * (1 + 3));
});

faultyTest("where the key is taken from the beginning nothing is sent", async ({ store, fail, ranges }) => {
  const put = async (bytes: Uint8Array) => {
    fail(({ url }) => url.includes("uploadType=resumable"), { status: 412 });
    return await store.putChunks("k", new ChunkSource(bytes, [9_000]).chunks, inParts);
  };
  const { etag } = await store.put("k", patternBytes(50_000));
  assert.equal((await put(patternBytes(50_000))).etag, etag);
  await assert.rejects(put(patternBytes(50_000, 1)), ObjectExistsError);
  assert.deepEqual(ranges(), []);
});

faultyTest("an upload whose bytes do not come is ended", async ({ store, front }) => {
  const failing = async function* () {
    yield content.subarray(0, 8 * MiB);
    yield content.subarray(8 * MiB);
    throw new Error("no more of it");
  };
  await assert.rejects(store.putChunks("big", failing, inParts), /no more of it/);
  const { method, url } = front.requests.at(-1)!;
  assert.deepEqual([method, /upload_id=/.test(url)], ["DELETE", true]);
  assert.deepEqual(await listed(store), []);
});

faultyTest("what may pass is tried again", async ({ store, fail, front }) => {
  fail(() => true, { status: 503 }, { status: 429, headers: { "retry-after": "0" } }, { kind: "cut" });
  const { etag } = await store.put("k", patternBytes(100));
  assert.deepEqual((await listed(store)).map((object) => object.etag), [etag]);
  for (const fault of [{ status: 500 }, { kind: "short" }, { kind: "cut" }] as FrontFault[]) {
    front.requests.length = 0;
    fail(isRead, fault);
    const { bytes } = await store.read(anyObject("k"), { offset: 10, size: 90 });
    assert.deepEqual([bytes, front.requests.length], [patternBytes(100).slice(10), 2]);
    fail(isList, fault);
    assert.equal((await listed(store)).length, 1);
  }
});

faultyTest("what does not pass is told at once, with what to do", async ({ store, fail, front }) => {
  const forbidden = JSON.stringify({
    error: {
      message: "reader@x does not have storage.objects.list access",
      errors: [{ reason: "forbidden" }],
    },
  });
  const told = async (fault: FrontFault, act: () => Promise<unknown>) => {
    front.requests.length = 0;
    fail(() => true, fault);
    const { message, retryable } = await failureOf(act());
    assert.deepEqual([retryable, front.requests.length], [false, 1], message);
    return message.replace(/replicas-\d+/g, "B");
  };
  assert.equal(
    await told({ status: 403, body: forbidden }, () => listed(store)),
    'Cannot list "db/" in gs://B: status 403 forbidden (reader@x does not have storage.objects.list access), ' +
      "expected permission for storage.objects.list there",
  );
  assert.match(
    await told({ status: 404 }, () => listed(store)),
    /status 404, expected an existing bucket, not "B"$/,
  );
  const put = () => store.put("k", patternBytes(10));
  assert.match(await told({ status: 403 }, put), /expected permission for storage.objects.create/);
  assert.match(await told({ status: 404 }, put), /expected an existing bucket, not "B"$/);
  assert.match(await told({ status: 200, body: "{}" }, put), /an answer without generation, expected one/);
  const begin = () => store.putChunks("k", new ChunkSource(content, [MiB]).chunks, inParts);
  assert.match(await told({ status: 200 }, begin), /an answer without the upload's address/);
  assert.match(
    await told({ status: 200, body: "<p>" }, () => listed(store)),
    /an answer that is no JSON, expected/,
  );
  assert.match(
    await told({ status: 200, body: '{"items": 1}' }, () => listed(store)),
    /a listing of another form/,
  );
  const removal = await told({ status: 403 }, () => store.remove(["k"]));
  assert.match(removal, /expected permission for storage.objects.delete there/);
});

faultyTest("other bytes than those asked for are not taken", async ({ store, fail }) => {
  const of = await store.put("k", patternBytes(100));
  const read = async (status: number, headers: Record<string, string>, size = 100) => {
    const body = "x".repeat(size);
    fail(isRead, { status, headers: { "x-goog-generation": of.etag, ...headers }, body });
    return await failureOf(store.read(of, { offset: 10, size: 20 }));
  };
  const whole = await read(200, {});
  assert.match(
    whole.message,
    /status 200 without a range, expected a server that answers ranges with status 206$/,
  );
  assert.match(
    (await read(206, { "content-range": "bytes 0-19/100" }, 20)).message,
    /Content-Range "bytes 0-19/,
  );
  assert.match((await read(200, { "content-encoding": "exi" })).message, /Content-Encoding exi/);
  const other = { "x-goog-generation": "7", "content-range": "bytes 10-29/100" };
  assert.ok(await read(206, other, 20) instanceof ObjectGoneError);
  assert.ok(await read(412, {}) instanceof ObjectGoneError);
  assert.ok(await read(404, {}) instanceof ObjectGoneError);
  const outside = await read(416, {}, 0);
  assert.deepEqual([outside.code, outside.retryable], ["InvalidRange", false]);
});

faultyTest("a read names the generation that was listed", async ({ store, front }) => {
  const of = await store.put("k", patternBytes(100));
  await store.read(of, { offset: 1, size: 2 });
  const { url, headers } = front.requests.at(-1)!;
  assert.match(url, new RegExp(`/o/db%2Fk\\?alt=media&ifGenerationMatch=${of.etag}$`));
  assert.equal(headers.range, "bytes=1-2");
});

faultyTest("an object is replaced only where it is the one that is known", async ({ store }) => {
  const first = await store.put("lock", patternBytes(10));
  const second = await store.put("lock", patternBytes(10, 1), { ifMatch: first.etag });
  await assert.rejects(store.put("lock", patternBytes(10, 2), { ifMatch: first.etag }), ObjectExistsError);
  await assert.rejects(store.put("none", patternBytes(10), { ifMatch: first.etag }), ObjectExistsError);
  assert.deepEqual((await listed(store)).map(({ etag }) => etag), [second.etag]);
});

faultyTest("a listing that does not end is told", async ({ store, front }) => {
  const page = { items: [], nextPageToken: "again" };
  front.onRequest = () => ({ status: 200, body: JSON.stringify(page) });
  assert.match(
    (await failureOf(listed(store))).message,
    /the same page token twice, expected pages that end$/,
  );
  assert.equal(front.requests.length, 2);
});

faultyTest("times are read as Litestream and Google spell them", async ({ store, front }) => {
  const item = { size: "1", generation: "1", timeCreated: "2026-11-21T02:15:56.242123Z" };
  const items = [
    { ...item, name: "db/a", metadata: { "litestream-timestamp": "2026-11-21T02:15:56Z" } },
    { ...item, name: "db/b", metadata: { "litestream-timestamp": "2026-11-21T03:15:56.5+01:00" } },
    { ...item, name: "db/c", metadata: { "litestream-timestamp": "soon" } },
    { ...item, name: "db/d" },
  ];
  front.onRequest = () => ({ status: 200, body: JSON.stringify({ items }) });
  const times = (await listed(store)).map(({ modifiedMs }) => new Date(modifiedMs).toISOString().slice(17));
  assert.deepEqual(times, ["56.000Z", "56.500Z", "56.242Z", "56.242Z"]);
});

faultyTest(
  "a part that is given up and arrives all the same is not there twice",
  async ({ front, store }) => {
    const { held, fetch } = holdingFetch();
    await listed(store);
    const [, bucket = ""] = /\/b\/([^/]+)\//.exec(front.requests[0]!.url)!;
    const storage = new GsStorage(gsAddress({ bucket, endpoint: front.endpoint }, {}), undefined, { fetch });
    const size = 700 * KiB; // of which 512 are sent with the first part, 188 wait
    const [first, ...others] = [1, 2, 3].map((number) => ({
      number,
      offset: (number - 1) * size,
      bytes: content.subarray((number - 1) * size, number * size),
    }));
    const upload = await storage.parts.begin("db/twice", {});
    const late = storage.parts.put(upload, first!, {});
    await held.isThere;
    const etags = [await storage.parts.put(upload, first!, {})];
    for (const part of others) {
      etags.push(await storage.parts.put(upload, part, {}));
      held.release();
      await late;
      await storage.parts.put(upload, part, {});
    }
    await storage.parts.complete(upload, etags, {});
    const [object] = await listed(store);
    assert.equal(object!.size, 3 * size);
    const { bytes } = await store.read(object!, { offset: 0, size: 3 * size });
    assert.ok(Buffer.compare(bytes, content.subarray(0, 3 * size)) === 0);
    storage.close();
  },
);

/** A fetch that minds no signal and keeps the answer to the first chunk until it is told to give it. */
function holdingFetch() {
  let [there, release] = [() => {}, () => {}];
  const isThere = new Promise<void>((resolve) => there = resolve);
  const released = new Promise<void>((resolve) => release = resolve);
  let isFirst = true;
  const fetch: FetchFunction = async (url, { signal: _ignored, ...init }) => {
    const response = await globalThis.fetch(url, init);
    if (isFirst && init.method === "PUT") {
      isFirst = false;
      there();
      await released;
    }
    return response;
  };
  return { held: { isThere, release: () => release() }, fetch };
}
