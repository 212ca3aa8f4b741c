import assert from "node:assert/strict";
import { test } from "node:test";
import { DeadlineError, ObjectExistsError, StorageError } from "../../src/errors.ts";
import { probeConditions } from "../../src/storage/condition_probe.ts";
import { anyObject, type PutOptions, type WritableStore } from "../../src/storage/object_store.ts";
import { openStore, type OpenStoreOptions } from "../../src/storage/open_store.ts";
import { parseReplicaUrl, type S3Location } from "../../src/storage/replica_url.ts";
import { patternBytes } from "../../src/contract/object_store_contract.ts";
import { testWritableStore } from "../../src/contract/writable_store_contract.ts";
import { FakeS3, type FakeS3Options } from "../support/fake_s3.ts";
import { type Fault, type FaultRule, FaultSchedule } from "../support/faults.ts";

const OURS = patternBytes(1_000, 1);
const THEIRS = patternBytes(1_000, 2);
const MiB = 1024 * 1024;

function locate(url: string): S3Location {
  return parseReplicaUrl(url) as S3Location;
}

/** Small enough pauses; as many attempts as the total time allows. */
const QUICK: OpenStoreOptions = { baseDelayMs: 1, maxDelayMs: 5 };

async function storeAt(
  fake: FakeS3,
  options: OpenStoreOptions = {},
  parameters = "",
  path = "/db",
): Promise<WritableStore> {
  const { accessKeyId, secretAccessKey, sessionToken } = fake.options;
  const credentials = { accessKeyId, secretAccessKey, sessionToken };
  return await openStore(locate(fake.url(path, parameters)), { credentials, ...QUICK, ...options });
}

function plan(fake: FakeS3, ...rules: FaultRule[]): void {
  fake.options.faults = new FaultSchedule(rules);
}

/** Methods of the requests since the log was cleared; a listing is a GET. */
function methods(fake: FakeS3): string[] {
  return fake.log.map(({ method }) => method);
}

/** The same, with listings told from other GETs. */
function kinds(fake: FakeS3): string[] {
  return fake.log.map(({ method, key }) => key === "" ? "LIST" : method);
}

async function errorOf(promise: Promise<unknown>): Promise<StorageError> {
  const error = await promise.then(() => undefined, (error) => error);
  assert.ok(error instanceof StorageError, String(error));
  return error;
}

const variants: { name: string; options?: Partial<FakeS3Options>; parameters?: string; path?: string }[] = [
  { name: "S3Store" },
  { name: "S3Store with a session token", options: { sessionToken: "FwoGZXIvYXdzEXAMPLE/+=TOKEN" } },
  { name: "S3Store with unsigned payloads", parameters: "&signPayload=false" },
  { name: "S3Store below ./", path: "" },
  { name: "S3Store without bulk removal", options: { bulkDelete: false } },
];
for (const { name, options, parameters, path = "/a b/db+1" } of variants) {
  testWritableStore(name, async () => {
    const fake = await FakeS3.start(options);
    const [store, other] = [
      await storeAt(fake, {}, parameters, path),
      await storeAt(fake, {}, parameters, path),
    ];
    return {
      store,
      other,
      close: async () => {
        assert.equal(fake.openUploads, 0, "no parts are left");
        await Promise.all([store.close(), other.close()]);
        await fake.close();
      },
    };
  });
}

test("S3Store.put() sends condition, time and type, all it signs signed", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake);
  await store.put("0000/k", OURS, { timestampMs: Date.parse("2026-11-21T02:15:56.240Z") });
  const { headers } = fake.log[0]!;
  assert.equal(headers.get("if-none-match"), "*");
  assert.equal(headers.get("content-type"), "application/octet-stream");
  assert.equal(headers.get("x-amz-meta-litestream-timestamp"), "2026-11-21T02:15:56.24Z");
  assert.match(
    headers.get("authorization") ?? "",
    /SignedHeaders=host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-meta-litestream-timestamp,/,
  );
  await store.put("0000/k", THEIRS, { replace: true, timestampMs: Date.parse("2026-11-21T02:15:56Z") });
  assert.equal(fake.log[1]?.headers.get("if-none-match"), undefined);
  assert.deepEqual(fake.headersOf("db/0000/k"), {
    "content-type": "application/octet-stream",
    "x-amz-meta-litestream-timestamp": "2026-11-21T02:15:56Z",
  });
  assert.deepEqual(store.counts, { list: 0, get: 0, put: 2, bytes: 0, retries: 0 });
});

