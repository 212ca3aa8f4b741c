import assert from "node:assert/strict";
import { test } from "node:test";
import { outcome, spawnScript } from "./soak_support.ts";

test("a key that is kept does not keep the listing that it came in", async () => {
  const { how, printed } = await outcome(spawnScript("./listing_memory_child.ts", []), 60_000);
  assert.equal(how, "0", printed);
  const found = JSON.parse(printed.slice(printed.indexOf("{"))) as Record<
    string,
    { bytes: number; documentBytes: number; listings: number }
  >;
  assert.deepEqual(Object.keys(found), ["s3", "abs", "webdav"]);
  for (const [name, { bytes, documentBytes, listings }] of Object.entries(found)) {
    assert.ok(
      bytes < documentBytes * listings / 4,
      `${name}: ${bytes} bytes for ${listings} keys, ${printed}`,
    );
  }
});
