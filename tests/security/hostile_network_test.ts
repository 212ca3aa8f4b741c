/** Somebody else answers, or redirects: what is told to whom, and how much is listened to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica, ReplicaError, StorageError } from "../../mod.ts";
import { askService } from "../../src/storage/credentials_service.ts";
import type { FetchFunction } from "../../src/storage/fetch_function.ts";
import { open as openHttp } from "../../src/storage/http/http_storage.ts";
import type { HttpLocation } from "../../src/storage/backend_location.ts";
import { parseReplicaUrl, type S3Location } from "../../src/storage/replica_url.ts";
import { S3Store } from "../../src/storage/s3.ts";
import { CredentialsSource } from "../../src/storage/credentials.ts";
import { isInnerHost, isLocalHost } from "../../src/storage/url_parts.ts";
import { contextOf, requestOf } from "../support/backend_context.ts";
import { HostileServer } from "./hostile_server.ts";

const KEYS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "d0JhbHJYVXRuRkVNSS9LN01ERU5H" };

async function rejectionOf(promise: Promise<unknown>): Promise<Error> {
  return await promise.then(() => assert.fail("it was fulfilled"), (error) => error);
}

/** Replicas whose server is at a host, and whether another origin is asked where that redirects. */
const places: [name: string, url: (host: string) => string, asksElsewhere: boolean][] = [
  ["s3", (host) => `s3://bucket/db?endpoint=http://${host}`, false],
  ["gs", (host) => `gs://bucket/db?endpoint=http://${host}`, false],
  ["abs", (host) => `abs://account@container/db?endpoint=http://${host}/account`, false],
  ["oss", (host) => `oss://bucket/db?endpoint=http://${host}&region=cn-hangzhou`, false],
  ["webdav", (host) => `webdav://user:password@${host}/db`, false],
  ["http", (host) => `http://user:password@${host}/db`, true],
];

for (const [name, urlAt, asksElsewhere] of places) {
  for (const status of [301, 302, 307, 308]) {
    test(`${name}: status ${status} to another origin takes no credentials there`, async () => {
      await using other = await HostileServer.start(() => ({ status: 404 }));
      await using server = await HostileServer.start(({ url }) => ({
        status,
        headers: { location: `${other.origin}${url.pathname}${url.search}` },
      }));
      const error = await rejectionOf(openReplica(urlAt(server.host), {
        ...(name === "http" || name === "webdav" ? {} : { credentials: KEYS }),
        openTimeoutMs: 10_000,
        requestTimeoutMs: 1_000,
        log: () => {},
      }));
      assert.ok(error instanceof ReplicaError, String(error));
      assert.ok(server.asked.length > 0, "it was asked");
      assert.equal(other.asked.length > 0, asksElsewhere, JSON.stringify(other.asked));
      for (const { headers, url } of other.asked) {
        assert.equal(headers.authorization, undefined);
        assert.doesNotMatch(JSON.stringify(headers) + url.href, /password|AKIDEXAMPLE|x-amz|sig=/i);
      }
    });
  }
}

test("a redirect from outside leads to no host of the inner network, however it is spelled", async () => {
  const inner = [
    "169.254.169.254",
    "127.0.0.1",
    "2130706433",
    "0x7f.1",
    "0.0.0.0",
    "10.1.2.3",
    "192.168.0.1",
    "172.31.255.1",
    "localhost",
    "db.localhost",
    "printer.local",
    "[::1]",
    "[::]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[::ffff:169.254.169.254]",
  ];
  for (const host of inner) {
    for (const from of ["https://cdn.example/r", "http://cdn.example/r"]) {
      const asked: string[] = [];
      const fetch: FetchFunction = (url) => {
        asked.push(new URL(url).hostname);
        const location = `${from.split(":")[0]}://${host}/latest/meta-data/`;
        return Promise.resolve(new Response(null, { status: 302, headers: { location } }));
      };
      const storage = await openHttp(parseReplicaUrl(from) as HttpLocation, contextOf({ fetch }));
      const reading = storage.read("ltx/0/x", { offset: 0, size: 10 }, requestOf());
      assert.ok(await rejectionOf(Promise.resolve(reading)) instanceof StorageError);
      assert.deepEqual(asked, ["cdn.example"], host);
    }
  }
  assert.equal(isInnerHost("cdn.example"), false);
  assert.equal(isInnerHost("[2001:db8::1]"), false);
});

test("a host of the wide world is not taken for a local one by how its name begins", () => {
  for (const name of ["10.evil.example", "192.168.evil.example", "172.16.example", "127.0.0.1.example"]) {
    assert.equal(isLocalHost(name), false, name);
    assert.equal(isInnerHost(name), false, name);
  }
  for (const name of ["10.0.0.1", "192.168.1.2", "172.16.0.9", "127.0.0.1", "[::1]", "localhost"]) {
    assert.equal(isLocalHost(name), true, name);
  }
  const key = btoa("0123456789abcdef0123456789abcdef");
  const url = `s3://bucket/db?endpoint=http://10.evil.example&sseCustomerKey=${encodeURIComponent(key)}`;
  assert.throws(() => parseReplicaUrl(url), /an endpoint without TLS/);
  const { endpoint } = parseReplicaUrl("s3://bucket/db?endpoint=10.evil.example") as S3Location;
  assert.equal(endpoint, "https://10.evil.example");
});

test("a region that a server names makes no other host of Amazon's", async () => {
  for (
    const region of ["evil.example/", "x.evil.example#", "@evil.example", "a.b", "eu-west-1:443@evil.example"]
  ) {
    const hosts = new Set<string>();
    const fetch: FetchFunction = (url, init) => {
      hosts.add(new URL(url).hostname);
      const { authorization } = Object.fromEntries(new Headers(init.headers));
      assert.ok(authorization);
      const headers = { "x-amz-bucket-region": region };
      const body = `<Error><Code>AuthorizationHeaderMalformed</Code><Region>${region}</Region></Error>`;
      return Promise.resolve(new Response(body, { status: 400, headers }));
    };
    const credentials = new CredentialsSource(() => Promise.resolve(KEYS));
    const store = new S3Store(parseReplicaUrl("s3://bucket/db") as S3Location, { credentials, fetch });
    const reading = store.read({ key: "x", etag: "", size: 0 }, { offset: 0, size: 1 });
    assert.ok(await rejectionOf(reading) instanceof StorageError);
    assert.deepEqual([...hosts], ["bucket.s3.us-east-1.amazonaws.com"], region);
  }
});

test("a service that gives credentials is listened to as long as it has something to say", async () => {
  let sent = 0;
  const endless = () =>
    new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 65_536;
        controller.enqueue(new Uint8Array(65_536).fill(0x20));
      },
    });
  const fetch: FetchFunction = () => Promise.resolve(new Response(endless()));
  const asking = askService({ env: {}, fetch }, { url: "https://sts.example/", what: "get keys", init: {} });
  const error = await rejectionOf(asking);
  assert.ok(error instanceof StorageError, String(error));
  assert.match(String(error.cause), /more than 262144 bytes of answer/);
  assert.ok(sent < 1024 * 1024, `${sent} bytes were taken`);
});
