import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { patternBytes } from "../../src/contract/object_store_contract.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl, type S3Location } from "../../src/storage/replica_url.ts";
import { checkSignature, type RawRequest } from "../support/sigv4_check.ts";

const KEYS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
const MiB = 1024 * 1024;

/** A request as it would have been sent. */
interface Sent extends RawRequest {
  readonly origin: string;
}

/** A service that does all that it is asked for, and keeps the requests. */
class Service {
  readonly sent: Sent[] = [];

  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const { host } = new URL(url);
    const [origin = ""] = /^https?:\/\/[^/]+/.exec(url) ?? [];
    const request: Sent = {
      method: init.method ?? "GET",
      origin,
      target: url.slice(origin.length),
      headers: new Map([["host", host], ...new Headers(init.headers)]),
      body: Buffer.from(await new Response(init.body).arrayBuffer()),
    };
    this.sent.push(request);
    return answerOf(request);
  };
}

function answerOf({ method, target, headers, body }: Sent): Response {
  if (/[?&]session/.test(target)) return new Response(SESSION);
  if (target.includes("list-type=2")) {
    return new Response("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>");
  }
  if (target.includes("?uploads")) {
    return new Response(
      "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>",
    );
  }
  if (method === "POST" && target.includes("uploadId")) {
    return new Response('<CompleteMultipartUploadResult><ETag>"e-3"</ETag></CompleteMultipartUploadResult>');
  }
  if (method === "POST") return new Response("<DeleteResult></DeleteResult>");
  if (method === "DELETE") return new Response(null, { status: 204 });
  const etag = `"${createHash("md5").update(body).digest("hex")}"`;
  if (method === "PUT") return new Response("", { headers: { etag } });
  const range = headers.get("range")?.replace("=", " ");
  return new Response(patternBytes(10).slice(2, 5), {
    status: 206,
    headers: { etag, "content-range": `${range}/10` },
  });
}

const SESSION = "<CreateSessionResult><Credentials><AccessKeyId>ASIA</AccessKeyId>" +
  `<SecretAccessKey>${KEYS.secretAccessKey}</SecretAccessKey><SessionToken>session</SessionToken>` +
  "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>";

/** A row of the table of providers, and what its requests must be like. */
interface Row {
  readonly provider: S3Location["provider"];
  readonly url: string;
  readonly origin: string;
  /** What stands before a key; empty where the bucket is in the host's name. */
  readonly base?: string;
  readonly region?: string;
  /** Headers of every request. */
  readonly headers?: Record<string, string>;
  /** How it is checked that what is to be removed is what was sent; `"single"`: each is removed by itself. */
  readonly removal?: "none" | "sha256" | "single";
  /** Parts under way at once. */
  readonly parts?: number;
}

