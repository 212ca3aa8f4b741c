import assert from "node:assert/strict";
import { test } from "node:test";
import { BtreePage } from "../../src/diff/btree_page.ts";
import { ReadAhead } from "../../src/pages/read_ahead.ts";
import { TreeMap } from "../../src/pages/tree_map.ts";
import { Random } from "../support/random.ts";
import { AlongReader } from "./along_reader.ts";
import { databasePages, fillOrders, interiorPage, madeUpTree } from "./database_pages.ts";

const ROOT = 2;
const FAN_OUT = 450;

/** A tree whose leaves stand in the file in order, or shuffled; all of its interior pages known. */
function madeUp(leafCount: number, isScattered = false): { map: TreeMap; leaves: number[] } {
  const map = new TreeMap();
  if (!isScattered) {
    for (const [pgno, page] of madeUpTree(ROOT, leafCount, FAN_OUT)) map.learn(pgno, page);
    const first = ROOT + 1 + Math.ceil(leafCount / FAN_OUT);
    return { map, leaves: Array.from({ length: leafCount }, (_, i) => first + i) };
  }
  const random = new Random(5);
  const leaves = Array.from({ length: leafCount }, (_, i) => 1000 + i);
  for (let i = leafCount - 1; i > 0; i--) {
    const j = random.next(i + 1);
    [leaves[i], leaves[j]] = [leaves[j]!, leaves[i]!];
  }
  const parents: number[] = [];
  for (let i = 0; i < leafCount; i += FAN_OUT) {
    const children = leaves.slice(i, i + FAN_OUT);
    parents.push(ROOT + 1 + parents.length);
    map.learn(parents.at(-1)!, interiorPage(children, children.slice(1).map((_, j) => (i + j + 1) * 40)));
  }
  map.learn(ROOT, interiorPage(parents, parents.slice(1).map((_, i) => (i + 1) * FAN_OUT * 40)));
  return { map, leaves };
}

function reader(map: TreeMap, neighbours = 1, windowMax = 256): AlongReader {
  return new AlongReader({ map, windowMax, neighbours });
}

for (const isScattered of [false, true]) {
  const order = isScattered ? "scattered" : "in order";
  for (const neighbours of [1, 4, 8, 16]) {
    test(`ReadAhead sees a scan of leaves ${order} with ${neighbours} pages a miss`, () => {
      const { map, leaves } = madeUp(5000, isScattered);
      const scan = reader(map, neighbours);
      for (const leaf of leaves.slice(100, 4600)) scan.reach(leaf);
      assert.ok(scan.misses.length <= 2, `${scan.misses.length} misses`);
      assert.ok(scan.unused <= 256);
    });

    test(`ReadAhead sees a backward scan of leaves ${order} with ${neighbours} pages a miss`, () => {
      const { map, leaves } = madeUp(5000, isScattered);
      const scan = reader(map, neighbours);
      for (const leaf of leaves.slice(100, 4600).reverse()) scan.reach(leaf);
      assert.ok(scan.misses.length <= 3, `${scan.misses.length} misses`);
    });
  }
}

test("ReadAhead begins with 16 pages at the second in order, and doubles as they are used", () => {
  const { map, leaves } = madeUp(5000);
  const ahead = new ReadAhead(map, { windowMax: 128 });
  const watched = { pgnos: [], mark: leaves[11], otherMark: leaves[9] };
  assert.deepEqual(ahead.reached(leaves[10]!), watched);
  assert.deepEqual(ahead.reached(leaves[11]!), { pgnos: leaves.slice(12, 28), mark: leaves[12] });
  assert.deepEqual(ahead.reached(leaves[12]!), { pgnos: leaves.slice(28, 45), mark: leaves[28] });
  assert.deepEqual(ahead.reached(leaves[28]!), { pgnos: leaves.slice(45, 93), mark: leaves[60] });
  assert.deepEqual(ahead.reached(leaves[60]!), { pgnos: leaves.slice(93, 189), mark: leaves[124] });
  assert.deepEqual(ahead.reached(leaves[124]!), { pgnos: leaves.slice(189, 253), mark: leaves[188] });
  assert.deepEqual(ahead.reached(leaves[130]!), { pgnos: [], mark: 0 });
  assert.deepEqual(ahead.reached(leaves[188]!).pgnos, leaves.slice(253, 317));
});

