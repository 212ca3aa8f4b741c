import assert from "node:assert/strict";
import type { OssLocation } from "../../src/storage/backend_location.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { test } from "node:test";

test("parseReplicaUrl() reads abs:// as Litestream does", () => {
  assert.deepEqual(
    parseReplicaUrl("abs://account@container/a//b/../c%20d?endpoint=127.0.0.1:10000/account/"),
    {
      scheme: "abs",
      name: "abs://account@container/a/c d",
      layout: "folder",
      prefixes: ["a/c d/"],
      parameters: { endpoint: "127.0.0.1:10000/account/" },
      account: "account",
      container: "container",
      endpoint: "http://127.0.0.1:10000/account",
    },
  );
  const root = parseReplicaUrl("abs://container");
  assert.deepEqual(root, {
    scheme: "abs",
    name: "abs://container/",
    layout: "folder",
    prefixes: [""],
    parameters: {},
    account: "",
    container: "container",
    endpoint: "",
  });
  for (
    const [url, words] of [
      ["abs:///path", /no bucket, expected one before the path/],
      ["abs://account@/path", /no bucket/],
      ["abs://a_b/path", /bucket "a_b"/],
      ["abs://account:secret@container/path", /a password before the container/],
      ["abs://a@b@c/path", /no bucket/],
    ] as const
  ) {
    assert.throws(() => parseReplicaUrl(url), (error) => {
      assert.ok(error instanceof TypeError);
      assert.match(error.message, words);
      return true;
    });
  }
});

test("parseReplicaUrl() of gs:// gives bucket, prefix and endpoint", () => {
  const location = {
    scheme: "gs",
    name: "gs://my-bucket.example.com/a/b c",
    layout: "folder",
    prefixes: ["a/b c/"],
    bucket: "my-bucket.example.com",
    endpoint: "",
    parameters: {},
  };
  assert.deepEqual(parseReplicaUrl("gs://my-bucket.example.com/a//x/../b%20c/"), location);
  const parameters = { endpoint: "localhost:4443", credentialsFile: "/keys/a+b.json" };
  assert.deepEqual(
    parseReplicaUrl(
      "gs://my-bucket.example.com/a/b%20c?endpoint=localhost:4443&credentialsFile=/keys/a+b.json",
    ),
    { ...location, endpoint: "http://localhost:4443", parameters },
  );
  for (const root of ["gs://bucket", "gs://bucket/"]) assert.deepEqual(parseReplicaUrl(root).prefixes, [""]);
  for (
    const [url, found] of [["gs:///a", "no bucket"], ["gs://a@b/c", "user information before the bucket"], [
      "gs://b/%",
      "a percent sign",
    ]]
  ) {
    assert.throws(
      () => parseReplicaUrl(url!),
      (error) => error instanceof TypeError && error.message.includes(found!),
    );
  }
});

test("parseReplicaUrl() reads webdav:// and webdavs:// as Litestream does", () => {
  const location = {
    scheme: "webdav",
    name: "webdavs://h.example:8443/a/c d",
    layout: "folder",
    prefixes: [""],
    parameters: {},
    user: "me@home",
    password: "p@ss/:word",
    origin: "https://h.example:8443",
    path: "/a/c d",
  };
  assert.deepEqual(
    parseReplicaUrl("webdavs://me%40home:p%40ss%2F:word@h.example:8443/a//b/../c%20d/"),
    location,
  );
  const plain = parseReplicaUrl("webdav://h.example");
  assert.deepEqual(plain, {
    ...location,
    name: "webdav://h.example/",
    user: "",
    password: "",
    origin: "http://h.example",
    path: "",
  });
  for (const [url, found] of [["webdav:///a", "no host"], ["webdav://u:hush@h:x/a", 'host "h:x"']] as const) {
    assert.throws(() => parseReplicaUrl(url), (error) => {
      assert.ok(error instanceof TypeError);
      assert.ok(error.message.includes(found), error.message);
      return !error.message.includes("hush");
    });
  }
});

