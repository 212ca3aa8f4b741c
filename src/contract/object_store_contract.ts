/**
 * What every ObjectStore does, whatever it lies on.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ObjectGoneError, ReplicaClosedError, StorageError } from "../errors.ts";
import { anyObject, type ListedObject, type ListOptions, type ObjectStore } from "../storage/object_store.ts";

/** A store with a way behind its back. */
export interface StoreUnderTest {
  readonly store: ObjectStore;
  put(key: string, bytes: Uint8Array): Promise<void>;
  remove(key: string): Promise<void>;
  /** Closes the store and what it lies on. */
  close(): Promise<void>;
}

/** Bytes that differ at each offset up to 64 KiB. */
export function patternBytes(size: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 0xff);
}

/** Objects put at once where there are many. */
export const PUT_AT_ONCE = 64;

/** Keys that break careless encoders, all in one folder. */
export const ODD_KEYS: readonly string[] = [
  "odd/a b",
  "odd/a!(b)*c",
  "odd/a%20b",
  "odd/a&b=c;d",
  "odd/a'b",
  "odd/a+b",
  "odd/a~b",
  "odd/ä ö",
  "odd/日本",
  "odd/\uff5e", // Sorts before the next by its bytes, behind it by its UTF-16 units.
  "odd/😀",
];

async function listAll(
  store: ObjectStore,
  prefix: string,
  options: ListOptions = {},
): Promise<ListedObject[]> {
  const objects: ListedObject[] = [];
  for await (const page of store.list(prefix, options)) {
    assert.ok(page.length > 0, "no page is empty");
    objects.push(...page);
  }
  return objects;
}

async function identify(store: ObjectStore, key: string): Promise<ListedObject> {
  const found = (await listAll(store, key)).find((object) => object.key === key);
  assert.ok(found, `${key} is listed`);
  return found;
}

/** How the suite is run. */
export interface ContractOptions {
  /** Objects in the test that lists many. Default 2,500. */
  readonly listedCount?: number;
  /** Listing requests for as many; undefined: any number. */
  readonly listRequests?: number;
  /** Why it cannot be run. */
  readonly skip?: string | false;
}

