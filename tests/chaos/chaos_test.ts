/** The short form of `npm run chaos`: two storms and the calms after them. */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { litestreamBinary, skipWithout } from "../support/real.ts";
import { startFakeBucket } from "./bucket.ts";
import { ChaosWorld } from "./chaos_world.ts";
import { evenRates, FAULT_KINDS } from "./fault_schedule.ts";
import { StoreWorld } from "./store_world.ts";

const SEED = Number(process.env.CHAOS_SEED ?? 1);
const STORM_MS = 900;

test("whatever is answered, a store gives the bytes that are there or a clear error in time, and keeps what it said it stored", async () => {
  const world = await StoreWorld.make({ seed: SEED, lanes: 30 });
  try {
    for (const share of [0.5, 0.8]) {
      await world.storm(STORM_MS, () => evenRates(share));
      await world.calm();
    }
    assert.deepEqual(world.outcomes.broken, []);
    const met = FAULT_KINDS.filter((kind) => world.counts()[kind] > 0);
    assert.ok(met.length > 20, `only ${met}`);
  } finally {
    await world.close();
  }
});

const skip = skipWithout({ litestream: litestreamBinary() });

test(
  "whatever storage does, each answer is one state or a clear error in time, all recover, and nothing written is lost",
  { skip, timeout: 120_000 },
  async () => {
    const bucket = await startFakeBucket();
    try {
      const lanes = { open: 1, follow: 1, copy: 1, write: 1, own: 3, folder: 2, leased: 0 };
      await using world = await ChaosWorld.make({ seed: SEED, bucket, lanes, stepMs: 100, hasThreads: true });
      for (const share of [0.3, 0.6]) {
        await world.storm(STORM_MS, () => evenRates(share));
        await world.calm();
      }
      assert.deepEqual(world.outcomes.broken, []);
      const met = Object.values(world.counts()).reduce((sum, count) => sum + count, 0);
      assert.ok(met >= 50, `${met} faults`);
      for (const name of ["follow", "sync", "litestream restore"]) {
        assert.ok((world.outcomes.byOperation.get(name)?.get("right") ?? 0) > 0, `no ${name} went well`);
      }
    } finally {
      await bucket.close();
    }
  },
);