const ROWS: readonly Row[] = [
  {
    provider: "aws",
    url: "s3://bucket.s3.eu-west-1.amazonaws.com/db",
    origin: "https://bucket.s3.eu-west-1.amazonaws.com",
    region: "eu-west-1",
  },
  {
    provider: "aws",
    url: "s3://with.dots/db?region=eu-west-1",
    origin: "https://s3.eu-west-1.amazonaws.com",
    base: "/with.dots",
    region: "eu-west-1",
  },
  {
    provider: "aws",
    url: "s3://bucket/db?region=cn-north-1",
    origin: "https://bucket.s3.cn-north-1.amazonaws.com.cn",
    region: "cn-north-1",
  },
  {
    provider: "aws",
    url: "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/point/db",
    origin: "https://point-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
    region: "eu-west-1",
  },
  {
    provider: "aws",
    url: "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/point/db?region=eu-west-2",
    origin: "https://point-123456789012.s3-accesspoint.eu-west-2.amazonaws.com",
    region: "eu-west-2",
  },
  {
    provider: "aws",
    url: "s3://arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:point/db",
    origin: "https://point-123456789012.s3-accesspoint.cn-north-1.amazonaws.com.cn",
    region: "cn-north-1",
  },
  {
    provider: "express",
    url: "s3://bucket--use1-az4--x-s3/db",
    origin: "https://bucket--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com",
    headers: { "x-amz-s3session-token": "session" },
    removal: "sha256",
  },
  {
    provider: "tigris",
    url: "s3://bucket/db?endpoint=fly.storage.tigris.dev&region=auto",
    origin: "https://fly.storage.tigris.dev",
    base: "/bucket",
    region: "auto",
    headers: { "x-tigris-consistent": "true" },
    removal: "none",
  },
  {
    provider: "tigris",
    url: "s3://bucket/db?endpoint=https://t3.storage.dev&forcePathStyle=false",
    origin: "https://bucket.t3.storage.dev",
    headers: { "x-tigris-consistent": "true" },
    removal: "none",
  },
  {
    provider: "hetzner",
    url: "s3://bucket/db?endpoint=fsn1.your-objectstorage.com&region=fsn1",
    origin: "https://fsn1.your-objectstorage.com",
    base: "/bucket",
    region: "fsn1",
  },
  {
    provider: "digitalocean",
    url: "s3://bucket.nyc3.digitaloceanspaces.com/db",
    origin: "https://bucket.nyc3.digitaloceanspaces.com",
    region: "nyc3",
  },
  {
    provider: "backblaze",
    url: "s3://bucket.s3.us-west-002.backblazeb2.com/db",
    origin: "https://s3.us-west-002.backblazeb2.com",
    base: "/bucket",
    region: "us-west-002",
  },
  {
    provider: "filebase",
    url: "s3://bucket.s3.filebase.com/db",
    origin: "https://s3.filebase.com",
    base: "/bucket",
  },
  {
    provider: "scaleway",
    url: "s3://bucket.s3.fr-par.scw.cloud/db",
    origin: "https://bucket.s3.fr-par.scw.cloud",
    region: "fr-par",
  },
  {
    provider: "r2",
    url: "s3://bucket/db?endpoint=https://0123456789abcdef.r2.cloudflarestorage.com&region=auto",
    origin: "https://0123456789abcdef.r2.cloudflarestorage.com",
    base: "/bucket",
    region: "auto",
    parts: 2,
  },
  {
    provider: "supabase",
    url: "s3://bucket/db?endpoint=https://project.supabase.co/storage/v1/s3&region=eu-west-1",
    origin: "https://project.supabase.co",
    base: "/storage/v1/s3/bucket",
    region: "eu-west-1",
  },
  {
    provider: "google",
    url: "s3://bucket/db?endpoint=https://storage.googleapis.com",
    origin: "https://storage.googleapis.com",
    base: "/bucket",
    removal: "single",
  },
  {
    provider: "minio",
    url: "s3://bucket.localhost:9000/db",
    origin: "http://localhost:9000",
    base: "/bucket",
  },
  {
    provider: "other",
    url: "s3://bucket/db?endpoint=https://s3.example.com&forcePathStyle=false",
    origin: "https://bucket.s3.example.com",
  },
];

/** Host, path, region, headers and signature of a request are those of the row. */
function checkSent(request: Sent, row: Row, path: string): void {
  const { origin, base = "", region = "us-east-1", headers = {} } = row;
  assert.equal(request.origin, origin);
  assert.equal(request.target.replace(/\?.*/, ""), `${base}${path}`);
  for (const [name, value] of Object.entries(headers)) assert.equal(request.headers.get(name), value, name);
  const isSession = request.headers.has("x-amz-s3session-token");
  const facts = {
    accessKeyId: isSession ? "ASIA" : KEYS.accessKeyId,
    secretAccessKey: KEYS.secretAccessKey,
    sessionToken: isSession ? "session" : "",
    ...(row.provider === "express" && { service: "s3express", tokenHeader: "x-amz-s3session-token" }),
    nowMs: Date.now(),
  };
  assert.deepEqual(checkSignature(request, facts), { region });
  // Proxies and Google change what they are told to: it must not be signed, nor must a range.
  assert.equal(request.headers.get("accept-encoding"), "identity");
  const [, signed = ""] = /SignedHeaders=([^,]*)/.exec(request.headers.get("authorization") ?? "") ?? [];
  assert.ok(!/accept-encoding|range/.test(signed), signed);
}

