/** The short form of `process_run.ts`: two processes, to each of which things are done. */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { litestreamBinary, skipWithout } from "../support/real.ts";
import { startFakeBucket } from "./bucket.ts";
import { ProcessWorld } from "./process_world.ts";

const SEED = Number(process.env.CHAOS_SEED ?? 1);

const skip: string | false = process.platform === "linux"
  ? skipWithout({ litestream: litestreamBinary() })
  : "limits of a running process are of Linux";

test(
  "a writer that is stopped, runs out of files and is killed amid faults has stored all that it told of",
  { skip, timeout: 120_000 },
  async () => {
    const bucket = await startFakeBucket();
    const world = await ProcessWorld.make({ seed: SEED, bucket, share: 0.1 });
    try {
      await world.round("write", ["stopped", "few files", "full disk", "killed"]);
      await world.settle();
      assert.deepEqual(world.broken, []);
      assert.ok(world.counts.get("writer: told")! > 0);
    } finally {
      await world.close();
      await bucket.close();
    }
  },
);
