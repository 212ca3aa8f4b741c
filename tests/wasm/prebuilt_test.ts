import assert from "node:assert/strict";
import { test } from "node:test";
import { sources } from "../../ffi/prebuilt/wasm.ts";
import { fingerprint } from "../../scripts/prebuild_wasm.mjs";

test("ffi/prebuilt/wasm.ts was made of the sources that are here: else `npm run shims`", () => {
  assert.equal(sources, fingerprint());
});
