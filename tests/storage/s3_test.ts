import assert from "node:assert/strict";
import { test } from "node:test";
import { ObjectGoneError, StorageError } from "../../src/errors.ts";
import { type Credentials, CredentialsSource } from "../../src/storage/credentials.ts";
import { anyObject, type ListOptions, type ObjectStore } from "../../src/storage/object_store.ts";
import { openStore, type OpenStoreOptions } from "../../src/storage/open_store.ts";
import { parseReplicaUrl, type S3Location } from "../../src/storage/replica_url.ts";
import { S3Store } from "../../src/storage/s3.ts";
import { addressOf } from "../../src/storage/s3_address.ts";
import { ODD_KEYS, patternBytes, testObjectStore } from "../../src/contract/object_store_contract.ts";
import { FakeS3, type FakeS3Options } from "../support/fake_s3.ts";
import { type Fault, FaultSchedule } from "../support/faults.ts";

const TOKEN = "FwoGZXIvYXdzEXAMPLE/+=TOKEN";

function credentialsOf({ options }: FakeS3): Credentials {
  const { accessKeyId, secretAccessKey, sessionToken } = options;
  return { accessKeyId, secretAccessKey, sessionToken };
}

function locate(url: string): S3Location {
  const location = parseReplicaUrl(url);
  assert.equal(location.scheme, "s3");
  return location as S3Location;
}

async function storeAt(
  fake: FakeS3,
  path = "/db",
  options: OpenStoreOptions = {},
  parameters = "",
): Promise<ObjectStore> {
  return await openStore(locate(fake.url(path, parameters)), {
    credentials: credentialsOf(fake),
    ...options,
  });
}

/** A store that tries once, so that each fault is seen as it is. */
function bareStore(fake: FakeS3, url = fake.url("/db")): S3Store {
  return new S3Store(locate(url), { credentials: CredentialsSource.of(credentialsOf(fake)) });
}

async function keysOf(store: ObjectStore, prefix = "", options: ListOptions = {}): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of store.list(prefix, options)) keys.push(...page.map(({ key }) => key));
  return keys;
}

async function errorOf(promise: Promise<unknown>): Promise<StorageError> {
  const error = await promise.then(() => undefined, (error) => error);
  assert.ok(error instanceof StorageError, String(error));
  return error;
}

const contractVariants: {
  name: string;
  options?: Partial<FakeS3Options>;
  parameters?: string;
  path?: string;
}[] = [
  { name: "S3Store" },
  { name: "S3Store with a session token", options: { sessionToken: TOKEN } },
  { name: "S3Store with unsigned payloads", parameters: "&signPayload=false" },
  { name: "S3Store below ./", path: "" },
  { name: "S3Store below /", path: "/" },
];
for (const { name, options, parameters, path } of contractVariants) {
  testObjectStore(name, async () => {
    const fake = await FakeS3.start(options);
    const location = locate(fake.url(path ?? "/a b/db+1", parameters));
    const store = await openStore(location, { credentials: credentialsOf(fake) });
    const prefix = location.prefixes[0];
    return {
      store,
      put: (key, bytes) => Promise.resolve(void fake.put(prefix + key, bytes)),
      remove: (key) => Promise.resolve(fake.remove(prefix + key)),
      close: async () => {
        await store.close();
        await fake.close();
      },
    };
  });
}

test("S3Store serves odd characters virtual-host style too", async () => {
  await using fake = await FakeS3.start({ bucket: "my-bucket", region: "eu-west-1" });
  const location = locate("s3://my-bucket.s3.eu-west-1.amazonaws.com/p");
  const store = await openStore(location, { credentials: credentialsOf(fake), fetch: fake.fetch });
  for (const key of ODD_KEYS) fake.put(`p/${key}`, patternBytes(10));
  assert.deepEqual(await keysOf(store), ODD_KEYS);
  for (const key of ODD_KEYS) await store.read(anyObject(key), { offset: 0, size: 10 });
  assert.equal(fake.log[0]?.headers.get("host"), "my-bucket.s3.eu-west-1.amazonaws.com");
});

test("S3Store sends the headers it must and no others of its own", async () => {
  await using fake = await FakeS3.start({ sessionToken: TOKEN });
  const etag = fake.put("db/k", patternBytes(10));
  const store = await storeAt(fake);
  await store.read({ key: "k", etag, size: 10 }, { offset: 2, size: 3 });
  const headers = fake.log[0]?.headers ?? new Map();
  assert.equal(headers.get("accept-encoding"), "identity");
  assert.equal(headers.get("range"), "bytes=2-4");
  assert.equal(headers.get("if-match"), etag);
  assert.equal(headers.get("x-amz-security-token"), TOKEN);
  assert.equal(headers.get("x-amz-content-sha256")?.length, 64);
  assert.match(
    headers.get("authorization") ?? "",
    /SignedHeaders=host;if-match;x-amz-content-sha256;x-amz-date;/,
  );
});