test("S3Store.put() sends storage class and keys, with parts too", async () => {
  const key = btoa("0123456789abcdef0123456789abcdef");
  for (
    const [parameters, name, onParts] of [
      ["&storageClass=STANDARD_IA", "x-amz-storage-class", false],
      ["&sseKmsKeyId=alias/k", "x-amz-server-side-encryption-aws-kms-key-id", false],
      [`&sseCustomerKey=${encodeURIComponent(key)}`, "x-amz-server-side-encryption-customer-key", true],
    ] as const
  ) {
    await using fake = await FakeS3.start();
    const store = await storeAt(fake, {}, parameters);
    await store.put("k", OURS);
    await store.put("l", OURS, { inParts: true, timestampMs: 0 });
    const has = fake.log.map(({ headers }) => headers.has(name));
    assert.deepEqual(has, [true, true, onParts, false], name); // whole, begin, part, completion
    assert.equal(fake.headersOf("db/l")["x-amz-meta-litestream-timestamp"], "1970-01-01T00:00:00Z");
  }
});

test("S3Store.put() follows the bucket to its region, body and all", async () => {
  await using fake = await FakeS3.start({ region: "eu-west-1" });
  const location = locate("s3://bucket.s3.us-east-1.amazonaws.com/db");
  const { accessKeyId, secretAccessKey } = fake.options;
  const credentials = { accessKeyId, secretAccessKey };
  const store = await openStore(location, { credentials, fetch: fake.fetch });
  await store.put("k", OURS);
  assert.deepEqual(fake.log.map(({ status }) => status), [301, 200]);
  assert.deepEqual(new Uint8Array(fake.get("db/k")!), OURS);
  assert.deepEqual([store.counts.put, store.counts.retries], [2, 1]);
});

test("S3Store.put() without ETag in the answer is an error", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "headers", headers: { etag: "" } }, method: "PUT" });
  assert.equal((await errorOf((await storeAt(fake)).put("k", OURS))).code, "WrongAnswer");
});

test("S3Store.put() names the permission that is missing", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "status", status: 403, code: "AccessDenied" }, on: "object" });
  const store = await storeAt(fake);
  assert.match((await errorOf(store.put("k", OURS))).message, /expected permission for s3:PutObject there$/);
  assert.match(
    (await errorOf(store.remove(["k"]))).message,
    /expected permission for s3:DeleteObject there$/,
  );
});

test("a put that is told of a conflict is tried again, without reading", async () => {
  await using fake = await FakeS3.start();
  const conflict: Fault = { kind: "status", status: 409, code: "ConditionalRequestConflict" };
  plan(fake, { fault: conflict, method: "PUT", times: 2 });
  await (await storeAt(fake)).put("k", OURS);
  assert.deepEqual(methods(fake), ["PUT", "PUT", "PUT"]);
});

/** What an answer can be like that does not tell whether the object was stored. */
const LOST_ANSWERS: Record<string, Fault> = {
  "reset": { kind: "reset" },
  "status 500": { kind: "status", status: 500 },
  "status 503 with a wish to wait": {
    kind: "status",
    status: 503,
    code: "SlowDown",
    headers: { "retry-after": "0" },
  },
  "status 408": { kind: "status", status: 408, code: "RequestTimeout" },
  "a gateway's 504": { kind: "status", status: 504, body: "<h1>Gateway Timeout" },
  "silence": { kind: "silence" },
  "headers alone": { kind: "headers", headers: { "content-length": "10" } },
};

for (const [name, fault] of Object.entries(LOST_ANSWERS)) {
  const options: OpenStoreOptions = { attemptTimeoutMs: 2_000 };
  test(`a put that was stored and answered by ${name} is ours: one PUT, one look`, async () => {
    await using fake = await FakeS3.start();
    plan(fake, { fault: { kind: "doneBut", then: fault }, method: "PUT", nth: 1 });
    const store = await storeAt(fake, options);
    const { etag, size } = await store.put("k", OURS);
    assert.deepEqual(methods(fake), ["PUT", "GET"]);
    const { bytes } = await store.read({ key: "k", etag, size }, { offset: 0, size });
    assert.deepEqual(bytes, OURS);
  });

  if (name === "headers alone") continue; // Cannot come where nothing was done.
  test(`a put that was not stored and answered by ${name} is sent again after a look`, async () => {
    await using fake = await FakeS3.start();
    plan(fake, { fault, method: "PUT", nth: 1 });
    await (await storeAt(fake, options)).put("k", OURS);
    assert.deepEqual(methods(fake), ["PUT", "GET", "PUT"]);
    assert.deepEqual(new Uint8Array(fake.get("db/k")!), OURS);
  });
}

