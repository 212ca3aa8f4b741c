/** The shim's functions, as this runtime calls them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadNative } from "../../ffi/mod.ts";
import { LS } from "../../ffi/symbols.ts";
import { findShim } from "../../src/shim_path.ts";
import { IS_BUN } from "../replica/drivers.ts";

/** More calls than after which a runtime may bind a function in another way. */
const CALLS = 300;

test("a function's results are the same however often it was called", async () => {
  const { calls } = await loadNative(findShim());
  const { ls_crc_add } = calls; // taken once, as callers do that go through much
  const bytes = new TextEncoder().encode("a page") as Uint8Array<ArrayBuffer>;
  const words = new BigUint64Array(1);
  const sums = new Set<bigint>();
  for (let i = 0; i < CALLS; i++) {
    for (const add of [ls_crc_add, calls.ls_crc_add]) {
      words[0] = ~0n;
      assert.equal(add(bytes, bytes.length, new Uint8Array(words.buffer)), 0);
      sums.add(words[0]);
      assert.equal(add(bytes, -1, new Uint8Array(words.buffer)), LS.MISUSE);
    }
    assert.equal(calls.ls_local_close(-1), LS.MISUSE);
    assert.equal(calls.ls_census(new Uint8Array(32), 8), 8);
  }
  assert.equal(sums.size, 1);
});

if (!IS_BUN) {
  test("a program may give up the permission for native code once it is loaded", () => {
    const child = fileURLToPath(new URL("./revoked_child.ts", import.meta.url));
    const options = { encoding: "utf8", timeout: 30_000 } as const;
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ["run", "-A", "--no-check", "--no-prompt", child],
      options,
    );
    assert.equal(stdout.trim(), "called", stderr);
  });
}
