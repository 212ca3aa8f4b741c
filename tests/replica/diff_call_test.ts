import assert from "node:assert/strict";
import { test } from "node:test";
import type { CoreClient } from "../../src/bridge/core_client.ts";
import type { CallOf } from "../../src/bridge/protocol.ts";
import { callDiff } from "../../src/diff_call.ts";

/** A core that notes what it is asked, and answers only that a comparison has ended. */
function silentCore(asked: (readonly [string, unknown])[]): CoreClient {
  return {
    newId: () => 7,
    call(call: CallOf, signal?: AbortSignal, id?: number) {
      asked.push([call.kind, "of" in call ? call.of : id]);
      if (call.kind === "diff-end") return Promise.resolve(0);
      return new Promise((_, reject) =>
        signal?.addEventListener("abort", () => reject(signal.reason), { once: true })
      );
    },
  } as unknown as CoreClient;
}

test("callDiff() ends a comparison that was given up before the core said that it has begun", async () => {
  const asked: [string, unknown][] = [];
  const abort = new AbortController();
  const call = { kind: "diff", replicaId: 1, from: "1", to: "latest", tables: undefined } as const;
  const first = callDiff(silentCore(asked), call, abort.signal).next();
  abort.abort(new Error("enough"));
  await assert.rejects(first, /enough/);
  assert.deepEqual(asked, [["diff", 7], ["diff-end", 7]]);
});