/** Puts for a rival as soon as the first request of ours has come. */
async function rivalAfterFirst(fake: FakeS3): Promise<void> {
  while (fake.log.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  fake.put("db/k", THEIRS);
}

for (const ignores of [false, true]) {
  const how = ignores ? "by a store that ignores the condition" : "by the condition";
  test(`a rival's object that came after a lost attempt stays, ${how}`, async () => {
    await using fake = await FakeS3.start();
    plan(
      fake,
      { fault: { kind: "reset" }, method: "PUT", nth: 1 },
      ...(ignores ? [{ fault: { kind: "ignoreIfNoneMatch" }, method: "PUT" } as const] : []),
    );
    const store = await storeAt(fake, { baseDelayMs: 100, random: () => 1 });
    const putting = store.put("k", OURS);
    await Promise.all([rivalAfterFirst(fake), assert.rejects(putting, ObjectExistsError)]);
    assert.deepEqual(new Uint8Array(fake.get("db/k")!), THEIRS);
    assert.deepEqual(methods(fake), ["PUT", "GET", "GET"]);
  });
}

test("an object that was damaged on its way while it was looked at is no rival's", async () => {
  await using fake = await FakeS3.start();
  plan(
    fake,
    { fault: { kind: "doneBut", then: { kind: "reset" } }, method: "PUT", nth: 1 },
    { fault: { kind: "flipped", at: 0 }, method: "GET", nth: 1 },
    { fault: { kind: "flipped", at: 1 }, method: "GET", nth: 2 },
  );
  await (await storeAt(fake)).put("k", OURS);
  assert.deepEqual(methods(fake), ["PUT", "GET", "GET", "GET"]);
});

test("one answer that our object has no such range makes it no rival's", async () => {
  await using fake = await FakeS3.start();
  plan(
    fake,
    { fault: { kind: "doneBut", then: { kind: "reset" } }, method: "PUT", nth: 1 },
    { fault: { kind: "status", status: 416, code: "InvalidRange" }, method: "GET", nth: 1 },
  );
  await (await storeAt(fake)).put("k", OURS);
  assert.deepEqual(methods(fake), ["PUT", "GET", "GET"]);
});

test("two answers that our object has no such range make it no rival's while a listing has all of it", async () => {
  await using fake = await FakeS3.start();
  const refused = { kind: "status", status: 416, code: "InvalidRange" } as const;
  plan(
    fake,
    { fault: { kind: "doneBut", then: { kind: "reset" } }, method: "PUT", nth: 1 },
    { fault: refused, on: "object", method: "GET", nth: 1 },
    { fault: refused, on: "object", method: "GET", nth: 2 },
  );
  await (await storeAt(fake)).put("k", OURS);
  assert.deepEqual(kinds(fake), ["PUT", "GET", "GET", "LIST", "GET"]);
});

test("two answers with another size of our object make it no rival's while a listing has its true one", async () => {
  await using fake = await FakeS3.start();
  const overstated = {
    kind: "contentRange",
    value: `bytes 0-${OURS.length - 1}/${OURS.length + 1}`,
  } as const;
  plan(
    fake,
    { fault: { kind: "doneBut", then: { kind: "reset" } }, method: "PUT", nth: 1 },
    { fault: overstated, on: "object", method: "GET", nth: [1, 2] },
  );
  await (await storeAt(fake)).put("k", OURS);
  assert.deepEqual(kinds(fake), ["PUT", "GET", "GET", "LIST", "GET"]);
});

test("an object that begins as ours and is longer, or shorter, is another's, once a listing says so", async () => {
  for (const theirs of [patternBytes(OURS.length + 1, 1), OURS.subarray(0, -1)]) {
    await using fake = await FakeS3.start();
    fake.put("db/k", theirs);
    await assert.rejects((await storeAt(fake)).put("k", OURS), ObjectExistsError);
    assert.deepEqual(methods(fake), ["PUT", "GET", "GET", "GET"]);
  }
});

test("an empty object that has the key is another's, once a listing says so", async () => {
  await using fake = await FakeS3.start();
  fake.put("db/k", new Uint8Array(0));
  await assert.rejects((await storeAt(fake)).put("k", OURS), ObjectExistsError);
  assert.deepEqual(methods(fake), ["PUT", "GET", "GET", "GET"]);
});

test("readings that all differ tell nothing: the put is tried again", async () => {
  await using fake = await FakeS3.start();
  fake.put("db/k", THEIRS);
  const readings = Array.from({ length: 6 }, (_, i): FaultRule => ({
    fault: { kind: "flipped", at: i },
    method: "GET",
    nth: i + 1,
  }));
  plan(fake, ...readings);
  await assert.rejects((await storeAt(fake)).put("k", OURS), ObjectExistsError);
  assert.deepEqual(methods(fake), ["PUT", ...Array(6).fill("GET"), "PUT", "GET", "GET"]);
});

test("an attempt that was given up and arrives late is ours", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "slow", delayMs: 2_500 }, method: "PUT", nth: 1 });
  plan(fake, { fault: { kind: "slow", delayMs: 2_500 }, method: "PUT", times: 2 });
  const store = await storeAt(fake, { attemptTimeoutMs: 1_000, totalTimeoutMs: 30_000 });
  await store.put("k", OURS);
  assert.deepEqual(new Uint8Array(fake.get("db/k")!), OURS);
});