test("parseReplicaUrl() keeps path and query of http:// and https:// as they are", () => {
  const location = {
    scheme: "http",
    name: "https://h.example/a/b%20c",
    layout: "folder",
    prefixes: [""],
    parameters: { sig: "a+b/c=", v: "1" },
    user: "me",
    password: "p@ss",
    origin: "https://h.example",
    path: "/a/b%20c",
    query: "sig=a+b/c=&v=1",
  };
  assert.deepEqual(parseReplicaUrl("https://me:p%40ss@h.example/a/b%20c/?sig=a+b/c=&v=1#x"), location);
  const plain = parseReplicaUrl("http://127.0.0.1:8000");
  assert.deepEqual(plain, {
    ...location,
    name: "http://127.0.0.1:8000",
    parameters: {},
    user: "",
    password: "",
    origin: "http://127.0.0.1:8000",
    path: "",
    query: "",
  });
  assert.throws(() => parseReplicaUrl("https:///a?sig=hush"), (error) => {
    assert.ok(error instanceof TypeError);
    assert.match(error.message, /"https:\/\/\/a": no host/);
    return !error.message.includes("hush");
  });
});

test("parseReplicaUrl() reads nats://", () => {
  const parsed = (url: string) => {
    const location = parseReplicaUrl(url);
    assert.equal(location.scheme, "nats");
    assert.deepEqual(location.prefixes, [""]);
    assert.equal(location.layout, "folder");
    return location;
  };
  const { name, user, password, servers, bucket } = parsed("nats://me:a%40b@Host,other:4223/replica_1/");
  assert.deepEqual([name, user, password, bucket], [
    "nats://Host,other:4223/replica_1",
    "me",
    "a@b",
    "replica_1",
  ]);
  assert.deepEqual(servers, ["host:4222", "other:4223"]);
  assert.deepEqual(parsed("nats://[::1]/b").servers, ["[::1]:4222"]);
  const { parameters } = parsed("nats://host/b?creds=/etc/a%20b.creds&tls=true");
  assert.deepEqual({ ...parameters }, { creds: "/etc/a b.creds", tls: "true" });
  for (
    const [url, words] of [
      ["nats://host", /no bucket, expected nats:\/\/HOST\/BUCKET/],
      ["nats://host/a/b", /bucket "a\/b", expected a bucket's name/],
      ["nats://host/a.b", /bucket "a\.b", expected a bucket's name/],
      ["nats:///b", /no host/],
      ["nats://me:hush@host:99999/b", /host "host:99999"/],
    ] as const
  ) {
    assert.throws(
      () => parseReplicaUrl(url),
      (error) => error instanceof TypeError && words.test(error.message) && !/hush/.test(error.message),
      url,
    );
  }
});

const OSS_URLS: readonly [url: string, expected: Partial<OssLocation>][] = [
  ["oss://b/a/db", {
    bucket: "b",
    region: "cn-hangzhou",
    endpoint: "https://oss-cn-hangzhou.aliyuncs.com",
    prefixes: ["a/db/"],
    name: "oss://b/a/db",
  }],
  ["oss://b.oss-eu-central-1.aliyuncs.com/db", {
    bucket: "b",
    region: "eu-central-1",
    endpoint: "https://oss-eu-central-1.aliyuncs.com",
  }],
  ["oss://b.oss-cn-beijing-internal.aliyuncs.com/db", {
    bucket: "b",
    region: "cn-beijing",
    endpoint: "https://oss-cn-beijing-internal.aliyuncs.com",
  }],
  ["oss://b/db?region=ap-southeast-1", { endpoint: "https://oss-ap-southeast-1.aliyuncs.com" }],
  ["oss://b/db?endpoint=127.0.0.1:9000&region=x", { endpoint: "http://127.0.0.1:9000", region: "x" }],
  ["oss://b", { prefixes: [""], layout: "s3" }],
];
for (const [url, expected] of OSS_URLS) {
  test(`parseReplicaUrl() reads ${url}`, () => {
    const location = parseReplicaUrl(url) as OssLocation;
    const names = Object.keys(expected) as (keyof OssLocation)[];
    assert.deepEqual(Object.fromEntries(names.map((name) => [name, location[name]])), expected);
  });
}

const OSS_FAULTS: readonly [url: string, found: RegExp][] = [
  ["oss:///db", /no bucket/],
  ["oss://user:secret@b/db", /user information before the bucket/],
  ["oss://b/db?endpoint=http://user:secret@h", /an endpoint with user information/],
];
for (const [url, found] of OSS_FAULTS) {
  test(`parseReplicaUrl() refuses ${url.replace(/secret/, "…")}`, () => {
    assert.throws(() => parseReplicaUrl(url), (error: Error) => {
      assert.match(error.message, found);
      assert.ok(!error.message.includes("secret"), error.message);
      return true;
    });
  });
}

test("parseReplicaUrl() reads sftp://", () => {
  const parsed = (url: string) => {
    const location = parseReplicaUrl(url);
    assert.equal(location.scheme, "sftp");
    assert.deepEqual(location.prefixes, [""]);
    assert.equal(location.layout, "folder");
    return location;
  };
  const { name, user, password, host, port, path } = parsed("sftp://me:a%40b@Host/backups/db");
  assert.deepEqual([name, user, password, host, port, path], [
    "sftp://me@host/backups/db",
    "me",
    "a@b",
    "host",
    22,
    "backups/db",
  ]);
  const paths: [path: string, read: string][] = [
    ["", ""],
    ["/", ""],
    ["/a//b/../c/", "a/c"],
    ["/a%20b", "a b"],
    ["//srv/db", "/srv/db"],
    ["//srv/../db/", "/db"],
  ];
  for (const [given, read] of paths) assert.equal(parsed(`sftp://me@host${given}`).path, read, given);
  assert.equal(parsed("sftp://me@host:2222//srv/db").name, "sftp://me@host:2222//srv/db");
  assert.equal(parsed("sftp://me@[::1]:2222/db").host, "::1");
  const { parameters } = parsed("sftp://me@host/db?keyPath=~/.ssh/backup&hostKey=SHA256:a+b/c");
  assert.deepEqual({ ...parameters }, { keyPath: "~/.ssh/backup", hostKey: "SHA256:a+b/c" });
  for (
    const [url, words] of [["sftp://host/db", /no user, expected sftp:\/\/USER@HOST/], [
      "sftp://me@/db",
      /no host/,
    ]] as const
  ) {
    assert.throws(
      () => parseReplicaUrl(url),
      (error) => error instanceof TypeError && words.test(error.message),
    );
  }
  assert.throws(() => parseReplicaUrl("sftp://me:hush@host:99999/db"), (error) => {
    assert.doesNotMatch(String(error), /hush/);
    return error instanceof TypeError;
  });
});

test("parseReplicaUrl() shows no password that ends where nobody expected", () => {
  const passwords = ["hu/sh", "hu?sh", "hu#sh", "hush"];
  for (const scheme of ["webdav", "webdavs", "http", "https", "sftp", "nats", "oss", "gs", "abs", "s3"]) {
    for (const password of passwords) {
      assert.throws(() => parseReplicaUrl(`${scheme}://user:${password}@%zz/r`), (error) => {
        assert.ok(error instanceof TypeError);
        assert.doesNotMatch(error.message.slice(error.message.indexOf(":")), /hu\b|hush|sh@/);
        return true;
      });
    }
  }
  assert.throws(
    () => parseReplicaUrl("webdav://user:hu/sh@h/r"),
    /"webdav:\/\/…": no port behind a colon, expected .*USER:PASSWORD@HOST with %2F, %3F and %23/,
  );
});