test("S3Store signs an object's reads once a second, whatever their ranges", async () => {
  let nowMs = Date.parse("2026-11-21T00:00:00.900Z");
  await using fake = await FakeS3.start({ now: () => nowMs });
  fake.put("db/k", patternBytes(100));
  const etag = fake.put("db/l", patternBytes(100));
  const source = CredentialsSource.of(credentialsOf(fake));
  const store = new S3Store(locate(fake.url("/db")), { credentials: source, now: () => nowMs });
  await store.read(anyObject("k"), { offset: 0, size: 1 });
  nowMs += 99;
  const { sign } = crypto.subtle;
  crypto.subtle.sign = () => assert.fail("signed once more");
  try {
    await store.read(anyObject("k"), { offset: 5, size: 2 });
  } finally {
    crypto.subtle.sign = sign;
  }
  nowMs += 1;
  await store.read(anyObject("k"), { offset: 0, size: 1 });
  await store.read(anyObject("l"), { offset: 0, size: 1 });
  await store.read({ key: "l", etag, size: 100 }, { offset: 0, size: 1 });
  source.push({ ...credentialsOf(fake) });
  await keysOf(store);
  assert.deepEqual(fake.log.map(({ status }) => status), [206, 206, 206, 206, 206, 200]);
  assert.deepEqual(fake.log.map(({ range }) => range).slice(0, 2), ["bytes=0-0", "bytes=5-6"]);
  const signatures = fake.log.map(({ headers }) => headers.get("authorization"));
  assert.equal(signatures[1], signatures[0]);
  assert.equal(new Set(signatures).size, 5);
});

test("S3Store signs anew with other credentials within the same second", async () => {
  const nowMs = Date.now();
  await using fake = await FakeS3.start({ now: () => nowMs });
  fake.put("db/k", patternBytes(100));
  const source = CredentialsSource.of({ ...credentialsOf(fake), accessKeyId: "AKIDOTHER" });
  const store = new S3Store(locate(fake.url("/db")), { credentials: source, now: () => nowMs });
  const read = () => store.read(anyObject("k"), { offset: 0, size: 1 });
  assert.equal((await errorOf(read())).code, "InvalidAccessKeyId");
  source.push(credentialsOf(fake));
  await read();
});

test("S3Store with signPayload=false sends UNSIGNED-PAYLOAD", async () => {
  await using fake = await FakeS3.start();
  await keysOf(await storeAt(fake, "/db", {}, "&signPayload=false"));
  assert.equal(fake.log[0]?.headers.get("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
});

test("S3Store sends a customer's key with reads, not with listings", async () => {
  await using fake = await FakeS3.start();
  const key = btoa("0123456789abcdef0123456789abcdef");
  const location = locate(fake.url("/db", `&sseCustomerKey=${encodeURIComponent(key)}`));
  const store = await openStore(location, { credentials: credentialsOf(fake) });
  await store.put("k", patternBytes(10));
  fake.log.length = 0;
  await keysOf(store);
  await store.read(anyObject("k"), { offset: 0, size: 1 });
  const name = "x-amz-server-side-encryption-customer-key";
  assert.deepEqual(fake.log.map(({ headers }) => headers.get(name)), [undefined, key]);
  assert.equal(fake.log[1]?.headers.get(`${name}-md5`)?.length, 24);
});

test("S3Store reads a public bucket without a signature", async () => {
  await using fake = await FakeS3.start({ anonymous: true });
  fake.put("db/k", patternBytes(10));
  const store = await storeAt(fake, "/db", { credentials: "anonymous" });
  assert.deepEqual(await keysOf(store), ["k"]);
  assert.equal(fake.log[0]?.headers.get("authorization"), undefined);
  fake.options.anonymous = false;
  assert.equal((await errorOf(keysOf(store))).code, "AccessDenied");
});

test("S3Store passes fetchInit and skipVerify on to fetch", async () => {
  await using fake = await FakeS3.start();
  const inits: Record<string, unknown>[] = [];
  const fetch = (url: string, init: RequestInit) => {
    inits.push(init as Record<string, unknown>);
    return globalThis.fetch(url, init);
  };
  await keysOf(await storeAt(fake, "/db", { fetch, fetchInit: { ownOption: "mine" } }, "&skipVerify=1"));
  assert.deepEqual(inits[0]?.tls, { rejectUnauthorized: false });
  assert.equal(inits[0]?.ownOption, "mine");
  assert.equal(inits[0]?.redirect, "manual");
});

test("S3Store.list() goes through small pages, with start-after on the first only", async () => {
  await using fake = await FakeS3.start({ pageSize: 3 });
  const keys = Array.from({ length: 10 }, (_, i) => `0000/${i}`);
  for (const key of keys) fake.put(`db/${key}`, patternBytes(1));
  const store = await storeAt(fake);
  assert.deepEqual(await keysOf(store, "0000/"), keys);
  assert.equal(fake.count("LIST"), 4);
  fake.log.length = 0;
  assert.deepEqual(await keysOf(store, "0000/", { after: "0000/5" }), keys.slice(6));
  assert.deepEqual(fake.log.map(({ target }) => target.includes("start-after")), [true, false]);
  assert.equal(store.counts.list, 6);
});

test("S3Store.list() goes on after the last key when a page fails on the way", async () => {
  const rule = { fault: { kind: "status", status: 503, code: "SlowDown" } as Fault, nth: 3 };
  await using fake = await FakeS3.start({ pageSize: 2, faults: new FaultSchedule([rule]) });
  const keys = Array.from({ length: 9 }, (_, i) => `0000/${i}`);
  for (const key of keys) fake.put(`db/${key}`, patternBytes(1));
  const store = await storeAt(fake);
  assert.deepEqual(await keysOf(store, "0000/"), keys);
  assert.equal(store.counts.retries, 1);
  assert.equal(store.counts.list, 6);
});

test("P8: S3Store finds the bucket's region by the redirect's header, without asking for its location", async () => {
  await using fake = await FakeS3.start({ bucket: "my-bucket", region: "ap-southeast-2" });
  fake.put("db/k", patternBytes(10));
  const options = { credentials: credentialsOf(fake), fetch: fake.fetch };
  const store = await openStore(locate("s3://my-bucket/db"), options);
  assert.deepEqual(await keysOf(store), ["k"]);
  await store.read(anyObject("k"), { offset: 0, size: 10 });
  assert.deepEqual(fake.log.map(({ status }) => status), [301, 200, 206]);
  assert.deepEqual(fake.log.map(({ headers }) => headers.get("host")), [
    "my-bucket.s3.us-east-1.amazonaws.com",
    "my-bucket.s3.ap-southeast-2.amazonaws.com",
    "my-bucket.s3.ap-southeast-2.amazonaws.com",
  ]);
  const hinted = await openStore(locate("s3://my-bucket/db"), {
    ...options,
    env: { AWS_REGION: "ap-southeast-2" },
  });
  fake.log.length = 0;
  await keysOf(hinted);
  assert.deepEqual(fake.log.map(({ status }) => status), [200]);
});

test("S3Store signs anew for the region that a custom endpoint names", async () => {
  await using fake = await FakeS3.start({ region: "garage" });
  fake.put("db/k", patternBytes(10));
  const store = await storeAt(fake);
  assert.deepEqual(await keysOf(store), ["k"]);
  assert.deepEqual(fake.log.map(({ status }) => status), [400, 200]);
});

test("S3Store follows a region once, and never a Location", async () => {
  const headers = { "x-amz-bucket-region": "eu-west-1", location: "http://127.0.0.1:1/stolen" };
  const fault: Fault = { kind: "status", status: 301, code: "PermanentRedirect", headers };
  await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault }]) });
  const error = await errorOf(keysOf(bareStore(fake)));
  assert.equal(error.code, "PermanentRedirect");
  assert.equal(error.retryable, false);
  assert.match(error.message, /it is in eu-west-1/);
  assert.equal(fake.log.length, 2);
});