test("without the right to list, an object that is there after a lost attempt is still ours", async () => {
  for (const then of [LOST_ANSWERS["reset"]!, LOST_ANSWERS["status 500"]!]) {
    for (const wasStored of [true, false]) {
      await using fake = await FakeS3.start({ missingKeyStatus: 403 });
      plan(fake, { fault: wasStored ? { kind: "doneBut", then } : then, method: "PUT", nth: 1 });
      await (await storeAt(fake)).put("k", OURS);
      assert.deepEqual(methods(fake), wasStored ? ["PUT", "GET"] : ["PUT", "GET", "PUT"]);
    }
  }
});

test("a put whose outcome stays unknown can be repeated: its own object is no conflict", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "doneBut", then: { kind: "reset" } }, method: "PUT" }, {
    fault: { kind: "reset" },
    method: "GET",
  });
  const store = await storeAt(fake);
  await assert.rejects(store.put("k", OURS, { timeoutMs: 200 }), DeadlineError);
  plan(fake);
  await store.put("k", OURS);
  await assert.rejects(store.put("k", THEIRS), ObjectExistsError);
});

test("a look that fails is made again before anything is sent", async () => {
  await using fake = await FakeS3.start();
  const lost: Fault = { kind: "doneBut", then: { kind: "status", status: 500 } };
  plan(
    fake,
    { fault: lost, method: "PUT", nth: 1 },
    { fault: { kind: "status", status: 503 }, method: "GET", times: 3 },
  );
  await (await storeAt(fake)).put("k", OURS);
  assert.deepEqual(methods(fake), ["PUT", "GET", "GET", "GET", "GET"]);
});

test("a large object is read back piece by piece, and only up to what differs", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake);
  const content = patternBytes(4 * MiB);
  await store.put("k", content);
  fake.log.length = 0;
  await store.put("k", content);
  assert.deepEqual(methods(fake), ["PUT", "GET", "GET", "GET", "GET"]);
  content[MiB] = content[MiB]! ^ 1;
  fake.log.length = 0;
  await assert.rejects(store.put("k", content), ObjectExistsError);
  assert.deepEqual(methods(fake), ["PUT", "GET", "GET", "GET"]); // the part that differs is read twice
});

test("an object that is replaced while it is compared is compared anew", async () => {
  await using fake = await FakeS3.start();
  const content = patternBytes(3 * MiB);
  fake.put("db/k", content);
  const store = await storeAt(fake, { baseDelayMs: 0 });
  const putting = store.put("k", content);
  while (fake.count("GET") === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  fake.put("db/k", THEIRS);
  await assert.rejects(putting, ObjectExistsError);
});

test("an object that is gone when it is looked for makes room: the put is tried again", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "status", status: 412, code: "PreconditionFailed" }, method: "PUT", nth: 1 });
  const store = await storeAt(fake);
  const error = await errorOf(store.put("k", OURS, { attemptsMax: 1 }));
  assert.deepEqual([error.code, error.retryable], ["Changed", true]);
  plan(fake, { fault: { kind: "status", status: 412, code: "PreconditionFailed" }, method: "PUT", nth: 1 });
  await store.put("k", OURS);
  assert.deepEqual(new Uint8Array(fake.get("db/k")!), OURS);
});

test("a replacement whose answer is lost is sent again", async () => {
  await using fake = await FakeS3.start();
  fake.put("db/k", THEIRS);
  plan(fake, { fault: { kind: "doneBut", then: { kind: "status", status: 500 } }, method: "PUT", nth: 1 });
  await (await storeAt(fake)).put("k", OURS, { replace: true });
  assert.deepEqual(methods(fake), ["PUT", "PUT"]);
  assert.deepEqual(new Uint8Array(fake.get("db/k")!), OURS);
});

