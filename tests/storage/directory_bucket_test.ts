import assert from "node:assert/strict";
import { test } from "node:test";
import { StorageError } from "../../src/errors.ts";
import { patternBytes, testObjectStore } from "../../src/contract/object_store_contract.ts";
import { testWritableStore } from "../../src/contract/writable_store_contract.ts";
import { regionOfZone, zoneOf } from "../../src/storage/directory_bucket.ts";
import { anyObject, type WritableStore } from "../../src/storage/object_store.ts";
import { openStore, type OpenStoreOptions } from "../../src/storage/open_store.ts";
import { parseReplicaUrl, type S3Location } from "../../src/storage/replica_url.ts";
import { FakeS3, type FakeS3Options } from "../support/fake_s3.ts";

const BUCKET = "replicas--use1-az4--x-s3";
const HOST = `${BUCKET}.s3express-use1-az4.us-east-1.amazonaws.com`;

async function startDirectory(options: Partial<FakeS3Options> = {}): Promise<FakeS3> {
  return await FakeS3.start({ bucket: BUCKET, directory: true, ...options });
}

async function storeIn(fake: FakeS3, options: OpenStoreOptions = {}): Promise<WritableStore> {
  const { accessKeyId, secretAccessKey, sessionToken, now } = fake.options;
  return await openStore(parseReplicaUrl(`s3://${BUCKET}/a b/db`), {
    credentials: { accessKeyId, secretAccessKey, sessionToken },
    fetch: fake.fetch,
    now,
    baseDelayMs: 1,
    maxDelayMs: 5,
    ...options,
  });
}

async function keysOf(store: WritableStore, prefix = "", after?: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of store.list(prefix, after === undefined ? {} : { after })) {
    keys.push(...page.map(({ key }) => key));
  }
  return keys;
}

testObjectStore("a directory bucket", async () => {
  const fake = await startDirectory({ sessionToken: "FwoGZXIvYXdzEXAMPLE/+=TOKEN", pageSize: 700 });
  const store = await storeIn(fake);
  return {
    store,
    put: (key, bytes) => Promise.resolve(void fake.put(`a b/db/${key}`, bytes)),
    remove: (key) => Promise.resolve(fake.remove(`a b/db/${key}`)),
    close: async () => {
      await store.close();
      await fake.close();
    },
  };
});

testWritableStore("a directory bucket", async () => {
  const fake = await startDirectory();
  const [store, other] = [await storeIn(fake), await storeIn(fake)];
  return {
    store,
    other,
    close: async () => {
      await Promise.all([store.close(), other.close()]);
      await fake.close();
    },
  };
});

const ZONES: readonly [bucket: string, zone: string | undefined, region: string][] = [
  ["b--use1-az4--x-s3", "use1-az4", "us-east-1"],
  ["a-b-1--apne1-az4--x-s3", "apne1-az4", "ap-northeast-1"],
  ["b--eun1-az1--x-s3", "eun1-az1", "eu-north-1"],
  ["b--apse2-az2--x-s3", "apse2-az2", "ap-southeast-2"],
  ["b--euc1-az1--x-s3", "euc1-az1", "eu-central-1"],
  ["b--usgw1-az1--x-s3", "usgw1-az1", "us-gov-west-1"],
  ["b--usw2-lax1-az1--x-s3", "usw2-lax1-az1", "us-west-2"],
  ["b--use1-az4", undefined, ""],
  ["b--x-s3", undefined, ""],
];
for (const [bucket, zone, region] of ZONES) {
  test(`zoneOf() and regionOfZone() read ${bucket}`, () => {
    assert.equal(zoneOf(bucket), zone);
    assert.equal(regionOfZone(zone ?? ""), region);
  });
}

const LOCATIONS: readonly [url: string, expected: Partial<S3Location>][] = [
  [`s3://${BUCKET}/db`, {
    bucket: BUCKET,
    region: "us-east-1",
    provider: "express",
    requireContentMd5: false,
  }],
  [`s3://${HOST}/db`, { bucket: BUCKET, region: "us-east-1", provider: "express", pathStyle: false }],
  [`s3://b--new9-az1--x-s3/db?region=new-9`, { region: "new-9", provider: "express" }],
  // Behind an endpoint of one's own it is a name like others.
  [`s3://${BUCKET}/db?endpoint=localhost:9000`, { provider: "minio", pathStyle: true }],
];
for (const [url, expected] of LOCATIONS) {
  test(`parseReplicaUrl() reads ${url}`, () => {
    const location = parseReplicaUrl(url) as S3Location;
    const names = Object.keys(expected) as (keyof S3Location)[];
    assert.deepEqual(Object.fromEntries(names.map((name) => [name, location[name]])), expected);
  });
}

