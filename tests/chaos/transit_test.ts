/** Bytes that were damaged on their way, and are right where they lie: nothing may stay broken by them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { OFTEN, until } from "../replica/following.ts";
import { startFakeBucket } from "./bucket.ts";
import { ChaosProxy } from "./chaos_proxy.ts";
import { ModelPrimary } from "./model_primary.ts";

test("a follower asks again for a transaction whose file was damaged on its way, whatever compaction does", async () => {
  const bucket = await startFakeBucket();
  const primary = await ModelPrimary.make({ seed: 1, shelves: [bucket.shelf("db")] });
  try {
    await using proxy = await ChaosProxy.start({ target: bucket.endpoint, seed: 1, rates: { flipped: 1 } });
    proxy.calm();
    await using replica = await openReplica(bucket.url("db", proxy.origin), { ...bucket.access, ...OFTEN });
    const failures: string[] = [];
    replica.on("error", ({ error }) => failures.push(error.name));
    proxy.storm();
    await primary.step();
    await until("its file is damaged on its way", () => proxy.counts().flipped >= 4, 30_000);
    proxy.calm();
    await until(`it is seen, after ${failures}`, () => replica.txid === primary.txid, 40_000);
    assert.ok(failures.length > 0);
  } finally {
    primary.close();
    await bucket.close();
  }
});
