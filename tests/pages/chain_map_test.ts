import assert from "node:assert/strict";
import { test } from "node:test";
import { ChainMap } from "../../src/pages/chain_map.ts";
import { Random } from "../support/random.ts";

test("ChainMap tells chains by first page and by leaf, in key order", () => {
  const map = new ChainMap();
  map.learned(7, [{ first: 20, length: 3 }, { first: 9, length: 1 }]);
  assert.deepEqual(map.at(20), { leaf: 7, index: 0, first: 20, length: 3 });
  assert.deepEqual(map.at(9), { leaf: 7, index: 1, first: 9, length: 1 });
  assert.equal(map.at(21), undefined);
  assert.deepEqual(map.of(7)?.map(({ first }) => first), [20, 9]);
  assert.equal(map.of(8), undefined);
});

test("ChainMap.learned() replaces what a leaf told; what stayed is the same object", () => {
  const map = new ChainMap();
  map.learned(7, [{ first: 20, length: 3 }, { first: 30, length: 2 }]);
  const [same] = map.of(7)!;
  map.learned(7, [{ first: 20, length: 3 }, { first: 40, length: 2 }]);
  assert.equal(map.of(7)![0], same);
  assert.equal(map.at(20), same);
  assert.equal(map.at(30), undefined);
  assert.equal(map.around(31), undefined);
  assert.equal(map.at(40)?.index, 1);
  map.learned(7, []);
  assert.deepEqual(map.of(7), []);
  assert.equal(map.at(20), undefined);
  assert.deepEqual(map.size, { chains: 0, bareLeaves: 1 });
  map.learned(7, [{ first: 20, length: 3 }]);
  assert.deepEqual(map.size, { chains: 1, bareLeaves: 0 });
});

test("ChainMap keeps a first page for the leaf that told of it last", () => {
  const map = new ChainMap();
  map.learned(7, [{ first: 20, length: 3 }]);
  map.learned(8, [{ first: 20, length: 5 }]);
  map.learned(7, []);
  assert.deepEqual(map.at(20), { leaf: 8, index: 0, first: 20, length: 5 });
  assert.equal(map.around(24)?.leaf, 8);
  map.learned(8, []);
  assert.equal(map.around(24), undefined);
  assert.equal(map.size.chains, 0);
});

test("ChainMap forgets the leaves learned first", () => {
  const map = new ChainMap(10, 2);
  for (let leaf = 1; leaf <= 8; leaf++) {
    map.learned(leaf, [{ first: leaf * 100, length: 2 }, { first: leaf * 100 + 50, length: 2000 }]);
  }
  assert.equal(map.size.chains, 10);
  assert.equal(map.of(3), undefined);
  assert.equal(map.at(300), undefined);
  assert.equal(map.at(400)?.leaf, 4);
  map.learned(4, map.of(4)!); // seen again: the newest now
  map.learned(9, [{ first: 900, length: 2 }]);
  assert.equal(map.of(5), undefined);
  assert.equal(map.at(400)?.leaf, 4);
  for (const leaf of [101, 102, 103]) map.learned(leaf, []);
  assert.equal(map.of(101), undefined);
  assert.deepEqual(map.of(103), []);
  map.learned(200, Array.from({ length: 11 }, (_, i) => ({ first: 5000 + i, length: 1 })));
  assert.equal(map.size.chains, 0);
});

test("ChainMap.around() gives the nearest chain that reaches to a page", () => {
  const random = new Random(11);
  const map = new ChainMap();
  const chains = Array.from({ length: 400 }, (_, i) => ({
    first: 2 + random.next(100_000),
    length: 1 + (i % 10 === 0 ? random.next(5000) : random.next(30)),
  })).filter(({ first }, i, all) => all.findIndex((other) => other.first === first) === i);
  for (const [leaf, chain] of chains.entries()) map.learned(200_000 + leaf, [chain]);
  let found = 0;
  for (let i = 0; i < 3000; i++) {
    const pgno = 1 + random.next(105_000);
    // Chains longer than a group are found wherever they begin, others from 1024 pages away at most.
    const wanted = chains.filter(({ first, length }) => first <= pgno && pgno < first + length)
      .reduce((nearest, { first }) => Math.max(nearest, first), 0);
    assert.equal(map.around(pgno)?.first ?? 0, wanted);
    if (wanted !== 0) found++;
  }
  assert.ok(found > 100 && found < 2900);
});

test("ChainMap.learnedEntries() takes the words of ls_run_chains() and tells of which pages they are", () => {
  const map = new ChainMap();
  map.learned(8, [{ first: 99, length: 1 }]);
  const words = Uint32Array.of(7, 20, 3, 7, 30, 2, 8, 0, 0, 9, 4_000_000_000, 1, 5);
  assert.deepEqual(map.learnedEntries(words), [7, 8, 9]);
  assert.deepEqual(map.of(7)?.map(({ first, length }) => [first, length]), [[20, 3], [30, 2]]);
  assert.deepEqual(map.of(8), []);
  assert.equal(map.at(99), undefined);
  assert.equal(map.at(4_000_000_000)?.leaf, 9);
});
