import assert from "node:assert/strict";
import { test } from "node:test";
import { register } from "../../mod.ts";
import { threadCore } from "../../src/bridge/core_client.ts";
import { shimPath } from "../../src/shim_path.ts";

test("register() that fails leaves no core running", { timeout: 20_000 }, async () => {
  class Nothing {}
  await assert.rejects(register({ Database: Nothing }), TypeError);
  const { core } = await threadCore(async () => ({ shimPath: await shimPath() }));
  await core.ended;
});
