import assert from "node:assert/strict";
import { test } from "node:test";
import { complete, schemaNames } from "../../src/cli/completion.ts";
import { nearestName } from "../../src/nearest_name.ts";

const NAMES = { tables: ["ratings", "visits"], columns: ["stars", "id"] };
const DOTS = [".tables", ".timer", ".quit"];

for (
  const [line, wanted] of [
    [".t", [[".tables ", ".timer "], ".t"]],
    [".schema ra", [["ratings"], "ra"]],
    [".mode nd", [["ndjson"], "nd"]],
    [".timer o", [["on", "off"], "o"]],
    ["SELECT st", [["stars "], "st"]],
    ["select * fr", [["from "], "fr"]],
    ["SELECT * FR", [["FROM "], "FR"]],
    ["SELECT * FROM ", [["ratings ", "visits "], ""]],
    ["SELECT 1 + ", [[], ""]],
    ["SELECT litestream_t", [["litestream_txid() ", "litestream_time() "], "litestream_t"]],
  ] as const
) {
  test(`complete() goes on with ${JSON.stringify(line)}`, () => {
    assert.deepEqual(complete(line, DOTS, NAMES), wanted);
  });
}

test("schemaNames() leaves names out that a terminal cannot show as they are", () => {
  assert.deepEqual(schemaNames([[1n, "a"], [1n, "b\x1b[2J"], [2n, "c"]]), { tables: ["a"], columns: ["c"] });
});

test("nearestName() finds what was mistyped, and nothing far off", () => {
  assert.equal(nearestName("rating", ["visits", "ratings"]), "ratings");
  assert.equal(nearestName("RATIGNS", ["visits", "ratings"]), "ratings");
  assert.equal(nearestName("abc", ["xyz"]), undefined);
  assert.equal(nearestName("ab", ["xy"]), undefined);
});
