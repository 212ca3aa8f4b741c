import assert from "node:assert/strict";
import { test } from "node:test";
import { StorageError } from "../../src/errors.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { compareKeys } from "../../src/storage/key_order.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import type { LayoutName, ListedObject, ListOptions, ObjectStore } from "../../src/storage/object_store.ts";
import { explainEmpty, LEVELS, listLevel, listReplica } from "../../src/view/listing.ts";
import { Random } from "../support/random.ts";

/** A store of names only, which answers with `pageSize` of them at a time. */
class NameStore implements ObjectStore {
  readonly name = "names";
  readonly traits = { conditionalPut: true, conditionalReplace: true, cheapList: true, listsInOrder: true };
  readonly counts = { list: 0, get: 0, bytes: 0, retries: 0 };
  readonly prefixes: string[] = [];
  readonly #keys: string[];

  constructor(
    keys: Iterable<string>,
    readonly pageSize = 1000,
    readonly refused: (prefix: string) => boolean = () => false,
  ) {
    this.#keys = [...keys].sort(compareKeys);
  }

  async *list(prefix: string, { after = "" }: ListOptions = {}): AsyncGenerator<ListedObject[]> {
    this.prefixes.push(prefix);
    const isAsked = (key: string) => key.startsWith(prefix) && compareKeys(key, after) > 0;
    const objects = this.#keys.filter(isAsked).map((key) => ({ key, etag: "e", size: 200, modifiedMs: 1 }));
    for (let i = 0; i === 0 || i < objects.length; i += this.pageSize) {
      await Promise.resolve();
      this.counts.list++;
      if (this.refused(prefix)) {
        throw new StorageError("Cannot list", { key: prefix, status: 403, retryable: false });
      }
      const page = objects.slice(i, i + this.pageSize);
      if (page.length > 0) yield page;
    }
  }

  read(): never {
    throw new Error("nothing to read here");
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Keys of `counts[level]` files on each level, and of things that are none. */
function keysOf(counts: readonly number[], layout: LayoutName = "s3"): string[] {
  const keys = [ltxKey(layout, 0, "note.txt"), "000", "0009", "000a/x", "generations/y", "ltx/a/z", "0010/0"];
  for (const [level, count] of counts.entries()) {
    for (let i = 1n; i <= count; i++) {
      keys.push(ltxKey(layout, level, formatLtxFileName({ minTxid: i, maxTxid: i })));
    }
  }
  return keys;
}

function namesOf(files: readonly { key: string; level: number }[]): string[] {
  return files.map(({ key, level }) => `${level} ${key}`);
}

for (const layout of ["s3", "folder"] as const) {
  test(`listReplica() lists a small replica in one request, layout ${layout}`, async () => {
    const store = new NameStore(keysOf([300, 12, 3, 0, 0, 0, 0, 0, 0, 2], layout));
    const { files, depth } = await listReplica(store, layout);
    assert.equal(files.length, 317);
    assert.deepEqual([store.counts.list, depth], [1, 1]);
  });
}

test("listReplica() lists nothing in one request", async () => {
  const store = new NameStore([]);
  const beforeMs = performance.now();
  const { files, depth, beganMs } = await listReplica(store, "s3");
  assert.deepEqual({ files, depth }, { files: [], depth: 1 });
  assert.ok(beganMs! >= beforeMs && beganMs! <= performance.now());
  assert.equal(store.counts.list, 1);
});

test("listReplica() lists what the first answer leaves out by level, at once", async () => {
  const store = new NameStore(keysOf([2500, 1700, 3, 0, 0, 0, 0, 0, 0, 2]));
  const { files, depth } = await listReplica(store, "s3");
  assert.equal(files.length, 4205);
  assert.equal(new Set(namesOf(files)).size, 4205);
  assert.equal(depth, 3); // the first 1,000 of level 0; its next 1,000, or level 1's first; the rest of either
  assert.equal(store.counts.list, 1 + 2 + 2 + 8);
});

test("listReplica() takes short answers for ends of listings only where no other follows", async () => {
  const store = new NameStore(keysOf([150, 150, 3, 0, 0, 0, 0, 0, 0, 2]), 100);
  const { files, depth } = await listReplica(store, "s3");
  assert.equal(files.length, 305);
  assert.equal(depth, 2 + 2);
});

test("listReplica() lists level by level where all of them together are refused", async () => {
  const keys = keysOf([30, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
  const store = new NameStore(keys, 1000, (prefix) => prefix === "000");
  const { files, depth } = await listReplica(store, "s3");
  assert.deepEqual([files.length, depth, store.counts.list], [32, 2, 11]);
  await assert.rejects(listReplica(new NameStore(keys, 1000, () => true), "s3"), { status: 403 });
});

test("listReplica() gives what the levels give one by one, whatever there is", async () => {
  const random = new Random(11);
  for (let round = 0; round < 60; round++) {
    const counts = LEVELS.map(() => random.next(4) === 0 ? random.next(40) : random.next(3));
    const layout = random.next(2) === 0 ? "s3" : "folder";
    const store = new NameStore(keysOf(counts, layout), 1 + random.next(30));
    const { files } = await listReplica(store, layout);
    const levels = await Promise.all(LEVELS.map((level) => listLevel(store, layout, level)));
    assert.deepEqual(namesOf(files), namesOf(levels.flatMap((level) => level.files)), `round ${round}`);
  }
});

test("explainEmpty() tells a replica of Litestream 0.3.x from nothing at all", async () => {
  const old = await explainEmpty(
    new NameStore(["generations/0a/snapshots/0", "generations/0a/wal/1", "ltx/0/x"]),
  );
  assert.equal(old.fault, "v0.3");
  assert.match(
    old.message,
    /^Cannot open replica names: it was written by Litestream 0\.3\.x \("generations\/0a\/snapshots\/0"\), expected /,
  );
  for (const keys of [[], ["ltx/0/x", "generation", "generationsx"]]) {
    const empty = await explainEmpty(new NameStore(keys));
    assert.equal(empty.fault, "empty");
    assert.match(empty.message, /^Cannot open replica names: no LTX files there, expected what /);
  }
  const slow = new NameStore(["generations/x"]);
  const list = slow.list.bind(slow);
  slow.list = async function* (prefix, options) {
    yield []; // an answer without any key, and more behind it
    yield* list(prefix, options);
  };
  assert.equal((await explainEmpty(slow)).fault, "v0.3");
});

test("listLevel() lists what comes after a key, and counts requests", async () => {
  const keys = keysOf([0, 5]);
  const after = ltxKey("s3", 1, formatLtxFileName({ minTxid: 3n, maxTxid: 3n }));
  const { files, depth } = await listLevel(new NameStore(keys, 1), "s3", 1, { after });
  assert.deepEqual(files.map(({ minTxid }) => minTxid), [4n, 5n]);
  assert.equal(depth, 2);
  assert.deepEqual(await listLevel(new NameStore(keys), "s3", 2), { files: [], depth: 1 });
});
