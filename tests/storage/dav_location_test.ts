import assert from "node:assert/strict";
import { test } from "node:test";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";

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