const STORM: FaultRule[] = [
  { fault: { kind: "doneBut", then: { kind: "reset" } }, method: "PUT", probability: 0.15 },
  { fault: { kind: "doneBut", then: { kind: "status", status: 500 } }, probability: 0.15 },
  {
    fault: { kind: "status", status: 409, code: "ConditionalRequestConflict" },
    method: "PUT",
    probability: 0.1,
  },
  { fault: { kind: "status", status: 503, code: "SlowDown" }, probability: 0.15 },
  { fault: { kind: "reset" }, probability: 0.1 },
];

for (const inParts of [false, true]) {
  test(`two writers in a storm make one history, ${inParts ? "in parts" : "whole"}`, async () => {
    const seed = inParts ? 7 : 3;
    await using fake = await FakeS3.start({ faults: new FaultSchedule(STORM, seed) });
    const stores = [await storeAt(fake), await storeAt(fake)];
    const wins = [0, 0];
    const rounds = inParts ? 60 : 150;
    for (let round = 0; round < rounds; round++) {
      const key = `0000/${round}`;
      const contents = [patternBytes(2_000, round), patternBytes(2_000, round + 7)];
      const options: PutOptions = { inParts, timeoutMs: 20_000 };
      const results = await Promise.allSettled(
        stores.map((store, i) => store.put(key, contents[i]!, options)),
      );
      const winner = results.findIndex(({ status }) => status === "fulfilled");
      const loser = results.find((result) => result.status === "rejected");
      assert.ok(winner >= 0 && loser !== undefined, `seed ${seed}, round ${round}: one wins, one does not`);
      assert.ok(loser.reason instanceof ObjectExistsError, `seed ${seed}, round ${round}: ${loser.reason}`);
      assert.deepEqual(new Uint8Array(fake.get(`db/${key}`)!), contents[winner]);
      wins[winner]!++;
    }
    assert.ok(Math.min(...wins) > 0, `seed ${seed}: each wins some, ${wins}`);
  });
}

const BIG = patternBytes(15 * MiB + 1);

test("S3Store puts what is larger than three parts in parts, and no more", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake);
  const { etag } = await store.put("k", BIG);
  assert.match(etag, /-4$/);
  assert.deepEqual(methods(fake), ["POST", "PUT", "PUT", "PUT", "PUT", "POST"]);
  assert.deepEqual(fake.log.map(({ headers }) => headers.get("if-none-match")), [...Array(5), "*"]);
  fake.log.length = 0;
  await store.put("l", BIG.subarray(0, 15 * MiB));
  assert.deepEqual(methods(fake), ["PUT"]);
});

test("S3Store sends as many parts at once as it is told to", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "silence" }, target: "partNumber=" });
  const store = await storeAt(fake, {}, "&concurrency=2");
  const controller = new AbortController();
  const failing = assert.rejects(store.put("k", BIG, { signal: controller.signal }), /enough/);
  while (fake.count("PUT") < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(fake.count("PUT"), 2);
  controller.abort(new Error("enough"));
  await failing;
});

test("a part that fails is sent again alone; one that is refused ends the upload", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake);
  plan(fake, { fault: { kind: "reset" }, method: "PUT", target: "partNumber=2", nth: 1 });
  await store.put("k", BIG);
  assert.equal(fake.count("PUT"), 5);
  plan(fake, { fault: { kind: "status", status: 403, code: "AccessDenied" }, target: "partNumber=2" });
  assert.equal((await errorOf(store.put("l", BIG))).code, "AccessDenied");
  assert.deepEqual([fake.openUploads, fake.get("db/l")], [0, undefined]);
});

test("an upload that its caller gives up is removed", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "silence" }, target: "partNumber=3" });
  const store = await storeAt(fake);
  const controller = new AbortController();
  const putting = store.put("k", BIG, { signal: controller.signal });
  const failing = assert.rejects(putting, /enough/);
  while (fake.count("PUT") < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  controller.abort(new Error("enough"));
  await failing;
  assert.deepEqual([fake.openUploads, fake.get("db/k")], [0, undefined]);
});

test("what cannot be removed after a failure does not hide it", async () => {
  await using fake = await FakeS3.start();
  plan(
    fake,
    { fault: { kind: "status", status: 400, code: "EntityTooLarge" }, target: "partNumber=2" },
    { fault: { kind: "status", status: 403, code: "AccessDenied" }, method: "DELETE" },
  );
  assert.equal((await errorOf((await storeAt(fake)).put("k", BIG))).code, "EntityTooLarge");
});

