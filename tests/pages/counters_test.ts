import assert from "node:assert/strict";
import { test } from "node:test";
import type { Native } from "../../ffi/native.ts";
import { addTo, addToConnection, COUNTER, readCounters, RequestMeter } from "../../src/pages/counters.ts";

/** Counters of replica 7 in memory; other replicas are gone. */
function fakeCounters(): Native {
  const counters = new BigUint64Array(32);
  return {
    calls: {
      ls_replica_add(replica: number, index: number, amount: number) {
        assert.equal(replica, 7);
        assert.equal(amount, amount | 0); // Deno throws, Bun and WASM make another number of it
        counters[index]! += BigInt(amount);
        return 0;
      },
      ls_connection_add(replica: number, _connection: number, index: number, amount: number) {
        return this.ls_replica_add(replica, index, amount);
      },
      ls_replica_stats(replica: number, out: Uint8Array, count: number) {
        if (replica !== 7) return -2;
        out.set(new Uint8Array(counters.buffer, 0, count * 8));
        return count;
      },
    },
  } as unknown as Native;
}

test("readCounters() reads what addTo() added, by name", () => {
  const native = fakeCounters();
  addTo(native, 7, "hits", 3);
  addTo(native, 7, "roundTrips", 2);
  addTo(native, 7, "hits", 4);
  const counters = readCounters(native, 7);
  assert.equal(counters.hits, 7);
  assert.equal(counters.roundTrips, 2);
  assert.deepEqual(Object.keys(counters), Object.keys(COUNTER));
});

test("readCounters() of a replica that is gone gives zeros", () => {
  assert.ok(Object.values(readCounters(fakeCounters(), 8)).every((value) => value === 0));
});

test("RequestMeter carries only what is new, and keeps what comes during a carry", () => {
  const native = fakeCounters();
  const counts = { list: 10, get: 2, bytes: 5000, retries: 0 };
  const meter = new RequestMeter(native, counts);
  meter.carry(7);
  counts.get++;
  counts.bytes += 100;
  meter.carry(7);
  meter.carry(7);
  const { listRequests, getRequests, bytes, retries } = readCounters(native, 7);
  assert.deepEqual({ listRequests, getRequests, bytes, retries }, {
    listRequests: 10,
    getRequests: 3,
    bytes: 5100,
    retries: 0,
  });
});

test("addTo() and addToConnection() add more than 2 GiB at once", () => {
  const native = fakeCounters();
  addTo(native, 7, "diskBytes", 3_000_000_000_123);
  addTo(native, 7, "diskBytes", -1_000_000_000_000);
  addToConnection(native, 7, 1, "bytes", 5_000_000_000);
  const { diskBytes, bytes } = readCounters(native, 7);
  assert.deepEqual([diskBytes, bytes], [2_000_000_000_123, 5_000_000_000]);
});

test("RequestMeter.carry() takes any number that a store has counted, and throws for none", () => {
  const native = fakeCounters();
  const counts = { list: NaN, get: 1.5, bytes: 2 ** 32, retries: Infinity };
  const meter = new RequestMeter(native, counts);
  meter.carry(7);
  const { listRequests, getRequests, bytes, retries } = readCounters(native, 7);
  assert.deepEqual({ listRequests, getRequests, bytes, retries }, {
    listRequests: 0,
    getRequests: 0,
    bytes: 2 ** 32,
    retries: 0,
  });
});
