import assert from "node:assert/strict";
import { test } from "node:test";
import { FtsIndex } from "../../src/pages/fts_index.ts";
import { TreeMap } from "../../src/pages/tree_map.ts";
import { Random } from "../support/random.ts";
import { fullText, wholeIndex } from "./word_reader.ts";

for (
  const [pageSize, segments, options] of [
    [4096, 1, ""],
    [4096, 5, ""],
    [4096, 5, ", detail=column"],
    [4096, 3, ", content=''"],
    [8192, 5, ", content='texts', content_rowid='id'"],
    [65536, 5, ", prefix='2'"],
  ] as const
) {
  const of = `${segments} segments, pages of ${pageSize} bytes${options}`;
  test(`FtsIndex finds words and their rows: ${of}`, async () => {
    const world = await fullText({ pageSize, segments, options });
    const index = wholeIndex(world);
    assert.equal(index.segments.length, segments);
    assert.ok(world.found.length >= segments * 8);
    for (const { segment, word, number } of world.found) {
      const { first, id } = index.segments.find(({ id }) => id === segment)!;
      assert.deepEqual(index.find({ id, first, last: 0 }, word), { number }, `${word} in ${segment}`);
    }
    for (const [word, rows] of world.rowsOf) {
      if (!/^[wf]/.test(word) && (Number(word) % 97 > 0 || word.length > 6)) continue;
      assert.deepEqual(index.rowsOf(`0${word}`), { rowids: Float64Array.from(rows), next: [] }, word);
    }
    const between = index.rowsBetween("0w120", "0w13");
    assert.deepEqual(
      [...between.keys()].sort(),
      [...world.rowsOf.keys()].map((word) => `0${word}`)
        .filter((word) => word >= "0w120" && word <= "0w13").sort(),
    );
  });
}

test("FtsIndex tells what is missing: pages on the way to a word, leaves that it goes on in", async () => {
  const world = await fullText({ rowCount: 60_000, segments: 1 });
  const { map, tables, pages, rowsOf } = world;
  const memory = new Set<number>([map.leafOf(tables.leaves, 10)!]);
  const index = () => new FtsIndex(map, tables, (pgno) => memory.has(pgno) ? pages.page(pgno) : undefined);
  const [segment] = index().segments;
  let found = index().find(segment!, "0f7");
  const missing: number[] = [];
  for (; "missing" in found; found = index().find(segment!, "0f7")) {
    missing.push(found.missing);
    memory.add(found.missing);
  }
  assert.ok(missing.length > 0);
  assert.equal(missing[0], tables.words);
  assert.equal(index().rowsOf("0f7").rowids.length, 0);
  memory.add(index().leafPage(segment!.id, found.number)!);
  const wanted = rowsOf.get("f7")!;
  const counts = [index().rowsOf("0f7").rowids.length];
  assert.ok(counts[0]! > 0 && counts[0]! < wanted.length);
  for (let next; (next = index().rowsOf("0f7").next).length > 0;) {
    memory.add(next[0]!);
    const { rowids } = index().rowsOf("0f7");
    assert.deepEqual([...rowids], wanted.slice(0, rowids.length));
    counts.push(rowids.length);
  }
  assert.equal(counts.at(-1), wanted.length);
});

test("FtsIndex knows the rows of a word up to where the first of several segments is not known", async () => {
  const world = await fullText({ rowCount: 60_000, segments: 2 });
  const { map, tables, pages, rowsOf } = world;
  const whole = wholeIndex(world);
  const lost = new Set(whole.segments.map((segment) => {
    const found = whole.find(segment, "0f7");
    return "number" in found ? whole.leafPage(segment.id, found.number + 1)! : 0;
  }));
  const index = new FtsIndex(map, tables, (pgno) => lost.has(pgno) ? undefined : pages.page(pgno));
  const { rowids, next } = index.rowsOf("0f7");
  assert.ok(next.length > 0 && next.every((pgno) => lost.has(pgno)));
  assert.ok(rowids.length > 100 && rowids.length < rowsOf.get("f7")!.length);
  assert.deepEqual([...rowids], rowsOf.get("f7")!.slice(0, rowids.length));
});

test("FtsIndex takes hostile pages without a throw or a hang", async () => {
  const world = await fullText({ rowCount: 3000, segments: 3 });
  const { map, tables, pages } = world;
  const random = new Random(5);
  for (let round = 0; round < 300; round++) {
    const index = new FtsIndex(map, tables, (pgno) => {
      const page = pages.page(pgno).slice();
      if (random.next(3) === 0) return page;
      for (let i = random.next(40); i > 0; i--) {
        page[random.next(random.next(2) ? page.length : 60)] = random.next(256);
      }
      return random.next(8) === 0 ? page.subarray(0, random.next(page.length)) : page;
    });
    const { rowids } = index.rowsOf("0w7");
    for (let i = 1; i < rowids.length; i++) assert.ok(rowids[i]! > rowids[i - 1]!);
    assert.ok(index.rowsBetween("0w1", "0w2").size <= 10_000);
    assert.ok(index.segments.length <= 64);
  }
});

test("FtsIndex has no segments with numbers beyond those of FTS5", () => {
  // one row, 10, of a table leaf: two segments of a level, the second one's leaves are 2^53 to 2^53
  const huge = [0x90, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
  const blob = [0, 0, 0, 0, 1, 2, 0, 0, 2, 1, 1, 3, 2, ...huge, ...huge];
  const record = [3, 0, 12 + 2 * blob.length, ...blob];
  const page = new Uint8Array(512);
  page.set([0x0d, 0, 0, 0, 1, 1, 0, 0, 1, 0]);
  page.set([record.length, 10, ...record], 256);
  const index = new FtsIndex(new TreeMap(), { leaves: 5, words: 6, settings: 7 }, () => page);
  assert.deepEqual(index.segments, [{ id: 1, first: 1, last: 3 }]);
});
