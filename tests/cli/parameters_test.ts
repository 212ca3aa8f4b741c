import assert from "node:assert/strict";
import { test } from "node:test";
import { bindingsOf, checkParameters, parseLiteral, parseParameters } from "../../src/cli/parameters.ts";
import { UsageError } from "../../src/cli/usage_error.ts";

test("parseLiteral() reads what SQL would, and all else as text", () => {
  const wanted: [string, unknown][] = [
    ["7", 7n],
    ["-7", -7n],
    ["9223372036854775807", 2n ** 63n - 1n],
    ["9223372036854775808", 9223372036854775808],
    ["1.50", 1.5],
    ["1e3", 1000],
    ["NULL", null],
    ["null", "null"],
    ["007", "007"],
    ["", ""],
    ["'7'", "7"],
    ["'it''s'", "it's"],
    ["x'CAfe'", new Uint8Array([0xca, 0xfe])],
    ["x'caf'", "x'caf'"],
    ["O'Brien", "O'Brien"],
  ];
  for (const [text, value] of wanted) assert.deepEqual(parseLiteral(text), value, text);
});

test("parseParameters() takes names with or without their sign, and values with =", () => {
  assert.deepEqual(parseParameters(["id=7", ":who=a=b", "$n="], ["2"]), {
    named: { id: 7n, who: "a=b", n: "" },
    positional: [2n],
  });
  assert.throws(() => parseParameters(["7"], []), UsageError);
  assert.throws(() => parseParameters(["a=1", ":a=2"], []), /"a" is given twice/);
});

test("checkParameters() wants a value for each parameter, and a parameter for each value", () => {
  const values = parseParameters(["a=1", "b=2"], ["3"]);
  checkParameters(["SELECT :a, ?", "SELECT $b"], values);
  assert.throws(() => checkParameters(["SELECT :a, :c, ?"], values), /"c" has no value/);
  assert.throws(() => checkParameters(["SELECT :a, ?"], values), /no parameter "b"/);
  assert.throws(() => checkParameters(["SELECT :a, :b"], values), /1 value is given, expected 0/);
});

test("bindingsOf() gives each statement its own", () => {
  const values = parseParameters(["a=1", "b=2"], ["3", "4"]);
  assert.deepEqual(bindingsOf("SELECT :a, ?", values), [{ ":a": 1n }, 3n]);
  assert.deepEqual(bindingsOf("SELECT ?, ?", values), [3n, 4n]);
  assert.deepEqual(bindingsOf("SELECT 1", values), []);
});
