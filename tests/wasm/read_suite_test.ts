/** Tests of reading that know nothing of WASM, run in it: the environment says so to the process that runs them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { IS_BUN } from "../replica/drivers.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Of the read suite what says most in a second, and how many tests it has. */
const FILES: readonly [string, number][] = [
  ["tests/replica/closed_test.ts", 2],
  ["tests/replica/content_test.ts", 27],
  ["tests/replica/isolation_test.ts", 13],
  ["tests/replica/stats_test.ts", 8],
  ["tests/replica/torn_listing_test.ts", 2],
];

for (const [file, count] of FILES) {
  test(`${file} passes where SQLite runs in WASM`, { timeout: 120_000 }, () => {
    const args = IS_BUN ? ["test", "--timeout", "120000", file] : ["test", "-A", "--no-check", file];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, {
      cwd: ROOT,
      encoding: "utf8",
      env: { ...process.env, LITESTREAM_VFS_SQLITE: "wasm", NO_COLOR: "1" },
    });
    const printed = stdout + stderr;
    const passed = /(\d+) pass/.exec(printed.replace(/\(pass\)/g, ""))?.[1];
    assert.equal(status, 0, printed);
    assert.ok(Number(passed) >= count, `${passed} passed, expected ${count}\n${printed}`);
  });
}