test("S3Store ignores a region that could change the host", async () => {
  const headers = { "x-amz-bucket-region": "evil.example/" };
  const fault: Fault = { kind: "status", status: 301, headers };
  await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault }]) });
  await errorOf(keysOf(bareStore(fake)));
  assert.equal(fake.log.length, 1);
});

test("S3Store asks for new credentials once when they have expired", async () => {
  const fault: Fault = { kind: "status", status: 400, code: "ExpiredToken" };
  await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault, nth: 1 }]) });
  let calls = 0;
  const credentials = () => {
    calls++;
    return credentialsOf(fake);
  };
  const store = await storeAt(fake, "/db", { credentials });
  assert.deepEqual(await keysOf(store), []);
  assert.equal(calls, 2);
});

test("S3Store asks whoever pushes credentials for newer ones, and goes on when they come", async () => {
  await using fake = await FakeS3.start({ sessionToken: "second", expiredTokens: ["first"] });
  let asked = 0;
  const source = CredentialsSource.of({ ...credentialsOf(fake), sessionToken: "first" }, {
    onExpired: () => {
      asked++;
      setTimeout(() => source.push(credentialsOf(fake)), 300);
    },
  });
  const store = await storeAt(fake, "/db", { credentials: source, baseDelayMs: 20 });
  await Promise.all([keysOf(store), keysOf(store), keysOf(store)]);
  assert.equal(asked, 1);
  assert.ok(fake.log.length <= 6, "nothing is sent with keys that are known to have expired");
});

test("S3Store fails at once with pushed keys that the server does not know, and asks for others", async () => {
  await using fake = await FakeS3.start();
  let asked = 0;
  const wrong = { ...credentialsOf(fake), accessKeyId: "AKIDOTHER" };
  const source = CredentialsSource.of(wrong, { onExpired: () => asked++ });
  const store = await storeAt(fake, "/db", { credentials: source });
  assert.equal((await errorOf(keysOf(store))).code, "InvalidAccessKeyId");
  assert.deepEqual([asked, fake.log.length], [1, 1]);
});

test("S3Store meets a bucket that answers 403 for a key that is not there, where LIST works", async () => {
  await using fake = await FakeS3.start({ missingKeyStatus: 403 });
  fake.put("db/k", patternBytes(10));
  const store = await storeAt(fake);
  assert.deepEqual(await keysOf(store), ["k"]);
  await store.read(anyObject("k"), { offset: 0, size: 10 });
  const error = await errorOf(store.read(anyObject("next"), { offset: 0, size: 10 }));
  assert.ok(!(error instanceof ObjectGoneError));
  assert.deepEqual([error.status, error.code, error.retryable], [403, "AccessDenied", false]);
  assert.equal(store.counts.retries, 0);
});

test("S3Store asks a fetch function of the user's for everything, credentials too", async () => {
  await using fake = await FakeS3.start();
  const urls: string[] = [];
  const fetch = (url: string, init: RequestInit) => {
    urls.push(new URL(url).pathname);
    if (!url.includes("/creds")) return globalThis.fetch(url, init);
    const { accessKeyId, secretAccessKey } = fake.options;
    return Promise.resolve(Response.json({ AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey }));
  };
  const env = { AWS_CONTAINER_CREDENTIALS_FULL_URI: "http://127.0.0.1:1/creds" };
  const store = await openStore(locate(fake.url("/db")), { env, fetch });
  await keysOf(store);
  assert.deepEqual(urls, ["/creds", "/bucket/"]);
});

test("S3Store does not send keys with dot segments past a fetch function of the user's", async () => {
  await using fake = await FakeS3.start();
  fake.put("./k", patternBytes(10));
  const fetch = (url: string, init: RequestInit) => globalThis.fetch(url, init);
  const store = await openStore(locate(fake.url()), {
    credentials: credentialsOf(fake),
    prefix: "./",
    fetch,
  });
  assert.deepEqual(await keysOf(store), ["k"]);
  const error = await errorOf(store.read(anyObject("k"), { offset: 0, size: 10 }));
  assert.deepEqual([error.code, error.retryable, fake.count("GET")], ["DotSegments", false, 0]);
});

