/** What a core of a shim in WASM leaves behind: a process that lives long has many of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import { makeShim } from "../../ffi/wasm.ts";
import { CoreClient } from "../../src/bridge/core_client.ts";

const MiB = 1024 * 1024;
/** More than a thread's stack: it finds no room in a gap that one has left. */
const PROBE = 4 * MiB;

test("a core gives its stack back: others find room where it was", { timeout: 120_000 }, async () => {
  const wasm = await makeShim();
  const { heap } = (await loadNative(wasm.path, wasm)).wasm!;
  const cores = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const core = await (await CoreClient.begin()).serve({ shimPath: wasm.path, wasm });
      await core.stop();
    }
    const address = heap.alloc(PROBE);
    heap.free(address);
    return address;
  };
  const before = await cores(2);
  const after = await cores(12);
  assert.ok(after - before < MiB, `room is found ${(after - before) / MiB} MiB further behind`);
});