test("ReadAhead begins at a page beside any of those reached before, on either side", () => {
  const { map, leaves } = madeUp(5000);
  for (const step of [1, -1]) {
    const ahead = new ReadAhead(map, { windowMax: 128 });
    for (const i of [50, 1000, 3000, 2000]) assert.deepEqual(ahead.reached(leaves[i]!).pgnos, []);
    const wanted = Array.from({ length: 16 }, (_, i) => leaves[1000 + step * (i + 2)]!);
    assert.deepEqual(ahead.reached(leaves[1000 + step]!), { pgnos: wanted, mark: wanted[0] });
  }
});

test("ReadAhead begins at the second of two equal strides in a row, not at unequal ones", () => {
  const { map, leaves } = madeUp(5000);
  const pgnosAt = (places: readonly number[]) => {
    const ahead = new ReadAhead(map, { windowMax: 128 });
    return places.map((place) => ahead.reached(leaves[place]!).pgnos);
  };
  const wanted = Array.from({ length: 16 }, (_, i) => leaves[100 + 40 + 20 * (i + 1)]!);
  assert.deepEqual(pgnosAt([100, 120, 140]), [[], [], wanted]);
  assert.deepEqual(pgnosAt([100, 120, 150, 210, 170]), [[], [], [], [], []]);
  assert.deepEqual(pgnosAt([100, 2000, 120, 3000, 140]), [[], [], [], [], []]);
});

test("ReadAhead asks for nothing at look-ups, at a page told twice, nor at interior pages known", () => {
  const { map, leaves } = madeUp(5000);
  map.learn(leaves[0]!, Uint8Array.of(0x0d));
  const ahead = new ReadAhead(map, { windowMax: 128 });
  for (const pgno of [ROOT, ROOT + 1, ROOT + 2, ROOT + 3]) {
    assert.deepEqual(ahead.reached(pgno), { pgnos: [], mark: 0 });
  }
  for (const place of [5, 5, 2000, 7, 4000, 2002, 7]) {
    assert.equal(ahead.reached(leaves[place]!).pgnos.length, 0);
  }
});

for (const stride of [20, 33, 60]) {
  test(`ReadAhead sees every ${stride}th leaf and asks for no other`, () => {
    const { map, leaves } = madeUp(20_000);
    for (const direction of [1, -1]) {
      const reads = reader(map, 1, 64);
      const wanted = leaves.filter((_, i) => i % stride === 0);
      if (direction < 0) wanted.reverse();
      for (const leaf of wanted) reads.reach(leaf);
      assert.ok(reads.misses.length <= 4, `${reads.misses.length} misses`);
      assert.ok(reads.unused <= 64, `${reads.unused} unused`);
    }
  });
}

test("ReadAhead takes equal distances for a scan where all between them was there", () => {
  const { map, leaves } = madeUp(5000);
  for (const direction of [1, -1]) {
    for (const isThere of [true, false]) {
      const asked: (readonly number[])[] = [];
      const areThere = (pgnos: readonly number[]) => asked.push(pgnos) > 0 && isThere;
      const ahead = new ReadAhead(map, { windowMax: 128, areThere });
      const at = (i: number) => leaves[2000 + direction * i]!;
      const found = [0, 36, 72].map((place) => ahead.reached(at(place)).pgnos);
      const step = isThere ? 1 : 36;
      const wanted = Array.from({ length: 16 }, (_, i) => at(72 + step * (i + 1)));
      assert.deepEqual(found, [[], [], wanted]);
      assert.deepEqual(asked, [Array.from({ length: 35 }, (_, i) => at(37 + i))]);
    }
  }
});

