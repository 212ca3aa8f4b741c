import assert from "node:assert/strict";
import { test } from "node:test";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";

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
