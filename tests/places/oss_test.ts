import assert from "node:assert/strict";
import { test } from "node:test";
import { ObjectGoneError, StorageError } from "../../src/errors.ts";
import { patternBytes } from "../../src/contract/object_store_contract.ts";
import { testStorage } from "../../src/contract/storage_contract.ts";
import type { BackendContext } from "../../src/storage/backend.ts";
import type { OssLocation } from "../../src/storage/backend_location.ts";
import { probeConditions } from "../../src/storage/condition_probe.ts";
import { CredentialsSource } from "../../src/storage/credentials.ts";
import { anyObject, type WritableStore } from "../../src/storage/object_store.ts";
import { openStore, type OpenStoreOptions } from "../../src/storage/open_store.ts";
import { open } from "../../src/storage/oss/oss_storage.ts";
import { signOss } from "../../src/storage/oss/oss_signature.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { FakeOss, type FakeOssOptions } from "../support/fake_oss.ts";
import { ossPlaces } from "../support/all_places.ts";
import { testPlace } from "../support/place_suite.ts";

const TOKEN = "CAISexample+/token==";

function locate(url: string): OssLocation {
  return parseReplicaUrl(url) as OssLocation;
}

function envOf({ options }: FakeOss): Record<string, string> {
  const { accessKeyId, accessKeySecret, sessionToken } = options;
  return {
    OSS_ACCESS_KEY_ID: accessKeyId,
    OSS_ACCESS_KEY_SECRET: accessKeySecret,
    ...(sessionToken === "" ? {} : { OSS_SESSION_TOKEN: sessionToken }),
  };
}

function contextOf(fake: FakeOss): BackendContext {
  return {
    env: envOf(fake),
    credentials: undefined,
    fetch: undefined,
    fetchInit: undefined,
    now: Date.now,
    log: undefined,
    readFile: () => Promise.reject(new Error("Cannot read: no files here")),
  };
}

async function storeAt(fake: FakeOss, options: OpenStoreOptions = {}): Promise<WritableStore> {
  const quick = { baseDelayMs: 1, maxDelayMs: 5, attemptsMax: 3 };
  return await openStore(locate(fake.url("/db")), { env: envOf(fake), ...quick, ...options });
}

async function keysOf(store: WritableStore, prefix = ""): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of store.list(prefix)) keys.push(...page.map(({ key }) => key));
  return keys;
}

async function errorOf(promise: Promise<unknown>): Promise<StorageError> {
  const error = await promise.then(() => undefined, (error) => error);
  assert.ok(error instanceof StorageError, String(error));
  return error;
}

testStorage("OssStorage", async () => {
  const fake = await FakeOss.start({ sessionToken: TOKEN });
  const location = locate(fake.url("/db"));
  return {
    storage: await open(location, contextOf(fake)),
    other: await open(location, contextOf(fake)),
    close: () => fake.close(),
  };
});

testPlace("OSS (a fake, spoken to by Litestream's own client)", ossPlaces, { writes: true, parts: {} });