test("ReadAhead follows uneven strides with less waste than use", () => {
  const { map, leaves } = madeUp(20_000);
  const random = new Random(3);
  const reads = reader(map, 4, 64);
  let at = 0;
  let count = 0;
  for (; at < leaves.length; at += 23 + random.next(3)) {
    reads.reach(leaves[at]!);
    count++;
  }
  assert.ok(reads.misses.length < count, `${reads.misses.length} misses of ${count}`);
});

test("ReadAhead takes few random look-ups for the beginning of a scan", () => {
  const { map, leaves } = madeUp(25_000);
  let askings = 0;
  let pages = 0;
  let isFirstOnly = true;
  for (let round = 0; round < 50; round++) {
    const random = new Random(round);
    const reads = reader(map, 4);
    for (let i = 0; i < 100; i++) reads.reach(leaves[random.next(leaves.length)]!);
    askings += reads.askings.length;
    pages += reads.asked.size;
    isFirstOnly &&= reads.askings.every(({ pgnos }) => pgnos.length <= 16);
  }
  assert.ok(askings <= 50, `${askings} askings in 5000 look-ups`);
  assert.ok(pages <= 50 * 16);
  assert.ok(isFirstOnly);
});

test("ReadAhead stays with a scan while another tree is looked up at random, as a join does", () => {
  const { map, leaves } = madeUp(5000);
  const inner = 100_000;
  for (const [pgno, page] of madeUpTree(inner, 20_000, FAN_OUT)) map.learn(pgno, page);
  const random = new Random(9);
  const reads = reader(map, 8);
  for (const leaf of leaves.slice(0, 2000)) {
    reads.reach(leaf);
    for (let row = 0; row < 10; row++) reads.reach(inner + 100 + random.next(20_000));
  }
  assert.ok(reads.misses.filter((pgno) => pgno < inner).length <= 2);
});

test("ReadAhead follows eight scans in turn", () => {
  const { map, leaves } = madeUp(9000);
  const reads = reader(map, 4);
  for (let i = 0; i < 900; i++) {
    for (let scan = 0; scan < 8; scan++) reads.reach(leaves[scan * 1100 + i]!);
  }
  assert.ok(reads.misses.length <= 8 * 6, `${reads.misses.length} misses`);
});

test("ReadAhead follows the file where no tree is known, forward and backward", () => {
  for (const neighbours of [1, 4, 16]) {
    const scan = reader(new TreeMap(), neighbours);
    for (let pgno = 50; pgno < 3000; pgno++) scan.reach(pgno);
    assert.ok(scan.misses.length <= 3, `${scan.misses.length} misses`);
    const back = reader(new TreeMap(), neighbours);
    for (let pgno = 3000; pgno > 0; pgno--) back.reach(pgno);
    assert.ok(back.misses.length <= 4, `${back.misses.length} misses`);
    assert.ok([...back.asked].every((pgno) => pgno > 0));
  }
});

test("ReadAhead follows overflow chains of real rows, and asks for little where they are short", async () => {
  const pages = await databasePages(1024, (db) => {
    db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)");
    for (let i = 0; i < 20; i++) db.exec("INSERT INTO t VALUES (NULL, randomblob(100000))");
    db.exec("CREATE TABLE u (id INTEGER PRIMARY KEY, a BLOB)");
    for (let i = 0; i < 200; i++) db.exec("INSERT INTO u VALUES (NULL, randomblob(4000))");
    db.exec("CREATE TABLE v (id INTEGER PRIMARY KEY, a BLOB)");
    for (let i = 0; i < 200; i++) db.exec("INSERT INTO v VALUES (NULL, randomblob(2000))");
  });
  const chainsOf = (name: string) => {
    const { leaves } = pages.tree(pages.roots.get(name)!);
    return leaves.flatMap((leaf) =>
      new BtreePage(pages.page(leaf), leaf, 1024, "table").rows().map(({ overflow }) => {
        const chain = [leaf];
        for (let at = overflow; at !== 0;) {
          chain.push(at);
          at = new DataView(pages.page(at).slice().buffer).getUint32(0);
        }
        return chain;
      })
    );
  };
  const page = (pgno: number) => pgno <= pages.pageCount ? pages.page(pgno) : undefined;
  const map = new TreeMap();
  const long = new AlongReader({ map, windowMax: 64, page, neighbours: 4 });
  for (const chain of chainsOf("t").slice(2, 6)) long.reachAll(chain);
  assert.ok(long.misses.length <= 8, `${long.misses.length} misses`);
  assert.ok(long.unused <= 64);
  const rows = [3, 77, 150, 30, 199, 111];
  const middling = new AlongReader({ map, windowMax: 64, page, neighbours: 4 });
  for (const row of rows) middling.reachAll(chainsOf("u")[row]!);
  assert.ok(middling.asked.size <= 16 * rows.length, `${middling.asked.size} pages`);
  const short = new AlongReader({ map, windowMax: 64, page, neighbours: 4 });
  for (const row of rows) short.reachAll(chainsOf("v")[row]!);
  assert.equal(short.asked.size, 0);
});