const endpoints: [url: string, region: string, address: string][] = [
  ["s3://bkt/db", "eu-west-1", "https://bkt.s3.eu-west-1.amazonaws.com"],
  ["s3://bkt/db", "cn-north-1", "https://bkt.s3.cn-north-1.amazonaws.com.cn"],
  ["s3://my.bkt/db", "us-east-1", "https://s3.us-east-1.amazonaws.com/my.bkt"],
  ["s3://Old_Bucket/db", "us-east-1", "https://s3.us-east-1.amazonaws.com/Old_Bucket"],
  ["s3://bkt/db?forcePathStyle=true", "us-east-1", "https://s3.us-east-1.amazonaws.com/bkt"],
  [
    "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/mine/db",
    "eu-west-1",
    "https://mine-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
  ],
  ["s3://bkt.nyc3.digitaloceanspaces.com/db", "nyc3", "https://bkt.nyc3.digitaloceanspaces.com"],
  ["s3://bkt.s3.us-west-002.backblazeb2.com/db", "us-west-002", "https://s3.us-west-002.backblazeb2.com/bkt"],
  ["s3://bkt.s3.filebase.com/db", "us-east-1", "https://s3.filebase.com/bkt"],
  ["s3://bkt.s3.nl-ams.scw.cloud/db", "nl-ams", "https://bkt.s3.nl-ams.scw.cloud"],
  ["s3://bkt/db?endpoint=fly.storage.tigris.dev", "us-east-1", "https://fly.storage.tigris.dev/bkt"],
  [
    "s3://bkt/db?endpoint=fly.storage.tigris.dev&forcePathStyle=0",
    "us-east-1",
    "https://bkt.fly.storage.tigris.dev",
  ],
  [
    "s3://bkt/db?endpoint=fsn1.your-objectstorage.com",
    "us-east-1",
    "https://fsn1.your-objectstorage.com/bkt",
  ],
  [
    "s3://bkt/db?endpoint=acc.r2.cloudflarestorage.com",
    "us-east-1",
    "https://acc.r2.cloudflarestorage.com/bkt",
  ],
  [
    "s3://bkt/db?endpoint=https://p.supabase.co/storage/v1/s3",
    "us-east-1",
    "https://p.supabase.co/storage/v1/s3/bkt",
  ],
  ["s3://bkt/db?endpoint=storage.googleapis.com", "us-east-1", "https://storage.googleapis.com/bkt"],
  ["s3://bkt/db?endpoint=localhost:9000", "us-east-1", "http://localhost:9000/bkt"],
  ["s3://bkt.minio.example:9000/db", "us-east-1", "http://minio.example:9000/bkt"],
];
for (const [url, region, address] of endpoints) {
  test(`S3Store signs for ${url} in ${region}`, async () => {
    const location = locate(url);
    const { origin, base } = addressOf(location, region);
    assert.equal(origin + base, address);
    if (location.region !== "") assert.equal(location.region, region);
    // A key of the service's path is part of what is signed; the server here knows one bucket, first in the path.
    const inPath = base.split("/").slice(0, 2).join("/");
    const bucket = base === "" ? new URL(origin).host.split(".")[0] ?? "" : inPath.slice(1);
    await using fake = await FakeS3.start({ bucket, region: region });
    const store = await openStore(location, {
      credentials: credentialsOf(fake),
      fetch: fake.fetch,
      env: { AWS_REGION: region },
    });
    await errorOf(store.read(anyObject("0000/k"), { offset: 0, size: 1 }));
    assert.equal(fake.log[0]?.status, 404, "signature accepted, no such key");
    assert.equal(
      fake.log[0]?.headers.get("x-tigris-consistent"),
      url.includes("tigris") ? "true" : undefined,
    );
  });
}

