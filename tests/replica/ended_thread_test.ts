/** Threads that are terminated with their replicas open: nothing of them stays in the process. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { Worker } from "node:worker_threads";
import type { OpenOptions } from "../../mod.ts";
import { ProcessWatch } from "../soak/endurance_sample.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { IS_WASM, tableSql } from "./drivers.ts";
import { pause } from "./following.ts";

const skip = IS_WASM ? "a shim in WASM cannot know of a thread's end" : false;
if (skip) console.error(`skipped: ${skip}`);

const ROUNDS = 3;
const ENDED_MS = 30_000;

/** Opens a replica in a thread, and terminates it. */
async function leave(url: string, options: OpenOptions): Promise<void> {
  const thread = new Worker(new URL("./leaving_thread.ts", import.meta.url), {
    workerData: { url, options },
  });
  assert.equal(
    await new Promise((resolve, reject) => {
      thread.once("message", resolve);
      thread.once("error", reject);
    }),
    "1",
  );
  await thread.terminate();
}

/** What of the shim goes with a replica. */
function held(watch: ProcessWatch): Record<string, number> {
  const { replicas, views, objects, runs, chunks } = watch.census();
  return { replicas, views, objects, runs, chunks };
}

/** The same once it is no more than it was `before`: other tests' replicas may still be on their way out, too. */
async function heldAtRest(
  watch: ProcessWatch,
  before: Record<string, number> = { replicas: 0, views: 0, objects: 0, runs: 0, chunks: 0 },
): Promise<Record<string, number>> {
  const untilMs = Date.now() + ENDED_MS;
  // a replica is gone from the table before what it held is freed
  while (!isDeepStrictEqual(held(watch), before) && Date.now() < untilMs) await pause(20);
  return held(watch);
}

const KINDS: Record<string, (home: string) => OpenOptions> = {
  "read": () => ({}),
  "copied": (home) => ({ hydrate: join(home, "copy.db") }),
  "wrote": (home) => ({ write: true, bufferPath: join(home, "log") }),
};

for (const [name, optionsIn] of Object.entries(KINDS)) {
  test(`A thread that is terminated leaves nothing of the replica that it ${name}`, {
    skip,
    timeout: 120_000,
  }, () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(tableSql(2_000));
      folder.snapshot();
      const watch = await ProcessWatch.start(folder.home);
      const before = await heldAtRest(watch);
      for (let i = 0; i < ROUNDS; i++) await leave(folder.url, optionsIn(folder.home));
      assert.deepEqual(await heldAtRest(watch, before), before);
    }));
}
