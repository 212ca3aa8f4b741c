import assert from "node:assert/strict";
import { test } from "node:test";
import type { CellValue } from "../../src/cli/cell_text.ts";
import { type RowMode, rowWriter, type ShownRows } from "../../src/cli/row_writer.ts";
import { textWidth } from "../../src/cli/text_width.ts";

const COLUMNS = ["id", "who", "who"];
const ROWS: CellValue[][] = [
  [1n, 'a "b", c', null],
  [9007199254740993n, "日本", ""],
  [-3n, "e\u0301 👩‍👩‍👧\t\n\x1b[31m", new Uint8Array([1, 255])],
];

function written(mode: RowMode, rows = ROWS, more: Partial<ShownRows> = {}, columns = COLUMNS): string {
  const writer = rowWriter({ mode, header: true, isTerminal: false, isColored: false, ...more });
  return writer.begin(columns) + rows.map((row) => writer.row(row)).join("") + writer.end();
}

test("table: columns stand in line, numbers at the right, wide characters and control characters too", () => {
  assert.equal(
    written("table"),
    ` ${"id".padStart(16)} │ who${" ".repeat(13)} │ who\n` +
      `${"─".repeat(18)}┼${"─".repeat(18)}┼${"─".repeat(9)}\n` +
      `                1 │ a "b", c         │ NULL\n` +
      ` 9007199254740993 │ 日本             │\n` +
      `               -3 │ e\u0301 👩‍👩‍👧\\t\\n\\x1b[31m │ x'01ff'\n` +
      "(3 rows)\n",
  );
});

test("table: what was not measured is written as it comes, and a long value does not widen its column for all", () => {
  const rows = Array.from(
    { length: 1_000 },
    (_, i): CellValue[] => [BigInt(i), i === 3 ? "x".repeat(5_000) : "y"],
  );
  const lines = written("table", rows, {}, ["n", "text"]).split("\n");
  assert.equal(lines.length, 1_004);
  assert.ok(lines[1]!.length < 150, `${lines[1]!.length}`);
  assert.equal(lines[5], `   3 │ ${"x".repeat(5_000)}`);
  assert.equal(lines[1_001], " 999 │ y");
});

test("csv: quoted where it must be, and NULL is told from an empty text", () => {
  assert.equal(
    written("csv"),
    'id,who,who\r\n1,"a ""b"", c",\r\n9007199254740993,日本,""\r\n-3,"e\u0301 👩‍👩‍👧\t\n\x1b[31m",x\'01ff\'\r\n',
  );
  assert.equal(written("csv", [], { header: false }), "");
});

test("tsv and list", () => {
  assert.equal(written("tsv", [["a\tb\\\n", null, 1.5]]), "id\twho\twho\na\\tb\\\\\\n\t\\N\t1.5\n");
  assert.equal(written("list", [[1n, null, "x"]], { header: false }), "1||x\n");
});

test("json and ndjson: names are distinct, and no row is an empty array", () => {
  assert.equal(
    written("json", ROWS.slice(0, 2)),
    '[{"id":1,"who":"a \\"b\\", c","who_2":null},\n {"id":9007199254740993,"who":"日本","who_2":""}]\n',
  );
  assert.equal(written("json", []), "[]\n");
  assert.equal(written("ndjson", [[1n, 2, null]]), '{"id":1,"who":2.0,"who_2":null}\n');
  assert.equal(written("ndjson", []), "");
});

test("line: a line a value", () => {
  assert.equal(
    written("line", [[1n, "a", null], [2n, "b", null]]),
    " id = 1\nwho = a\nwho = \n\n id = 2\nwho = b\nwho = \n",
  );
});

test("no form lets data speak to a terminal, not by values and not by names", () => {
  const evil = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e";
  for (const mode of ["table", "csv", "tsv", "list", "line", "json", "ndjson"] as const) {
    const text = written(mode, [[evil, 1n, null]], { isTerminal: true }, [evil, "b", "c"]);
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(text.replaceAll("\n", ""), /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/, mode);
    assert.match(text, /title/);
  }
});

test("textWidth() counts columns", () => {
  const wanted: [string, number][] = [
    ["", 0],
    ["abc", 3],
    ["日本", 4],
    ["e\u0301", 1],
    ["👍", 2],
    ["👩‍👩‍👧", 2],
    ["ｱ", 1],
    ["\u200b", 0],
  ];
  for (const [text, width] of wanted) assert.equal(textWidth(text), width, text);
});

test("insert: statements that insert the rows, without control characters, and with bytes that are no text", () => {
  const writer = rowWriter({ mode: "insert", into: '"t" ("id", "who", "x")' });
  const none = [null, null, null];
  assert.equal(
    writer.begin(COLUMNS) + writer.row([-(2n ** 63n), "it's\n", 1, ...none]) +
      writer.row([null, "a\x1b", "e\u0301", ...none]) +
      writer.row([1n, "a\ufffd", null, null, new Uint8Array([0x61, 0xff]), null]),
    `INSERT INTO "t" ("id", "who", "x") VALUES ((-9223372036854775807 - 1), 'it''s\n', 1.0);\n` +
      `INSERT INTO "t" ("id", "who", "x") VALUES (NULL, ('a' || char(27)), 'e\u0301');\n` +
      `INSERT INTO "t" ("id", "who", "x") VALUES (1, CAST(x'61ff' AS TEXT), NULL);\n`,
  );
});
