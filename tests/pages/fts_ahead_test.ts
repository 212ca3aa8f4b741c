import assert from "node:assert/strict";
import { test } from "node:test";
import { Random } from "../support/random.ts";
import { type FullText, fullText, WordReader } from "./word_reader.ts";

const COUNT = 20;

/** What looking up words and reading some of their rows costs, for each word, after a first one. */
function costOf(
  world: FullText,
  tables: readonly string[],
  rowsOf: (rowids: readonly number[]) => readonly number[],
): { waits: number; unused: number } {
  const reader = new WordReader(world);
  const random = new Random(3);
  let [before, unused] = [0, 0];
  for (let i = 0; i <= COUNT; i++) {
    const word = `w${random.next(1000)}`;
    reader.lookUp(word).readRows(rowsOf(world.rowsOf.get(word)!), tables);
    if (i === 0) before = reader.waits;
    else unused += reader.unused;
    reader.forget();
  }
  return { waits: (reader.waits - before) / COUNT, unused: unused / COUNT };
}

for (
  const [options, tables] of [
    ["", ["docs_docsize", "docs_content"]],
    ["", ["docs_docsize"]],
    [", detail=column", ["docs_docsize", "docs_content"]],
    [", content=''", ["docs_docsize"]],
    [", content='texts', content_rowid='id'", ["docs_docsize", "texts"]],
    [", content='texts', content_rowid='id', columnsize=0", ["texts"]],
  ] as const
) {
  for (const segments of [1, 5, 9]) {
    const of = `${segments} segments${options}, ${tables.join(" and ")}`;
    test(`FtsAhead has the rows of a word after few waits: ${of}`, async () => {
      const world = await fullText({ segments, options, rowCount: 24_000 });
      const { waits, unused } = costOf(world, tables, (rowids) => rowids);
      assert.ok(waits <= 9, `${waits} waits, ${unused} in vain`);
      assert.ok(unused <= 28, `${unused} pages in vain for a word`);
    });
  }
}

test("FtsAhead asks for a few rows only where readers take the first ones", async () => {
  const world = await fullText({ options: ", content='texts', content_rowid='id', columnsize=0" });
  const { unused } = costOf(world, ["texts"], (rowids) => rowids.slice(0, 2));
  assert.ok(unused <= 28, `${unused} pages in vain for a word`);
});

test("FtsAhead goes backward where the reader begins with the last row", async () => {
  const world = await fullText({ options: ", content='texts', content_rowid='id'" });
  const { waits } = costOf(world, ["texts"], (rowids) => rowids.toReversed());
  assert.ok(waits <= 10, `${waits} waits for a word`);
});

test("FtsAhead follows the rows that two words have in common", async () => {
  const world = await fullText({ rowCount: 24_000, options: ", content='texts', content_rowid='id'" });
  const reader = new WordReader(world);
  reader.lookUp("w17").readRows(world.rowsOf.get("w17")!, ["docs_docsize", "texts"]);
  const [waits, asked] = [reader.waits, reader.unused];
  const common = world.rowsOf.get("f7")!.filter((rowid) => world.rowsOf.get("g3")!.includes(rowid));
  reader.lookUp("f7").lookUp("g3").readRows(common, ["docs_docsize", "texts"]);
  assert.ok(common.length > 10);
  assert.ok(reader.waits - waits <= 40, `${reader.waits - waits} waits for ${common.length} rows`);
  assert.ok(reader.unused - asked <= 40);
});

test("FtsAhead asks for no rows where those read are not a word's", async () => {
  const world = await fullText({ options: ", content='texts', content_rowid='id'" });
  const random = new Random(9);
  const all = [...world.rowsOf.get("f1")!, ...world.rowsOf.get("f2")!];
  for (let round = 0; round < 10; round++) {
    const reader = new WordReader(world).lookUp(`w${random.next(1000)}`);
    const before = reader.asked.size;
    for (let i = 0; i < 30; i++) reader.readRows([all[random.next(all.length)]!], ["texts"]);
    assert.ok(reader.asked.size - before <= 64, `${reader.asked.size - before} pages`);
  }
});

test("FtsAhead says nothing of tables that are no full-text index's", async () => {
  const world = await fullText({ options: ", content='texts', content_rowid='id'" });
  const reader = new WordReader(world);
  for (const rowid of world.rowsOf.get("w5")!) reader.readRows([rowid], ["texts"]);
  assert.equal(reader.asked.size, 0);
});
