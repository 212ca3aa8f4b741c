import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decodeParameters, decodeRequest, REQUEST, REQUEST_WORDS } from "../../src/bridge/protocol.ts";

const header = readFileSync(new URL("../../ffi/shim.h", import.meta.url), "utf8");

test("decodeRequest() reads each field from its place among the words", () => {
  const words = Uint32Array.from({ length: REQUEST_WORDS * 2 }, (_, i) => i + 1);
  assert.deepEqual(decodeRequest(words, 1), {
    kind: 11,
    slot: 12,
    generation: 13,
    replicaId: 14,
    viewId: 15,
    pgno: 16,
    objectId: 17,
    frame: 18,
    connection: 19,
    indexLeaf: 20,
  });
});

test("decodeRequest() reads the fields in the order that shim.h declares", () => {
  const struct = /typedef struct LsRequest \{([^}]*)\}/.exec(header)![1]!;
  const fields = [...struct.matchAll(/uint32_t (\w+);/g)].map((match) => match[1]);
  assert.deepEqual(fields, [
    "eKind",
    "iSlot",
    "iGen",
    "iReplica",
    "iView",
    "iPgno",
    "iObject",
    "iFrame",
    "iConnection",
    "iIndexLeaf",
  ]);
  assert.equal(fields.length, REQUEST_WORDS);
});

test("REQUEST has the numbers of shim.h", () => {
  for (const [name, value] of Object.entries(REQUEST)) {
    assert.match(header, new RegExp(`#define LS_REQUEST_${name.toUpperCase()} +${value} `));
  }
});

test("decodeParameters() drops the name and pairs keys with values", () => {
  const text = "my.db\0vfs\0litestream\0replica_url\0s3://b/p?a=1&b=2\0";
  assert.deepEqual([...decodeParameters(text)], [["vfs", "litestream"], ["replica_url", "s3://b/p?a=1&b=2"]]);
});

test("decodeParameters() takes empty values, and no parameters at all", () => {
  assert.deepEqual([...decodeParameters("my.db\0cache_size\0\0vfs\0litestream\0")], [
    ["cache_size", ""],
    ["vfs", "litestream"],
  ]);
  assert.equal(decodeParameters("my.db\0").size, 0);
  assert.equal(decodeParameters("").size, 0);
});