/** The error table: what the server does, and what comes of it. */
const faults: [
  name: string,
  fault: Fault,
  on: "list" | "object",
  code: string,
  retryable: boolean,
  words: RegExp,
][] = [
  ["403", { kind: "status", status: 403, code: "AccessDenied" }, "list", "AccessDenied", false, /permission/],
  [
    "403",
    { kind: "status", status: 403, code: "AccessDenied" },
    "object",
    "AccessDenied",
    false,
    /permission/,
  ],
  [
    "404 bucket",
    { kind: "status", status: 404, code: "NoSuchBucket" },
    "object",
    "NoSuchBucket",
    false,
    /existing bucket, not "bucket"/,
  ],
  [
    "416",
    { kind: "status", status: 416, code: "InvalidRange" },
    "object",
    "InvalidRange",
    false,
    /inside the object/,
  ],
  ["429", { kind: "status", status: 429, code: "SlowDown" }, "list", "SlowDown", true, /status 429/],
  [
    "500",
    { kind: "status", status: 500, code: "InternalError" },
    "object",
    "InternalError",
    true,
    /status 500/,
  ],
  [
    "502 in HTML",
    { kind: "status", status: 502, body: "<html><br></html>" },
    "object",
    "",
    true,
    /status 502/,
  ],
  ["503", { kind: "status", status: 503, code: "SlowDown" }, "object", "SlowDown", true, /SlowDown/],
  [
    "501",
    { kind: "status", status: 501, code: "NotImplemented" },
    "list",
    "NotImplemented",
    false,
    /supports/,
  ],
  [
    "400 time-out",
    { kind: "status", status: 400, code: "RequestTimeout" },
    "object",
    "RequestTimeout",
    true,
    /400/,
  ],
  ["403 in HTML", { kind: "status", status: 403, body: "<h1>Forbidden" }, "list", "", false, /status 403/],
  ["404 in HTML", { kind: "status", status: 404, body: "not here" }, "list", "", false, /status 404/],
  ["reset", { kind: "reset" }, "object", "Network", true, /expected an answer/],
  ["reset", { kind: "reset" }, "list", "Network", true, /expected an answer/],
  ["reset in body", { kind: "resetAfterHeaders" }, "object", "Network", true, /expected an answer/],
  ["cut", { kind: "cut", after: 3 }, "object", "Network", true, /expected an answer/],
  ["cut", { kind: "cut", after: 30 }, "list", "Network", true, /expected an answer/],
  [
    "wrong range",
    { kind: "contentRange", value: "bytes 0-9/100" },
    "object",
    "WrongAnswer",
    false,
    /Content-Range/,
  ],
  ["no range", { kind: "contentRange", value: "" }, "object", "WrongAnswer", false, /Content-Range ""/],
  [
    "no size",
    { kind: "contentRange", value: "bytes 10-19/*" },
    "object",
    "WrongAnswer",
    false,
    /Content-Range/,
  ],
  [
    "range ignored",
    { kind: "ignoreRange" },
    "object",
    "WrongAnswer",
    false,
    /answers ranges with status 206/,
  ],
  [
    "lying length",
    { kind: "lyingLength", by: -2 },
    "object",
    "WrongAnswer",
    true,
    /a body of 8 bytes, expected 10/,
  ],
  [
    "lying length",
    { kind: "lyingLength", by: 2 },
    "object",
    "WrongAnswer",
    false,
    /Content-Length 12, expected 10/,
  ],
  ["no length", { kind: "chunked", by: 2 }, "object", "WrongAnswer", false, /more than .* expected 10 bytes/],
  ["no length", { kind: "chunked", by: -2 }, "object", "WrongAnswer", true, /a body of 8 bytes, expected 10/],
  ["gzip", { kind: "gzip" }, "object", "WrongAnswer", false, /Content-Encoding gzip/],
  [
    "no listing",
    { kind: "status", status: 200, body: "<html></html>" },
    "list",
    "WrongAnswer",
    false,
    /no listing/,
  ],
  [
    "half a listing",
    { kind: "status", status: 200, body: "<ListBucket" },
    "list",
    "WrongAnswer",
    false,
    /no listing/,
  ],
];
for (const [name, fault, on, code, retryable, words] of faults) {
  test(`S3Store ${on === "list" ? "listing" : "reading"} meets ${name}: ${code || "no code"}`, async () => {
    await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault }]) });
    const etag = fake.put("db/k", patternBytes(100));
    const store = bareStore(fake);
    const of = { key: "k", etag, size: 100 };
    const work = on === "list" ? keysOf(store) : store.read(of, { offset: 10, size: 10 });
    const error = await errorOf(work);
    assert.ok(!(error instanceof ObjectGoneError), error.message);
    assert.equal(error.code, code);
    assert.equal(error.retryable, retryable);
    assert.match(error.message, words);
    assert.match(
      error.message,
      on === "list" ? /^Cannot list "" in s3:/ : /^Cannot read bytes 10-19 of "k" in s3:/,
    );
  });
}

test("S3Store.read() takes a body without Content-Length", async () => {
  await using fake = await FakeS3.start({
    faults: new FaultSchedule([{ fault: { kind: "chunked", by: 0 } }]),
  });
  fake.put("db/k", patternBytes(100));
  const { bytes } = await bareStore(fake).read(anyObject("k"), { offset: 10, size: 20 });
  assert.deepEqual(bytes, patternBytes(100).slice(10, 30));
});

test("S3Store.read() refuses a body longer than its Content-Length, as an own fetch may give", async () => {
  for (const size of [10, 20_000]) {
    const headers = {
      "content-range": `bytes 0-${size - 1}/50000`,
      "content-length": `${size}`,
      etag: '"e"',
    };
    const body = () => new Blob([new Uint8Array(patternBytes(size + 1))]);
    const fetch = () => Promise.resolve(new Response(body(), { status: 206, headers }));
    const store = new S3Store(locate("s3://bkt/db"), { credentials: "anonymous", fetch });
    const error = await errorOf(store.read(anyObject("k"), { offset: 0, size }));
    assert.deepEqual([error.code, error.retryable], ["WrongAnswer", false]);
    assert.match(error.message, new RegExp(`: more than ${size} bytes of body, expected ${size} bytes$`));
  }
});

test("S3Store.read() does not take the words of a fault for bytes of the object", async () => {
  const rule = { fault: { kind: "status", status: 503, code: "SlowDown" } as Fault, nth: 1 };
  await using fake = await FakeS3.start({ faults: new FaultSchedule([rule]) });
  fake.put("db/k", patternBytes(5000));
  const store = await storeAt(fake, "/db", { baseDelayMs: 1 });
  const shown: Uint8Array[] = [];
  const onProgress = (received: Uint8Array) => void shown.push(received.slice());
  await store.read(anyObject("k"), { offset: 0, size: 5000 }, { onProgress });
  for (const received of shown) assert.deepEqual(received, patternBytes(5000).slice(0, received.length));
  assert.deepEqual([shown.at(-1)?.length, store.counts.retries], [5000, 1]);
});

test("S3Store.read() drops what follows the announced body", async () => {
  const rule = { fault: { kind: "longerBody", by: 5 } as Fault, nth: 1 };
  await using fake = await FakeS3.start({ faults: new FaultSchedule([rule]) });
  fake.put("db/k", patternBytes(100));
  const store = await storeAt(fake);
  for (let i = 0; i < 3; i++) {
    assert.deepEqual((await store.read(anyObject("k"), { offset: 0, size: 10 })).bytes, patternBytes(10));
  }
});