test("ReadAhead asks for an interior page that is not known, then for what is below it", () => {
  const map = new TreeMap();
  map.learn(2, interiorPage([3, 4], [400]));
  map.learn(3, interiorPage([10, 11, 12, 13], [100, 200, 300]));
  for (const isTold of [false, true]) {
    const ahead = new ReadAhead(map, { windowMax: 64 });
    if (isTold) map.learn(4, new Uint8Array(0));
    ahead.reached(10);
    assert.deepEqual(ahead.reached(11), { pgnos: [12, 13, 4], mark: 12 });
    assert.deepEqual(ahead.learned(5), { pgnos: [], mark: 0 });
    map.learn(4, interiorPage([20, 21], [500]));
    if (isTold) assert.deepEqual(ahead.learned(4), { pgnos: [20, 21], mark: 13 });
    else assert.deepEqual(ahead.reached(12), { pgnos: [20, 21], mark: 20 });
  }
});

/** A root over 40 interior pages, of which only the first, or the last for step -1, is known; a reader begins below it. */
function atEndOfTree(fanOut: number, step: number, windowMax = 4096) {
  const interiors = Array.from({ length: 40 }, (_, i) => 3 + i);
  const key = (pgno: number) => (pgno - 3) * 1000;
  const map = new TreeMap();
  map.learn(2, interiorPage(interiors, interiors.slice(1).map(key)));
  const pgno = step > 0 ? 3 : 42;
  const leaves = Array.from({ length: fanOut }, (_, i) => 100 + i);
  map.learn(pgno, interiorPage(leaves, leaves.slice(1).map((_, i) => key(pgno) + i + 1)));
  const ahead = new ReadAhead(map, { windowMax });
  const at = step > 0 ? 100 : 99 + fanOut;
  const beside = (count: number) => Array.from({ length: count }, (_, i) => pgno + (i + 1) * Math.sign(step));
  return { ahead, at, beside };
}

for (const step of [1, -1]) {
  test(`ReadAhead has the interior pages of its way come together, step ${step}`, () => {
    for (const [fanOut, count] of [[300, 1], [60, 5], [32, 8]] as const) {
      const { ahead, at, beside } = atEndOfTree(fanOut, step);
      ahead.reached(at);
      assert.equal(ahead.reached(at + step).above, undefined, "nobody has gone on along it yet");
      assert.deepEqual(ahead.reached(at + 2 * step).above, beside(count), `${fanOut} leaves each`);
    }
  });
}

test("ReadAhead has no more interior pages come than an eighth of what it may have ahead", () => {
  const { ahead, at, beside } = atEndOfTree(30, 1, 32);
  ahead.reached(at);
  ahead.reached(at + 1);
  assert.deepEqual(ahead.reached(at + 2).above, beside(4));
});

test("ReadAhead asks for the interior pages behind one that ends what is known", () => {
  const { ahead, at, beside } = atEndOfTree(24, 1);
  ahead.reached(at);
  assert.deepEqual(ahead.reached(at + 1).pgnos.length, 16);
  const [unknown] = beside(1);
  const { pgnos, above } = ahead.reached(at + 2);
  assert.equal(pgnos.at(-1), unknown, "the last that is asked for");
  assert.deepEqual(above, beside(11));
});

