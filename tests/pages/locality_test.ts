import assert from "node:assert/strict";
import { test } from "node:test";
import { Locality } from "../../src/pages/locality.ts";

const KIB = 1024;

test("Locality.bytesAt() gives more where the same connection wanted pages nearby", () => {
  const locality = new Locality();
  const at = (frame: number) => locality.bytesAt(1, 9, frame) / KIB;
  assert.deepEqual([100, 164, 36, 130].map(at), [0, 64, 64, 256]);
  assert.deepEqual([1000, 1065, 935].map(at), [0, 0, 0]);
});

test("Locality.bytesAt() tells connections and files apart", () => {
  const locality = new Locality();
  for (let connection = 1; connection <= 3; connection++) {
    for (let objectId = 1; objectId <= 3; objectId++) {
      assert.equal(locality.bytesAt(connection, objectId, 50), 0);
      assert.equal(locality.bytesAt(connection, objectId, 51), 64 * KIB);
    }
  }
});

test("Locality.bytesAt() stays at 256 KiB, however many are near", () => {
  const locality = new Locality();
  const sizes = Array.from({ length: 40 }, (_, i) => locality.bytesAt(1, 1, i));
  assert.deepEqual(sizes.slice(0, 3), [0, 64 * KIB, 256 * KIB]);
  assert.ok(sizes.slice(2).every((size) => size === 256 * KIB));
});

test("Locality.bytesAt() has forgotten a page after 16 others", () => {
  const after = (others: number) => {
    const locality = new Locality();
    locality.bytesAt(1, 1, 0);
    for (let i = 1; i <= others; i++) locality.bytesAt(1, 1, i * 1000);
    return locality.bytesAt(1, 1, 1);
  };
  assert.deepEqual([after(15), after(16)], [64 * KIB, 0]);
});

test("Locality.bytesAt() keeps the 256 connections in mind that wanted a page last", () => {
  const locality = new Locality();
  for (let connection = 1; connection <= 256; connection++) locality.bytesAt(connection, 1, 0);
  assert.equal(locality.bytesAt(1, 1, 1), 64 * KIB);
  locality.bytesAt(257, 1, 0);
  assert.equal(locality.bytesAt(1, 1, 2), 256 * KIB);
  assert.equal(locality.bytesAt(2, 1, 1), 0);
});
