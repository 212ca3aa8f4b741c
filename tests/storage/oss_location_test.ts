import assert from "node:assert/strict";
import { test } from "node:test";
import type { OssLocation } from "../../src/storage/backend_location.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";

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