test("S3Store.read() takes status 200 where the whole object was asked for", async () => {
  await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault: { kind: "ignoreRange" } }]) });
  const etag = fake.put("db/k", patternBytes(100));
  const store = bareStore(fake);
  const whole = await store.read({ key: "k", etag, size: 100 }, { offset: 0, size: 100 });
  assert.deepEqual(whole.bytes, patternBytes(100));
  const any = await store.read(anyObject("k"), { offset: 0, size: 1000 });
  assert.equal(any.objectSize, 100);
  assert.equal((await errorOf(store.read(anyObject("k"), { offset: 0, size: 99 }))).code, "WrongAnswer");
});

test("S3Store cancels the body of a server that ignores ranges", async () => {
  await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault: { kind: "ignoreRange" } }]) });
  fake.put("db/big", new Uint8Array(50_000_000));
  fake.options.bytesPerSecond = 10_000_000;
  const startMs = performance.now();
  await errorOf(bareStore(fake).read(anyObject("big"), { offset: 5, size: 5 }));
  assert.ok(performance.now() - startMs < 2000);
});

const gone: [name: string, fault: Fault][] = [
  ["404 NoSuchKey", { kind: "status", status: 404, code: "NoSuchKey" }],
  ["404 in HTML", { kind: "status", status: 404, body: "gone" }],
  ["412", { kind: "status", status: 412, code: "PreconditionFailed" }],
  ["412 without a body", { kind: "status", status: 412, body: "" }],
  ["another ETag", { kind: "headers", headers: { etag: '"other"' } }],
  ["another size", { kind: "contentRange", value: "bytes 10-19/99" }],
];
for (const [name, fault] of gone) {
  test(`S3Store.read() meets ${name}: ObjectGoneError`, async () => {
    await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault }]) });
    const etag = fake.put("db/k", patternBytes(100));
    const error = await errorOf(
      bareStore(fake).read({ key: "k", etag, size: 100 }, { offset: 10, size: 10 }),
    );
    assert.ok(error instanceof ObjectGoneError, error.message);
    assert.equal(error.retryable, false);
  });
}

test("S3Store.read() takes tags that are weak or listed without quotes", async () => {
  const fault: Fault = { kind: "headers", headers: {} };
  await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault }]) });
  const etag = fake.put("db/k", patternBytes(100));
  fault.headers = { etag: `W/${etag}` };
  const of = { key: "k", etag: etag.replaceAll('"', ""), size: 100 };
  await bareStore(fake).read(of, { offset: 0, size: 10 });
  assert.equal(fake.log[0]?.headers.get("if-match"), etag);
});

const refused: [
  name: string,
  change: (fake: FakeS3) => Partial<Credentials> | void,
  code: string,
  words: RegExp,
][] = [
  ["another key id", () => ({ accessKeyId: "AKIDOTHER" }), "InvalidAccessKeyId", /the server knows/],
  [
    "another secret",
    () => ({ secretAccessKey: "sEcReTsEcReT" }),
    "SignatureDoesNotMatch",
    /secret access key that/,
  ],
  ["another token", () => ({ sessionToken: "t0k3n" }), "InvalidToken", /session token that belongs/],
  [
    "another clock",
    (fake) => void (fake.options.now = () => Date.now() + 3_600_000),
    "RequestTimeTooSkewed",
    /the server's says \d{4}-.*Z, ours \d{4}-.*Z/,
  ],
  ["another bucket", (fake) => void (fake.options.bucket = "elsewhere"), "NoSuchBucket", /not "bucket"/],
];
for (const [name, change, code, words] of refused) {
  test(`S3Store with ${name} meets ${code}`, async () => {
    await using fake = await FakeS3.start();
    const url = fake.url("/db");
    const credentials = { ...credentialsOf(fake), ...change(fake) };
    const store = await openStore(locate(url), { credentials });
    for (const work of [() => keysOf(store), () => store.read(anyObject("k"), { offset: 0, size: 1 })]) {
      const error = await errorOf(work());
      assert.equal(error.code, code);
      assert.equal(error.retryable, false);
      assert.match(error.message, words);
    }
  });
}

test("no secret enters a message, even where the server repeats it", async () => {
  const key = btoa("0123456789abcdef0123456789abcdef");
  const fault: Fault = { kind: "status", status: 403, code: "AccessDenied" };
  await using fake = await FakeS3.start({ sessionToken: TOKEN, faults: new FaultSchedule([{ fault }]) });
  fault.message = `You sent ${fake.options.secretAccessKey} and ${TOKEN} and ${key}`;
  const url = fake.url("/db", `&sseCustomerKey=${encodeURIComponent(key)}`);
  const error = await errorOf(keysOf(bareStore(fake, url)));
  assert.match(error.message, /You sent \[secret\] and \[secret\] and \[secret\]/);
  const throwing = (_url: string, init: RequestInit) => {
    throw new TypeError(`Header has an invalid value: ${JSON.stringify([...new Headers(init.headers)])}`);
  };
  const broken = new S3Store(locate(url), {
    credentials: CredentialsSource.of(credentialsOf(fake)),
    fetch: throwing,
  });
  const { message } = await errorOf(keysOf(broken));
  for (const secret of [fake.options.secretAccessKey, TOKEN, key]) {
    assert.ok(!message.includes(secret), message);
  }
});