const COMPLETION = { method: "POST", target: "uploadId=" } as const;

for (const replace of [false, true]) {
  const how = replace ? "a replacement" : "a put";
  for (const [name, fault] of Object.entries(LOST_ANSWERS)) {
    if (name === "headers alone") continue;
    test(`${how} in parts that was stored and answered by ${name} is ours`, async () => {
      await using fake = await FakeS3.start();
      plan(fake, { fault: { kind: "doneBut", then: fault }, ...COMPLETION, nth: 1 });
      await (await storeAt(fake, { attemptTimeoutMs: 2_000 })).put("k", OURS, { inParts: true, replace });
      assert.deepEqual(methods(fake).slice(0, 3), ["POST", "PUT", "POST"]);
      assert.equal(fake.count("PUT"), 1);
      assert.deepEqual(new Uint8Array(fake.get("db/k")!), OURS);
      assert.equal(fake.openUploads, 0);
    });
  }

  test(`${how} in parts whose completion fails in its body is tried again`, async () => {
    await using fake = await FakeS3.start();
    plan(fake, { fault: { kind: "status", status: 200, code: "InternalError" }, ...COMPLETION, nth: 1 });
    await (await storeAt(fake)).put("k", OURS, { inParts: true, replace });
    assert.equal(fake.count("PUT"), 1);
    assert.deepEqual(new Uint8Array(fake.get("db/k")!), OURS);
  });

  test(`${how} in parts that is told of a conflict begins anew`, async () => {
    await using fake = await FakeS3.start();
    const conflict: Fault = { kind: "status", status: 409, code: "ConditionalRequestConflict" };
    plan(fake, { fault: conflict, ...COMPLETION, nth: 1 });
    const store = await storeAt(fake);
    await store.put("k", OURS, { inParts: true, replace });
    assert.equal(fake.count("PUT"), 2);
    assert.equal(fake.openUploads, 0);
    plan(fake, { fault: conflict, ...COMPLETION });
    assert.equal((await errorOf(store.put("l", OURS, { inParts: true, replace }))).code, conflict.code);
    assert.deepEqual([fake.openUploads, fake.get("db/l")], [0, undefined]);
  });
}

test("a put in parts finds a rival's object at its end, and removes its parts", async () => {
  await using fake = await FakeS3.start();
  fake.put("db/k", THEIRS);
  await assert.rejects((await storeAt(fake)).put("k", OURS, { inParts: true }), ObjectExistsError);
  assert.deepEqual(new Uint8Array(fake.get("db/k")!), THEIRS);
  assert.equal(fake.openUploads, 0);
});

test("a put in parts keeps within its timeoutMs as a whole", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "silence" }, ...COMPLETION });
  const store = await storeAt(fake);
  await assert.rejects(store.put("k", OURS, { inParts: true, timeoutMs: 300 }), DeadlineError);
  assert.deepEqual([fake.openUploads, fake.get("db/k")], [0, undefined]);
});

test("a completion whose answer is no result is an error", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake);
  const body = "<Other><ETag>x</ETag></Other>";
  plan(fake, { fault: { kind: "status", status: 200, body }, ...COMPLETION });
  assert.match((await errorOf(store.put("k", OURS, { inParts: true }))).message, /element Other, expected/);
  plan(fake, { fault: { kind: "status", status: 200, body }, method: "POST", target: "uploads=" });
  assert.match((await errorOf(store.put("k", OURS, { inParts: true }))).message, /element Other, expected/);
});

test("a blind put does not read back what has the key", async () => {
  await using fake = await FakeS3.start();
  fake.put("db/k", OURS);
  await assert.rejects((await storeAt(fake)).put("k", OURS, { isBlind: true }), ObjectExistsError);
  assert.deepEqual(methods(fake), ["PUT"]);
});

test("probeConditions() tells a store that ignores the condition, whole or in parts", async () => {
  for (
    const [method, wanted] of [["PUT", /^it overwrites an object,$/], ["POST", /^,.*put in parts$/]] as const
  ) {
    await using fake = await FakeS3.start();
    plan(fake, { fault: { kind: "ignoreIfNoneMatch" }, method });
    const { found, foundOfParts, leftover } = await probeConditions(await storeAt(fake));
    assert.match(`${found},${await foundOfParts}`, wanted);
    assert.equal(await leftover, undefined);
    assert.deepEqual([fake.keys(), fake.openUploads], [[], 0]);
  }
});