/** Runs the suite on stores that `make` gives, a new one for each test. */
export function testObjectStore(
  name: string,
  make: () => Promise<StoreUnderTest>,
  { listedCount = 2_500, listRequests, skip = false }: ContractOptions = {},
): void {
  const storeTest = (title: string, body: (given: StoreUnderTest) => Promise<void>) =>
    test(`${name}: ${title}`, { skip }, async () => {
      const given = await make();
      try {
        await body(given);
      } finally {
        await given.close();
      }
    });

  storeTest("list() gives nothing where nothing lies", async ({ store }) => {
    assert.deepEqual(await listAll(store, "ltx/0/"), []);
    assert.deepEqual(await listAll(store, ""), []);
  });

  storeTest("list() gives key, etag, size and time, in ascending order", async ({ store, put }) => {
    for (const key of ["ltx/0/c", "ltx/0/a", "ltx/1/x", "ltx/0/b", "other"]) {
      await put(key, patternBytes(key.length));
    }
    const objects = await listAll(store, "ltx/0/");
    assert.deepEqual(objects.map(({ key, size }) => [key, size]), [["ltx/0/a", 7], ["ltx/0/b", 7], [
      "ltx/0/c",
      7,
    ]]);
    for (const { etag, modifiedMs } of objects) {
      assert.notEqual(etag, "");
      assert.ok(Math.abs(modifiedMs - Date.now()) < 60_000, `${modifiedMs} is now`);
    }
  });

  storeTest("list() orders folders and files as keys, not as names", async ({ store, put }) => {
    const keys = ["a0", "a/d/c", "a-b", "a/b"];
    for (const key of keys) await put(key, patternBytes(1));
    assert.deepEqual((await listAll(store, "")).map(({ key }) => key), ["a-b", "a/b", "a/d/c", "a0"]);
  });

  storeTest("list() takes a prefix that ends inside a name", async ({ store, put }) => {
    for (const key of ["ltx/0/0001", "ltx/0/0002", "ltx/0/0101", "lty"]) await put(key, patternBytes(1));
    assert.deepEqual((await listAll(store, "ltx/0/00")).map(({ key }) => key), ["ltx/0/0001", "ltx/0/0002"]);
    assert.deepEqual((await listAll(store, "lt")).length, 4);
  });

  storeTest("list() gives only keys after `after`", async ({ store, put }) => {
    for (const key of ["l/1", "l/2", "l/3", "m/1"]) await put(key, patternBytes(1));
    const after = async (key: string) =>
      (await listAll(store, "l/", { after: key })).map((object) => object.key);
    assert.deepEqual(await after("l/1"), ["l/2", "l/3"]);
    assert.deepEqual(await after("l/15"), ["l/2", "l/3"]);
    assert.deepEqual(await after("l/3"), []);
    assert.deepEqual(await after("a"), ["l/1", "l/2", "l/3"]);
    assert.deepEqual((await listAll(store, "", { after: "l/3" })).map(({ key }) => key), ["m/1"]);
  });

  storeTest(`list() gives each of ${listedCount} keys once`, async ({ store, put }) => {
    const keys = Array.from({ length: listedCount }, (_, i) => `ltx/0/${String(i).padStart(5, "0")}`);
    for (let first = 0; first < keys.length; first += PUT_AT_ONCE) {
      await Promise.all(keys.slice(first, first + PUT_AT_ONCE).map((key) => put(key, patternBytes(1))));
    }
    assert.deepEqual((await listAll(store, "ltx/0/")).map(({ key }) => key), keys);
    if (listRequests !== undefined) assert.equal(store.counts.list, listRequests);
    const middle = Math.floor(listedCount * 4 / 5);
    const rest = await listAll(store, "ltx/0/", { after: keys[middle - 1]! });
    assert.deepEqual(rest.map(({ key }) => key), keys.slice(middle));
  });

  storeTest("list() and read() take odd characters in keys", async ({ store, put }) => {
    for (const [i, key] of ODD_KEYS.entries()) await put(key, patternBytes(10, i));
    const objects = await listAll(store, "odd/");
    assert.deepEqual(objects.map(({ key }) => key), ODD_KEYS);
    for (const [i, object] of objects.entries()) {
      const { bytes } = await store.read(object, { offset: 0, size: 10 });
      assert.deepEqual(bytes, patternBytes(10, i), object.key);
    }
    assert.deepEqual((await listAll(store, "odd/a+")).map(({ key }) => key), ["odd/a+b"]);
    assert.equal((await listAll(store, "odd/", { after: "odd/a+b" })).length, 5);
  });

  storeTest("read() returns exactly the bytes of its range", async ({ store, put }) => {
    const content = patternBytes(100_000);
    await put("k", content);
    const of = await identify(store, "k");
    for (const [offset, size] of [[0, 1], [0, 100_000], [5, 10], [99_999, 1], [50_000, 50_000]] as const) {
      const result = await store.read(of, { offset, size });
      assert.deepEqual(result.bytes, content.slice(offset, offset + size));
      assert.equal(result.etag, of.etag);
      assert.equal(result.objectSize, 100_000);
    }
    assert.equal(store.counts.get, 5);
    assert.ok(store.counts.bytes >= 150_012, `${store.counts.bytes} bytes are counted`);
  });

  storeTest("read() gives bytes that the caller owns", async ({ store, put }) => {
    await put("k", patternBytes(10));
    const of = await identify(store, "k");
    const first = await store.read(of, { offset: 0, size: 10 });
    first.bytes.fill(0);
    assert.deepEqual((await store.read(of, { offset: 0, size: 10 })).bytes, patternBytes(10));
  });

  storeTest("read() past the object's end throws StorageError", async ({ store, put }) => {
    await put("k", patternBytes(10));
    const of = await identify(store, "k");
    for (const [offset, size] of [[0, 11], [10, 1], [9, 2], [100, 5]] as const) {
      await assert.rejects(store.read(of, { offset, size }), (error) => {
        assert.ok(error instanceof StorageError && !(error instanceof ObjectGoneError));
        assert.equal(error.code, "InvalidRange");
        assert.equal(error.retryable, false);
        return true;
      });
    }
  });

  storeTest("read() refuses ranges that are none", async ({ store, put }) => {
    await put("k", patternBytes(10));
    const of = await identify(store, "k");
    for (const [offset, size] of [[-1, 1], [0, 0], [0, -1], [0.5, 1], [0, NaN]] as const) {
      await assert.rejects(store.read(of, { offset, size }), RangeError);
    }
  });

  storeTest("read() of whatever has the key cuts the range at the end", async ({ store, put }) => {
    await put("k", patternBytes(10));
    const whole = await store.read(anyObject("k"), { offset: 0, size: 256 });
    assert.deepEqual(whole.bytes, patternBytes(10));
    assert.equal(whole.objectSize, 10);
    assert.equal(whole.etag, (await identify(store, "k")).etag);
    assert.deepEqual(
      (await store.read(anyObject("k"), { offset: 4, size: 3 })).bytes,
      patternBytes(10).slice(4, 7),
    );
    assert.deepEqual(
      (await store.read(anyObject("k"), { offset: 8, size: 9 })).bytes,
      patternBytes(10).slice(8),
    );
    await assert.rejects(store.read(anyObject("k"), { offset: 10, size: 1 }), { code: "InvalidRange" });
  });

  storeTest("read() of an absent object throws ObjectGoneError", async ({ store, put, remove }) => {
    await assert.rejects(store.read(anyObject("ltx/0/none"), { offset: 0, size: 1 }), ObjectGoneError);
    await put("ltx/0/k", patternBytes(10));
    const of = await identify(store, "ltx/0/k");
    await remove("ltx/0/k");
    await assert.rejects(store.read(of, { offset: 0, size: 1 }), ObjectGoneError);
  });

  storeTest("read() of a replaced object throws ObjectGoneError", async ({ store, put }) => {
    await put("k", patternBytes(10));
    const of = await identify(store, "k");
    await put("k", patternBytes(10, 1));
    await assert.rejects(store.read(of, { offset: 0, size: 1 }), ObjectGoneError);
    await put("k", patternBytes(20, 1));
    await assert.rejects(store.read(of, { offset: 0, size: 10 }), ObjectGoneError);
    await assert.rejects(store.read({ ...of, etag: "" }, { offset: 0, size: 10 }), ObjectGoneError);
  });

  storeTest("read() shows no byte of another object than the listed one", async ({ store, put }) => {
    for (const size of [10, 300_000]) {
      await put("k", patternBytes(size));
      const of = await identify(store, "k");
      await put("k", patternBytes(size, 1));
      let shown = 0;
      const onProgress = (received: Uint8Array) => shown = Math.max(shown, received.length);
      await assert.rejects(store.read(of, { offset: 0, size }, { onProgress }), ObjectGoneError);
      assert.equal(shown, 0, `of ${size} bytes`);
    }
  });

  storeTest("read() shows the bytes as they arrive", async ({ store, put }) => {
    const content = patternBytes(300_000);
    await put("k", content);
    let shown = 0;
    const onProgress = (received: Uint8Array) => {
      assert.deepEqual(received, content.slice(0, received.length));
      shown = received.length;
    };
    await store.read(await identify(store, "k"), { offset: 0, size: 300_000 }, { onProgress });
    assert.equal(shown, 300_000);
  });

  storeTest("an aborted signal ends list() and read() with its reason", async ({ store, put }) => {
    await put("k", patternBytes(10));
    const reason = new Error("enough");
    const signal = AbortSignal.abort(reason);
    await assert.rejects(store.read(anyObject("k"), { offset: 0, size: 1 }, { signal }), reason);
    await assert.rejects(listAll(store, "", { signal }), reason);
  });

  storeTest("100 reads at once give each its own bytes", async ({ store, put }) => {
    await put("k", patternBytes(60_000));
    const of = await identify(store, "k");
    const results = await Promise.all(
      Array.from({ length: 100 }, (_, i) => store.read(of, { offset: i * 600, size: 600 })),
    );
    for (const [i, { bytes }] of results.entries()) {
      assert.deepEqual(bytes, patternBytes(60_000).slice(i * 600, i * 600 + 600));
    }
  });

  storeTest("close() makes later requests fail", async ({ store, put }) => {
    await put("k", patternBytes(10));
    await store.close();
    await assert.rejects(store.read(anyObject("k"), { offset: 0, size: 1 }), ReplicaClosedError);
    await assert.rejects(listAll(store, ""), ReplicaClosedError);
  });
}
