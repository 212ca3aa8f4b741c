import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type CellValue,
  jsonText,
  plainText,
  shownText,
  sqlText,
  visibleLines,
} from "../../src/cli/cell_text.ts";
import { PlainDatabase } from "./plain_database.ts";

const VALUES: CellValue[] = [
  null,
  0n,
  -(2n ** 63n),
  2n ** 63n - 1n,
  1,
  -0.5,
  1e21,
  Infinity,
  -Infinity,
  "",
  "it's",
  "a\nb\tc",
  "nul\0, esc \x1b[31m, c1 \x9b, end\u2028, right\u202eto left",
  "日本 👩‍👩‍👧",
  new Uint8Array(),
  new Uint8Array([0, 0xca, 0xfe]),
];

test("shownText() has nothing that speaks to a terminal, whatever the value", () => {
  const all = Array.from({ length: 0x3000 }, (_, i) => String.fromCharCode(i)).join("");
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(shownText(all), /[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]/);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(visibleLines(all), /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/);
  assert.equal(shownText("a\x1b[2Jb\r\n\x9b"), "a\\x1b[2Jb\\r\\n\\x9b");
  assert.equal(shownText("\u202e"), "\\u202e");
});

test("shownText() and plainText() tell kinds apart", () => {
  assert.deepEqual([1n, 1, null, 1e21, -0].map(shownText), ["1", "1.0", "NULL", "1e+21", "-0.0"]);
  assert.deepEqual(["1", "", null].map(plainText), ["1", "", ""]);
  assert.equal(plainText(new Uint8Array([0, 255])), "x'00ff'");
  assert.equal(shownText(new Uint8Array(40).fill(1)), `x'${"01".repeat(32)}…' (40 bytes)`);
});

test("a blob is text whole, wherever it lies in its buffer, and however large it is", () => {
  const bytes = Uint8Array.from({ length: 3_000_001 }, (_, i) => i * 7 % 256).subarray(1);
  const hex = plainText(bytes);
  assert.equal(hex.length, 2 * bytes.length + 3);
  assert.equal(hex.slice(0, 10), "x'070e151c");
  assert.equal(hex.slice(-3), `${(3_000_000 * 7 % 256).toString(16).padStart(2, "0")}'`);
  assert.equal(jsonText(bytes.subarray(0, 3)), '"Bw4V"');
  assert.equal(JSON.parse(jsonText(bytes)).length, 4_000_000);
});

test("jsonText() is JSON, and keeps every digit of an integer", () => {
  assert.deepEqual([2n ** 63n - 1n, 1, Infinity, null].map(jsonText), [
    "9223372036854775807",
    "1.0",
    "1e999",
    "null",
  ]);
  for (const value of VALUES) {
    const read = JSON.parse(jsonText(value));
    if (typeof value === "string") assert.equal(read, value);
    else if (typeof value === "number") assert.equal(read, value);
    else if (value instanceof Uint8Array) {
      assert.deepEqual(Uint8Array.from(atob(read), (c) => c.charCodeAt(0)), value);
    }
  }
});

test("sqlText() gives the value back, of the same type, to SQLite", () => {
  for (const value of VALUES.filter((value) => typeof value !== "string" || !value.includes("\0"))) {
    const row = PlainDatabase.value(`SELECT ${sqlText(value)}`);
    if (value instanceof Uint8Array) assert.deepEqual(new Uint8Array(row as Uint8Array), value);
    else assert.equal(row, value, sqlText(value));
  }
  assert.equal(sqlText("a\0b"), "('a' || char(0) || 'b')");
});