test("probeConditions() does not take one answer that a service does not know it for the service's", async () => {
  for (const nth of [1, 2, 3, 4]) {
    await using fake = await FakeS3.start();
    const store = await storeAt(fake);
    plan(fake, { fault: { kind: "status", status: 501, code: "NotImplemented" }, method: "PUT", nth });
    const { found, foundOfParts } = await probeConditions(store);
    assert.deepEqual([found, await foundOfParts], ["", ""], `PUT ${nth}`);
  }
});

test("probeConditions() tells a store that knows no condition", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "status", status: 501, code: "NotImplemented" }, method: "PUT" });
  const { found, foundOfParts } = await probeConditions(await storeAt(fake));
  assert.match(found, /status 501 NotImplemented/);
  assert.match(await foundOfParts, /status 501 NotImplemented/);
});

test("probeConditions() tells what it could not remove, and finds out all the same", async () => {
  await using fake = await FakeS3.start();
  plan(fake, {
    fault: { kind: "status", status: 403, code: "AccessDenied" },
    method: "DELETE",
    on: "object",
  });
  const { found, foundOfParts, leftover } = await probeConditions(await storeAt(fake));
  assert.deepEqual([found, await foundOfParts], ["", ""]);
  assert.match((await leftover)?.message ?? "", /s3:DeleteObject/);
  assert.match(fake.keys().join(), /^db\/condition-probe-[0-9a-f-]{36}$/);
});

test("probeConditions() is not misled by lost answers", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    await using fake = await FakeS3.start({ faults: new FaultSchedule(STORM, seed) });
    const { found, foundOfParts } = await probeConditions(await storeAt(fake), { timeoutMs: 20_000 });
    assert.deepEqual([found, await foundOfParts], ["", ""], `seed ${seed}`);
  }
});

test("probeConditions() throws where nothing can be written", async () => {
  await using fake = await FakeS3.start();
  plan(fake, { fault: { kind: "status", status: 403, code: "AccessDenied" }, method: "PUT" });
  await assert.rejects(probeConditions(await storeAt(fake)), { name: "StorageError", code: "AccessDenied" });
});

test("S3Store.remove() removes 1,000 a request, one without a list", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake);
  const keys = Array.from({ length: 1_001 }, (_, i) => `0000/${i}`);
  for (const key of keys) fake.put(`db/${key}`, OURS);
  fake.put("0000/1", OURS);
  await store.remove(keys);
  assert.deepEqual(methods(fake), ["POST", "DELETE"]);
  assert.match(fake.log[0]?.headers.get("content-md5") ?? "", /^[A-Za-z0-9+/]{22}==$/);
  assert.deepEqual(fake.keys(), ["0000/1"]);
  assert.equal(store.counts.remove, 2);
});

test("S3Store.remove() tells each key that was refused, and removes all others", async () => {
  await using fake = await FakeS3.start();
  const keys = Array.from({ length: 2_500 }, (_, i) => `k${i}`);
  for (const key of keys) fake.put(`db/${key}`, OURS);
  plan(fake, { fault: { kind: "removeErrors", keys: /^db\/k\d*77$/, code: "AccessDenied" } });
  const error = await errorOf((await storeAt(fake)).remove(keys));
  assert.match(
    error.message,
    /^Cannot remove 25 of 2500 objects from .*"k77".*"k177".*"k277".*; and others$/,
  );
  assert.equal(error.retryable, false);
  const refused = keys.filter((key) => /77$/.test(key));
  assert.ok(error.cause instanceof AggregateError);
  assert.deepEqual(error.cause.errors.map(({ key }) => key), refused);
  assert.deepEqual(fake.keys(), refused.map((key) => `db/${key}`).sort());
});

test("S3Store.remove() tries again what may pass, and counts an absent key as removed", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake);
  for (const [code, posts] of [["InternalError", 3], ["SlowDown", 3], ["NoSuchKey", 1]] as const) {
    for (const key of ["a", "b"]) fake.put(`db/${key}`, OURS);
    plan(fake, { fault: { kind: "removeErrors", keys: /a$/, code }, times: 2 });
    fake.log.length = 0;
    await store.remove(["a", "b"]);
    assert.equal(fake.log.length, posts, code);
  }
});

