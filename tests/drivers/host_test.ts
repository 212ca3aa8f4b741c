/** What is known of the process without Node's modules is what those say. */
import assert from "node:assert/strict";
import { isMainThread } from "node:worker_threads";
import { resolve } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { arch, builtin, platform, resolvePath, variable, variables } from "../../src/drivers/host.ts";
import { readableEnvironment, wholeEnvironment } from "../../src/drivers/permissions.ts";

const NAME = "LITESTREAM_HOST_TEST";

test("platform() and arch() are process's", () => {
  assert.deepEqual([platform(), arch()], [process.platform, process.arch]);
});

test("builtin() gives Node's modules", () => {
  assert.equal(builtin("node:path").resolve, resolve);
  assert.equal(builtin("node:worker_threads").isMainThread, isMainThread);
});

test("resolvePath() is resolve()", () => {
  const segments = ["a", "b.db", ".", "..", "", ".hidden", "..c", "...", "x y", "é", "-", "~"];
  const paths = ["", "/", "//", ...segments];
  for (const first of segments) {
    for (const second of segments) {
      for (const start of ["", "/"]) {
        for (const end of ["", "/"]) {
          paths.push(
            `${start}${first}${end}`,
            `${start}${first}/${second}${end}`,
            `${start}d/${first}/${second}/e${end}`,
          );
        }
      }
    }
  }
  for (const path of paths) assert.equal(resolvePath(path), resolve(path), JSON.stringify(path));
});

test("variables are seen as they are when they are asked for", () => {
  const before = readableEnvironment();
  delete process.env[NAME];
  assert.equal(before[NAME], undefined);
  assert.equal(variable(NAME), undefined);
  process.env[NAME] = "first";
  try {
    const whole = wholeEnvironment();
    assert.deepEqual(
      [before[NAME], variable(NAME), variables()[NAME], whole?.[NAME]],
      Array(4).fill("first"),
    );
    process.env[NAME] = "second";
    assert.deepEqual([before[NAME], variables()[NAME], whole?.[NAME]], ["second", "second", "first"]);
  } finally {
    delete process.env[NAME];
  }
  assert.equal(before[NAME], undefined);
});
