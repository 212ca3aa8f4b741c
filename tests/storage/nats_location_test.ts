import assert from "node:assert/strict";
import { test } from "node:test";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";

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
