import assert from "node:assert/strict";
import { test } from "node:test";
import { expectedOf, mismatch, resultTexts } from "./result_text.ts";
import { applies, commonEngine, parseScript, type QueryRecord } from "./script.ts";

const TEXT = `# a comment
hash-threshold 8

onlyif sqlite # that is us
skipif mysql
statement ok
CREATE TABLE t(
# within
a)

query IT rowsort label-1
SELECT *
FROM t
----
1
NULL

connection
varies
query R valuesort
SELECT 1.5

query I
SELECT 1
----
30 values hashing to 0123456789abcdef0123456789abcdef

onlyif mysql
halt
`;

test("parseScript() reads every kind of record", () => {
  const { records } = parseScript("x.test", TEXT);
  const head = { conditions: [], isOwn: false, varies: false };
  const conditions = [{ isOnlyIf: true, name: "sqlite" }, { isOnlyIf: false, name: "mysql" }];
  const query = { ...head, kind: "query", sort: "nosort", label: undefined, expected: undefined };
  assert.deepEqual(records, [
    { ...head, line: 6, conditions, kind: "statement", sql: "CREATE TABLE t(\na)", fails: false },
    {
      ...query,
      line: 11,
      types: "IT",
      sort: "rowsort",
      label: "label-1",
      sql: "SELECT *\nFROM t",
      expected: { kind: "values", values: ["1", "NULL"] },
    },
    { ...query, line: 20, isOwn: true, varies: true, types: "R", sort: "valuesort", sql: "SELECT 1.5" },
    {
      ...query,
      line: 23,
      types: "I",
      sql: "SELECT 1",
      expected: { kind: "hash", count: 30, md5: "0123456789abcdef0123456789abcdef" },
    },
    { ...head, line: 29, conditions: [{ isOnlyIf: true, name: "mysql" }], kind: "halt" },
  ]);
});

test("parseScript() refuses what is no record, with script and line", () => {
  for (
    const [text, message] of [
      ["\nstatement perhaps\nSELECT 1", /x\.test:2: statement perhaps, expected ok or error/],
      ["query X\nSELECT 1", /x\.test:1: "query X", expected query TYPES/],
      ["query I sorted\nSELECT 1", /x\.test:1: "query I sorted"/],
      ["SELECT 1", /x\.test:1: "SELECT 1", expected a record/],
      ["onlyif sqlite", /x\.test:1: conditions, expected a record after them/],
    ] as const
  ) assert.throws(() => parseScript("x.test", text), message);
});

test("applies() knows engines, versions and compile options; what several share", () => {
  const ask = (lines: string, engine: { version: string; abilities: Set<string> }) =>
    applies(parseScript("x.test", `${lines}\nstatement ok\nSELECT 1`).records[0]!, engine);
  const one = { version: "3.45.1", abilities: new Set(["fts5", "rtree"]) };
  const common = commonEngine([one, { version: "3.9.2", abilities: new Set(["fts5"]) }]);
  assert.deepEqual(common, { version: "3.9.2", abilities: new Set(["fts5"]) });
  assert.equal(ask("onlyif sqlite\nskipif mysql", one), true);
  assert.equal(ask("skipif sqlite", one), false);
  assert.equal(ask("onlyif sqlite-3.45\nonlyif rtree", one), true);
  assert.equal(ask("onlyif sqlite-3.45.2", one), false);
  assert.equal(ask("onlyif sqlite-3.10", common), false);
  assert.equal(ask("onlyif rtree", common), false);
});

test("resultTexts() renders as sqllogictest does, in every order", () => {
  const rows = [[2n, "b", 0.0625], [null, "", -0.1875], [10, "ä\n", new Uint8Array([65, 0, 66])]];
  assert.deepEqual(resultTexts(rows, "ITR", "nosort"), [
    "2",
    "b",
    "0.063",
    ...["NULL", "(empty)", "-0.188"],
    ...["10", "@@@", "0.000"],
  ]);
  assert.deepEqual(resultTexts([[2n], [10n], [null]], "I", "rowsort"), ["10", "2", "NULL"]);
  assert.deepEqual(resultTexts([[2n, 9n], [10n, 1n]], "II", "valuesort"), ["1", "10", "2", "9"]);
  assert.deepEqual(resultTexts([[2n, 9n], [10n, 1n]], "II", "rowsort"), ["10", "1", "2", "9"]);
  const numbers = [["12 apples", 1e21, new Uint8Array([65, 0])], [1.9, -(2 ** 64), 12_345_678_901_234.125]];
  assert.deepEqual(resultTexts(numbers, "IRR", "nosort"), [
    ...["12", "1000000000000000000000.000", "0.000"],
    ...["1", "-18446744073709550000.000", "12345678901234.130"],
  ]);
});

test("mismatch() compares values, and the MD5 that sqllogictest has of them", () => {
  const record = (expected: QueryRecord["expected"]) => ({ expected } as QueryRecord);
  // The MD5 of "1\n2\n3\n", by md5sum.
  const hash = { kind: "hash", count: 3, md5: "c0710d6b4f15dfa88f600b0e6b624077" } as const;
  assert.equal(mismatch(record(hash), ["1", "2", "3"]), undefined);
  assert.match(
    mismatch(record(hash), ["1", "3", "2"])!,
    /^3 values hashing to .*, expected 3 values hashing to c0/,
  );
  assert.equal(mismatch(record(undefined), ["1"]), undefined);
  assert.equal(mismatch(record({ kind: "values", values: ["1"] }), ["2"]), "[2], expected [1]");
  assert.deepEqual(expectedOf(["1", "2"]), { kind: "values", values: ["1", "2"] });
  assert.deepEqual(expectedOf(Array(9).fill("x")).kind, "hash");
});