test("S3Store refuses a listing that is not what was asked for", async () => {
  const listing = (keys: string[], more = "<IsTruncated>false</IsTruncated>") =>
    `<ListBucketResult>${more}${
      keys.map((key) =>
        `<Contents><Key>${key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>e</ETag>` +
        `<Size>1</Size></Contents>`
      ).join("")
    }</ListBucketResult>`;
  const cases: [body: string, words: RegExp][] = [
    [listing(["db/b", "db/a"]), /ascending/],
    [listing(["db/a", "db/a"]), /ascending/],
    [listing(["elsewhere/a"]), /ascending keys that begin/],
    [listing(["db/a"], ""), /no listing/],
    [listing(["db/a"], "<IsTruncated>true</IsTruncated>"), /no listing/],
    [
      listing(["db/a"], "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"),
      /same continuation token/,
    ],
  ];
  const fault: Fault = { kind: "status", status: 200, body: "" };
  await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault }]) });
  for (const [body, words] of cases) {
    fault.body = body;
    assert.match((await errorOf(keysOf(bareStore(fake)))).message, words);
  }
});

test("S3Store refuses a page that begins before the one that came last", async () => {
  for (const [second, wanted] of [["db/b", "a,b,c"], ["db/a", undefined]] as const) {
    const pages = [["db/a", "db/b"], [second, "db/c"]].map((keys, i) => {
      const more = i === 0
        ? "true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
        : "false</IsTruncated>";
      const objects = keys.map((key) =>
        `<Contents><Key>${key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><Size>1</Size></Contents>`
      );
      return `<ListBucketResult><IsTruncated>${more}${objects.join("")}</ListBucketResult>`;
    });
    const store = new S3Store(locate("s3://bucket/db?endpoint=http://127.0.0.1:1"), {
      credentials: CredentialsSource.of({ accessKeyId: "A", secretAccessKey: "S" }),
      fetch: () => Promise.resolve(new Response(pages.shift())),
    });
    if (wanted !== undefined) {
      assert.equal((await keysOf(store)).join(), wanted, "its last key may come again");
    } else {assert.match(
        (await errorOf(keysOf(store))).message,
        /key "db\/a" after "db\/b", expected ascending keys/,
      );}
  }
});

test("S3Store.list() drops keys up to `after` from servers without start-after", async () => {
  const contents = (key: string) =>
    `<Contents><Key>${key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><Size>1</Size></Contents>`;
  const body = `<ListBucketResult><IsTruncated>false</IsTruncated>${contents("db/a")}${contents("db/b")}` +
    "</ListBucketResult>";
  const fault: Fault = { kind: "status", status: 200, body };
  await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault }]) });
  assert.deepEqual(await keysOf(bareStore(fake), "", { after: "a" }), ["b"]);
});

test("S3Store sends at most requestsMax at once, first come first served", async () => {
  await using fake = await FakeS3.start({ latencyMs: 20 });
  for (let i = 0; i < 20; i++) fake.put(`db/${i}`, patternBytes(10));
  const store = await storeAt(fake, "/db", { requestsMax: 4 });
  await Promise.all(
    Array.from({ length: 20 }, (_, i) => store.read(anyObject(`${i}`), { offset: 0, size: 1 })),
  );
  assert.equal(Math.max(...fake.log.map(({ concurrency }) => concurrency)), 4);
  const order = fake.log.map(({ key }) => Number(key.slice(3)));
  for (const [at, i] of order.entries()) assert.ok(Math.abs(at - i) < 4, `${order}`);
});

test("S3Store has 64 requests in flight where nothing is said", async () => {
  await using fake = await FakeS3.start({ latencyMs: 100 });
  fake.put("db/k", patternBytes(10));
  const store = await storeAt(fake);
  await Promise.all(Array.from({ length: 100 }, () => store.read(anyObject("k"), { offset: 0, size: 1 })));
  assert.equal(Math.max(...fake.log.map(({ concurrency }) => concurrency)), 64);
});

test("S3Store.read() is tried again after each passing fault", async () => {
  const passing: Fault[] = [
    { kind: "status", status: 503, code: "SlowDown" },
    { kind: "reset" },
    { kind: "cut", after: 10 },
    { kind: "resetAfterHeaders" },
    { kind: "stall", after: 10 },
    { kind: "silence" },
  ];
  const rules = passing.map((fault, i) => ({ fault, nth: i + 1 }));
  await using fake = await FakeS3.start({ faults: new FaultSchedule(rules) });
  fake.put("db/k", patternBytes(5000));
  const store = await storeAt(fake, "/db", { attemptTimeoutMs: 1_000, baseDelayMs: 1 });
  const { bytes } = await store.read(anyObject("k"), { offset: 0, size: 5000 });
  assert.deepEqual(bytes, patternBytes(5000));
  // One runtime's fetch asks again by itself when a connection it kept is reset, and says nothing of it.
  assert.equal(fake.log.length, 7);
  assert.ok(store.counts.retries === 6 || store.counts.retries === 5);
  assert.equal(store.counts.get, store.counts.retries + 1);
});

test("S3Store.read() of a slow body that goes on is not a stalled one", async () => {
  await using fake = await FakeS3.start({ bytesPerSecond: 16_000 });
  fake.put("db/k", patternBytes(40_000));
  const store = await storeAt(fake, "/db", { attemptTimeoutMs: 1_500 });
  await store.read(anyObject("k"), { offset: 0, size: 40_000 });
  assert.equal(store.counts.retries, 0);
});

test("S3Store survives a server where every fifth request fails somehow", async () => {
  const kinds: Fault[] = [
    { kind: "reset" },
    { kind: "cut", after: 100 },
    { kind: "status", status: 500 },
    { kind: "resetAfterHeaders" },
  ];
  const rules = kinds.map((fault) => ({ fault, probability: 0.05 }));
  await using fake = await FakeS3.start({ faults: new FaultSchedule(rules, 42) });
  fake.put("db/k", patternBytes(60_000));
  const store = await storeAt(fake, "/db", { baseDelayMs: 1 });
  const range = (i: number) => ({ offset: i * 100, size: 200 });
  const results = await Promise.all(
    Array.from({ length: 300 }, (_, i) => store.read(anyObject("k"), range(i))),
  );
  results.forEach(({ bytes }, i) =>
    assert.deepEqual(bytes, patternBytes(60_000).slice(i * 100, i * 100 + 200))
  );
  assert.ok(store.counts.retries > 20);
});