test("ReadAhead does not begin at two roots of small trees that lie near each other", () => {
  const reads = reader(new TreeMap(), 1);
  for (const pgno of [2, 9, 400, 300, 310]) reads.reach(pgno);
  assert.equal(reads.asked.size, 0);
});

for (const pageSize of [512, 1024, 4096]) {
  test(`ReadAhead scans real trees of pages of ${pageSize} bytes, interior pages learned on the way`, async () => {
    const pages = await databasePages(pageSize, (db) => fillOrders(db, 20_000, 60 + pageSize / 16, true));
    for (const root of pages.roots.values()) {
      for (const isBackward of [false, true]) {
        const map = new TreeMap();
        const { leaves, interiors } = pages.tree(root);
        const scan = new AlongReader({
          map,
          windowMax: 128,
          page: (pgno) => pgno <= pages.pageCount ? pages.page(pgno) : undefined,
        });
        if (isBackward) leaves.reverse();
        for (const leaf of leaves) {
          const way: number[] = [];
          for (let at = leaf; at !== root; at = parentOf(pages, interiors, at)) way.push(at);
          scan.reach(root);
          for (const pgno of way.reverse()) scan.reach(pgno);
        }
        const depth = 8;
        assert.ok(scan.misses.length <= depth, `${scan.misses.length} of ${leaves.length}`);
        assert.equal(scan.unused, 0);
      }
    }
  });
}

/** Parents by the list of a tree's interior pages; a map that saw no leaf takes all children for interior ones. */
const parents = new WeakMap<object, Map<number, number>>();

function parentOf(
  pages: { page(pgno: number): Uint8Array },
  interiors: readonly number[],
  pgno: number,
): number {
  let known = parents.get(interiors);
  if (known === undefined) {
    const map = new TreeMap();
    known = new Map();
    for (const interior of interiors) {
      map.learn(interior, pages.page(interior));
      for (const child of map.interiorChildren(interior)) known.set(child, interior);
    }
    parents.set(interiors, known);
  }
  return known.get(pgno)!;
}

test("ReadAhead makes windows smaller when much goes unused, and larger again", () => {
  const { map } = madeUp(5000);
  const ahead = new ReadAhead(map, { windowMax: 512 });
  for (let i = 0; i < 100; i++) {
    ahead.used(5);
    ahead.wasted(5);
  }
  assert.equal(ahead.windowLimit, 16);
  for (let i = 0; i < 10; i++) {
    ahead.used(8);
    ahead.wasted(2);
  }
  assert.equal(ahead.windowLimit, 16);
  for (let i = 0; i < 100; i++) {
    ahead.used(9);
    ahead.wasted(1);
  }
  assert.equal(ahead.windowLimit, 512);
});

test("ReadAhead makes windows smaller soon where only small ones were asked for", () => {
  const { map, leaves } = madeUp(5000);
  const ahead = new ReadAhead(map, { windowMax: 4096 });
  ahead.reached(leaves[0]!);
  assert.equal(ahead.reached(leaves[1]!).pgnos.length, 16);
  ahead.wasted(64);
  assert.equal(ahead.windowLimit, 16);
});

test("ReadAhead.trim() cuts the way that was asked last, not what another left at the same end", () => {
  const { map, leaves } = madeUp(300);
  const ahead = new ReadAhead(map, { windowMax: 4096, treeMax: 4096 });
  let cut = 0;
  for (const [way, share] of [1, 0.1].entries()) {
    for (const leaf of leaves.slice(0, way === 0 ? 296 : 200)) {
      const asked = ahead.reached(leaf);
      if (asked.spread === undefined) continue;
      ahead.trim(asked, Math.ceil(asked.pgnos.length * share));
      cut += way;
    }
  }
  assert.ok(cut > 0, "the second way asked for nothing to be cut");
});