for (const row of ROWS) {
  test(`S3Store signs what it asks of ${row.provider} at ${row.origin}`, async () => {
    const { removal, provider } = row;
    const location = parseReplicaUrl(row.url) as S3Location;
    assert.equal(location.provider, provider);
    const service = new Service();
    const store = await openStore(location, { credentials: KEYS, fetch: service.fetch });
    for await (const _ of store.list("0000/", { after: "0000/a b" }));
    await store.put("0000/k", patternBytes(10), { timestampMs: Date.parse("2026-11-21T02:15:56.24Z") });
    await store.read({ key: "0000/k", etag: "", size: 10 }, { offset: 2, size: 3 });
    await store.remove(["a", "b"]);
    const sent = service.sent.filter(({ target }) => !target.includes("?session"));
    const [list, put, read, ...removals] = sent as [Sent, Sent, Sent, ...Sent[]];

    checkSent(list, row, "/");
    const after = provider === "express" ? "" : "&start-after=db%2F0000%2Fa%20b";
    assert.equal(list.target.split("?")[1], `encoding-type=url&list-type=2&prefix=db%2F0000%2F${after}`);
    checkSent(put, row, "/db/0000/k");
    assert.equal(put.method, "PUT");
    assert.equal(put.headers.get("if-none-match"), "*");
    assert.equal(put.headers.get("x-amz-meta-litestream-timestamp"), "2026-11-21T02:15:56.24Z");
    assert.equal(put.headers.get("content-md5"), undefined);
    checkSent(read, row, "/db/0000/k");
    assert.equal(read.headers.get("range"), "bytes=2-4");

    assert.equal(removals.length, removal === "single" ? 2 : 1);
    if (removal === "single") {
      removals.sort((a, b) => a.target < b.target ? -1 : 1); // They are sent at once.
      for (const [i, key] of ["a", "b"].entries()) {
        assert.equal(removals[i]?.method, "DELETE");
        checkSent(removals[i]!, row, `/db/${key}`);
      }
      return;
    }
    const [many] = removals as [Sent];
    checkSent(many, row, "/");
    assert.equal(many.target.split("?")[1], "delete=");
    const hash = (name: string) => createHash(name).update(many.body).digest("base64");
    assert.equal(many.headers.get("content-md5"), removal === undefined ? hash("md5") : undefined);
    const sha256 = many.headers.get("x-amz-checksum-sha256");
    assert.equal(sha256, removal === "sha256" ? hash("sha256") : undefined);
  });
}

/** 29 MiB and 124 bytes. */
async function* unevenChunks(): AsyncGenerator<Uint8Array> {
  for (const size of [3 * MiB, 9 * MiB, 1, 17 * MiB, 123]) yield await Promise.resolve(patternBytes(size));
}

test("S3Store puts parts of one size, but for the last, and no more at once than a provider takes", async () => {
  for (const row of ROWS.filter(({ provider }) => ["r2", "other"].includes(provider))) {
    const service = new Service();
    const limit = row.parts ?? 5;
    let [begun, underWay, most] = [0, 0, 0];
    const full = Promise.withResolvers<void>();
    const fetch = async (url: string, init: RequestInit) => {
      if (!url.includes("partNumber")) return await service.fetch(url, init);
      most = Math.max(most, ++underWay);
      if (++begun === limit) full.resolve();
      await full.promise;
      const answer = await service.fetch(url, init);
      underWay--;
      return answer;
    };
    const store = await openStore(parseReplicaUrl(row.url), { credentials: KEYS, fetch });
    await store.putChunks("k", unevenChunks);
    const parts = service.sent.filter(({ target }) => target.includes("partNumber"));
    const size = (parts[0] as Sent).body.length;
    assert.ok(size >= 5 * MiB);
    const number = ({ target }: Sent) => Number(/partNumber=(\d+)/.exec(target)?.[1]);
    const sizes = parts.toSorted((a, b) => number(a) - number(b)).map(({ body }) => body.length);
    assert.deepEqual(sizes.slice(0, -1), sizes.slice(0, -1).map(() => size));
    assert.equal(sizes.reduce((sum, each) => sum + each), 29 * MiB + 124);
    assert.ok((sizes.at(-1) as number) <= size);
    assert.equal(most, limit);
    for (const { headers } of parts) assert.equal(headers.get("if-none-match"), undefined);
    assert.equal(service.sent.at(-1)?.headers.get("if-none-match"), "*");
  }
});

