import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import { States } from "../../src/live/states.ts";
import { findShim } from "../../src/shim_path.ts";

async function states(): Promise<States> {
  return new States(await loadNative(findShim()), 0, { name: "none", isWritten: false });
}

test("States.stampOf() gives a TXID its stamp again, and no two the same", async () => {
  const some = await states();
  const stamps = [1n, 2n, 3n].map((txid) => some.stampOf(txid));
  assert.equal(new Set(stamps).size, 3);
  assert.deepEqual([1n, 2n, 3n].map((txid) => some.stampOf(txid)), stamps);
  assert.ok(stamps.every((stamp) => some.isOurs(stamp)));
  assert.ok(!stamps.includes(some.newStamp()));
});

test("States.stampOf() forgets the TXIDs that were asked for longest ago: theirs are new, never wrong", async () => {
  const some = await states();
  const first = some.stampOf(1n);
  for (let txid = 2n; txid <= 2000n; txid++) some.stampOf(txid);
  assert.notEqual(some.stampOf(1n), first);
  assert.equal(some.stampOf(2000n), some.stampOf(2000n));
});

test("States.renew(): equal TXIDs mean nothing from there on", async () => {
  const some = await states();
  const [before, same] = [some.stampOf(1n), some.stampOf(5n)];
  const stamp = some.newStamp();
  some.renew(5n, stamp);
  assert.equal(some.stampOf(5n), stamp);
  assert.notEqual(some.stampOf(5n), same);
  assert.notEqual(some.stampOf(1n), before);
  assert.deepEqual([before, same, stamp].map((one) => some.isOurs(one)), [false, false, true]);
});