for (const treeMax of [0, 1_000_000]) {
  test(`ReadAhead keeps its bounds on whatever it is told, trees of ${treeMax} pages held`, () => {
    const random = new Random(21);
    const map = new TreeMap();
    const ahead = new ReadAhead(map, { windowMax: 64, treeMax });
    for (let round = 0; round < 30_000; round++) {
      if (random.next(20) === 0) {
        const children = Array.from({ length: 1 + random.next(20) }, () => 1 + random.next(200));
        map.learn(
          2 + random.next(100),
          interiorPage(children, children.slice(1).map(() => random.next(100)), 512),
        );
      }
      const told = 1 + random.next(random.next(2) ? 200 : 10_000);
      const asked = random.next(5) ? ahead.reached(told) : ahead.learned(told);
      const { pgnos, mark, spread = 0 } = asked;
      assert.ok(pgnos.length <= 64 && pgnos.every((pgno) => pgno > 0));
      assert.ok(mark >= 0 && (spread === 0 || (treeMax > 0 && mark === 0 && pgnos.length > 0)));
      if (spread > 0) {
        {
          assert.ok(ahead.trim(asked, random.next(pgnos.length + 1)) >= 0);
        }
      }
      assert.ok(ahead.streamCount <= 8);
    }
  });
}

for (const isBackward of [false, true]) {
  const way = isBackward ? "backward" : "forward";
  test(`ReadAhead has a scattered tree that is read ${way} from its end come as a whole`, () => {
    const { map, leaves } = madeUp(5000, true);
    if (isBackward) leaves.reverse();
    const scan = new AlongReader({ map, windowMax: 2048, treeMax: 6000, spreadMax: 400 }).reachAll(leaves);
    assert.ok(scan.misses.length <= 2, `${scan.misses.length} misses`);
    assert.deepEqual([...scan.asked].sort(), leaves.slice(2).sort());
    const first = scan.askings.findIndex(({ spread }) => spread !== undefined);
    const before = scan.askings.slice(0, first).reduce((sum, { pgnos }) => sum + pgnos.length, 0);
    assert.ok(first > 0 && before <= 128, `${before} pages one by one`);
    assert.ok(scan.askings.slice(first).every(({ spread, mark }) => spread! >= 32 * 16 && mark === 0));
    assert.ok(scan.askings.length <= 40, `${scan.askings.length} askings`);
  });
}

test("ReadAhead does not spread over a tree that memory does not hold, nor from its middle", () => {
  const { map, leaves } = madeUp(5000, true);
  for (const [from, treeMax] of [[0, 4000], [100, 6000]] as const) {
    const scan = new AlongReader({ map, windowMax: 2048, treeMax }).reachAll(leaves.slice(from));
    assert.ok(scan.askings.length > 5 && scan.askings.every(({ spread }) => spread === undefined));
    assert.ok(scan.misses.length <= 2, `${scan.misses.length} misses`);
  }
});

test("ReadAhead.trim() leaves what does not come to the next time, marks the middle of what does", () => {
  const { map, leaves } = madeUp(5000, true);
  const scan = new AlongReader({ map, windowMax: 2048, treeMax: 6000, spreadMax: 100 });
  let read = 0;
  while (read < 500 && scan.askings.at(-1)?.spread === undefined) scan.reach(leaves[read++]!);
  const asked = scan.askings.at(-1)!;
  const first = leaves.indexOf(asked.pgnos[0]!);
  assert.deepEqual(asked.pgnos, leaves.slice(first, first + asked.pgnos.length));
  assert.ok(asked.pgnos.length > 100);
  const { length } = scan.askings;
  while (read < 1000 && scan.askings.length === length) scan.reach(leaves[read++]!);
  assert.equal(scan.askings.at(-1)!.pgnos[0], leaves[first + 100]);
  assert.ok(read >= first && read <= first + 100, `page ${read - first} of the 100 that came`);
  assert.equal(scan.misses.length, 2);
  assert.equal(scan.ahead.trim({ pgnos: [1, 2, 3], mark: 0 }, 2), 0);
});
