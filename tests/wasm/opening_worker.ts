/**
 * Joins a replica and stops in the middle of opening a connection: SQLite has begun, and this thread never goes on.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica, type SharedReplica } from "../../mod.ts";
import { loadNative } from "../../ffi/mod.ts";

const shared = workerData as SharedReplica;
const replica = await joinReplica(shared);
const { wasm } = await loadNative(shared.shimPath, shared.wasm);
const { placeText } = wasm!.heap;
wasm!.heap.placeText = function (text) {
  const place = placeText.call(this, text);
  parentPort!.postMessage("opening");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  return place;
};
replica.connect();
