import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { Catalog } from "../../src/follow/catalog.ts";
import { compareKeys } from "../../src/storage/key_order.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { Random } from "../support/random.ts";
import { file, type Short, short } from "./short_files.ts";

function catalogOf(files: readonly Short[]): Catalog {
  const catalog = new Catalog();
  for (const one of files) catalog.add(file(one));
  return catalog;
}

/** The listing of keys after `after`, as a store gives it. */
function listed(files: readonly Short[], after: string): number[][] {
  const found = files.map(file).filter(({ key }) => compareKeys(key, after) > 0);
  return short(found.sort((a, b) => compareKeys(a.key, b.key)));
}

test("R12: Catalog.mark() lists from the last known file on, itself included", () => {
  const known: Short[] = [[0, 10, 10], [0, 11, 11], [0, 12, 12]];
  const catalog = catalogOf(known);
  assert.deepEqual(listed([...known, [0, 13, 13]], catalog.mark(0)), [[0, 12, 12], [0, 13, 13]]);
  assert.deepEqual(listed(known.slice(0, 2), catalog.mark(0)), [], "the last known file is gone");
  assert.deepEqual(listed([[0, 12, 11 + 2], ...known], catalog.mark(0)), [[0, 12, 12], [0, 12, 13]]);
});

test("R12: Catalog.mark() of a level with one file does not list from the beginning", () => {
  const catalog = catalogOf([[1, 5, 9]]);
  assert.deepEqual(listed([[1, 1, 4], [1, 5, 8], [1, 5, 9], [1, 10, 12]], catalog.mark(1)), [[1, 5, 9], [
    1,
    10,
    12,
  ]]);
});

test("R12: Catalog.mark() of snapshots lists from the newest on", () => {
  const catalog = catalogOf([[9, 1, 255], [9, 1, 16]]);
  assert.deepEqual(listed([[9, 1, 16], [9, 1, 255], [9, 1, 256]], catalog.mark(9)), [[9, 1, 255], [
    9,
    1,
    256,
  ]]);
});

test("Catalog.mark() and markBelow() of an empty level list from the beginning", () => {
  assert.equal(new Catalog().mark(3), "");
  assert.equal(new Catalog().markBelow(3, 10n), "");
});

test("R12: Catalog.markBelow() lists L0 from the file that holds the position on", () => {
  const known: Short[] = [[0, 10, 10], [0, 11, 11], [0, 12, 12], [0, 13, 13]];
  const catalog = catalogOf(known);
  assert.deepEqual(listed(known, catalog.markBelow(0, 12n)), [[0, 12, 12], [0, 13, 13]]);
  assert.deepEqual(listed(known, catalog.markBelow(0, 99n)), [[0, 13, 13]]);
  assert.equal(catalog.markBelow(0, 9n), "");
});

test("Catalog.markBelow() begins before all known files that hold the position", () => {
  const known: Short[] = [[0, 8, 9], [0, 10, 14], [0, 11, 11], [0, 11, 12], [0, 15, 15]];
  const catalog = catalogOf(known);
  assert.deepEqual(listed(known, catalog.markBelow(0, 12n)), [[0, 10, 14], [0, 11, 11], [0, 11, 12], [
    0,
    15,
    15,
  ]]);
  assert.equal(catalog.markBelow(0, 14n), catalog.markBelow(0, 12n));
  assert.deepEqual(listed(known, catalog.markBelow(0, 20n)), [[0, 15, 15]]);
});

test("Catalog keeps the order of keys, whatever the order it was told in", () => {
  const files: Short[] = [[0, 300, 300], [0, 2, 2], [0, 17, 40], [0, 17, 18], [1, 1, 1]];
  const sorted = [[0, 2, 2], [0, 17, 18], [0, 17, 40], [0, 300, 300], [1, 1, 1]];
  assert.deepEqual(short(catalogOf(files).files()), sorted);
  const catalog = new Catalog();
  catalog.replace(0, files.slice(0, 4).map(file));
  assert.deepEqual(short(catalog.files()), sorted.slice(0, 4));
  catalog.extend(0, "", files.slice(0, 4).map(file));
  assert.deepEqual(short(catalog.level(0)), sorted.slice(0, 4));
});