test("S3Store.remove() goes key by key where the service cannot do many, and remembers", async () => {
  for (
    const fault of [
      { kind: "status", status: 501, code: "NotImplemented" },
      { kind: "status", status: 400, code: "NotImplemented" },
      { kind: "status", status: 405, body: "" },
      { kind: "status", status: 400, code: "InvalidArgument" },
    ] as const
  ) {
    await using fake = await FakeS3.start();
    for (const key of ["a", "b", "c"]) fake.put(`db/${key}`, OURS);
    plan(fake, { fault, method: "POST" });
    const store = await storeAt(fake);
    await store.remove(["a", "b"]);
    await store.remove(["c", "none"]);
    // A request whose answer comes before its body has arrived is logged late.
    assert.deepEqual(methods(fake).sort(), ["DELETE", "DELETE", "DELETE", "DELETE", "POST"]);
    assert.deepEqual(fake.keys(), []);
  }
});

test("S3Store.remove() leaves Content-MD5 out where it is told to", async () => {
  await using fake = await FakeS3.start({ requireContentMd5: false });
  for (const key of ["a", "b"]) fake.put(`db/${key}`, OURS);
  await (await storeAt(fake, {}, "&requireContentMD5=false")).remove(["a", "b"]);
  assert.equal(fake.log[0]?.headers.has("content-md5"), false);
  assert.deepEqual(fake.keys(), []);
});

test("S3Store.remove() key by key tells each that was refused", async () => {
  await using fake = await FakeS3.start({ bulkDelete: false });
  for (let i = 0; i < 40; i++) fake.put(`db/k${i}`, OURS);
  plan(fake, { fault: { kind: "status", status: 403, code: "AccessDenied" }, method: "DELETE", key: /7$/ });
  const error = await errorOf((await storeAt(fake)).remove(Array.from({ length: 40 }, (_, i) => `k${i}`)));
  assert.ok(error.cause instanceof AggregateError);
  assert.deepEqual(error.cause.errors.map(({ key }) => key).sort(), ["k17", "k27", "k37", "k7"]);
  assert.deepEqual(fake.keys(), ["db/k17", "db/k27", "db/k37", "db/k7"]);
});

test("S3Store.remove() that is refused as a whole is an error", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake);
  plan(fake, { fault: { kind: "status", status: 403, code: "AccessDenied" }, method: "POST" });
  assert.match((await errorOf(store.remove(["a", "b"]))).message, /s3:DeleteObject/);
  plan(fake, { fault: { kind: "status", status: 200, body: "<ListBucketResult/>" }, method: "POST" });
  assert.equal((await errorOf(store.remove(["a", "b"]))).code, "WrongAnswer");
});

test("no error of a write tells a secret that the server repeats", async () => {
  await using fake = await FakeS3.start();
  const secret = fake.options.secretAccessKey;
  const store = await storeAt(fake);
  const writes = [
    () => store.put("k", OURS),
    () => store.put("k", OURS, { inParts: true }),
    () => store.remove(["a"]),
    () => store.remove(["a", "b"]),
  ];
  for (const [i, write] of writes.entries()) {
    for (const status of i === 1 ? [403, 200] : [403]) {
      const fault: Fault = { kind: "status", status, code: "AccessDenied", message: `you sent ${secret}` };
      plan(fake, { fault, ...(status === 200 ? COMPLETION : {}) });
      const { message } = await errorOf(write());
      assert.ok(!message.includes(secret) && message.includes("[secret]"), message);
    }
  }
});

test("a put of a store with requestsMax 1 waits for no place of its own", async () => {
  await using fake = await FakeS3.start();
  const store = await storeAt(fake, { requestsMax: 1 });
  await Promise.all([store.put("k", BIG), store.put("l", OURS), store.remove(["a", "b"])]);
  await store.read(anyObject("l"), { offset: 0, size: 1_000 });
  assert.equal(Math.max(...fake.log.map(({ concurrency }) => concurrency)), 1);
});

test("S3Store reads back what it has encrypted with a customer's key, and nobody does without that", async () => {
  await using fake = await FakeS3.start();
  const [ours, theirs] = [7, 8].map((byte) => {
    const key = btoa(String.fromCharCode(...new Uint8Array(32).fill(byte)));
    return `&sseCustomerKey=${encodeURIComponent(key)}`;
  });
  const store = await storeAt(fake, {}, ours);
  const large = patternBytes(6 * MiB, 3);
  await store.put("whole", OURS);
  await store.put("parts", large, { inParts: true });
  for (const [key, content] of [["whole", OURS], ["parts", large]] as const) {
    const read = (from: WritableStore) => from.read(anyObject(key), { offset: 0, size: content.length });
    assert.deepEqual((await read(store)).bytes, content);
    for (const parameters of ["", theirs]) {
      const error = await errorOf(read(await storeAt(fake, {}, parameters)));
      assert.match(error.message, /Server Side Encryption/);
      assert.equal(error.retryable, false);
    }
  }
});
