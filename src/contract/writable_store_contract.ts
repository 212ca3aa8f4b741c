/**
 * What every WritableStore does, whatever it lies on.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { ObjectExistsError, ObjectGoneError, ReplicaClosedError } from "../errors.ts";
import { probeConditions } from "../storage/condition_probe.ts";
import { anyObject, type ListedObject, type WritableStore } from "../storage/object_store.ts";
import { ChunkSource } from "./chunk_source.ts";
import { ODD_KEYS, patternBytes, PUT_AT_ONCE } from "./object_store_contract.ts";

/** Two stores on the same place, as two processes have them. */
export interface StoresUnderTest {
  readonly store: WritableStore;
  readonly other: WritableStore;
  /** Closes both and what they lie on. */
  close(): Promise<void>;
}

/** How the suite is run. */
export interface WritableContractOptions {
  /** Objects in the test that removes many. Default 2,300. */
  readonly manyCount?: number;
  /** Why it cannot be run. */
  readonly skip?: string | false;
}

const MiB = 1024 * 1024;

async function listAll(store: WritableStore, prefix = ""): Promise<ListedObject[]> {
  const objects: ListedObject[] = [];
  for await (const page of store.list(prefix)) objects.push(...page);
  return objects;
}

async function keysOf(store: WritableStore, prefix = ""): Promise<string[]> {
  return (await listAll(store, prefix)).map(({ key }) => key);
}

async function bytesOf(store: WritableStore, key: string): Promise<Uint8Array> {
  return (await store.read(anyObject(key), { offset: 0, size: 64 * MiB }, { timeoutMs: 60_000 })).bytes;
}

/** Bytes that tell who wrote them. */
function signed(size: number, writer: number): Uint8Array {
  return new Uint8Array(size).fill(writer + 1);
}