/** What `authorizationV4()` of the npm package ali-oss 6.23.0 signs the same requests with. */
const SIGNATURES: readonly {
  title: string;
  method: string;
  resource: string;
  query?: string;
  headers: Record<string, string>;
  token?: string;
  signature: string;
}[] = [
  {
    title: "a listing",
    method: "GET",
    resource: "/replicas/",
    query: "encoding-type=url&list-type=2&max-keys=1000&prefix=a%20b%2Fdb%2B1%2F0000%2F&" +
      "start-after=a%20b%2Fdb%2B1%2F0000%2Fx",
    headers: {},
    signature: "3952b26d5af20ffbb932af7e29f678727bd066abb293ef510a7722e5fdd8d620",
  },
  {
    title: "a read",
    method: "GET",
    resource: "/replicas/db/0000/0000000000000001-0000000000000001.ltx",
    headers: { "x-oss-range-behavior": "standard", "accept-encoding": "identity", range: "bytes=0-99" },
    signature: "f5eedf2a3092f8771c58b9ad3c562eb7e0694e0a69834536bff747e27fd69330",
  },
  {
    title: "a put on condition",
    method: "PUT",
    resource: "/replicas/%C3%A4%20%C3%B6/%E6%97%A5%E6%9C%AC%21%27%28%29%2A~.ltx",
    headers: {
      "content-type": "application/octet-stream",
      "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==",
      "x-oss-forbid-overwrite": "true",
      "x-oss-meta-litestream-timestamp": "2026-11-21T02:15:56.242Z",
    },
    signature: "ee285aebc22667b9df568076180b86585db58c581052c0720b937961deeea2ff",
  },
  {
    title: "the beginning of an upload in parts",
    method: "POST",
    resource: "/replicas/db/k",
    query: "uploads",
    headers: { "content-type": "application/octet-stream" },
    signature: "ac0a5a7bc8935d6ada77977f318f66dd07304c578696f2434741f191d249c782",
  },
  {
    title: "a part, with a session token",
    method: "PUT",
    resource: "/replicas/db/k",
    query: "partNumber=2&uploadId=0004B999EF5A239BB9138C6227D69F95",
    headers: { "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==" },
    token: TOKEN,
    signature: "87eb8bb7039eb473f0c01736009f6a4e7864ca3fbef1e474d88365ba0f522be9",
  },
  {
    title: "a removal of many",
    method: "POST",
    resource: "/replicas/",
    query: "encoding-type=url&delete",
    headers: { "content-type": "application/xml", "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==" },
    signature: "fb24edb7d57be523bb77943ee48d16046bfd7e0555579aeaad81cd31c2951f8a",
  },
];
for (const { title, token, signature, query = "", ...request } of SIGNATURES) {
  test(`signOss() signs ${title} as the service's own client does`, () => {
    const { authorization } = signOss({
      ...request,
      query,
      region: "cn-hangzhou",
      credentials: {
        accessKeyId: "LTAIexampleKeyId",
        secretAccessKey: "exampleSecret0123456789abcdef",
        sessionToken: token,
      },
      nowMs: Date.parse("2026-11-21T02:15:56.900Z"),
    });
    const scope = "20261121/cn-hangzhou/oss/aliyun_v4_request";
    assert.equal(
      authorization,
      `OSS4-HMAC-SHA256 Credential=LTAIexampleKeyId/${scope},Signature=${signature}`,
    );
  });
}