test("S3Store lists a directory bucket's folder, and picks from it what was asked for", async () => {
  await using fake = await startDirectory();
  const store = await storeIn(fake);
  for (const key of ["0000/a", "0000/b", "0000/c", "0001/a", "other"]) {
    fake.put(`a b/db/${key}`, patternBytes(1));
  }
  assert.deepEqual(await keysOf(store, "000"), ["0000/a", "0000/b", "0000/c", "0001/a"]);
  assert.deepEqual(await keysOf(store, "0000/", "0000/a"), ["0000/b", "0000/c"]);
  assert.deepEqual(fake.log.map(({ prefix }) => prefix), ["", "a b/db/", "a b/db/0000/"]);
  assert.deepEqual(store.traits, {
    conditionalPut: true,
    conditionalReplace: true,
    cheapList: false,
    listsInOrder: false,
  });
  assert.equal(fake.log[0]?.headers.get("host"), HOST);
});

test("S3Store begins one session for all requests, and another before that ends", async () => {
  let nowMs = Date.parse("2026-11-21T00:00:00Z");
  await using fake = await startDirectory({ now: () => nowMs });
  fake.put("a b/db/k", patternBytes(10));
  const store = await storeIn(fake);
  const read = () => store.read(anyObject("k"), { offset: 0, size: 10 });
  await Promise.all([read(), read(), keysOf(store)]);
  assert.equal(fake.sessionCount, 1);
  nowMs += 4 * 60_000 + 1_000;
  await read(); // With the older one: the new one is on its way.
  await keysOf(store);
  nowMs += 60_000;
  await read();
  assert.equal(fake.sessionCount, 2);
  assert.ok(fake.log.every(({ status }) => status < 300));
});

test("S3Store begins another session where the server has ended one", async () => {
  await using fake = await startDirectory({ sessionLifeMs: 60_000 });
  const store = await storeIn(fake);
  await store.put("k", patternBytes(10));
  const skewed = Date.now() + 120_000;
  fake.options.now = () => skewed;
  assert.deepEqual(await keysOf(store), ["k"]);
  assert.equal(fake.sessionCount, 2);
});

test("S3Store takes a session's end by the server's clock", async () => {
  for (const aheadMs of [10 * 60_000, -10 * 60_000]) {
    let nowMs = Date.parse("2026-11-21T00:00:00Z");
    await using fake = await startDirectory({ now: () => nowMs });
    fake.put("a b/db/k", patternBytes(10));
    const store = await storeIn(fake, { now: () => nowMs + aheadMs });
    const read = () => store.read(anyObject("k"), { offset: 0, size: 10 });
    await read();
    assert.equal(fake.sessionCount, 1);
    nowMs += 5 * 60_000 + 1_000;
    await read();
    assert.equal(fake.sessionCount, 2);
    assert.ok(fake.log.every(({ status }) => status < 300), "none was sent with a session that had ended");
  }
});

test("S3Store reads where only sessions that read are permitted", async () => {
  await using fake = await startDirectory({ forbiddenModes: ["ReadWrite"] });
  fake.put("a b/db/k", patternBytes(10));
  const store = await storeIn(fake);
  assert.deepEqual(await keysOf(store), ["k"]);
  await assert.rejects(store.put("l", patternBytes(10)), /AccessDenied.*s3:PutObject/);
});

test("S3Store tells why no session can be begun, without a secret", async () => {
  await using fake = await startDirectory({ forbiddenModes: ["ReadWrite", "ReadOnly"] });
  const secretAccessKey = "not-the-secret-that-it-is";
  const { accessKeyId } = fake.options;
  for (
    const [credentials, expected] of [
      [undefined, /Cannot begin a session in s3:.*AccessDenied.*expected permission/],
      [{ accessKeyId, secretAccessKey }, /Cannot begin a session in s3:.*SignatureDoesNotMatch/],
    ] as const
  ) {
    const store = await storeIn(fake, credentials && { credentials });
    const error = await keysOf(store).then(() => undefined, (error) => error);
    assert.ok(error instanceof StorageError && !error.retryable, String(error));
    assert.match(error.message, expected);
    assert.ok(!error.message.includes(secretAccessKey));
  }
});

test("S3Store takes a session that is none for a fault", async () => {
  const answers = ["<html>", "<CreateSessionResult><Credentials></Credentials></CreateSessionResult>"];
  for (const answer of answers) {
    const store = await openStore(parseReplicaUrl(`s3://${BUCKET}/db`), {
      credentials: { accessKeyId: "a", secretAccessKey: "b" },
      fetch: () => Promise.resolve(new Response(answer)),
    });
    await assert.rejects(keysOf(store), /Cannot begin a session: an answer/);
  }
});

test("S3Store removes many from a directory bucket by their SHA-256", async () => {
  await using fake = await startDirectory();
  const store = await storeIn(fake);
  for (const key of ["a", "b"]) fake.put(`a b/db/${key}`, patternBytes(1));
  await store.remove(["a", "b"]);
  const { headers } = fake.log.at(-1)!;
  assert.equal(headers.get("content-md5"), undefined);
  assert.equal(headers.get("x-amz-checksum-sha256")?.length, 44);
  assert.deepEqual(fake.keys(), []);
});