/** Runs the suite on stores that `make` gives, new ones for each test. */
export function testWritableStore(
  name: string,
  make: () => Promise<StoresUnderTest>,
  { manyCount = 2_300, skip = false }: WritableContractOptions = {},
): void {
  const storeTest = (title: string, body: (given: StoresUnderTest) => Promise<void>) =>
    test(`${name}: ${title}`, { skip }, async () => {
      const given = await make();
      try {
        await body(given);
      } finally {
        await given.close();
      }
    });

  storeTest("put() stores bytes and tells what a listing tells", async ({ store, other }) => {
    const content = patternBytes(100_000);
    const beforeMs = Date.now();
    const { modifiedMs, ...made } = await store.put("0000/a", content.subarray(1_000, 90_000));
    const [{ modifiedMs: listedMs, ...listed } = assert.fail("it is listed")] = await listAll(other);
    assert.deepEqual(made, listed);
    assert.equal(made.size, 89_000);
    for (const ms of [modifiedMs, listedMs]) assert.ok(Math.abs(ms - beforeMs) < 60_000, `${ms} is now`);
    const read = await other.read(listed, { offset: 0, size: 89_000 });
    assert.deepEqual(read.bytes, content.slice(1_000, 90_000));
    assert.ok(store.counts.put! >= 1);
  });

  storeTest("put() makes an object only where there is none", async ({ store, other }) => {
    await store.put("k", signed(10, 0));
    await assert.rejects(other.put("k", signed(10, 1)), (error) => {
      assert.ok(error instanceof ObjectExistsError);
      assert.equal(error.key, "k");
      assert.match(error.message, /^Cannot put "k" in .*, expected (none|no object of that key)$/);
      return true;
    });
    for (const size of [9, 11, 3 * MiB]) {
      await assert.rejects(other.put("k", signed(size, 0)), ObjectExistsError);
    }
    assert.deepEqual(await bytesOf(store, "k"), signed(10, 0));
  });

  storeTest("put() of what is there already succeeds", async ({ store, other }) => {
    const content = patternBytes(2 * MiB + 1);
    const { modifiedMs: _, ...made } = await store.put("k", content);
    const { modifiedMs, ...found } = await other.put("k", content);
    assert.deepEqual(found, made);
    assert.ok(Math.abs(modifiedMs - Date.now()) < 60_000);
    content[2 * MiB] = content[2 * MiB]! ^ 1;
    await assert.rejects(other.put("k", content), ObjectExistsError);
  });

  storeTest("put() replaces where it is told to", async ({ store, other }) => {
    const first = await store.put("k", signed(10, 0), { replace: true });
    const second = await other.put("k", signed(20, 1), { replace: true });
    assert.notEqual(first.etag, second.etag);
    assert.deepEqual(await bytesOf(store, "k"), signed(20, 1));
    await assert.rejects(store.read(first, { offset: 0, size: 10 }), ObjectGoneError);
  });

  storeTest("of putters of one key exactly one wins", async ({ store, other }) => {
    for (const inParts of [false, true]) {
      const key = `race/${inParts}`;
      const results = await Promise.allSettled(
        Array.from({ length: 12 }, (_, i) => (i % 2 ? store : other).put(key, signed(5_000, i), { inParts })),
      );
      const winners = results.flatMap(({ status }, i) => status === "fulfilled" ? [i] : []);
      assert.equal(winners.length, 1, `winners ${winners}`);
      assert.deepEqual(await bytesOf(store, key), signed(5_000, winners[0]!));
      for (const result of results) {
        if (result.status === "rejected") {
          assert.ok(result.reason instanceof ObjectExistsError, String(result.reason));
        }
      }
    }
    assert.equal((await keysOf(store)).length, 2);
  });

  storeTest("of replacements at once one remains, whole", async ({ store, other }) => {
    await Promise.all(
      Array.from(
        { length: 12 },
        (_, i) => (i % 2 ? store : other).put("k", signed(300_000, i), { replace: true }),
      ),
    );
    const bytes = await bytesOf(store, "k");
    assert.deepEqual(bytes, signed(300_000, bytes[0]! - 1));
    assert.deepEqual(await keysOf(store), ["k"]);
  });

  storeTest("put() stores what is larger than a part", async ({ store, other }) => {
    const content = patternBytes(12 * MiB + 345);
    const { etag, size } = await store.put("0009/big", content);
    const [listed] = await listAll(other);
    assert.deepEqual([listed?.etag, listed?.size], [etag, size]);
    assert.equal(Buffer.compare(await bytesOf(other, "0009/big"), content), 0);
    content[12 * MiB] = content[12 * MiB]! ^ 1;
    await assert.rejects(other.put("0009/big", content), ObjectExistsError);
    await other.put("0009/big", content, { replace: true });
    assert.equal(Buffer.compare(await bytesOf(store, "0009/big"), content), 0);
  });

  storeTest("putChunks() stores what put() does, however it is cut", async ({ store, other }) => {
    const content = patternBytes(12 * MiB + 345);
    for (
      const [size, sizes] of [[1, [1]], [70_000, [0, 999, 1]], [12 * MiB + 345, [7 * MiB, 300_000]]] as const
    ) {
      const bytes = content.subarray(0, size);
      const source = new ChunkSource(bytes, sizes);
      const timestampMs = 1_795_227_356_000;
      const made = await store.putChunks(`0009/${size}`, source.chunks, { timestampMs });
      const [listed] = await listAll(other, `0009/${size}`);
      assert.deepEqual([listed?.etag, listed?.size], [made.etag, size]);
      assert.equal(Buffer.compare(await bytesOf(other, `0009/${size}`), bytes), 0);
      assert.deepEqual([source.begun, source.ended, source.given], [1, 1, size]);
    }
  });

  storeTest(
    "putChunks() makes an object only where there is none, or an equal one",
    async ({ store, other }) => {
      for (const inParts of [false, true]) {
        const content = patternBytes(2 * MiB + 1);
        const chunksOf = (bytes: Uint8Array) => new ChunkSource(bytes, [100_000]).chunks;
        const { modifiedMs: _, ...made } = await store.putChunks(`${inParts}`, chunksOf(content), {
          inParts,
        });
        const { modifiedMs, ...found } = await other.putChunks(`${inParts}`, chunksOf(content), { inParts });
        assert.deepEqual(found, made);
        assert.ok(Math.abs(modifiedMs - Date.now()) < 60_000);
        content[2 * MiB] = content[2 * MiB]! ^ 1;
        for (const size of [2 * MiB + 1, 2 * MiB, 10]) {
          const putting = other.putChunks(`${inParts}`, chunksOf(content.subarray(0, size)), { inParts });
          await assert.rejects(putting, ObjectExistsError);
        }
        await other.putChunks(`${inParts}`, chunksOf(content), { inParts, replace: true });
        assert.equal(Buffer.compare(await bytesOf(store, `${inParts}`), content), 0);
      }
    },
  );

  storeTest("of putters in chunks of one key exactly one wins", async ({ store, other }) => {
    const results = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => {
      const { chunks } = new ChunkSource(signed(5_000, i), [700]);
      return (i % 2 ? store : other).putChunks("k", chunks, { inParts: true });
    }));
    const winners = results.flatMap(({ status }, i) => status === "fulfilled" ? [i] : []);
    assert.equal(winners.length, 1, `winners ${winners}`);
    assert.deepEqual(await bytesOf(store, "k"), signed(5_000, winners[0]!));
    for (const result of results) {
      if (result.status === "rejected") {
        assert.ok(result.reason instanceof ObjectExistsError, `${result.reason}`);
      }
    }
  });

  storeTest("putChunks() fails with what the chunks fail with, and leaves nothing", async ({ store }) => {
    const content = new Uint8Array(6 * MiB);
    for (const inParts of [false, true]) {
      const failing = async function* () {
        yield* new ChunkSource(content, [MiB]).chunks();
        throw new Error("no more of it");
      };
      await assert.rejects(store.putChunks("k", failing, { inParts }), /no more of it/);
      const { chunks } = new ChunkSource(new Uint8Array(0), [1]);
      await assert.rejects(store.putChunks("k", chunks, { inParts }), RangeError);
      const signal = AbortSignal.abort(new Error("enough"));
      const source = new ChunkSource(content, [MiB]);
      await assert.rejects(store.putChunks("k", source.chunks, { inParts, signal }), /enough/);
      assert.equal(source.begun, 0);
    }
    assert.deepEqual(await keysOf(store), []);
  });

  storeTest("put() and remove() take odd characters in keys", async ({ store, other }) => {
    const keys = [...ODD_KEYS, 'odd/<a>&"b"'];
    for (const [i, key] of keys.entries()) await store.put(key, patternBytes(10, i));
    for (const [i, key] of keys.entries()) {
      assert.deepEqual(await bytesOf(other, key), patternBytes(10, i), key);
    }
    await other.remove(keys.slice(1));
    assert.deepEqual(await keysOf(store), [keys[0]]);
    await other.remove([keys[0]!]);
    assert.deepEqual(await keysOf(store), []);
  });

  storeTest("remove() removes what is there, however much it is", async ({ store, other }) => {
    const keys = Array.from({ length: manyCount }, (_, i) => `ltx/0/${String(i).padStart(5, "0")}`);
    for (let first = 0; first < keys.length; first += PUT_AT_ONCE) {
      await Promise.all(keys.slice(first, first + PUT_AT_ONCE).map((key) => store.put(key, patternBytes(1))));
    }
    await other.remove([]);
    await other.remove(["ltx/0/none"]);
    await other.remove(["none/at/all", ...keys.slice(1, -1), "ltx/0/none"]);
    assert.deepEqual(await keysOf(store), [keys[0], keys.at(-1)]);
    await assert.rejects(store.read(anyObject(keys[1]!), { offset: 0, size: 1 }), ObjectGoneError);
    await store.put(keys[1]!, patternBytes(1, 5));
  });

  storeTest("put() refuses what is empty, and a signal that is aborted", async ({ store }) => {
    await assert.rejects(store.put("k", new Uint8Array(0)), RangeError);
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(store.put("k", signed(1, 1), { signal }), /enough/);
    await assert.rejects(store.remove(["k"], { signal }), /enough/);
    assert.deepEqual(await keysOf(store), []);
  });

  storeTest("probeConditions() finds the condition honored, and leaves nothing behind", async ({ store }) => {
    const { found, foundOfParts, leftover } = await probeConditions(store);
    assert.deepEqual([found, await foundOfParts, await leftover], ["", "", undefined]);
    assert.deepEqual(await keysOf(store), []);
  });

  storeTest("close() makes later writes fail", async ({ store }) => {
    await store.close();
    await assert.rejects(store.put("k", signed(1, 1)), ReplicaClosedError);
    const { chunks } = new ChunkSource(signed(1, 1), [1]);
    await assert.rejects(store.putChunks("k", chunks), ReplicaClosedError);
    await assert.rejects(store.remove(["k"]), ReplicaClosedError);
  });
}
