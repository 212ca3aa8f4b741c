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
    const [url, found] of [["gs:///a", "no bucket"], ["gs://a@b/c", 'bucket "a@b"'], [
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