for (
  const [name, fault] of [["headers", { kind: "silence" }], ["body", { kind: "stall", after: 5 }]] as const
) {
  test(`an abort while S3Store waits for the ${name} ends the read at once`, async () => {
    await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault }]) });
    fake.put("db/k", patternBytes(100));
    const store = await storeAt(fake);
    const controller = new AbortController();
    const reason = new Error("enough");
    setTimeout(() => controller.abort(reason), 50);
    const startMs = performance.now();
    const work = store.read(anyObject("k"), { offset: 0, size: 100 }, { signal: controller.signal });
    await assert.rejects(work, reason);
    assert.ok(performance.now() - startMs < 1000);
  });
}

test("close() ends the reads of an S3Store that wait", async () => {
  await using fake = await FakeS3.start({ faults: new FaultSchedule([{ fault: { kind: "silence" } }]) });
  const store = await storeAt(fake, "/db", { requestsMax: 1 });
  const reads = [1, 2, 3].map(() => store.read(anyObject("k"), { offset: 0, size: 100 }));
  const rejected = Promise.all(reads.map((read) => assert.rejects(read, { name: "ReplicaClosedError" })));
  setTimeout(() => store.close(), 30);
  await rejected;
});

test("an unreachable endpoint fails by the deadline, with words", async () => {
  const fake = await FakeS3.start();
  const url = fake.url("/db");
  await fake.close();
  const options = { credentials: credentialsOf(fake), totalTimeoutMs: 300, baseDelayMs: 10 };
  const store = await openStore(locate(url), options);
  await assert.rejects(keysOf(store), (error) => {
    assert.ok(error instanceof Error && error.name === "DeadlineError");
    assert.match(
      error.message,
      /^Cannot list "" in s3:\/\/bucket\/db: no success in \d+ attempts and .* the last failure: /,
    );
    assert.ok(error.cause instanceof StorageError && error.cause.code === "Network");
    return true;
  });
});

test("FakeS3 serves a file by ranges", async () => {
  await using fake = await FakeS3.start();
  const path = new URL(import.meta.url).pathname;
  await fake.putFile("db/file", decodeURIComponent(path));
  const store = await storeAt(fake);
  const { bytes, objectSize } = await store.read(anyObject("file"), { offset: 0, size: 30 });
  assert.equal(new TextDecoder().decode(bytes), 'import assert from "node:asser');
  assert.ok(objectSize > 10_000);
});

test("FakeS3 takes PUT once with If-None-Match, and keeps user metadata", async () => {
  await using fake = await FakeS3.start({ verify: false });
  const put = (headers: Record<string, string>) =>
    fetch(`${fake.endpoint}/bucket/db/k`, { method: "PUT", headers, body: "hello" });
  const first = await put({
    "if-none-match": "*",
    "x-amz-meta-litestream-timestamp": "2026-11-21T02:15:56.242Z",
  });
  assert.equal(first.status, 200);
  assert.equal((await put({ "if-none-match": "*" })).status, 412);
  const head = await fetch(`${fake.endpoint}/bucket/db/k`, { method: "HEAD" });
  assert.equal(head.headers.get("x-amz-meta-litestream-timestamp"), "2026-11-21T02:15:56.242Z");
  assert.equal(head.headers.get("content-length"), "5");
  assert.equal((await fetch(`${fake.endpoint}/bucket/db/k`, { method: "DELETE" })).status, 204);
  assert.deepEqual(fake.keys(), []);
});

test("S3Store does not ask again where a certificate or a permission is refused", async () => {
  const refusals = [
    new TypeError("fetch failed", { cause: new Error("client error (Connect): invalid peer certificate") }),
    Object.assign(new Error("self signed certificate"), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }),
    Object.assign(new Error("Requires net access"), { name: "NotCapable" }),
  ];
  for (const refusal of refusals) {
    const credentials = { accessKeyId: "AKID", secretAccessKey: "a-secret-of-some-length" };
    const store = await openStore(locate("s3://bkt/db"), {
      credentials,
      fetch: () => Promise.reject(refusal),
    });
    const error = await errorOf(keysOf(store));
    assert.deepEqual([error.code, error.retryable, error.cause], ["Network", false, refusal]);
    assert.equal(store.counts.list, 1);
  }
});

test("openStore() refuses a region of the environment that is none, before anything is sent", async () => {
  const location = locate("s3://bucket/db");
  const requests: string[] = [];
  const fetch = (url: string) => {
    requests.push(url);
    return Promise.reject(new Error("nothing is to be sent"));
  };
  const open = (env: Record<string, string>) => openStore(location, { credentials: "anonymous", env, fetch });
  for (
    const [name, env] of [
      ["AWS_REGION", { AWS_REGION: "eu west 1" }],
      ["AWS_DEFAULT_REGION", { AWS_REGION: "", AWS_DEFAULT_REGION: "eu west 1" }],
    ] as [string, Record<string, string>][]
  ) {
    await assert.rejects(open(env), {
      name: "TypeError",
      message: `Cannot use ${name}: "eu west 1", expected a region such as eu-west-1`,
    });
  }
  const store = await open({ AWS_REGION: "eu-west-1\n" });
  await store.close();
  assert.deepEqual(requests, []);
});
