import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { onJsonLine, startScript } from "../soak/script_process.ts";

test("a file of a listing does not keep the listing's text in memory", { timeout: 120_000 }, async () => {
  const runtime = "Deno" in globalThis ? "deno" : "bun";
  const child = startScript(runtime, "tests/view/listing_memory_child.ts", { argument: {}, env: {} });
  let said: Record<string, unknown> | undefined;
  let errors = "";
  onJsonLine(child, (line) => said = line);
  child.stderr!.on("data", (data) => errors += data);
  const [code] = await once(child, "close");
  assert.equal(code, 0, errors);
  const { heldBytes, textBytes, newest } = said as Record<string, number>;
  assert.equal(newest, 60_000);
  assert.ok(textBytes! > 9_000_000);
  assert.ok(heldBytes! < textBytes! / 5, `${heldBytes} bytes of ${textBytes}`);
});
