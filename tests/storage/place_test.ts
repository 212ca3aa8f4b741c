/** placeOf(): one place has one text, and another place another one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { moduleLocation } from "../../src/location_option.ts";
import { type PlaceContext, placeOf } from "../../src/storage/place.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";

function place(url: string, env: PlaceContext["env"] = {}, more: Partial<PlaceContext> = {}): string {
  return placeOf(parseReplicaUrl(url), { env, ...more });
}

test("placeOf() is the name where that says all", () => {
  for (const url of ["file:///var/replica", "sftp://me@host:2222/path"]) assert.equal(place(url), url);
  const { href } = new URL("file:///storage.ts");
  const ofModule = (url: string, name?: string) =>
    placeOf(moduleLocation(url, { module: href, ...(name && { name, options: { a: 1 } }) }), { env: {} });
  assert.equal(ofModule("own:/place"), "own:/place");
  assert.equal(ofModule("own:/place", "ours"), "ours");
});

test("placeOf() tells places of one name apart", () => {
  const groups = [
    ["s3://b/p", "s3://b/p?endpoint=http://one:9000", "s3://b/p?endpoint=http://two:9000"].map((url) =>
      place(url)
    ),
    [place("gs://b/p"), place("gs://b/p", { STORAGE_EMULATOR_HOST: "localhost:1" })],
    [place("oss://b/p?region=cn-hangzhou"), place("oss://b/p?region=cn-beijing")],
    [
      place("abs://c/p"),
      place("abs://c/p", { AZURE_STORAGE_ACCOUNT: "one" }),
      place("abs://c/p", { AZURE_STORAGE_CONNECTION_STRING: "AccountName=two;AccountKey=a2V5" }),
      place("abs://c/p", {}, { accessKeyId: "three" }),
      place("abs://c/p?endpoint=http://localhost:10000/four"),
    ],
    [place("webdav://one@host/p"), place("webdav://two@host/p")],
    [
      place("nats://one:pw@host/b"),
      place("nats://two:pw@host/b"),
      place("nats://host/b?creds=/etc/three"),
      place("nats://host/b", { NATS_USER: "four" }),
    ],
    [{ folder: "one" }, { folder: "two" }, undefined].map((options) =>
      placeOf(moduleLocation("own:/?x", { module: "file:///storage.ts", options }), { env: {} })
    ),
  ];
  for (const group of groups) {
    assert.equal(new Set(group).size, group.length, group.join(", "));
    for (const each of group) assert.match(each, /^[^ ]+ \([0-9a-f]{12}\)$/);
  }
});

test("placeOf() is the same for one place, however it is signed in to", () => {
  assert.equal(place("s3://b/p"), place("s3://b/p?region=eu-west-1", { AWS_ACCESS_KEY_ID: "id" }));
  assert.equal(place("abs://one@c/p"), place("abs://one@c/p", { AZURE_STORAGE_ACCOUNT: "two" }));
  assert.equal(place("webdav://me:one@host/p"), place("webdav://me:two@host/p"));
  assert.equal(place("nats://token@host/b"), place("nats://other@host/b"));
});

test("placeOf() looks to what keys begin with only where that is left open", () => {
  assert.notEqual(place("s3://b", {}, { prefix: "./" }), place("s3://b", {}, { prefix: "" }));
  assert.equal(place("s3://b"), place("s3://b/"));
  assert.equal(place("s3://b/p", {}, { prefix: "p/" }), place("s3://b/p"));
});