test("OssStorage speaks to a bucket's own host, but to an address with the bucket in the path", async () => {
  const hosts: string[] = [];
  for (const url of ["oss://my-bucket/db", "oss://b.oss-eu-central-1-internal.aliyuncs.com/db"]) {
    const fetch = (url: string) => {
      hosts.push(url.replace(/\?.*/, ""));
      return Promise.resolve(
        new Response("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
      );
    };
    const store = await openStore(locate(url), {
      credentials: { accessKeyId: "a", secretAccessKey: "b" },
      fetch,
    });
    await keysOf(store);
  }
  assert.deepEqual(hosts, [
    "https://my-bucket.oss-cn-hangzhou.aliyuncs.com/",
    "https://b.oss-eu-central-1-internal.aliyuncs.com/",
  ]);
  await using fake = await FakeOss.start();
  await keysOf(await storeAt(fake));
  assert.match(fake.log[0]!.target, /^\/replicas\/\?/);
});

test("OssStorage keeps an object's time as Litestream does, and asks for standard ranges", async () => {
  await using fake = await FakeOss.start();
  const store = await storeAt(fake);
  const timestampMs = Date.parse("2026-11-21T02:15:56.240Z");
  const object = await store.put("0000/k", patternBytes(100), { timestampMs });
  assert.equal(
    fake.objects.get("db/0000/k")?.headers["x-oss-meta-litestream-timestamp"],
    "2026-11-21T02:15:56.24Z",
  );
  assert.deepEqual(
    (await store.read(object, { offset: 10, size: 5 })).bytes,
    patternBytes(100).slice(10, 15),
  );
  const { headers } = fake.log.at(-1)!;
  assert.equal(headers["x-oss-range-behavior"], "standard");
  assert.equal(headers["if-match"], fake.objects.get("db/0000/k")?.etag);
});

test("OssStorage reads a public bucket unsigned", async () => {
  await using fake = await FakeOss.start({ anonymous: true });
  fake.put("db/k", patternBytes(10));
  const store = await storeAt(fake, { credentials: "anonymous" });
  await store.read(anyObject("k"), { offset: 0, size: 10 });
  assert.equal(fake.log[0]?.headers.authorization, undefined);
});

const SIGN_INS: readonly { title: string; env: (fake: FakeOss) => Record<string, string> }[] = [
  { title: "OSS_ACCESS_KEY_ID", env: envOf },
  {
    title: "ALIBABA_CLOUD_ACCESS_KEY_ID",
    env: ({ options }) => ({
      ALIBABA_CLOUD_ACCESS_KEY_ID: options.accessKeyId,
      ALIBABA_CLOUD_ACCESS_KEY_SECRET: options.accessKeySecret,
      ALIBABA_CLOUD_SECURITY_TOKEN: options.sessionToken,
    }),
  },
];
for (const { title, env } of SIGN_INS) {
  test(`OssStorage signs in by ${title} and its like`, async () => {
    await using fake = await FakeOss.start({ sessionToken: TOKEN });
    fake.put("db/k", patternBytes(10));
    assert.deepEqual(await keysOf(await storeAt(fake, { env: env(fake) })), ["k"]);
  });
}

test("OssStorage signs with the newest credentials of a source", async () => {
  await using fake = await FakeOss.start({ sessionToken: "first" });
  const { accessKeyId, accessKeySecret: secretAccessKey } = fake.options;
  const source = CredentialsSource.of({ accessKeyId, secretAccessKey, sessionToken: "first" });
  const store = await storeAt(fake, { credentials: source });
  await keysOf(store);
  fake.options.sessionToken = "second";
  source.push({ accessKeyId, secretAccessKey, sessionToken: "second" });
  await keysOf(store);
  assert.deepEqual(fake.log.map(({ headers }) => headers["x-oss-security-token"]), ["first", "second"]);
});

/** A `fetch` before which the machine's metadata service stands; `asked` are its paths. */
function withMetadata(
  answer: (path: string, init: RequestInit) => Response,
): { asked: string[]; fetch: (url: string, init: RequestInit) => Promise<Response> } {
  const asked: string[] = [];
  return {
    asked,
    fetch: (url, init) => {
      const { host, pathname } = new URL(url);
      if (host !== "100.100.100.200") return fetch(url, init);
      asked.push(`${init.method ?? "GET"} ${pathname}`);
      return Promise.resolve(answer(pathname, init));
    },
  };
}

test("OssStorage signs in by the instance's role, and anew when the server says so", async () => {
  await using fake = await FakeOss.start({ sessionToken: "token-number-1" });
  fake.put("db/k", patternBytes(10));
  let given = 0;
  const metadata = withMetadata((path, init) => {
    if (path.endsWith("/api/token")) return new Response("metadata-token");
    if (new Headers(init.headers).get("x-aliyun-ecs-metadata-token") !== "metadata-token") {
      return new Response("", { status: 403 });
    }
    if (path.endsWith("/security-credentials/")) return new Response("my-role");
    return Response.json({
      Code: "Success",
      AccessKeyId: fake.options.accessKeyId,
      AccessKeySecret: fake.options.accessKeySecret,
      SecurityToken: `token-number-${++given}`,
      Expiration: new Date(Date.now() + 3_600_000).toISOString(),
    });
  });
  const store = await storeAt(fake, { env: {}, fetch: metadata.fetch });
  assert.deepEqual(await keysOf(store), ["k"]);
  assert.deepEqual(metadata.asked, [
    "PUT /latest/api/token",
    "GET /latest/meta-data/ram/security-credentials/",
    "GET /latest/meta-data/ram/security-credentials/my-role",
  ]);
  fake.options.sessionToken = "token-number-2";
  assert.deepEqual(await keysOf(store), ["k"]);
  assert.equal(given, 2);
});

test("OssStorage without credentials says where it has looked", async () => {
  await using fake = await FakeOss.start();
  const metadata = withMetadata(() => new Response("", { status: 404 }));
  const env = { OSS_ACCESS_KEY_ID: "only this" };
  const error = await errorOf(keysOf(await storeAt(fake, { env, fetch: metadata.fetch })));
  assert.equal(error.retryable, false);
  assert.match(error.message, /OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET \(only the first is set\)/);
  assert.match(error.message, /ALIBABA_CLOUD_ACCESS_KEY_ID .* \(not set\)/);
  assert.match(error.message, /the instance has no role/);
  assert.equal(fake.log.length, 0);
  const disabled = { ALIBABA_CLOUD_ECS_METADATA_DISABLED: "true" };
  const other = await errorOf(keysOf(await storeAt(fake, { env: disabled })));
  assert.match(other.message, /ALIBABA_CLOUD_ECS_METADATA_DISABLED is set/);
});

const FAULTS: readonly {
  title: string;
  options?: Partial<FakeOssOptions>;
  expected: RegExp;
}[] = [
  {
    title: "another secret",
    options: { accessKeySecret: "another" },
    expected: /SignatureDoesNotMatch.*the secret/,
  },
  {
    title: "an unknown key",
    options: { accessKeyId: "another" },
    expected: /InvalidAccessKeyId.*that the server knows/,
  },
  { title: "no such bucket", options: { bucket: "another" }, expected: /NoSuchBucket.*not "replicas"/ },
  {
    title: "an expired token",
    options: { sessionToken: "newer" },
    expected: /SecurityTokenExpired.*not expired/,
  },
];
for (const { title, options, expected } of FAULTS) {
  test(`OssStorage tells ${title} at once, without a secret`, async () => {
    await using fake = await FakeOss.start({ sessionToken: TOKEN });
    const { accessKeyId, accessKeySecret } = fake.options;
    const credentials = { accessKeyId, secretAccessKey: accessKeySecret, sessionToken: TOKEN };
    const store = await storeAt(fake, { credentials });
    Object.assign(fake.options, options);
    for (const act of [keysOf(store), store.read(anyObject("k"), { offset: 0, size: 1 })]) {
      const error = await errorOf(act);
      assert.equal(error.retryable, false, error.message);
      assert.match(error.message, expected);
      assert.ok(!error.message.includes(accessKeySecret) && !error.message.includes(TOKEN), error.message);
    }
    assert.equal(fake.log.length, 2);
  });
}

test("OssStorage takes secrets out of what a server repeats", async () => {
  const secretAccessKey = "a secret of some length".replaceAll(" ", "-");
  const body =
    `<Error><Code>AccessDenied</Code><Message>You sent ${secretAccessKey} and ${TOKEN}</Message></Error>`;
  const store = await openStore(locate("oss://b/db"), {
    credentials: { accessKeyId: "a", secretAccessKey, sessionToken: TOKEN },
    fetch: () => Promise.resolve(new Response(body, { status: 403 })),
  });
  const { message } = await errorOf(keysOf(store));
  assert.match(message, /You sent \[secret\] and \[secret\]\), expected permission there/);
});

