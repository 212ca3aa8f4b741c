import assert from "node:assert/strict";
import { test } from "node:test";
import { compareKeys, sortKeys } from "../../src/storage/key_order.ts";
import { GENERATIONS_PREFIX, levelPrefix, ltxKey } from "../../src/storage/layout.ts";

const NAME = "0000000000000001-0000000000000001.ltx";

test("levelPrefix() and ltxKey() name levels as each layout does", () => {
  assert.equal(levelPrefix("s3", 0), "0000/");
  assert.equal(levelPrefix("s3", 9), "0009/");
  assert.equal(levelPrefix("folder", 9), "ltx/9/");
  assert.equal(ltxKey("s3", 2, NAME), `0002/${NAME}`);
  assert.equal(ltxKey("folder", 2, NAME), `ltx/2/${NAME}`);
  assert.equal(GENERATIONS_PREFIX, "generations/");
  for (const level of [-1, 10, 1.5, NaN]) assert.throws(() => levelPrefix("s3", level), RangeError);
});

test("compareKeys() sorts by UTF-8 bytes", () => {
  const keys = ["", "a", "a-", "a/", "a0", "aa", "b", "é", "\ud7ff", "\ue000", "\uffee", "😀", "😁"];
  const bytes = (key: string) => [...new TextEncoder().encode(key)];
  for (const a of keys) {
    for (const b of keys) {
      const [left, right] = [bytes(a), bytes(b)];
      const at = left.findIndex((byte, i) => byte !== right[i]);
      const wanted = at < 0 ? left.length - right.length : (left[at] ?? 0) - (right[at] ?? -1);
      assert.equal(Math.sign(compareKeys(a, b)), Math.sign(wanted), `${a} and ${b}`);
    }
  }
});

test("sortKeys() sorts as compareKeys() says, with and without surrogates", () => {
  const plain = ["b", "a/", "\ue000", "a-", "", "é", "aa", "\ud7ff", "a0", "\uffee", "a"];
  for (const keys of [plain, [...plain, "😀", "a😁", "a\ue000"]]) {
    assert.deepEqual(sortKeys([...keys]), [...keys].sort(compareKeys));
  }
});
