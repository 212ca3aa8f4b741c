/** A worker that is terminated inside a query may hold what others wait for: they get away with words. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { openReplica } from "../../mod.ts";
import { makeShim, openNative } from "../../ffi/wasm.ts";
import type { WasmDatabase } from "../../src/drivers/wasm_sqlite.ts";
import { tableSql, valueOf } from "../replica/drivers.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";

/** Ends whatever asks for the time, as a termination would at that very place. */
function withoutTime(act: () => void): void {
  const { now } = performance;
  performance.now = () => {
    throw new Error("terminated");
  };
  try {
    assert.throws(act, /terminated/);
  } finally {
    performance.now = now;
  }
}

test("a lock whose holder is no more is told of, and nobody waits for it for ever", async () => {
  const { calls } = await openNative(await makeShim());
  const core = calls.ls_core_start();
  assert.ok(core > 0);
  withoutTime(() => calls.ls_core_wait(core, 0, 1)); // which asks for the time with the core's lock in its hand
  const requests = new Uint8Array(64);
  assert.throws(
    () => calls.ls_core_take(core, requests, 1),
    /a thread has held a lock for 5 s, as one does that is/,
  );
});

test("a thread that is terminated while it opens a connection keeps no other from opening one", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(10));
    folder.snapshot();
    await using replica = await openReplica(folder.url, { sqlite: "wasm" });
    const worker = new Worker(new URL("./opening_worker.ts", import.meta.url), {
      workerData: replica.share(),
    });
    await once(worker, "message"); // in the middle of it
    await worker.terminate();
    using db = replica.connect() as WasmDatabase;
    assert.equal(valueOf(db, "SELECT count(*) FROM t"), 10);
  }));