const ANSWERS: readonly {
  title: string;
  status: number;
  body?: string;
  attempts: number;
  expected: RegExp;
}[] = [
  { title: "is tried again after 500", status: 500, attempts: 3, expected: /status 500/ },
  { title: "is tried again after 503", status: 503, attempts: 3, expected: /status 503/ },
  { title: "is tried again after 429", status: 429, attempts: 3, expected: /status 429/ },
  {
    title: "names the region where the bucket is not",
    status: 403,
    body:
      "<Error><Code>AccessDenied</Code><Message>The bucket you are attempting to access must be addressed " +
      "using the specified endpoint.</Message></Error>",
    attempts: 1,
    expected: /expected the bucket's own region, not cn-hangzhou/,
  },
  {
    title: "refuses a page that is no listing",
    status: 200,
    body: "<html></html>",
    attempts: 1,
    expected: /no listing/,
  },
];
for (const { title, status, body = "", attempts, expected } of ANSWERS) {
  test(`OssStorage ${title}`, async () => {
    let count = 0;
    const store = await openStore(locate("oss://b/db"), {
      credentials: { accessKeyId: "a", secretAccessKey: "b" },
      fetch: () => Promise.resolve(new Response(body, { status, headers: { "x-count": String(++count) } })),
      baseDelayMs: 1,
      maxDelayMs: 2,
    });
    const listing = async () => {
      for await (const _ of store.list("", { attemptsMax: 3 }));
    };
    assert.match((await errorOf(listing())).message, expected);
    assert.equal(count, attempts);
  });
}