const CUSTOMER_KEY = Buffer.alloc(32, 7).toString("base64");
const CUSTOMER_HEADERS = {
  "x-amz-server-side-encryption-customer-algorithm": "AES256",
  "x-amz-server-side-encryption-customer-key": CUSTOMER_KEY,
  "x-amz-server-side-encryption-customer-key-md5": createHash("md5").update(Buffer.alloc(32, 7)).digest(
    "base64",
  ),
};

test("S3Store sends a customer's key with all that reads or writes bytes, and with nothing else", async () => {
  const service = new Service();
  const url = `s3://bucket/db?region=eu-west-1&sseCustomerKey=${encodeURIComponent(CUSTOMER_KEY)}`;
  const store = await openStore(parseReplicaUrl(url), { credentials: KEYS, fetch: service.fetch });
  await store.put("k", patternBytes(10));
  await store.read({ key: "k", etag: "", size: 10 }, { offset: 2, size: 3 });
  await store.put("large", patternBytes(12), { inParts: true });
  for await (const _ of store.list(""));
  await store.remove(["a", "b"]);
  const isWith = ({ method, target }: Sent) =>
    !(method === "POST" && !target.includes("uploads")) && !target.includes("list-type");
  const withKey = service.sent.filter(isWith);
  assert.deepEqual(withKey.map(({ method }) => method), ["PUT", "GET", "POST", "PUT"]);
  for (const request of service.sent) {
    for (const [name, value] of Object.entries(CUSTOMER_HEADERS)) {
      assert.equal(request.headers.get(name), withKey.includes(request) ? value : undefined, request.target);
    }
  }
});

test("S3Store names the key and the class that objects are stored with, where they are made", async () => {
  const service = new Service();
  const url = "s3://bucket/db?region=eu-west-1&sseKmsKeyId=alias/mine&storageClass=STANDARD_IA";
  const store = await openStore(parseReplicaUrl(url), { credentials: KEYS, fetch: service.fetch });
  await store.put("k", patternBytes(10));
  await store.put("large", patternBytes(12), { inParts: true });
  await store.read({ key: "k", etag: "", size: 10 }, { offset: 2, size: 3 });
  const classes = service.sent.map(({ headers }) => headers.get("x-amz-storage-class"));
  assert.deepEqual(classes, ["STANDARD_IA", "STANDARD_IA", undefined, undefined, undefined]);
  const keys = service.sent.map(({ headers }) => headers.get("x-amz-server-side-encryption-aws-kms-key-id"));
  assert.deepEqual(keys, ["alias/mine", "alias/mine", undefined, undefined, undefined]);
});

const REFUSED: readonly [url: string, found: RegExp][] = [
  [`s3://b/db?endpoint=http://example.com&sseCustomerKey=${encodeURIComponent(CUSTOMER_KEY)}`, /without TLS/],
  [`s3://b/db?sseCustomerKey=${encodeURIComponent(CUSTOMER_KEY)}&sseKmsKeyId=k`, /both/],
  ["s3://b/db?sseCustomerKey=c2hvcnQ=", /base64 of 32 bytes/],
  ["s3://arn:aws:s3::123456789012:accesspoint/name.mrap/db", /a multi-region access point/],
  ["s3://arn:aws:s3::123456789012:accesspoint/name/db", /a multi-region access point/],
];
for (const [url, found] of REFUSED) {
  test(`parseReplicaUrl() refuses ${url.replace(/sseCustomerKey=[^&]*/, "sseCustomerKey=…")}`, () => {
    assert.throws(() => parseReplicaUrl(url), (error: Error) => {
      assert.match(error.message, found);
      assert.ok(!error.message.includes(CUSTOMER_KEY), error.message);
      return error instanceof TypeError;
    });
  });
}

test("parseReplicaUrl() takes a customer's key for local hosts without TLS", () => {
  const parameters = `sseCustomerKey=${encodeURIComponent(CUSTOMER_KEY)}`;
  const location = parseReplicaUrl(`s3://b/db?endpoint=http://localhost:9000&${parameters}`) as S3Location;
  assert.equal(location.customerKey?.key, CUSTOMER_KEY);
});
