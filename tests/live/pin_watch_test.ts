import assert from "node:assert/strict";
import { test } from "node:test";
import type { Native } from "../../ffi/native.ts";
import { PinWatch, readPins } from "../../src/live/pin_watch.ts";
import { valueOf } from "../replica/drivers.ts";
import { pause, stepValue } from "../replica/following.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { withLive } from "./live_place.ts";

const HELD_MS = 100;

test("stale-pin: told once for each state that is held too long after others have come", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 3);
    await withLive(folder, { stalePinMs: HELD_MS }, async ({ live, replica, events }) => {
      const pins = () => events.filter(({ type }) => type === "stale-pin");
      const [first, second] = [replica.connect(), replica.connect()];
      first.exec("BEGIN");
      assert.equal(valueOf(first, "SELECT x FROM v"), 3);
      await pause(HELD_MS + 20);
      await live.refresh();
      assert.deepEqual(pins(), [], "the newest state may be held");
      stepValue(folder, 4);
      await live.refresh();
      second.exec("BEGIN");
      assert.equal(valueOf(second, "SELECT x FROM v"), 4);
      await live.refresh();
      assert.deepEqual(pins(), []);
      await pause(HELD_MS + 20);
      for (let again = 0; again < 3; again++) await live.refresh();
      assert.equal(pins().length, 1);
      const [told] = pins() as unknown as { txid: bigint; heldMs: number }[];
      assert.equal(told!.txid, 3n);
      assert.ok(told!.heldMs >= HELD_MS && told!.heldMs < 10_000, `${told!.heldMs} ms`);
      stepValue(folder, 5);
      await live.refresh();
      await pause(HELD_MS + 20);
      await live.refresh();
      assert.deepEqual(pins().map((event) => (event as { txid: bigint }).txid), [3n, 4n]);
      for (const db of [first, second]) {
        db.exec("COMMIT");
        assert.equal(valueOf(db, "SELECT x FROM v"), 5);
        db.close();
      }
    });
  }));

test("PinWatch forgets a state that was let go, and begins anew when it is held again", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 3);
    await withLive(folder, {}, async ({ native, live, replica }) => {
      const watch = new PinWatch(native, live.id, HELD_MS);
      const db = replica.connect();
      db.exec("BEGIN");
      valueOf(db, "SELECT x FROM v");
      const pins = readPins(native, live.id);
      assert.deepEqual(pins.map(({ txid, count, wasNewest }) => [txid, count, wasNewest]), [[3n, 1, true]]);
      assert.deepEqual(watch.check(0), []);
      await pause(HELD_MS + 20);
      assert.deepEqual(watch.check(pins[0]!.stamp), [], "it is the newest");
      assert.deepEqual(watch.check(0), [], "since now");
      await pause(HELD_MS + 20);
      assert.equal(watch.check(0).length, 1);
      db.exec("COMMIT");
      assert.deepEqual(watch.check(0), []);
      assert.deepEqual(readPins(native, live.id), []);
      db.close();
    });
  }));

test("readPins() tells of any number of states", () => {
  const counts: number[] = [];
  for (const pinned of [0, 1, 255, 256, 257, 3000]) {
    const native = {
      calls: {
        ls_replica_pins(_replica: number, out: Uint8Array, countMax: number) {
          const count = Math.min(pinned, countMax);
          if (count > 0) new DataView(out.buffer).setBigUint64((count - 1) * 32, BigInt(count), true);
          return count;
        },
      },
    } as unknown as Native;
    const pins = readPins(native, 1);
    assert.equal(pins.at(-1)?.txid, pinned === 0 ? undefined : BigInt(pinned));
    counts.push(pins.length);
  }
  assert.deepEqual(counts, [0, 1, 255, 256, 257, 3000]);
  assert.deepEqual(readPins({ calls: { ls_replica_pins: () => -2 } } as unknown as Native, 1), []);
});