/** Answers to a read of bytes 10 to 14 of an object of 100 bytes that was listed with ETag `E`. */
const READS: readonly { title: string; answer: () => Response; attempts: number; expected: RegExp }[] = [
  {
    title: "a cut body",
    answer: () => partOf("abc", { "content-range": "bytes 10-14/100" }),
    attempts: 3,
    expected: /a body of 3 bytes/,
  },
  {
    title: "an ignored range",
    answer: () => new Response("a".repeat(100), { headers: { etag: '"E"' } }),
    attempts: 1,
    expected: /status 200 without a range/,
  },
  {
    title: "another range",
    answer: () => partOf("abcde", { "content-range": "bytes 0-4/100" }),
    attempts: 1,
    expected: /Content-Range "bytes 0-4\/100"/,
  },
  {
    title: "another object",
    answer: () => partOf("abcde", { "content-range": "bytes 10-14/100", etag: '"F"' }),
    attempts: 1,
    expected: /ETag F, expected the listed object/,
  },
  { title: "416", answer: () => new Response("", { status: 416 }), attempts: 1, expected: /a range inside/ },
  { title: "412", answer: () => new Response("", { status: 412 }), attempts: 1, expected: /there is none/ },
  { title: "404", answer: () => new Response("", { status: 404 }), attempts: 1, expected: /there is none/ },
  {
    title: "404 of the bucket",
    answer: () => new Response("<Error><Code>NoSuchBucket</Code></Error>", { status: 404 }),
    attempts: 1,
    expected: /an existing bucket, not "b"/,
  },
];
for (const { title, answer, attempts, expected } of READS) {
  test(`OssStorage.read() takes ${title} for what it is`, async () => {
    let count = 0;
    const store = await openStore(locate("oss://b/db"), {
      credentials: { accessKeyId: "a", secretAccessKey: "b" },
      fetch: () => {
        count++;
        return Promise.resolve(answer());
      },
      baseDelayMs: 1,
      maxDelayMs: 2,
    });
    const of = { key: "k", etag: "E", size: 100 };
    const error = await errorOf(store.read(of, { offset: 10, size: 5 }, { attemptsMax: 3 }));
    assert.match(error.message, expected);
    assert.equal(error instanceof ObjectGoneError, /there is none|listed object/.test(expected.source));
    assert.equal(count, attempts);
  });
}

function partOf(body: string, headers: Record<string, string>): Response {
  return new Response(body, { status: 206, headers: { etag: '"E"', ...headers } });
}

test("OssStorage tells which objects were not removed", async () => {
  await using fake = await FakeOss.start({ unremovable: /k2$/ });
  const store = await storeAt(fake);
  for (const key of ["k1", "k2", "k3"]) fake.put(`db/${key}`, patternBytes(10));
  const error = await errorOf(store.remove(["k1", "k2", "k3"], { attemptsMax: 1 }));
  assert.match(error.message, /Cannot remove 1 of 3 objects .* "db\/k2"/);
  assert.deepEqual(await keysOf(store), ["k2"]);
});

test("probeConditions() finds out that a bucket with versions overwrites", async () => {
  await using fake = await FakeOss.start({ versions: true });
  const probe = await probeConditions(await storeAt(fake));
  assert.match(probe.found, /overwrites/);
  await probe.leftover;
});