test("Catalog.replace() takes the level's files, and no other level's, for gone", () => {
  const catalog = catalogOf([[0, 1, 1], [0, 2, 2], [1, 1, 2]]);
  catalog.replace(0, [[0, 2, 2], [0, 3, 3]].map((one) => file(one as unknown as Short)));
  assert.deepEqual(short(catalog.files()), [[0, 2, 2], [0, 3, 3], [1, 1, 2]]);
});

test("Catalog.extend() replaces what is known after the key and keeps what is before", () => {
  const catalog = catalogOf([[0, 1, 1], [0, 2, 2], [0, 3, 3], [0, 5, 5]]);
  catalog.extend(
    0,
    file([0, 2, 2]).key,
    [[0, 3, 3, 7], [0, 4, 4]].map((one) => file(one as unknown as Short)),
  );
  assert.deepEqual(short(catalog.level(0)), [[0, 1, 1], [0, 2, 2], [0, 3, 3], [0, 4, 4]]);
  assert.equal(catalog.level(0)[2]!.modifiedMs, 7, "the newer word counts");
});

test("Catalog.extend() passes over keys at or before the one asked for", () => {
  const catalog = catalogOf([[0, 1, 1], [0, 2, 2]]);
  catalog.extend(
    0,
    file([0, 2, 2]).key,
    [[0, 1, 1, 7], [0, 2, 2, 7], [0, 3, 3, 7]].map((one) => {
      return file(one as unknown as Short);
    }),
  );
  assert.deepEqual(catalog.level(0).map(({ modifiedMs }) => modifiedMs), [0, 0, 7]);
});

test("Catalog.add() takes the place of a file with the same key; forget() removes it", () => {
  const catalog = catalogOf([[0, 1, 1], [0, 2, 2], [1, 1, 1]]);
  catalog.add(file([0, 1, 1, 7]));
  assert.deepEqual(catalog.level(0).map(({ modifiedMs }) => modifiedMs), [7, 0]);
  catalog.forget(file([0, 1, 1]).key);
  catalog.forget(file([0, 9, 9]).key);
  assert.deepEqual(short(catalog.files()), [[0, 2, 2], [1, 1, 1]]);
});

test("Catalog hands out copies", () => {
  const catalog = catalogOf([[0, 1, 1]]);
  catalog.level(0).pop();
  catalog.files().pop();
  assert.equal(catalog.files().length, 1);
});

test("Catalog refuses levels that do not exist", () => {
  for (const level of [-1, 10, 0.5]) {
    assert.throws(
      () => new Catalog().mark(level),
      new RangeError(`Cannot list level: ${level}, expected an integer from 0 to 9`),
    );
  }
});

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);

test(`Catalog agrees with a map of keys on 2000 random histories (FUZZ_SEED=${SEED})`, () => {
  const random = new Random(SEED);
  for (let round = 0; round < 2000; round++) {
    const catalog = new Catalog();
    let model = new Map<string, ReplicaFile>();
    for (let i = 0; i < 12; i++) {
      model = changeBoth(random, catalog, model);
      const wanted = [...model.values()].sort((a, b) => a.key < b.key ? -1 : 1);
      assert.deepEqual(catalog.level(0), wanted, `round ${round}`);
    }
  }
});

function randomFile(random: Random): ReplicaFile {
  const min = 1 + random.next(20);
  return file([0, min, min + random.next(3), random.next(100)]);
}

function changeBoth(
  random: Random,
  catalog: Catalog,
  model: Map<string, ReplicaFile>,
): Map<string, ReplicaFile> {
  const some = Array.from({ length: random.next(6) }, () => randomFile(random));
  const files = [...new Map(some.map((f) => [f.key, f])).values()];
  const one = randomFile(random);
  const after = [catalog.mark(0), catalog.markBelow(0, one.minTxid), one.key, ""][random.next(4)]!;
  switch (random.next(4)) {
    case 0:
      catalog.replace(0, files);
      return new Map(files.map((f) => [f.key, f]));
    case 1:
      catalog.extend(0, after, files);
      return new Map(
        [...model.values()].filter(({ key }) => key <= after)
          .concat(files.filter(({ key }) => key > after)).map((f) => [f.key, f]),
      );
    case 2:
      catalog.add(one);
      return new Map(model).set(one.key, one);
    default: {
      const key = [...model.keys()][random.next(model.size)] ?? one.key;
      catalog.forget(key);
      return new Map([...model].filter(([known]) => known !== key));
    }
  }
}
